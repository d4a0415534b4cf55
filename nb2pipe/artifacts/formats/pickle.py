"""cloudpickle: whatever no other format keeps, and values that share objects."""

from __future__ import annotations

import copyreg
import io
import math
import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any

from nb2pipe.artifacts.format import (
    REDUCERS,
    ArtifactError,
    Format,
    StaticTypes,
    same_type,
    type_name,
)


def save_pickle(value: Any, folder: Path) -> None:
    """Write the value with cloudpickle, or with pickle where that is not installed."""
    try:
        with (folder / "value.pickle").open("wb") as stream:
            _pickler(stream, value).dump(value)
    except Exception as error:
        raise ArtifactError(_reason(value, error)) from error


def load_pickle(folder: Path) -> Any:
    """Read what `save_pickle` wrote."""
    with (folder / "value.pickle").open("rb") as stream:
        return Unpickler(stream).load()


class Unpickler(pickle.Unpickler):
    """Reads what a pickler of ours wrote; a number that is none is again the object that it was."""

    def persistent_load(self, key: str) -> float:
        if key == "numpy":
            import numpy as np

            return _noted_nan(np.nan, key)
        return NANS[key] if key in NANS else _noted_nan(float("nan"), key)

    def find_class(self, module: str, name: str) -> Any:
        """What makes values again is in this file, whichever project's copy of it wrote them."""
        own = module.endswith("artifacts") and name.startswith("_") and name in globals()
        return globals()[name] if own else super().find_class(module, name)


NANS: dict[str, float] = {"math": math.nan}  # by key: nan equals nothing but itself
KEYS: dict[int, str] = {id(math.nan): "math"}
HERE = os.urandom(8).hex()


def _noted_nan(value: float, key: str) -> float:
    KEYS[id(value)] = key
    return NANS.setdefault(key, value)


def _nan_key(value: Any) -> str | None:
    """What stands for a number that is none, in whatever artifact it is; None for other values."""
    if type(value) is not float or not math.isnan(value):
        return None
    if id(value) not in KEYS:
        numpy = sys.modules.get("numpy")
        _noted_nan(
            value, "numpy" if numpy and value is numpy.nan else f"{HERE}-{os.getpid()}-{len(NANS)}"
        )
    return KEYS[id(value)]


def _pickler(stream: Any, value: Any) -> pickle.Pickler:
    try:
        import cloudpickle
    except ModuleNotFoundError:
        plain = pickle.Pickler(stream, pickle.HIGHEST_PROTOCOL)
        plain.persistent_id = _nan_key  # type: ignore[method-assign]
        return plain

    seen: dict[int, Any] = {0: value}

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def persistent_id(self, obj: Any) -> str | None:
            return _nan_key(obj)

        def reducer_override(self, obj: Any) -> Any:
            # cloudpickle would silently turn an open text file into its content
            if isinstance(obj, io.TextIOWrapper):
                raise TypeError(f"it holds a text file handle ({obj.name!r})")
            if REDUCERS:
                names = map(type_name, type(obj).__mro__)
                reduce = next((REDUCERS[name] for name in names if name in REDUCERS), None)
                if reduce is not None:
                    return reduce(obj, seen)
            if isinstance(obj, types.CellType):
                return _reduced_cell(obj)
            if _has_own_getattr(type(obj)):
                return _reduced_plainly(obj)
            if isinstance(obj, BaseException) and _is_plain(type(obj)):
                return NEW_OBJECT, (type(obj), *obj.args), obj.__dict__ or None
            if isinstance(obj, type) and (name := _other_name(obj)):
                return getattr, (sys.modules[obj.__module__], name)
            reduced = super().reducer_override(obj)
            if isinstance(reduced, tuple) and reduced[0].__name__ == "_make_skeleton_class":
                return _class_again, (reduced[0], *reduced[1]), *reduced[2:]
            return _with_own_cells(obj, reduced) if isinstance(obj, types.FunctionType) else reduced

    for name, module in list(sys.modules.items()):
        if name.startswith(f"{__package__}.steps."):  # not there where another step runs
            cloudpickle.register_pickle_by_value(module)
    return Pickler(stream, pickle.HIGHEST_PROTOCOL)


def _reduced_cell(cell: types.CellType) -> tuple[Any, ...]:
    """A closure's variable: made empty, so that what it holds may hold the closure, then filled."""
    try:
        return types.CellType, (), (None, {"cell_contents": cell.cell_contents})
    except ValueError:  # nothing is in it
        return types.CellType, ()


def _with_own_cells(function: types.FunctionType, reduced: Any) -> Any:
    """Closures of one call share variables: cloudpickle would give each a variable of its own."""
    if not function.__closure__ or not isinstance(reduced, tuple):
        return reduced
    make, arguments, *rest = reduced
    return (make, (*arguments[:-1], function.__closure__), *rest)


