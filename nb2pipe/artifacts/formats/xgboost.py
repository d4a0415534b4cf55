"""XGBoost's own format: boosters, and the scikit-learn style models around them."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

from nb2pipe.artifacts.format import Format, StaticTypes


def save_xgboost(value: Any, folder: Path) -> None:
    """Write the booster natively; the native file alone would lose settings, so they follow."""
    booster = value
    if hasattr(value, "get_booster"):
        booster = value.get_booster()
        estimator = copy.copy(value)
        estimator._Booster = None
        (folder / "estimator.pickle").write_bytes(pickle.dumps(estimator))
    booster.save_model(folder / "model.ubj")
    (folder / "config.json").write_text(booster.save_config(), encoding="utf-8")


def load_xgboost(folder: Path) -> Any:
    """Read what `save_xgboost` wrote."""
    import xgboost

    booster = xgboost.Booster(model_file=folder / "model.ubj")
    booster.load_config((folder / "config.json").read_text(encoding="utf-8"))
    if not (folder / "estimator.pickle").exists():
        return booster
    estimator = pickle.loads((folder / "estimator.pickle").read_bytes())
    estimator._Booster = booster
    return estimator


def same_xgboost(saved: Any, loaded: Any) -> bool:
    """Whether both hold the same trees, settings and attributes."""
    if type(saved) is not type(loaded):
        return False
    if hasattr(saved, "get_booster"):
        saved, loaded = saved.get_booster(), loaded.get_booster()
    parts = ("save_raw", "save_config", "attributes")
    same_parts = all(getattr(saved, part)() == getattr(loaded, part)() for part in parts)
    names = ("feature_names", "feature_types")
    return same_parts and all(getattr(saved, n) == getattr(loaded, n) for n in names)


XGBOOST = Format(
    "xgboost",
    types=("xgboost.Booster", "xgboost.XGBModel"),
    save=save_xgboost,
    load=load_xgboost,
    same=same_xgboost,
    libraries=("xgboost",),
)

STATIC: StaticTypes = {
    "xgboost": ("Model", ("xgboost",)),
    "xgboost.Booster": ("Model", ("xgboost",)),
}
for _wrapper in ("Classifier", "Ranker", "Regressor", "RFClassifier", "RFRegressor"):
    STATIC[f"xgboost.XGB{_wrapper}"] = ("Model", ("xgboost", "scikit-learn"))
