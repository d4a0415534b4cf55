"""Models, pictures and what they hold."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import lightgbm
import matplotlib as mpl
import numpy as np
import pytest
import xgboost
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

RNG = np.random.default_rng(1)
X = RNG.random((200, 4))
Y = (X[:, 0] > 0.5).astype(int)


class Holder(BaseEstimator):  # type: ignore[misc]
    def __init__(self) -> None:
        self.first = self.second = np.zeros(3)

    def predict(self, x: Any) -> Any:
        self.first += 1
        return self.second


def xgb_booster() -> xgboost.Booster:
    parameters = {"max_depth": 2, "objective": "binary:logistic", "nthread": 1}
    booster = xgboost.train(parameters, xgboost.DMatrix(X, Y, feature_names=list("abcd")), 5)
    booster.set_attr(note="kept")
    return booster


def lgb_booster() -> lightgbm.Booster:
    return lightgbm.train({"verbose": -1, "num_threads": 1, "objective": "binary"}, lightgbm.Dataset(X, Y), 5)


MODELS: dict[str, tuple[str, Any]] = {
    "linear": ("sklearn", lambda: LinearRegression().fit(X, Y)),
    "not fitted": ("sklearn", LinearRegression),
    "pipeline": (
        "sklearn",
        lambda: make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)).fit(X, Y),
    ),
    "search": (
        "sklearn",
        lambda: GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2]}).fit(X, Y),
    ),
    "lambda inside": (
        "pickle",
        lambda: make_pipeline(FunctionTransformer(lambda x: x * 2), LinearRegression()).fit(X, Y),
    ),
    "shared array": ("pickle", Holder),
    "xgboost": ("xgboost", lambda: xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(X, Y)),
    "xgboost not fitted": ("sklearn", lambda: xgboost.XGBRegressor(n_estimators=5)),
    "xgboost early": (
        "xgboost",
        lambda: xgboost.XGBRegressor(n_estimators=9, early_stopping_rounds=2, n_jobs=1).fit(
            X, Y, eval_set=[(X, Y)], verbose=False
        ),
    ),
    "lightgbm": ("lightgbm", lambda: lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(X, Y)),
    "lightgbm not fitted": ("sklearn", lambda: lightgbm.LGBMRegressor(n_estimators=5)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_estimator_comes_back(artifacts: ModuleType, tmp_path: Path, name: str) -> None:
    format, make = MODELS[name]
    model = make()
    assert artifacts.save(tmp_path / "m", {"m": model}, kind="Model")["format"] == format
    loaded = artifacts.load(tmp_path / "m")["m"]
    assert type(loaded) is type(model)
    assert set(vars(loaded)) == set(vars(model))
    assert repr(loaded.get_params()) == repr(model.get_params()) or name == "lambda inside"
    if "not fitted" not in name:
        assert (loaded.predict(X) == model.predict(X)).all()
    if hasattr(model, "predict_proba") and "not fitted" not in name:
        assert (loaded.predict_proba(X) == model.predict_proba(X)).all()


def test_xgboost_booster_keeps_settings_and_attributes(artifacts: ModuleType, tmp_path: Path) -> None:
    booster = xgb_booster()
    assert artifacts.save(tmp_path / "m", {"m": booster})["format"] == "xgboost"
    loaded = artifacts.load(tmp_path / "m")["m"]
    assert loaded.save_raw() == booster.save_raw()
    assert json.loads(loaded.save_config()) == json.loads(booster.save_config())
    assert loaded.attributes() == {"note": "kept"}
    assert loaded.feature_names == list("abcd")
    native = xgboost.Booster(model_file=tmp_path / "m" / "model.ubj")
    assert native.save_raw() == booster.save_raw()


def test_lightgbm_booster_keeps_params(artifacts: ModuleType, tmp_path: Path) -> None:
    booster = lgb_booster()
    assert artifacts.save(tmp_path / "m", {"m": booster})["format"] == "lightgbm"
    loaded = artifacts.load(tmp_path / "m")["m"]
    assert loaded.params == booster.params
    assert loaded.model_to_string() == booster.model_to_string()
    assert (lightgbm.Booster(model_file=tmp_path / "m" / "model.txt").predict(X) == booster.predict(X)).all()


def test_matplotlib_figure_has_a_picture_and_loads(artifacts: ModuleType, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    mpl.use("Agg")
    figure = Figure()
    figure.subplots().plot([1, 2], label="line")
    assert artifacts.save(tmp_path / "f", {"f": figure})["format"] == "figure"
    assert (tmp_path / "f" / "figure.png").read_bytes().startswith(b"\x89PNG")
    loaded = artifacts.load(tmp_path / "f")["f"]
    assert loaded.axes[0].lines[0].get_xydata().tolist() == [[0.0, 1.0], [1.0, 2.0]]


def test_a_data_matrix_is_refused(artifacts: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(artifacts.ArtifactError, match="d cannot be stored: ctypes"):
        artifacts.save(tmp_path / "d", {"d": xgboost.DMatrix(X)})


def test_shared_array_of_an_estimator_is_one_array_again(artifacts: ModuleType, tmp_path: Path) -> None:
    artifacts.save(tmp_path / "m", {"m": Holder()})
    loaded = artifacts.load(tmp_path / "m")["m"]
    assert loaded.first is loaded.second
    assert pickle.loads(pickle.dumps(loaded)).predict(None).tolist() == [1.0, 1.0, 1.0]
