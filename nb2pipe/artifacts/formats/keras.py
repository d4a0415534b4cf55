"""Keras's own format: whole models, with weights, optimizer and compilation."""

from __future__ import annotations

import pickle
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FunctionType
from typing import Any

from nb2pipe.artifacts.format import REDUCERS, Format, StaticTypes


def save_keras(value: Any, folder: Path) -> None:
    """Write a model; the file's name says which of the two Keras libraries made it."""
    import cloudpickle
    import numpy as np

    legacy = any(cls.__module__.startswith("tf_keras") for cls in type(value).__mro__)
    value.save(str(folder / ("model_tf.keras" if legacy else "model.keras")))
    # Keras keeps neither the notebook's own classes nor the state of dropout's generators
    (folder / "custom.pickle").write_bytes(cloudpickle.dumps(_custom_objects(value)))
    np.savez(folder / "state.npz", *map(np.asarray, value.non_trainable_variables))


def load_keras(folder: Path) -> Any:
    """Read what `save_keras` wrote."""
    import numpy as np

    options = {"custom_objects": pickle.loads((folder / "custom.pickle").read_bytes())}
    if (folder / "model_tf.keras").exists():
        import tf_keras as keras
    else:
        import keras
    [file] = folder.glob("*.keras")
    model = keras.models.load_model(str(file), safe_mode=False, **options)
    with np.load(folder / "state.npz") as state:
        for variable, key in zip(model.non_trainable_variables, state.files, strict=True):
            variable.assign(state[key])
    return model


def _custom_objects(model: Any) -> dict[str, Any]:
    """The classes and functions in a model that are not Keras's own, by name."""
    compiled = getattr(model, "_compile_config", None)
    settings = [*getattr(compiled, "config", {}).values()]
    settings += [item for value in settings if isinstance(value, (list, tuple)) for item in value]
    parts = [model, *model._flatten_layers(), *settings]
    held = [item for part in parts for item in getattr(part, "__dict__", {}).values()]
    functions = [item for item in parts + held if isinstance(item, FunctionType)]
    own = ("keras", "tf_keras", "tensorflow", "builtins")
    things: list[Any] = [*map(type, parts), *functions]
    return {t.__name__: t for t in things if t.__module__.partition(".")[0] not in own}


def same_keras(saved: Any, loaded: Any) -> bool:
    """Whether both have the same layers, compilation, weights and optimizer state."""
    if type(saved).__qualname__ != type(loaded).__qualname__ or saved.to_json() != loaded.to_json():
        return False
    if repr(saved.get_compile_config()) != repr(loaded.get_compile_config()):
        return False
    optimizers = [getattr(model, "optimizer", None) for model in (saved, loaded)]
    return _same_variables(saved, loaded) and _same_variables(*optimizers)


def _same_variables(saved: Any, loaded: Any) -> bool:
    """Compares the variables of two models, or of two optimizers (None if not compiled)."""
    import numpy as np

    if saved is None or loaded is None:
        return saved is loaded
    variables, others = saved.variables, loaded.variables
    if callable(variables):  # tf_keras's optimizers
        variables, others = variables(), others()
    return len(variables) == len(others) and all(
        np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)
        for a, b in zip(variables, others, strict=True)
    )


def _reduce_keras(model: Any) -> tuple[Any, ...]:
    """For models inside other values, like the History that `fit` returns."""
    with TemporaryDirectory() as folder:
        save_keras(model, Path(folder))
        return _restore_keras, ({file.name: file.read_bytes() for file in Path(folder).iterdir()},)


def _restore_keras(files: dict[str, bytes]) -> Any:
    with TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        return load_keras(Path(folder))


REDUCERS["keras.Model"] = REDUCERS["tf_keras.Model"] = _reduce_keras

KERAS = Format(
    "keras",
    types=("keras.Model", "tf_keras.Model"),
    save=save_keras,
    load=load_keras,
    same=same_keras,
    libraries=("keras", "tensorflow"),
)

STATIC: StaticTypes = {
    "keras.Model": ("Model", ("keras", "cloudpickle")),
    "keras.Sequential": ("Model", ("keras", "cloudpickle")),
    "keras.models": ("Model", ("keras", "cloudpickle")),
    "tensorflow.keras.Model": ("Model", ("tensorflow", "cloudpickle")),
    "tensorflow.keras.Sequential": ("Model", ("tensorflow", "cloudpickle")),
    "tensorflow.keras.models": ("Model", ("tensorflow", "cloudpickle")),
    "tf_keras": ("Model", ("tf_keras", "cloudpickle")),
}
