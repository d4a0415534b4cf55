"""How values are stored between steps: `save(path, {name: value})` and `load(path)`.

An artifact is a folder: data files, and artifact.json with the format, the versions of the
libraries and a digest of every file. A value is stored in the first format of FORMATS that
gives back an equal value of the same type; cloudpickle is the last.
"""

from __future__ import annotations

import copyreg
import hashlib
import io
import json
import math
import os
import pickle
import re
import shutil
import sys
import types
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FunctionType, ModuleType
from typing import Any


class ArtifactError(Exception):
    """A value cannot be stored or read back; the message says which and why."""


@dataclass(frozen=True)
class Format:
    """One way to store a value in files.

    `types` are "library.Class" names; a value is of a format if its class or a base is listed.
    `save` writes files into an empty folder and raises if it cannot; `load` reads that folder.
    `same(saved, loaded)` proves that nothing was lost; None if `save` accepts only what it keeps.
    `libraries` are the import names whose versions are recorded.
    """

    name: str
    types: tuple[str, ...]
    save: Callable[[Any, Path], None]
    load: Callable[[Path], Any]
    same: Callable[[Any, Any], bool] | None = None
    libraries: tuple[str, ...] = ()


REDUCERS: dict[str, Callable[[Any, dict[int, Any]], Any]] = {}


def type_name(cls: type) -> str:
    """ "pandas.DataFrame": where in the library a class is defined changes with its version."""
    return f"{cls.__module__.partition('.')[0]}.{cls.__name__}"


def same_type(saved: object, loaded: object) -> bool:
    """Whether the value could be read back at all, as an object of its own class."""
    return type(saved).__qualname__ == type(loaded).__qualname__


RECORD = "artifact.json"


