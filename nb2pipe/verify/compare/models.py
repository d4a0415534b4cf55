"""Models: their settings and what they learned, deeply, and what they predict for data seen at the boundaries."""

from __future__ import annotations

import contextlib
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

from nb2pipe.verify.compare.objects import compare_objects
from nb2pipe.verify.compare.outcome import EQUAL, Outcome, Within, different, worst

PREDICTORS = ("predict_proba", "predict", "transform", "decision_function")


def compare_estimators(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Models with scikit-learn's interface (XGBoost's and LightGBM's too)."""
    with contextlib.suppress(Exception):
        if pickle.dumps(a) == pickle.dumps(b):  # much faster than to look into a forest
            return EQUAL
    return worst([compare_objects(a, b, path, within), *_predictions(a, b, path, within)])


def _predictions(a: Any, b: Any, path: str, within: Within) -> Iterator[Outcome]:
    for data in within.data_for(a):
        for method in PREDICTORS:
            mine, other = _predicted(a, method, data), _predicted(b, method, data)
            if mine is not None or other is not None:
                yield within(mine, other, f"{path}.{method}(data of {len(data)} rows)")


def _predicted(model: Any, method: str, data: Any) -> Any:
    """The prediction; None for a model that has no such method or is not for such data."""
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(model, method)(data)
    return None


def compare_xgboost(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Boosters of XGBoost: the trees, the configuration and the attributes."""
    trees, other_trees = (_with_numbers(bytes(model.save_raw("json"))) for model in (a, b))
    settings, other_settings = (_with_numbers(model.save_config()) for model in (a, b))
    found = [within(trees, other_trees, f"{path} trees"), within(settings, other_settings, f"{path} settings")]
    return worst([*found, within(a.attributes(), b.attributes(), f"{path}.attributes()")])


def _with_numbers(text: str | bytes) -> Any:
    """A model in JSON; XGBoost writes the numbers of its settings as texts, also in brackets."""
    import json

    def number(value: Any) -> Any:
        with contextlib.suppress(ValueError, TypeError):
            return json.loads(value)
        return value

    return json.loads(text, object_hook=lambda fields: {name: number(value) for name, value in fields.items()})


def compare_lightgbm(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Boosters of LightGBM: the text of the model."""
    for line, other in zip(a.model_to_string().splitlines(), b.model_to_string().splitlines(), strict=False):
        if line != other:
            return different(f"{path}.model_to_string()", line, other)
    return within(a.num_trees(), b.num_trees(), f"{path}.num_trees()")
