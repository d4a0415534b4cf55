"""Files that steps write: byte by byte, then as text, then by what they hold."""

from __future__ import annotations

import gzip
import importlib
import json
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nb2pipe.verify.compare.engine import Comparison
from nb2pipe.verify.compare.outcome import EQUAL, Outcome, close, different, said, worst
from nb2pipe.verify.compare.shards import compare_shards, sharded
from nb2pipe.verify.text import compare_text


def compare_files(a: Path, b: Path, name: str, package: str) -> Outcome:
    """Two files, or two folders with all that is in them."""
    if a.exists() != b.exists():
        return Outcome("different", f"{name} is written only by the {'notebook' if a.exists() else 'pipeline'}")
    if not a.exists():
        return EQUAL
    if a.is_dir() and b.is_dir():
        return _folders(a, b, name, package)
    if a.read_bytes() == b.read_bytes():
        return EQUAL
    texts = _text(a), _text(b)
    if texts[0] is not None and texts[1] is not None:
        found = compare_text(texts[0], texts[1], package)[0]
        return Outcome(found.verdict, f"{name}: {found.detail}")
    if Path(name).name in _RANDOM:
        return Outcome("not proved", f"{name}: {_RANDOM[Path(name).name]}")
    load = _LOADERS.get(Path(name).suffix)
    if load is None:
        return different(name, said(f"{a.stat().st_size} bytes"), said(f"{b.stat().st_size} other bytes"))
    try:
        loaded = load(a), load(b)
    except Exception as error:
        return Outcome("not proved", f"{name}: other bytes, and it cannot be read here ({type(error).__name__})")
    found = Comparison(package)(*loaded, name)
    return close(f"{name}: other bytes, the same content") if found.verdict == "equal" else found


def _folders(a: Path, b: Path, name: str, package: str) -> Outcome:
    inside = sorted({p.relative_to(root) for root in (a, b) for p in root.rglob("*") if p.is_file()})
    shards = sharded(inside)
    alone = [path for path in inside if not any(path in paths for paths in shards.values())]
    groups = (compare_shards(a, b, paths, f"{name}/{pattern}") for pattern, paths in shards.items())
    return worst([*groups, *(compare_files(a / path, b / path, f"{name}/{path}", package) for path in alone)])


def _text(path: Path) -> str | None:
    data = path.read_bytes()
    try:
        return None if b"\0" in data else data.decode("utf-8")
    except UnicodeDecodeError:
        return None


_RANDOM: Mapping[str, str] = {
    "fingerprint.pb": "TensorFlow gives each saved model a random mark",
    "saved_model.pb": "TensorFlow writes the same graph in another order each time",
}
"""Files whose bytes say nothing, and that no reader of ours understands."""


def _zipped(path: Path) -> Any:
    """What an archive holds, without the times at which it was packed."""
    with zipfile.ZipFile(path) as archive:
        return {name: _member(name, archive.read(name)) for name in sorted(archive.namelist())}


def _keras(path: Path) -> Any:
    """The model, by the Keras that wrote it: its file names layers as the process happened to count them."""
    with zipfile.ZipFile(path) as archive:
        version = str(json.loads(archive.read("metadata.json"))["keras_version"])
    library = importlib.import_module("tf_keras" if version.startswith("2.") else "keras")
    with tempfile.TemporaryDirectory() as folder:
        named = shutil.copy(path, Path(folder) / "model.keras")  # Keras goes by the name
        return library.models.load_model(named)


def _member(name: str, data: bytes) -> Any:
    if name == "docProps/core.xml":  # workbooks: when and by whom they were made
        return None
    return data


def _hdf5(path: Path) -> Any:
    """The arrays and attributes of an HDF5 file, by their path in it."""
    import h5py

    found: dict[str, Any] = {}

    def keep(name: str, item: Any) -> None:
        found[name] = item[()] if isinstance(item, h5py.Dataset) else None
        found.update({f"{name}@{key}": value for key, value in sorted(item.attrs.items())})

    with h5py.File(path, "r") as file:
        keep("", file)
        file.visititems(keep)
    return found


def _unpacked(path: Path) -> Any:
    return gzip.decompress(path.read_bytes())


def _torch(path: Path) -> Any:
    import torch

    return torch.load(path, weights_only=False)


def _array(path: Path) -> Any:
    import numpy as np

    loaded = np.load(path, allow_pickle=True)
    return dict(loaded) if hasattr(loaded, "files") else loaded


def _parquet(path: Path) -> Any:
    import pandas as pd

    return pd.read_parquet(path)


def _pickle(path: Path) -> Any:
    return pickle.loads(path.read_bytes())


def _joblib(path: Path) -> Any:
    import joblib

    return joblib.load(path)


def _picture(path: Path) -> Any:
    from matplotlib.image import imread

    return imread(path, format=path.suffix.lstrip(".") or "png")


_LOADERS: Mapping[str, Callable[[Path], Any]] = {
    ".keras": _keras,
    ".zip": _zipped,
    ".xlsx": _zipped,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".gz": _unpacked,
    ".pt": _torch,
    ".pth": _torch,
    ".npy": _array,
    ".npz": _array,
    ".parquet": _parquet,
    ".pkl": _pickle,
    ".pickle": _pickle,
    ".joblib": _joblib,
    ".png": _picture,
}