def save(
    path: str | Path,
    values: Mapping[str, Any],
    *,
    kind: str = "Artifact",
    unbound: Collection[str] = (),
) -> dict[str, Any]:
    """Store `values` as the artifact (a folder) at `path` and return its record.

    One value is stored in the format of its type; several share objects, so they are pickled
    together. `unbound` are names that the notebook left without a value. An artifact that was at
    `path` is replaced as a whole. Raises ArtifactError if a value cannot be stored faithfully.
    """
    path = Path(path)
    empty = path.is_dir() and not any(path.iterdir())
    if path.exists() and not empty and not (path / RECORD).is_file():
        raise ArtifactError(f"{path} is not an artifact; it is not replaced")
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    try:
        format = _write(values, folder, kind)
        record = {
            "format": format.name,
            "kind": kind,
            "names": list(values),
            "unbound": sorted(unbound),
            "type": type_name(type(next(iter(values.values())))) if len(values) == 1 else None,
            "python": sys.version.split()[0],
            "versions": _versions(format, values),
            "sha256": {file.name: _digest(file) for file in sorted(folder.iterdir())},
        }
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        _publish(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return record


def load(path: str | Path) -> dict[str, Any]:
    """The values of the artifact at `path`, by name; unbound names are left out.

    Raises ArtifactError if there is no artifact, if a file of it is damaged, or if a library
    that its format needs is missing.
    """
    path = Path(path)
    record = _read_record(path)
    names = record["names"]
    format = next((f for f in FORMATS if f.name == record["format"]), None)
    if format is None:
        raise ArtifactError(f"{path}: artifacts.py has no format {record['format']!r}")
    try:
        value = format.load(path)
    except Exception as error:
        stored = [f"Python {record['python']}", *map(" ".join, record["versions"].items())]
        message = f"{path} cannot be loaded: {error} (it was stored with {', '.join(stored)})"
        raise ArtifactError(message) from error
    return {names[0]: value} if len(names) == 1 else dict(value)


def _write(values: Mapping[str, Any], folder: Path, kind: str) -> Format:
    """Write the values into `folder`, in the first format that keeps them, and return that."""
    if kind == "Metrics":
        values = {name: _plain_numbers(metrics) for name, metrics in values.items()}
    if len(values) == 1:
        [(name, value)] = values.items()
        return _write_first(name, value, folder, _candidates(value))
    try:
        return _write_first(", ".join(values), dict(values), folder, iter([PICKLE]))
    except ArtifactError:
        for name, value in values.items():  # says which of them it is
            _write_first(name, value, folder, iter([PICKLE]))
        raise


def _write_first(name: str, value: Any, folder: Path, formats: Iterator[Format]) -> Format:
    reason: ArtifactError | None = None
    for format in formats:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            _write_proven(value, folder, format)
        except ArtifactError as error:
            reason = error
        else:
            return format
    raise ArtifactError(f"{name} cannot be stored: {reason}")


def _write_proven(value: Any, folder: Path, format: Format) -> None:
    """Write the value and, where the format could lose something, read it back and compare."""
    try:
        format.save(value, folder)
        kept = format.same is None or format.same(value, format.load(folder))
    except Exception as error:
        raise ArtifactError(str(error)) from error
    if not kept:
        raise ArtifactError(f"it is not read back from {format.name} as it was")


def _candidates(value: Any) -> Iterator[Format]:
    """The formats for a value, the most special first; pickle, which lists `object`, is last."""
    for name in map(type_name, type(value).__mro__):
        yield from (format for format in FORMATS if name in format.types)


def _plain_numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics with numpy's numbers as Python's."""
    return {
        str(label): number.item() if hasattr(number, "item") else number
        for label, number in metrics.items()
    }


def _versions(format: Format, values: Mapping[str, Any]) -> dict[str, str]:
    libraries = {type(value).__module__.partition(".")[0] for value in values.values()}
    modules = {name: sys.modules.get(name) for name in libraries.union(format.libraries)}
    versions = {name: getattr(module, "__version__", None) for name, module in modules.items()}
    return {name: str(version) for name, version in sorted(versions.items()) if version}


def _publish(folder: Path, path: Path) -> None:
    """Put the finished folder in its place, as a whole."""
    old = folder.with_suffix(".old")
    try:
        if path.exists():
            path.rename(old)
        folder.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError:  # mounted buckets cannot rename folders; the record comes last
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        for file in sorted(folder.iterdir(), key=lambda file: file.name == RECORD):
            shutil.copyfile(file, path / file.name)


def _read_record(path: Path) -> dict[str, Any]:
    """The record of the artifact at `path`, when every file is as it was written."""
    try:
        record: dict[str, Any] = json.loads((path / RECORD).read_text(encoding="utf-8"))
        keys = ("format", "names", "python", "versions", "sha256")
        *_, digests = (record[key] for key in keys)
    except FileNotFoundError:
        raise ArtifactError(f"{path} is not an artifact: it has no {RECORD}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is damaged: {RECORD} is not a record ({error})") from None
    for name, digest in digests.items():
        file = path / name
        if not file.is_file() or _digest(file) != digest:
            raise ArtifactError(f"{path} is damaged: {name} is not what was written")
    return record


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# JSON: plain values, readable by people and other tools.
def save_json(value: Any, folder: Path) -> None:
    """Write the value as JSON if that gives back the same types and sharing."""
    _check_plain(value)
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    (folder / "value.json").write_bytes(text.encode())  # raises on lone surrogates


def load_json(folder: Path) -> Any:
    """Read what `save_json` wrote."""
    return json.loads((folder / "value.json").read_bytes())


def _check_plain(value: Any) -> None:
    """Refuse subclasses, keys that are not text, and a list or dict that is there twice."""
    plain = {bool, float, int, str, type(None)}
    seen: set[int] = set()
    todo = [value]
    while todo:
        item = todo.pop()
        if type(item) in plain:
            continue
        if type(item) not in (dict, list) or id(item) in seen:
            raise ValueError(f"JSON would not keep a {type(item).__name__} as it is")
        if type(item) is dict and not set(map(type, item)) <= {str}:
            raise ValueError("JSON would make the keys text")
        seen.add(id(item))
        children = item.values() if type(item) is dict else item
        if not set(map(type, children)) <= plain:
            todo.extend(children)


JSON = Format(
    "json",
    types=("builtins.bool", "builtins.dict", "builtins.float", "builtins.int", "builtins.list")
    + ("builtins.NoneType", "builtins.str"),
    save=save_json,
    load=load_json,
)


# Parquet: pandas frames and series, readable by most data tools.
UNCHANGEABLE = {bool, bytes, float, int, str, type(None)}


def save_parquet(value: Any, folder: Path) -> None:
    """Write a frame, or a series as a frame of one column."""
    if value.attrs or not value.flags.allows_duplicate_labels:
        raise ValueError("Parquet would not keep attrs and flags")
    if value.ndim == 2:
        value.to_parquet(folder / "frame.parquet", engine="pyarrow", compression="zstd")
    elif value.name is None or type(value.name) in (int, str):
        frame = value.to_frame("values")
        frame.attrs = {"name": value.name}
        frame.to_parquet(folder / "series.parquet", engine="pyarrow", compression="zstd")
    else:
        raise ValueError(f"Parquet would not keep the name {value.name!r}")


def load_parquet(folder: Path) -> Any:
    """Read what `save_parquet` wrote."""
    import pandas as pd

    if (folder / "frame.parquet").exists():
        return pd.read_parquet(folder / "frame.parquet", engine="pyarrow")
    frame = pd.read_parquet(folder / "series.parquet", engine="pyarrow")
    series = frame["values"].rename(frame.attrs["name"])
    series.attrs = {}
    return series


def same_pandas(saved: Any, loaded: Any) -> bool:
    """Whether two frames or series are equal to the last detail: types, order, index, layout."""
    from pandas import testing

    if saved.ndim == 1:
        testing.assert_series_equal(saved, loaded, check_exact=True, check_index_type=True)
    else:
        testing.assert_frame_equal(
            saved, loaded, check_exact=True, check_index_type=True, check_column_type=True
        )
    pairs = zip(_parts(saved), _parts(loaded), strict=True)
    return all(_same_details(*pair) for pair in pairs)


def _parts(value: Any) -> Iterator[Any]:
    """The columns, and the levels of the labels."""
    for labels in value.axes:
        yield from labels.levels if labels.nlevels > 1 else [labels]
    yield from [value] if value.ndim == 1 else (column for _, column in value.items())


def _same_details(saved: Any, loaded: Any) -> bool:
    """What pandas does not compare: kinds of missing values, names, how numbers lie in memory."""
    if repr(saved.name) != repr(loaded.name) or len(saved) != len(loaded):
        return False
    if saved.dtype == object or hasattr(saved.dtype, "numpy_dtype"):
        kinds = [*map(type, saved)]
        changeable = saved.dtype == object and not {*kinds} <= UNCHANGEABLE
        return not changeable and kinds == [*map(type, loaded)]
    if saved.dtype.kind in "biuf" and hasattr(saved.dtype, "char") and len(saved) > 1:
        return bool(saved.to_numpy().strides == loaded.to_numpy().strides)
    return True


PARQUET = Format(
    "parquet",
    types=("pandas.DataFrame", "pandas.Series"),
    save=save_parquet,
    load=load_parquet,
    same=same_pandas,
    libraries=("pandas", "pyarrow"),
)


# Keras's own format: whole models, with weights, optimizer and compilation.
def save_keras(value: Any, folder: Path) -> None:
    """Write a model; the file's name says which of the two Keras libraries made it."""
    import cloudpickle
    import numpy as np

    with _as_traced(value):
        attributes = _attributes(value)
    with _as_traced(value), _describable(type(value), attributes):
        value.save(str(folder / ("model_tf.keras" if _is_legacy(value) else "model.keras")))
    # Keras keeps neither the notebook's own classes, nor what was set on layers after they were
    # made, nor the state of dropout's generators
    kept = {
        "custom": _custom_objects(value),
        "details": _details(value),
        "numbers": dict(_numbers(_is_legacy(value))),
        "attributes": attributes,
        "trains otherwise": _trains_otherwise(value),
    }
    (folder / "custom.pickle").write_bytes(cloudpickle.dumps(kept))
    np.savez(folder / "state.npz", *map(np.asarray, _state(value)))


def load_keras(folder: Path) -> Any:
    """Read what `save_keras` wrote."""
    import numpy as np

    legacy = (folder / "model_tf.keras").exists()
    if legacy:
        import tf_keras as keras
    else:
        import keras
    kept = pickle.loads((folder / "custom.pickle").read_bytes())
    custom = kept["custom"]
    [file] = folder.glob("*.keras")
    with _counting_on(legacy, kept["numbers"]), _revivable(custom, kept["attributes"]):
        model = keras.models.load_model(str(file), safe_mode=False, custom_objects=custom)
    _set_details(model, kept["details"])
    if kept["trains otherwise"] and not legacy:  # Keras 2 keeps it when it compiles the model
        model.train_function = _refuse_to_train
    with np.load(folder / "state.npz") as state:
        for variable, key in zip(_state(model), state.files, strict=True):
            variable.assign(state[key])
    return model


def _is_legacy(value: Any) -> bool:
    return any(cls.__module__.startswith("tf_keras") for cls in type(value).__mro__)


def _numbers(legacy: bool) -> Any:
    """How often Keras gave each name: its own table, from which the next one becomes `dense_1`."""
    if legacy:
        from tf_keras.src import backend

        return backend.get_default_graph_uid_map()
    from keras.src.backend.common import global_state

    name = "object_name_uids"
    return global_state.get_global_attribute(name, defaultdict(int), set_to_default=True)


@contextmanager
def _counting_on(legacy: bool, stored: Mapping[Any, int]) -> Iterator[None]:
    """What is made while it lasts has its names; then Keras counts on where this process was, or
    the one that stored it: what is made next must not be named like a part of a stored model."""
    table = _numbers(legacy)
    before = dict(table)
    yield
    table.clear()
    table.update({n: max(before.get(n, 0), stored.get(n, 0)) for n in {**before, **stored}})


def _trains_otherwise(model: Any) -> bool:
    """Whether the model trains what it did when Keras traced it (Keras 2: when it was compiled),
    although layers have been frozen or set free since."""
    if _is_legacy(model):
        compiled = dict(getattr(model, "_compiled_trainable_state", None) or {})
        return bool(compiled) and compiled != dict(model._get_trainable_state())
    if getattr(model, "train_function", None) in (None, _refuse_to_train):
        return getattr(model, "train_function", None) is not None
    trained = getattr(model.optimizer, "_trainable_variables", ())
    return bool(trained) and {*map(id, trained)} != {*map(id, model.trainable_variables)}


@contextmanager
def _as_traced(model: Any) -> Iterator[None]:
    """While it lasts what a model goes on training can be trained: its optimizer fits it then."""
    layers = [(layer, layer.trainable) for layer in model._flatten_layers()]
    try:
        compiled = model._compiled_trainable_state if _is_legacy(model) else {}
        for layer, _ in layers if _trains_otherwise(model) else ():
            layer.trainable = compiled.get(layer, True)
        yield
    finally:
        for layer, trainable in layers:
            if layer.trainable != trainable:
                layer.trainable = trainable


def _refuse_to_train(*arguments: Any) -> Any:
    raise ArtifactError(
        "in the notebook this model goes on training what it trained before `trainable` was set, "
        "which cannot be stored: call `compile` after setting `trainable`, or train in that step"
    )


def _attributes(model: Any) -> bytes | None:
    """What the constructor of a notebook's own model made: Keras keeps few of the arguments that it
    was given. None where Keras needs no more, or where it cannot be kept."""
    import cloudpickle

    if _is_legacy(model) or type(model).__module__.startswith("keras."):
        return None
    import keras

    cls = type(model)
    says = cls.get_config is not keras.Model.get_config
    if says or "Functional" in {c.__name__ for c in cls.__mro__} or "from_config" in vars(cls):
        return None
    with _counting_on(False, {}):
        known = {*vars(keras.Model()), *OF_KERAS}
    own = {n: v for n, v in vars(model).items() if n not in known and not n.startswith("_self_")}
    try:
        return bytes(cloudpickle.dumps({name: _untracked(value) for name, value in own.items()}))
    except UNSAID:  # then it is made by its constructor, and what is lost is seen
        return None


@contextmanager
def _describable(cls: Any, attributes: bytes | None) -> Iterator[None]:
    """While it lasts a model that is made of its attributes need not say what it was made with."""
    if attributes is not None:
        cls.get_config = lambda model: {"name": model.name, "trainable": model.trainable}
    try:
        yield
    finally:
        if attributes is not None:
            del cls.get_config


UNSAID = (
    *(ArithmeticError, AttributeError, LookupError, OSError, RuntimeError),
    *(TypeError, ValueError, pickle.PickleError),
)


OF_KERAS = (
    *("optimizer", "history", "stop_training", "stop_evaluating", "stop_predicting"),
    *("_compiled_trainable_state", "_compile_config", "_eval_epoch_iterator"),
)


def _untracked(value: Any) -> Any:
    """A value without the containers in which Keras tracks layers."""
    if isinstance(value, dict):
        return {key: _untracked(item) for key, item in value.items()}
    if isinstance(value, (list, set)):
        plain = list if isinstance(value, list) else set
        return plain(map(_untracked, value))
    return value


def _state(model: Any) -> list[Any]:
    """The variables beside the weights; tables of words, which are no numbers, Keras keeps."""
    rate = getattr(getattr(model, "optimizer", None), "_learning_rate", None)
    found = [*model.non_trainable_variables, *([rate] if hasattr(rate, "assign") else [])]
    return [v for v in found if str(getattr(v, "dtype", "")).find("resource") < 0]


def _details(model: Any) -> list[dict[str, Any]]:
    """Of every layer whether it is trained, and the seeds from which weights are made that are not
    made yet; of the notebook's own classes plain attributes too."""
    found = []
    for layer in model._flatten_layers():
        own = {} if type(layer).__module__.startswith(("keras.", "tf_keras.")) else vars(layer)
        plain = {k: v for k, v in own.items() if type(v) in (bool, float, int, str)}
        found.append({"seeds": _seeds(layer), "plain": {"trainable": layer.trainable, **plain}})
    return found


def _seeds(layer: Any) -> dict[str, int]:
    """The seeds of a layer's initializers: Keras forgets those that it drew itself."""
    made = {
        name: getattr(item, "seed", None)
        for name, item in vars(layer).items()
        if "initializer" in name
    }
    return {name: seed for name, seed in made.items() if isinstance(seed, int)}


def _set_details(model: Any, details: list[dict[str, Any]]) -> None:
    for layer, wanted in zip(model._flatten_layers(), details, strict=True):
        found = {"trainable": layer.trainable} | vars(layer)
        for name, seed in wanted["seeds"].items():
            getattr(layer, name).seed = seed
        for name, value in wanted["plain"].items():
            if name not in found or found[name] != value:
                setattr(layer, name, value)


def _custom_objects(model: Any) -> dict[str, Any]:
    """The classes and functions in a model that are not Keras's own, by name."""
    compiled = getattr(model, "_compile_config", None)
    settings = [*getattr(compiled, "config", {}).values()]
    settings += [item for value in settings if isinstance(value, (list, tuple)) for item in value]
    parts = [model, *model._flatten_layers(), *settings]
    # Keras wraps methods like `build`, and hides them behind functions that hold their layer
    held = [
        item
        for part in parts
        for name, item in getattr(part, "__dict__", {}).items()
        if not hasattr(type(part), name)
    ]
    functions = [item for item in parts + held if isinstance(item, FunctionType)]
    own = ("keras", "tf_keras", "tensorflow", "builtins")
    things: list[Any] = [*map(type, parts), *functions]
    custom = [t for t in things if t.__module__.partition(".")[0] not in own]
    registered = {f"{package}>{t.__name__}": t for t in custom if (package := _package(model, t))}
    return {**{t.__name__: t for t in custom}, **registered}


def _package(model: Any, thing: Any) -> str:
    """The package under which a class or function is registered with Keras, "" if it is not."""
    if _is_legacy(model):
        from tf_keras.saving import get_registered_name
    else:
        from keras.saving import get_registered_name
    package, found, _ = str(get_registered_name(thing)).rpartition(">")
    return package if found else ""


@contextmanager
def _revivable(custom: Mapping[str, Any], attributes: bytes | None = None) -> Iterator[None]:
    """While it lasts the notebook's classes take the settings that Keras adds to their own; a model
    whose `attributes` are given, and that model alone, is made of them."""
    waiting = [attributes] if attributes else []

    def from_config(cls: Any, config: dict[str, Any]) -> Any:
        return (
            _from_attributes(cls, config, waiting.pop()) if waiting else _from_config(cls, config)
        )

    with ExitStack() as stack:
        for cls in custom.values():
            own = isinstance(cls, type) and "from_config" not in vars(cls)
            if own and (waiting or not _takes_all(cls)):
                cls.from_config = classmethod(from_config)
                stack.callback(delattr, cls, "from_config")
        yield


def _takes_all(cls: type) -> bool:
    kinds = [p.kind for p in signature(cls.__init__).parameters.values()]  # type: ignore[misc]
    return Parameter.VAR_KEYWORD in kinds


def _from_config(cls: Any, config: dict[str, Any]) -> Any:
    known = signature(cls.__init__).parameters
    made = cls(**{name: value for name, value in config.items() if name in known})
    made.trainable = config.get("trainable", True)
    return made


def _from_attributes(cls: Any, config: dict[str, Any], attributes: bytes) -> Any:
    import keras

    made = cls.__new__(cls)
    keras.Model.__init__(made, name=config.get("name"), trainable=config.get("trainable", True))
    for name, value in pickle.loads(attributes).items():
        setattr(made, name, value)
    return made


def same_keras(saved: Any, loaded: Any) -> bool:
    """Whether both have the same layers, compilation, weights and optimizer state."""
    if type(saved).__qualname__ != type(loaded).__qualname__:
        return False
    if _settings(saved) != _settings(loaded):
        return False
    optimizers = [getattr(model, "optimizer", None) for model in (saved, loaded)]
    return _same_variables(saved, loaded) and _same_variables(*optimizers)


def _settings(model: Any) -> list[Any]:
    """All of a model that is not numbers, and the words that its layers learned."""
    optimizer = getattr(model, "optimizer", None)
    configs = model.get_compile_config(), optimizer.get_config() if optimizer is not None else None
    texts = [re.sub(r".shared_object_id.: \d+", "", t) for t in (_text(model), repr(configs))]
    layers = [layer for layer in model._flatten_layers() if hasattr(layer, "get_vocabulary")]
    parts = [_config(part) for part in model._flatten_layers() if not hasattr(part, "layers")]
    return [*texts, *_details(model), *(layer.get_vocabulary() for layer in layers), *parts]


def _text(model: Any) -> str:
    """How the parts of a model hang together; "" where only its class says so."""
    try:
        return str(model.to_json())
    except NotImplementedError:
        return ""


def _config(layer: Any) -> str:
    """What a layer is made of, in text; "" for one of the notebook's own that does not say so."""
    try:
        return re.sub(r" at 0x\w+|'name': '\w+', ", "", repr(layer.get_config()))
    except UNSAID:
        return ""


def _same_variables(saved: Any, loaded: Any) -> bool:
    """Compares the variables of two models, or of two optimizers (None if not compiled)."""
    import numpy as np

    if saved is None or loaded is None:
        return saved is loaded
    variables, others = _variables(saved), _variables(loaded)
    return len(variables) == len(others) and all(
        np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)
        for a, b in zip(variables, others, strict=True)
    )


