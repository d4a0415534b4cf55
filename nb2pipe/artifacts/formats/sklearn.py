"""joblib: scikit-learn estimators, and what follows their interface."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from nb2pipe.artifacts.format import Format, StaticTypes, same_type


class _SharedArrays(pickle.Pickler):
    """Looks for an array that a value holds twice: joblib would make it two."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), pickle.HIGHEST_PROTOCOL)
        self.seen: dict[int, Any] = {}

    def persistent_id(self, obj: Any) -> int | None:
        if type(obj).__name__ not in ("ndarray", "memmap", "matrix"):
            return None
        if id(obj) in self.seen:
            raise ValueError("joblib would not keep an array that is shared")
        self.seen[id(obj)] = obj
        return id(obj)


def save_joblib(value: Any, folder: Path) -> None:
    """Write an estimator to model.joblib, the name that serving containers look for."""
    import joblib

    _SharedArrays().dump(value)
    joblib.dump(value, folder / "model.joblib")


def load_joblib(folder: Path) -> Any:
    """Read what `save_joblib` wrote."""
    import joblib

    return joblib.load(folder / "model.joblib")


SKLEARN = Format(
    "sklearn",
    types=("sklearn.BaseEstimator",),
    save=save_joblib,
    load=load_joblib,
    same=same_type,
    libraries=("sklearn", "joblib"),
)

STATIC: StaticTypes = {
    "sklearn": ("Model", ("scikit-learn", "joblib", "cloudpickle")),
}
