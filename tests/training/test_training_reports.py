"""Which trainings report to their trial, and how: what is put in, and what must be left alone."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

from nb2pipe.convert import load

HEAD = """
# %% tags=["parameters"]
rate = 0.1  # tune: loguniform(1e-3, 1.0)
# %% tags=["step:load"]
X = [[1.0], [2.0]]
y = [1.0, 2.0]
# %% tags=["step:train", "objective:minimize:rmse"]
"""
TORCH = HEAD + "import torch\nfrom torch.utils.data import DataLoader\n"
LOOP = """
for epoch in range(3):
    for xb in loader:
        loss = model(xb).sum() * rate
        loss.backward()
    {last}
rmse = 1.0
"""
FIT_EPOCH = """
def fit_epoch(model, loader):
    for xb in loader:
        loss = model(xb).sum() * rate
        loss.backward()
    return float(loss)
"""
MODEL = "torch.manual_seed(0)\nmodel = torch.nn.Linear(1, 1)\nloader = DataLoader(torch.tensor(X), batch_size=2)\n"
KERAS = (
    HEAD
    + "from tensorflow import keras\nmodel = keras.Sequential([keras.layers.Dense(1)])\nmodel.compile('sgd', 'mse')\n"
)
XGBOOST = HEAD + "import xgboost as xgb\n"


def train_step(tmp_path: Path, text: str) -> str:
    """The generated step that trains."""
    path = tmp_path / "reported.py"
    path.write_text(textwrap.dedent(text))
    text = load(path).project.files["reported/steps/train.py"]
    ast.parse(text)
    return text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            TORCH + MODEL + LOOP.format(last="val_loss = loss.item()"),
            '\n        trial_reports.report(epoch, "val_loss", val_loss)\n',
        ),
        (
            TORCH + MODEL + LOOP.format(last="rmse = loss.item(); other_loss = 1"),
            '\n        trial_reports.report(epoch, "rmse", rmse)\n',
        ),
        (
            TORCH
            + FIT_EPOCH
            + MODEL
            + "for e in range(2):\n    train_loss = fit_epoch(model, loader)\nrmse = train_loss\n",
            '\n        trial_reports.report(e, "train_loss", train_loss)\n',
        ),
        (
            KERAS + "h = model.fit(X, y, epochs=2)\nrmse = rate",
            "model.fit(X, y, epochs=2, callbacks=trial_reports.keras_callbacks())",
        ),
        (
            KERAS + "h = model.fit(X, y, epochs=2,  # two\n)\nrmse = rate",
            "epochs=2, callbacks=trial_reports.keras_callbacks(),  # two\n",
        ),
        (
            KERAS + "h = model.fit(X, (y), epochs=(2))\nrmse = rate",
            "epochs=(2), callbacks=trial_reports.keras_callbacks())",
        ),
        (
            KERAS + "h = model.fit(X, y, callbacks=[keras.callbacks.TerminateOnNaN()])\nrmse = rate",
            "callbacks=trial_reports.keras_callbacks([keras.callbacks.TerminateOnNaN()])",
        ),
        (
            KERAS + "h = model.fit(X, y, epochs=2, steps_per_epoch=len(X) // 4)\nrmse = rate",
            "steps_per_epoch=trial_reports.steps(len(X) // 4), callbacks=trial_reports.keras_callbacks())",
        ),
        (
            KERAS + "h = model.fit(X, y, steps_per_epoch=4, epochs=2)\nrmse = rate",
            "steps_per_epoch=4, epochs=2, callbacks=trial_reports.keras_callbacks())",
        ),
        (
            XGBOOST + "d = xgb.DMatrix(X, y)\nb = xgb.train({'eta': rate}, d, evals=[(d, 'x')])\nrmse = rate",
            "evals=[(d, 'x')], callbacks=trial_reports.xgboost_callbacks())",
        ),
        (
            XGBOOST + "m = xgb.XGBRegressor(learning_rate=rate)\nm.fit(X, y, eval_set=[(X, y)])\nrmse = rate",
            "    with trial_reports.xgboost_reports(m):\n        m.fit(X, y, eval_set=[(X, y)])\n",
        ),
    ],
    ids=[
        "torch",
        "the objective itself",
        "an epoch in a function",
        "keras",
        "comma and comment",
        "brackets",
        "callbacks",
        "steps",
        "constant steps",
        "xgboost",
        "scikit-learn",
    ],
)
def test_a_training_reports(tmp_path: Path, text: str, wanted: str) -> None:
    made = train_step(tmp_path, text)
    assert wanted in made
    assert "from reported import trial_reports" in made


@pytest.mark.parametrize(
    "text",
    [
        KERAS.replace("objective:minimize:rmse", "metrics") + "h = model.fit(X, y, epochs=2)\nrmse = rate",
        KERAS.replace("  # tune: loguniform(1e-3, 1.0)", "") + "h = model.fit(X, y, epochs=2)\nrmse = rate",
        KERAS + "h = model.fit(X, y, epochs=2)\nh = model.fit(X, y, epochs=2)\nrmse = rate",
        KERAS + "words = {'epochs': 2}\nh = model.fit(X, y, verbose=0, validation_split=0.5, **words)\nrmse = rate",
        TORCH + MODEL + LOOP.format(last="print(epoch)").replace("loss", "cost"),
        TORCH
        + MODEL
        + "with torch.no_grad():\n    for epoch in range(2):\n        loss = model(torch.tensor(X)).sum()\nrmse = rate",
        XGBOOST + "m = xgb.XGBRegressor(learning_rate=rate)\nm.fit(X, y)\nrmse = rate",
        HEAD + "from sklearn.linear_model import SGDRegressor\nm = SGDRegressor(eta0=rate)\nm.fit(X, y)\nrmse = rate",
    ],
    ids=[
        "no objective",
        "no space",
        "two trainings",
        "hidden callbacks",
        "no loss by name",
        "no training",
        "no evals",
        "sklearn",
    ],
)
def test_what_has_nothing_to_report_is_left_alone(tmp_path: Path, text: str) -> None:
    assert "trial_reports" not in train_step(tmp_path, text)


def test_a_report_of_a_score_is_turned_round_where_a_loss_is_minimized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "reported.py"
    path.write_text(textwrap.dedent(KERAS + "h = model.fit(X, y, epochs=2)\nrmse = rate"))
    load(path).convert(tmp_path / "out", target="local")
    monkeypatch.syspath_prepend(str(tmp_path / "out"))
    from reported import trial_reports  # type: ignore[import-not-found]

    trial_reports.report(0, "loss", 1.0)
    assert trial_reports.steps(0) == 0
    monkeypatch.setenv("TRIAL_REPORTS", str(tmp_path / "reports"))
    assert trial_reports.steps(3) == 3
    with pytest.raises(ValueError, match="0 batches"):
        trial_reports.steps(0)
    trial_reports.report(1, "val_rmse", 3)
    trial_reports.report(2, "val_accuracy", 0.5)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    trial_reports.report(3, "loss", 1.0)
    assert (tmp_path / "reports").read_text() == '{"step": 1, "value": 3.0}\n{"step": 2, "value": -0.5}\n'