def _variables(part: Any) -> list[Any]:
    """The variables of a model, a layer or an optimizer; none for other parts of Keras."""
    variables = getattr(part, "variables", ())
    found = variables() if callable(variables) else variables  # tf_keras's optimizers
    return [v for v in found if str(getattr(v, "dtype", "")).find("resource") < 0]


def _reduce_keras(part: Any, seen: dict[int, Any]) -> Any:
    """For models and parts of them inside other values, like the History that `fit` returns."""
    import cloudpickle

    place = _place_in_model(part, seen)
    if place is not None:
        return place
    _note_variables(part, seen)
    if hasattr(part, "fit"):
        with TemporaryDirectory() as folder:
            save_keras(part, Path(folder))
            files = {file.name: file.read_bytes() for file in Path(folder).iterdir()}
        return _restore_keras, (files,)
    if _is_legacy(part):
        return NotImplemented
    cls = type(part)
    own = {} if cls.__module__.startswith("keras.") else {cls.__name__: cls}
    made = cloudpickle.dumps((own, dict(_numbers(False)))), *part.__reduce__()
    return _restore_part, made, _state_of(part, _restore_part(*made), seen), None, None, _set_state


def _state_of(
    part: Any, made: Any, seen: dict[int, Any]
) -> tuple[list[Any], list[Any], dict[str, int]]:
    """What an optimizer trains; of any part the numbers in its variables, which Keras forgets for
    optimizers, metrics and random generators, and the seeds of its initializers. `made` is what
    Keras makes of the part."""
    import numpy as np

    trained = list(getattr(part, "_trainable_variables", ())) if _is_optimizer(part) else []
    for variable in trained:
        if _place_of_variable(variable, seen) is None:
            _note_variable(variable, part, seen)
    if not trained and len(_variables(made)) != len(_variables(part)):
        raise ArtifactError(
            f"{part.name} of Keras has a state that Keras makes only while it is used: make it in "
            "the step that uses it"
        )
    return trained, [np.asarray(v) for v in _variables(part)], _seeds(part)