def _class_again(make: Any, metaclass: type, name: str, bases: tuple[type, ...], *rest: Any) -> Any:
    """Make a class once more, without what its metaclass and bases did when it was defined: they
    would enter it into their registries again, and not know the words in `class C(B, key=1)`.
    """
    aside = [
        (cls, hook, vars(cls)[hook])
        for hook, classes in (
            ("__init_subclass__", {c: None for b in bases for c in b.__mro__}),
            ("__new__", metaclass.__mro__),
            ("__init__", metaclass.__mro__),
        )
        for cls in classes
        if cls.__module__.startswith(("__main__", f"{__package__}.")) and hook in vars(cls)
    ]
    for cls, hook, _ in aside:
        type.__delattr__(cls, hook)
    try:
        return make(metaclass, name, bases, *rest)
    finally:
        for cls, hook, value in aside:
            type.__setattr__(cls, hook, value)


HEAP_TYPE = 1 << 9  # of the flags of a type: it was made by a `class` statement
NEW_OBJECT: Any = vars(copyreg)["__newobj__"]
PICKLING = (
    "__reduce__",
    "__reduce_ex__",
    "__getstate__",
    "__setstate__",
    "__getnewargs_ex__",
    "__getnewargs__",
)


def _has_own_getattr(cls: type) -> bool:
    """Whether a class answers for attributes that are not there, and says nothing of pickling.

    Pickle asks every object for methods that it may lack: `__getattr__` would be called for them.
    """
    own = [base for base in cls.__mro__ if base not in (object, dict, list)]
    from_c = any(base.__flags__ & HEAP_TYPE == 0 for base in own)
    return not from_c and _is_plain(cls) and any("__getattr__" in vars(base) for base in own)


def _is_plain(cls: type) -> bool:
    """Whether a class and its bases in Python say nothing of how it is pickled."""
    own = {name for base in cls.__mro__ if base.__flags__ & HEAP_TYPE for name in vars(base)}
    return own.isdisjoint((*PICKLING, "__slots__"))


def _other_name(cls: type) -> str | None:
    """The name of a class in its module if not its own: `Point = namedtuple("P", "x y")`."""
    names = vars(sys.modules.get(cls.__module__) or object)
    if not cls.__module__.startswith(f"{__package__}.") or names.get(cls.__qualname__) is cls:
        return None
    return next((name for name, value in names.items() if value is cls), None)


def _reduced_plainly(obj: Any) -> tuple[Any, ...]:
    """An object as its class, its attributes and its items."""
    items = list(list.__iter__(obj)) if isinstance(obj, list) else []
    pairs = list(dict.items(obj)) if isinstance(obj, dict) else []
    state = object.__getattribute__(obj, "__dict__")
    return NEW_OBJECT, (type(obj),), state, iter(items), iter(pairs), _fill


def _fill(obj: Any, state: dict[str, Any]) -> None:
    object.__getattribute__(obj, "__dict__").update(state)


def _reason(value: Any, error: Exception) -> str:
    """Why a value cannot be pickled, with a way out."""
    if isinstance(error, ArtifactError):
        return str(error)
    ways = {
        "generator": "it is a generator; make a list of it",
        "TextIOWrapper": "it is a text file handle; open the file in the step that uses it",
        "BufferedReader": "it is a file handle; open the file in the step that uses it",
        "BufferedWriter": "it is a file handle; open the file in the step that uses it",
        "Connection": "it is a connection; open it in the step that uses it",
    }
    return ways.get(type(value).__name__, f"{error}; make it in the step that uses it")


PICKLE = Format(
    "pickle",
    types=("builtins.object",),
    save=save_pickle,
    load=load_pickle,
    same=same_type,
    libraries=("cloudpickle",),
)

STATIC: StaticTypes = {
    "": ("Artifact", ("cloudpickle",)),
    "lightgbm.Dataset": ("Dataset", ("lightgbm", "cloudpickle")),
    "pandas": ("Artifact", ("pandas", "cloudpickle")),
    "pandas.Index": ("Dataset", ("pandas", "cloudpickle")),
    "polars.DataFrame": ("Dataset", ("polars", "cloudpickle")),
    "scipy.sparse": ("Dataset", ("scipy", "cloudpickle")),
    "sklearn.datasets": ("Artifact", ("scikit-learn", "cloudpickle")),
    "sklearn.utils": ("Artifact", ("scikit-learn", "cloudpickle")),
    "statsmodels": ("Model", ("statsmodels", "cloudpickle")),
    "catboost": ("Model", ("catboost", "cloudpickle")),
    "tensorflow": ("Artifact", ("tensorflow", "cloudpickle")),
    "torch": ("Artifact", ("torch", "cloudpickle")),
    "xgboost.DMatrix": ("Dataset", ("xgboost", "cloudpickle")),
}
