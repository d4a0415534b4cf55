"""Keras's own format: whole models, with weights, optimizer and compilation."""

from __future__ import annotations

import pickle
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from inspect import Parameter, signature
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FunctionType, ModuleType
from typing import Any

from nb2pipe.artifacts.format import REDUCERS, ArtifactError, Format, StaticTypes, type_name


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
"""What parts raise that cannot be pickled, or cannot say what they are made of."""
OF_KERAS = (
    *("optimizer", "history", "stop_training", "stop_evaluating", "stop_predicting"),
    *("_compiled_trainable_state", "_compile_config", "_eval_epoch_iterator"),
)
"""What Keras sets on a model when it is compiled and used."""


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

STATIC: StaticTypes = {
    "keras": (
        "Artifact",
        ("keras", "cloudpickle"),
    ),  # parts of models, by the way that is told above
    "keras.Model": ("Model", ("keras", "cloudpickle")),
    "keras.Sequential": ("Model", ("keras", "cloudpickle")),
    "keras.models": ("Model", ("keras", "cloudpickle")),
    "tensorflow.keras.Model": ("Model", ("tensorflow", "cloudpickle")),
    "tensorflow.keras.Sequential": ("Model", ("tensorflow", "cloudpickle")),
    "tensorflow.keras.models": ("Model", ("tensorflow", "cloudpickle")),
    "tf_keras": ("Model", ("tf_keras", "cloudpickle")),
}