def _set_state(part: Any, state: tuple[list[Any], list[Any], dict[str, int]]) -> None:
    trained, values, seeds = state
    for name, seed in seeds.items():
        getattr(part, name).seed = seed
    if trained:
        part.build(trained)
    for variable, value in zip(_variables(part), values, strict=True):
        variable.assign(value)


def _is_optimizer(part: Any) -> bool:
    return hasattr(part, "apply_gradients") and hasattr(part, "build")


def _reduce_variable(variable: Any, seen: dict[int, Any]) -> Any:
    """A variable of a model of the same stream stays one of its variables."""
    place = _place_of_variable(variable, seen)
    return NotImplemented if place is None else (_variable_of, place)


def _place_of_variable(variable: Any, seen: dict[int, Any]) -> Any:
    if -1 not in seen:
        seen[-1] = list(_models(seen[0]))
    for model in seen[-1]:
        for index, own in enumerate(model.variables):
            if own is variable:
                return model, index
    return None


def _variable_of(model: Any, index: int) -> Any:
    return model.variables[index]


def _place_in_model(part: Any, seen: dict[int, Any]) -> Any:
    """How a layer or optimizer is found in a model of the same stream, so that it stays a part."""
    if -1 not in seen:
        seen[-1] = list(_models(seen[0]))
    for model in seen[-1] if getattr(part, "optimizer", None) is None else ():
        if part is not model and part is getattr(model, "optimizer", None):
            return _optimizer_of, (model,)
        for index, layer in enumerate(model._flatten_layers()):
            if part is layer and part is not model:
                return _layer_of, (model, index)
    return None


