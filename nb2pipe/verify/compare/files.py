"""Files that steps write: byte by byte, then as text, then by what they hold."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nb2pipe.verify.compare.engine import Comparison
from nb2pipe.verify.compare.outcome import EQUAL, Outcome, close, different, said, worst
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
    load = _LOADERS.get(Path(name).suffix)
    if load is None:
        return different(name, said(f"{a.stat().st_size} bytes"), said(f"{b.stat().st_size} other bytes"))
    found = Comparison(package)(load(a), load(b), name)
    return close(f"{name}: other bytes, the same content") if found.verdict == "equal" else found


def _folders(a: Path, b: Path, name: str, package: str) -> Outcome:
    inside = sorted({p.relative_to(root) for root in (a, b) for p in root.rglob("*") if p.is_file()})
    return worst(compare_files(a / path, b / path, f"{name}/{path}", package) for path in inside)


def _text(path: Path) -> str | None:
    data = path.read_bytes()
    try:
        return None if b"\0" in data else data.decode("utf-8")
    except UnicodeDecodeError:
        return None


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
    ".npy": _array,
    ".npz": _array,
    ".parquet": _parquet,
    ".pkl": _pickle,
    ".pickle": _pickle,
    ".joblib": _joblib,
    ".png": _picture,
}
