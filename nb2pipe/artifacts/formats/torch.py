"""torch.save: modules and tensors, with the gradients that torch leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nb2pipe.artifacts.format import REDUCERS, Format, StaticTypes, same_type


def save_torch(value: Any, folder: Path) -> None:
    """Write a whole module or tensor; tensors that share memory go on sharing it."""
    import cloudpickle
    import torch

    if getattr(value, "grad_fn", None) is not None:
        raise ValueError("torch.save would not keep that it was computed")
    torch.save(value, folder / "value.pt", pickle_module=cloudpickle)
    gradients = {k: p.grad for k, p in _leaves(value).items() if p.grad is not None}
    if gradients:
        torch.save(gradients, folder / "gradients.pt")


def load_torch(folder: Path) -> Any:
    """Read what `save_torch` wrote, onto the CPU where there is no GPU."""
    import torch

    device = None if torch.cuda.is_available() else "cpu"
    value = torch.load(folder / "value.pt", weights_only=False, map_location=device)
    if (folder / "gradients.pt").exists():
        gradients = torch.load(folder / "gradients.pt", map_location=device)
        leaves = _leaves(value)
        for name, gradient in gradients.items():
            leaves[name].grad = gradient
    return value


def _leaves(value: Any) -> dict[str, Any]:
    """The tensors that may have a gradient: a module's parameters, or the tensor itself."""
    return dict(value.named_parameters()) if hasattr(value, "named_parameters") else {"": value}


def _reduce_tensor(tensor: Any, seen: dict[int, Any]) -> Any:
    """For tensors inside other values: what torch would leave out follows."""
    if tensor.grad_fn is not None:
        return _without_graph, (tensor.detach(), type(tensor.grad_fn).__name__)
    if tensor.grad is None:
        return NotImplemented
    make, arguments, *rest = tensor.__reduce_ex__(4)
    state = rest[0] if rest else None
    return make, arguments, (state, tensor.grad), None, None, _set_gradient


def _set_gradient(tensor: Any, state: tuple[Any, Any]) -> None:
    tensor.__dict__.update(state[0] or {})
    tensor.grad = state[1]


def _without_graph(value: Any, name: str) -> Any:
    """The result of a computation in another step: a gradient cannot flow back into that."""
    import torch

    class Elsewhere(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(context: Any, given: Any) -> Any:
            return given.view_as(given)

        @staticmethod
        def backward(context: Any, *gradients: Any) -> Any:
            raise RuntimeError(
                f"the tensor with grad_fn={name} was computed in another step, into which no "
                "gradient can flow: call backward() in the step that computes it"
            )

    Elsewhere._backward_cls.__name__ = name  # so that it prints as it did
    return Elsewhere.apply(value.requires_grad_())


REDUCERS["torch.Tensor"] = _reduce_tensor

TORCH = Format(
    "torch",
    types=("torch.Module", "torch.Tensor"),
    save=save_torch,
    load=load_torch,
    same=same_type,
    libraries=("torch",),
)

STATIC: StaticTypes = {
    "torch.Tensor": ("Dataset", ("torch", "cloudpickle")),
    "torch.nn": ("Model", ("torch", "cloudpickle")),
}
