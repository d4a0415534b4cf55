"""torch.save: modules and tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nb2pipe.artifacts.format import Format, StaticTypes, same_type


def save_torch(value: Any, folder: Path) -> None:
    """Write a whole module or tensor; tensors that share memory go on sharing it."""
    import cloudpickle
    import torch

    if getattr(value, "grad_fn", None) is not None:
        value = value.detach()  # its graph is lost: backward() shall fail, not do nothing
    torch.save(value, folder / "value.pt", pickle_module=cloudpickle)


def load_torch(folder: Path) -> Any:
    """Read what `save_torch` wrote, onto the CPU where there is no GPU."""
    import torch

    device = None if torch.cuda.is_available() else "cpu"
    return torch.load(folder / "value.pt", weights_only=False, map_location=device)


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
