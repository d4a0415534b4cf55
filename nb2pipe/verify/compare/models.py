"""Models: their settings and what they learned, deeply, and what they predict for data seen at the boundaries."""

from __future__ import annotations

import contextlib
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

from nb2pipe.verify.compare.objects import compare_attributes, compare_objects
from nb2pipe.verify.compare.outcome import EQUAL, Outcome, Within, different, said, worst

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
    import json

    trees, other_trees = (json.loads(bytes(model.save_raw("json"))) for model in (a, b))
    settings, other_settings = (json.loads(model.save_config()) for model in (a, b))
    found = [within(trees, other_trees, f"{path} trees"), within(settings, other_settings, f"{path} settings")]
    return worst([*found, within(a.attributes(), b.attributes(), f"{path}.attributes()")])


def compare_lightgbm(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Boosters of LightGBM: the text of the model."""
    for line, other in zip(a.model_to_string().splitlines(), b.model_to_string().splitlines(), strict=False):
        if line != other:
            return different(f"{path}.model_to_string()", line, other)
    return within(a.num_trees(), b.num_trees(), f"{path}.num_trees()")


def compare_keras(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Keras models: layers, compilation, weights, the optimizer's variables."""
    if a.to_json() != b.to_json():
        return different(path, said("layers " + a.to_json()), said(b.to_json()))
    parts = [
        within(repr(a.get_compile_config()), repr(b.get_compile_config()), f"{path} compilation"),
        within(list(a.get_weights()), list(b.get_weights()), f"{path} weights"),
        within(_variables(a), _variables(b), f"{path} optimizer"),
    ]
    return worst(parts)


def _variables(model: Any) -> list[Any]:
    import numpy as np

    optimizer = getattr(model, "optimizer", None)
    variables = getattr(optimizer, "variables", [])
    return [np.asarray(v) for v in (variables() if callable(variables) else variables)]


def compare_torch(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Torch's modules: the mode, all parameters and buffers, other attributes."""
    mine, other = ({k: v for k, v in vars(m).items() if k not in ("_parameters", "_buffers")} for m in (a, b))
    parameters = within(dict(a.state_dict()), dict(b.state_dict()), f"{path}.state_dict()")
    return worst([parameters, compare_attributes(mine, other, path, within)])


def compare_torch_optimizers(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Torch's optimizers and schedulers: their state."""
    return within(a.state_dict(), b.state_dict(), f"{path}.state_dict()")


def compare_tensors(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Tensors of Torch and TensorFlow, as arrays."""
    traits, others = ((str(t.dtype), str(getattr(t, "requires_grad", None))) for t in (a, b))
    return worst([within(traits, others, f"{path} dtype and requires_grad"), within(_array(a), _array(b), path)])


def _array(tensor: Any) -> Any:
    return tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else tensor.numpy()
