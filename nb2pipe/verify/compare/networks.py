"""Networks of Keras and Torch: settings, weights, optimizers' state, and results for data seen at the boundaries."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from nb2pipe.verify.compare.objects import compare_attributes, compare_objects
from nb2pipe.verify.compare.outcome import Outcome, Within, worst

_UNSTEADY = ("shared_object_id", "module", "registered_name")
"""Entries of Keras's settings that depend on the process: addresses, and where the notebook's classes stand."""


def compare_keras(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Keras models: layers, compilation, weights, the optimizer's settings and variables, predictions."""
    return worst(_keras(a, b, path, within))


def _keras(a: Any, b: Any, path: str, within: Within) -> Iterator[Outcome]:
    layers, others = (_settled(json.loads(model.to_json())) for model in (a, b))
    yield within(layers, others, f"{path} layers")
    compiled, others = (repr(_settled(model.get_compile_config())) for model in (a, b))
    yield within(compiled, others, f"{path} compilation")
    parts = list(a._flatten_layers()), list(b._flatten_layers())
    for layer, other in zip(*parts, strict=True):
        yield _compare_set(layer, other, f"{path}.{layer.name}", within)
    yield within(_arrays(a), _arrays(b), f"{path} weights")
    yield _compare_optimizers(getattr(a, "optimizer", None), getattr(b, "optimizer", None), f"{path} optimizer", within)
    shape = tuple(getattr(a, "input_shape", None) or ())[1:]
    yield from _outputs(a, b, path, within, lambda data: _rows(data) if tuple(data.shape[1:]) == shape else None)


def _settled(settings: Any) -> Any:
    """Settings of Keras without what differs from process to process."""
    if isinstance(settings, dict):
        return {k: _settled(v) for k, v in settings.items() if k not in _UNSTEADY}
    return [*map(_settled, settings)] if isinstance(settings, (list, tuple)) else settings


def _compare_set(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """What was set on layers: whether they are trained, the words they know, attributes of the notebook's classes."""
    mine, other = _set_on(a), _set_on(b)
    return worst(within(mine[name], other[name], f"{path}.{name}") for name in mine if name in other)


def _set_on(layer: Any) -> dict[str, Any]:
    own = {} if type(layer).__module__.startswith(("keras.", "tf_keras.")) else vars(layer)
    plain = {k: v for k, v in own.items() if type(v) in (bool, float, int, str)}
    words = list(layer.get_vocabulary()) if hasattr(layer, "get_vocabulary") else None
    return {**plain, "trainable": layer.trainable, "vocabulary": words}


def _arrays(part: Any) -> list[Any]:
    """The variables of a model, a layer or an optimizer; tables of words are no numbers."""
    import numpy as np

    variables = getattr(part, "variables", ())
    found = variables() if callable(variables) else variables
    return [np.asarray(v) for v in found if "resource" not in str(v.dtype)]


def _compare_optimizers(a: Any, b: Any, path: str, within: Within) -> Outcome:
    if a is None or b is None:
        return within(a, b, path)
    mine, other = (repr(_settled(part.get_config())) for part in (a, b))
    return worst([within(mine, other, f"{path} settings"), within(_arrays(a), _arrays(b), path)])


def compare_keras_parts(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Layers, optimizers, losses and metrics of Keras that stand alone."""
    if not hasattr(a, "get_config"):
        return compare_objects(a, b, path, within)
    if not hasattr(a, "trainable"):
        return _compare_optimizers(a, b, path, within)
    return worst([_compare_set(a, b, path, within), _compare_optimizers(a, b, path, within)])


def compare_torch(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Torch's modules: all parameters with their gradients, buffers, other attributes, the results for data."""
    return worst(_torch(a, b, path, within))


def _torch(a: Any, b: Any, path: str, within: Within) -> Iterator[Outcome]:
    for kind in ("named_parameters", "named_buffers"):
        mine, other = (dict(getattr(m, kind)(remove_duplicate=False)) for m in (a, b))
        yield within(list(mine), list(other), f"{path}.{kind}()")
        for name in mine:
            yield within(mine[name], other[name], f"{path}.{name}")
    yield compare_attributes(dict(vars(a)), dict(vars(b)), path, within)
    yield from _outputs(a, b, path, within, _tensor)


def _outputs(a: Any, b: Any, path: str, within: Within, fitted: Callable[[Any], Any]) -> Iterator[Outcome]:
    """What both networks give for data that one of them takes."""
    for data in within.seen[-4:]:
        rows = fitted(data)
        mine, other = (None, None) if rows is None else (_output(a, rows), _output(b, rows))
        if mine is not None or other is not None:
            yield within(mine, other, f"{path}(data of {len(data)} rows)")


def _rows(data: Any) -> Any:
    return data.to_numpy() if hasattr(data, "to_numpy") else data


def _tensor(data: Any) -> Any:
    import torch

    with contextlib.suppress(Exception):
        tensor = torch.as_tensor(_rows(data))
        return tensor.float() if tensor.dtype == torch.float64 else tensor
    return None


def _output(network: Any, rows: Any) -> Any:
    """What a network gives when it is not trained; None when it does not take such data."""
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _evaluated(network, rows) if hasattr(network, "named_parameters") else network.predict(rows, verbose=0)
    return None


def _evaluated(module: Any, rows: Any) -> Any:
    import torch

    modes = [(part, part.training) for part in module.modules()]
    try:
        with torch.no_grad():
            return module.eval()(rows)
    finally:
        for part, mode in modes:
            part.training = mode


def compare_compiled(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """What `torch.compile` gives: the module in it."""
    return within(a._orig_mod, b._orig_mod, path)


def compare_torch_optimizers(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Torch's optimizers and schedulers: their state."""
    return within(a.state_dict(), b.state_dict(), f"{path}.state_dict()")


def compare_tensors(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Tensors of Torch and TensorFlow, as arrays; of those of Torch also how gradients flow."""
    parts = [
        within(str(a.dtype), str(b.dtype), f"{path}.dtype"),
        within(_flow(a), _flow(b), f"{path} (requires_grad, grad_fn)"),
        within(_array(a), _array(b), path),
        within(_gradient(a), _gradient(b), f"{path}.grad"),
    ]
    return worst(parts)


def _flow(tensor: Any) -> tuple[Any, ...]:
    made_by = getattr(tensor, "grad_fn", None) if hasattr(tensor, "detach") else None
    return str(getattr(tensor, "requires_grad", None)), type(made_by).__name__


def _gradient(tensor: Any) -> Any:
    return tensor.grad if getattr(tensor, "is_leaf", False) else None


def _array(tensor: Any) -> Any:
    if not hasattr(tensor, "detach"):
        return tensor.numpy()
    plain = tensor.detach().cpu()
    if plain.is_quantized:
        return [plain.int_repr().numpy(), str(plain.qscheme()), plain.dequantize().numpy()]
    plain = plain.to_dense() if str(plain.layout) != "torch.strided" else plain
    return plain.float().numpy() if plain.is_floating_point() and plain.itemsize < 4 else plain.resolve_neg().numpy()