def _models(whole: Any) -> Iterator[Any]:
    """The models that a value is or that its containers and objects hold."""
    seen: set[int] = set()
    todo = [whole]
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if {"keras.Model", "tf_keras.Model"} & set(map(type_name, type(item).__mro__)):
            yield item
        elif isinstance(item, (list, tuple)):
            todo += item[:MOST_ITEMS]
        elif isinstance(item, dict):
            todo += list(item.values())[:MOST_ITEMS]
        elif hasattr(item, "__dict__") and not isinstance(item, (type, ModuleType, FunctionType)):
            todo += vars(item).values()


MOST_ITEMS = 1000  # of a container: longer ones hold data


def _optimizer_of(model: Any) -> Any:
    return model.optimizer


def _layer_of(model: Any, index: int) -> Any:
    return list(model._flatten_layers())[index]


def _note_variables(part: Any, seen: dict[int, Any]) -> None:
    """Refuses two parts of one stream that share weights: each would get weights of its own."""
    optimizer = getattr(part, "optimizer", None)
    for variable in [*_variables(part), *_variables(optimizer)]:
        _note_variable(variable, part, seen)


def _note_variable(variable: Any, part: Any, seen: dict[int, Any]) -> None:
    other = seen.setdefault(id(variable), part)
    together = _is_legacy(part) and not hasattr(part, "fit") and not hasattr(other, "fit")
    if other is not part and not together:
        names = " and ".join(getattr(p, "name", type(p).__name__) for p in (other, part))
        raise ArtifactError(
            f"{names} of Keras share weights, which cannot be stored together: make the one "
            "from the other in each step that uses it, or put these steps together"
        )


def _restore_keras(files: dict[str, bytes]) -> Any:
    with TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        return load_keras(Path(folder))


def _restore_part(own: bytes, make: Any, arguments: tuple[Any, ...]) -> Any:
    import keras

    custom, numbers = pickle.loads(own)
    scope = keras.saving.custom_object_scope(custom)
    with scope, _counting_on(False, numbers), _revivable(custom):
        return make(*arguments)


REDUCERS["keras.KerasSaveable"] = REDUCERS["tf_keras.Layer"] = _reduce_keras


REDUCERS["tf_keras.Optimizer"] = _reduce_keras


REDUCERS["keras.Variable"] = _reduce_variable


KERAS = Format(
    "keras",
    types=("keras.Model", "tf_keras.Model"),
    save=save_keras,
    load=load_keras,
    same=same_keras,
    libraries=("keras", "tensorflow"),
)


# cloudpickle: whatever no other format keeps, and values that share objects.
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


FORMATS = (JSON, PARQUET, KERAS, PICKLE)
