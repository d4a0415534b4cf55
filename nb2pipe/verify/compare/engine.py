"""The comparison of two values: which kind compares which type, what was compared already, what is one object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nb2pipe.artifacts.format import type_name
from nb2pipe.verify.compare import (
    arrays,
    containers,
    figures,
    frames,
    functions,
    models,
    networks,
    numbers,
    objects,
    randoms,
)
from nb2pipe.verify.compare.outcome import EQUAL, Outcome, different, not_proved, said

Compare = Callable[[Any, Any, str, "Comparison"], Outcome]

KINDS: Mapping[str, Compare] = {
    "builtins.float": numbers.compare_floats,
    "builtins.complex": numbers.compare_floats,
    **dict.fromkeys(
        [
            "builtins.NoneType",
            "builtins.bool",
            "builtins.int",
            "builtins.str",
            "builtins.bytes",
            "builtins.bytearray",
            "builtins.range",
            "builtins.ellipsis",
            "builtins.NotImplementedType",
        ],
        numbers.compare_exactly,
    ),
    "builtins.list": containers.compare_sequences,
    "builtins.tuple": containers.compare_sequences,
    "builtins.dict": containers.compare_mappings,
    "builtins.set": containers.compare_sets,
    "builtins.frozenset": containers.compare_sets,
    "builtins.function": functions.compare_functions,
    "builtins.method": functions.compare_methods,
    "builtins.type": functions.compare_classes,
    "builtins.module": functions.compare_modules,
    "numpy.ndarray": arrays.compare_arrays,
    "numpy.generic": arrays.compare_array_scalars,
    "numpy.RandomState": randoms.compare_generators,
    "numpy.Generator": randoms.compare_generators,
    "random.Random": randoms.compare_generators,
    "pandas.DataFrame": frames.compare_frames,
    "pandas.Series": frames.compare_series,
    "pandas.Index": frames.compare_indexes,
    "sklearn.BaseEstimator": models.compare_estimators,
    "xgboost.XGBModel": models.compare_estimators,
    "lightgbm.LGBMModel": models.compare_estimators,
    "xgboost.Booster": models.compare_xgboost,
    "lightgbm.Booster": models.compare_lightgbm,
    "keras.Model": networks.compare_keras,
    "tf_keras.Model": networks.compare_keras,
    "keras.KerasSaveable": networks.compare_keras_parts,
    "tf_keras.Layer": networks.compare_keras_parts,
    "torch.OptimizedModule": networks.compare_compiled,
    "torch.Module": networks.compare_torch,
    "torch.Optimizer": networks.compare_torch_optimizers,
    "torch.LRScheduler": networks.compare_torch_optimizers,
    "torch.Tensor": networks.compare_tensors,
    "tensorflow.Tensor": networks.compare_tensors,
    "tensorflow.BaseResourceVariable": networks.compare_tensors,
    "matplotlib.Figure": figures.compare_matplotlib,
    "matplotlib._AxesBase": figures.compare_axes,
    "plotly.BaseFigure": figures.compare_plotly,
}
"""By the name of a type (`library.Class`): the first along the order of its bases counts; else `objects` compares."""

MUTABLE = ("builtins.list", "builtins.dict", "builtins.set", "builtins.bytearray", "pandas.DataFrame", "pandas.Series")
ROWS = 100
"""Of data seen at a boundary so many rows are kept, to have models predict from."""


class Comparison:
    """Compares values of one boundary: `comparison(notebook's, pipeline's, path)`.

    `package` is the project's import name: its classes stand for those of the notebook. `seen` are heads of frames and
    arrays of this boundary and earlier ones.
    """

    def __init__(self, package: str = "", seen: Iterable[Any] = ()) -> None:
        self.package = package
        self.seen = tuple(seen)
        self._pairs: set[tuple[int, int]] = set()
        self._twins: tuple[dict[int, tuple[int, str]], dict[int, tuple[int, str]]] = ({}, {})
        self._alive: list[Any] = []
        self._inside = 0

    def __call__(self, a: Any, b: Any, path: str) -> Outcome:
        """The outcome for two values; whatever goes wrong in comparing them proves nothing."""
        if not self.same_class(type(a), type(b)):
            return different(path, said(f"{type_text(a)} {short_of(a)}"), said(f"{type_text(b)} {short_of(b)}"))
        shared = self._identity(a, b, path)
        if shared is not None:
            return shared
        compare = next((KINDS[n] for n in map(type_name, type(a).__mro__) if n in KINDS), objects.compare_objects)
        own = isinstance(a, (list, dict, tuple, set)) and not self._own_exactly(a)
        foreign = self.is_library(type(a)) and type(a).__module__ != "builtins"
        self._inside += foreign
        try:
            found = compare(a, b, path, self)
            return found if found.verdict == "different" or not own else self._attributes(a, b, path, found)
        except RecursionError:
            return not_proved(path, "it is nested too deeply to be compared")
        except Exception as error:
            return not_proved(path, f"comparing two {type_text(a)} failed: {type(error).__name__}: {error}")
        finally:
            self._inside -= foreign

    @staticmethod
    def _own_exactly(a: Any) -> bool:
        return type(a) in (list, dict, tuple, set)

    def _attributes(self, a: Any, b: Any, path: str, found: Outcome) -> Outcome:
        """A subclass of a container may have attributes besides its content."""
        if not getattr(a, "__dict__", None) and not getattr(b, "__dict__", None):
            return found
        more = objects.compare_attributes(dict(vars(a)), dict(vars(b)), path, self)
        return more if more.verdict != "equal" else found

    def _identity(self, a: Any, b: Any, path: str) -> Outcome | None:
        """EQUAL for a pair on its way already; a difference where one object became two, or two became one."""
        if isinstance(a, (int, float, str, bytes, type(None), tuple)):
            return None
        self._alive += [a, b]
        if not self._inside and self._is_mutable(a):
            for twins, one, other, where in ((self._twins[0], a, b, "notebook"), (self._twins[1], b, a, "pipeline")):
                twin, before = twins.setdefault(id(one), (id(other), path))
                if twin != id(other):
                    return Outcome(
                        "different",
                        f"{path}: in the {where} it is the same object as {before}, "
                        f"in the {'pipeline' if where == 'notebook' else 'notebook'} it is not",
                    )
        if (id(a), id(b)) in self._pairs:
            return EQUAL
        self._pairs.add((id(a), id(b)))
        return None

    def _is_mutable(self, value: Any) -> bool:
        names = map(type_name, type(value).__mro__)
        own = not self.is_library(type(value)) and not isinstance(value, type)
        return (own and hasattr(value, "__dict__")) or any(name in MUTABLE for name in names)

    def same_class(self, a: type, b: type) -> bool:
        """Whether two classes are one: the same object, or of the same name and both the notebook's own."""
        if a is b:
            return True
        return a.__name__ == b.__name__ and not self.is_library(a) and not self.is_library(b)

    def is_library(self, thing: Any) -> bool:
        """Whether a class or function comes from a library, not from the notebook or the generated project."""
        top = (getattr(thing, "__module__", None) or "").partition(".")[0]
        return top not in ("__main__", self.package, "")

    def data_for(self, model: Any) -> list[Any]:
        """Data seen so far with as many columns as the model learned from."""
        wanted = getattr(model, "n_features_in_", None)
        names = getattr(model, "feature_names_in_", None)
        fitting = [d for d in self.seen if d.ndim == 2 and d.shape[1] == wanted and not hasattr(d, "detach")]
        if names is not None:
            fitting = [d for d in fitting if list(getattr(d, "columns", [])) == list(names)]
        return fitting[-2:]


def heads(values: Iterable[Any]) -> list[Any]:
    """The first rows of every frame, array and tensor of two dimensions or more among `values`."""
    names = ("pandas.DataFrame", "numpy.ndarray", "torch.Tensor")
    shaped = [v for v in values if type_name(type(v)) in names and v.ndim >= 2 and len(v)]
    return [v[:ROWS].detach().clone() if hasattr(v, "detach") else v[:ROWS].copy() for v in shaped]


def type_text(value: Any) -> str:
    """ "pandas.DataFrame", "int": how the type of a value is called in reports."""
    return type_name(type(value)).removeprefix("builtins.").removeprefix("__main__.")


def short_of(value: Any) -> str:
    """The value beside its type."""
    from nb2pipe.verify.compare.outcome import short

    return short(value, 40)
