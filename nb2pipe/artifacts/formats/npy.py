"""NumPy's own format: arrays and NumPy numbers, without pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nb2pipe.artifacts.format import Format, StaticTypes


def save_npy(value: Any, folder: Path) -> None:
    """Write an array, or a number as an array without dimensions."""
    import numpy as np

    dtype = value.dtype
    array = type(value) is np.ndarray and value.ndim > 0
    kinds = "biufcmMSU" if array else "biufcmM"
    if not (array or isinstance(value, np.generic)) or dtype.kind not in kinds or dtype.metadata:
        raise ValueError(f"npy would not keep a {type(value).__name__} of {dtype}")
    compact = np.array(value, order="K")  # a view keeps the order in which sums go through it
    name = "array.npy" if value.flags.writeable or not array else "readonly.npy"
    np.save(folder / name, compact, allow_pickle=False)


def load_npy(folder: Path) -> Any:
    """Read what `save_npy` wrote; an array that nobody could write to is one again."""
    import numpy as np

    path = next(folder.glob("*.npy"))
    array = np.load(path, allow_pickle=False)
    array.flags.writeable = path.name == "array.npy"
    return array if array.ndim else array[()]


NPY = Format(
    "npy",
    types=("numpy.ndarray", "numpy.generic"),
    save=save_npy,
    load=load_npy,
    libraries=("numpy",),
)

STATIC: StaticTypes = {
    "numpy": ("Artifact", ("numpy",)),
    "numpy.ndarray": ("Dataset", ("numpy",)),
}
