"""LightGBM: a pickle that keeps every setting, beside LightGBM's own text for other tools."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from nb2pipe.artifacts.format import Format, StaticTypes, same_type


def save_lightgbm(value: Any, folder: Path) -> None:
    """Write model.txt for other tools and the pickle for the next step."""
    booster = getattr(value, "booster_", value)
    booster.save_model(folder / "model.txt", num_iteration=-1)
    (folder / "model.pickle").write_bytes(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


def load_lightgbm(folder: Path) -> Any:
    """Read what `save_lightgbm` wrote."""
    return pickle.loads((folder / "model.pickle").read_bytes())


LIGHTGBM = Format(
    "lightgbm",
    types=("lightgbm.Booster", "lightgbm.LGBMModel"),
    save=save_lightgbm,
    load=load_lightgbm,
    same=same_type,
    libraries=("lightgbm",),
)

STATIC: StaticTypes = {
    "lightgbm": ("Model", ("lightgbm",)),
    "lightgbm.LGBMClassifier": ("Model", ("lightgbm", "scikit-learn")),
    "lightgbm.LGBMRanker": ("Model", ("lightgbm", "scikit-learn")),
    "lightgbm.LGBMRegressor": ("Model", ("lightgbm", "scikit-learn")),
}
