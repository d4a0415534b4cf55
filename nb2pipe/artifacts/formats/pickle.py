"""cloudpickle: whatever no other format keeps, and values that share objects."""

from __future__ import annotations

import io
import pickle
import sys
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
            _pickler(stream).dump(value)
    except Exception as error:
        raise ArtifactError(_reason(value, error)) from error


def load_pickle(folder: Path) -> Any:
    """Read what `save_pickle` wrote."""
    with (folder / "value.pickle").open("rb") as stream:
        return pickle.load(stream)


def _pickler(stream: Any) -> pickle.Pickler:
    try:
        import cloudpickle
    except ModuleNotFoundError:
        return pickle.Pickler(stream, pickle.HIGHEST_PROTOCOL)

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            # cloudpickle would silently turn an open text file into its content
            if isinstance(obj, io.TextIOWrapper):
                raise TypeError(f"it holds a text file handle ({obj.name!r})")
            if REDUCERS:
                for name in REDUCERS.keys() & map(type_name, type(obj).__mro__):
                    return REDUCERS[name](obj)
            return super().reducer_override(obj)

    for name, module in list(sys.modules.items()):
        if name.startswith(f"{__package__}.steps."):  # not there where another step runs
            cloudpickle.register_pickle_by_value(module)
    return Pickler(stream, pickle.HIGHEST_PROTOCOL)


def _reason(value: Any, error: Exception) -> str:
    """Why a value cannot be pickled, with a way out."""
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
    "keras": ("Artifact", ("keras", "cloudpickle")),
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
