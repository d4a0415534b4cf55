"""Tells the tuning how a trial goes while it still trains, so that a hopeless one can end early.

A trial is given the file for its reports in TRIAL_REPORTS; one of Katib prints them as lines
"objective: NAME=VALUE", one of Vertex AI tells hypertune. Outside of a trial nothing is reported
and nothing changes.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from typing import Any

from baby_weight import cluster

OBJECTIVE = "rmse"
GOAL = "minimize"
VARIABLES = ("TRIAL_REPORTS", "KATIB_TRIAL", "CLOUD_ML_TRIAL_ID")
HIGHER_IS_BETTER = {"accuracy", "acc", "auc", "aucpr", "f1", "map", "ndcg", "precision", "recall"}


def is_trial() -> bool:
    """Whether this process belongs to a trial and is the one of its workers that reports."""
    return any(map(os.environ.get, VARIABLES)) and cluster.is_chief()


def report(step: int, name: str, value: Any) -> None:
    """Reports that the quantity `name` is `value` after epoch or round `step`.

    The tuning compares it with other trials at the same step. A loss is turned round where the
    objective is maximized, and a score where it is minimized.
    """
    if not is_trial():
        return
    same = name in (OBJECTIVE, f"val_{OBJECTIVE}")
    if "KATIB_TRIAL" in os.environ:
        if same and math.isfinite(value):  # Katib takes what it read last for the result
            print(f"\nobjective: rmse={float(value)!r}", flush=True)
        return
    if "CLOUD_ML_TRIAL_ID" in os.environ:
        if same and math.isfinite(value):
            from baby_weight import trial

            trial.measured(float(value))
        return
    rises = bool(HIGHER_IS_BETTER & set(name.lower().split("_")))
    agrees = same or rises == (GOAL == "maximize")
    row = {"step": int(step), "value": float(value) if agrees else -float(value)}
    with open(os.environ["TRIAL_REPORTS"], "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def best_name(names: list[str]) -> str:
    """Of the quantities that a training logs the one that tells most about the objective."""
    wanted = (f"val_{OBJECTIVE}", OBJECTIVE, "val_loss", "loss")
    return next((name for name in wanted if name in names), names[-1])


def steps(count: Any) -> Any:
    """The batches of an epoch. In a trial there must be one, else it raises ValueError.

    Keras takes 0 for all batches, and a dataset that repeats itself has no end of them.
    """
    if count == 0 and any(map(os.environ.get, VARIABLES)):
        raise ValueError("an epoch of 0 batches: a batch is larger than the examples are many")
    return count


def keras_callbacks(given: Any = None) -> Any:
    """The callbacks of a Keras `fit`: the `given` ones, and in a trial one that reports."""
    if not is_trial():
        return given
    import sys

    if "tensorflow" in sys.modules:
        from tensorflow import keras
    else:
        import keras

    def end(epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs:
            name = best_name(list(logs))
            report(epoch, name, logs[name])

    before = list(given) if isinstance(given, (list, tuple)) else [given] if given else []
    return [*before, keras.callbacks.LambdaCallback(on_epoch_end=end)]


def xgboost_callbacks(given: Any = None) -> Any:
    """The callbacks of a training of XGBoost: the `given` ones, and in a trial one that reports."""
    if not is_trial():
        return given
    from xgboost.callback import TrainingCallback

    class Reports(TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            for metrics in list(evals_log.values())[-1:]:
                name = list(metrics)[-1]
                value = metrics[name][-1]
                report(epoch, name, value[0] if isinstance(value, tuple) else value)
            return False

    return [*(given or ()), Reports()]


@contextlib.contextmanager
def xgboost_reports(model: Any) -> Iterator[None]:
    """While it lasts, `model` (of XGBoost's scikit-learn interface) reports what it trains."""
    if not is_trial():
        yield
        return
    given = model.callbacks
    model.set_params(callbacks=xgboost_callbacks(given))
    try:
        yield
    finally:
        model.set_params(callbacks=given)
