"""Frames, series and indexes: labels, names, dtypes and order exactly; values exactly, then closely."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nb2pipe.verify.compare.arrays import compare_arrays, compare_values
from nb2pipe.verify.compare.outcome import EQUAL, Outcome, Within, different, said, short, worst


def compare_frames(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Two DataFrames; columns are matched by position, since names may repeat."""
    return worst(_frame(a, b, path, within))


def _frame(a: Any, b: Any, path: str, within: Within) -> Iterator[Outcome]:
    if a.shape != b.shape:
        gone = [c for c in a.columns if c not in b.columns], [c for c in b.columns if c not in a.columns]
        texts = [
            f"shape {f.shape}" + (f", with {short(names)}" if names else "")
            for f, names in zip((a, b), gone, strict=True)
        ]
        yield different(path, said(texts[0]), said(texts[1]))
    yield compare_indexes(a.columns, b.columns, f"{path}.columns", within)
    yield compare_indexes(a.index, b.index, f"{path}.index", within)
    for position, name in enumerate(a.columns):
        yield _column(a.iloc[:, position], b.iloc[:, position], f"{path}[{short(name)}]", within)
    yield within(dict(a.attrs), dict(b.attrs), f"{path}.attrs")


def compare_series(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Two Series: name, index, dtype, values."""
    return worst(_series(a, b, path, within))


def _series(a: Any, b: Any, path: str, within: Within) -> Iterator[Outcome]:
    yield within(a.name, b.name, f"{path}.name")
    if len(a) != len(b):
        yield different(path, said(f"{len(a)} values"), said(f"{len(b)}"))
    yield compare_indexes(a.index, b.index, f"{path}.index", within)
    yield _column(a, b, path, within)


def compare_indexes(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Two indexes: class, names, frequency, dtype, labels in their order."""
    return worst(_index(a, b, path, within))


def _index(a: Any, b: Any, path: str, within: Within) -> Iterator[Outcome]:
    if type(a) is not type(b):
        yield different(path, said(type(a).__name__), said(type(b).__name__))
    yield within(list(a.names), list(b.names), f"{path}.names")
    if getattr(a, "freq", None) != getattr(b, "freq", None):
        yield different(f"{path}.freq", a.freq, b.freq)
    if len(a) != len(b):
        yield different(path, said(f"{len(a)} labels"), said(f"{len(b)}"))
    if a.nlevels > 1:
        for level in range(a.nlevels):
            here = f"{path} level {level}"
            yield _column(a.get_level_values(level), b.get_level_values(level), here, within)
        return
    yield _column(a, b, path, within)


def _column(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """The values of two series or indexes of the same length."""
    if a.dtype != b.dtype or str(a.dtype) != str(b.dtype):
        return different(path, said(f"dtype {a.dtype}"), said(f"dtype {b.dtype}"))
    if getattr(a.dtype, "hasobject", False) or a.dtype == object:
        pairs = zip(a, b, strict=True)
        return worst(within(x, y, f"{path}[{position}]") for position, (x, y) in enumerate(pairs))
    if hasattr(a.dtype, "categories") and list(a.dtype.categories) != list(b.dtype.categories):
        return different(f"{path}'s categories", list(a.dtype.categories), list(b.dtype.categories))
    if a.array.equals(b.array):
        return EQUAL
    return _values(a, b, path, within)


def _values(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Values that are not all equal: the first pair that is neither equal nor close."""
    import numpy as np

    left, right = np.asarray(a.isna()), np.asarray(b.isna())
    missing = compare_values(left, right, f"{path}.isna()")
    if missing.verdict == "equal" and getattr(a.dtype, "kind", "") in "fciub" and a.dtype.kind:
        dtype = getattr(a.dtype, "numpy_dtype", a.dtype)
        x, y = (one.array[~left].to_numpy(dtype=dtype) for one in (a, b))
        return compare_arrays(x, y, path, within)
    if missing.verdict != "equal":
        return missing
    pairs = zip(a, b, strict=True)
    return worst(_pair(x, y, f"{path}[{position}]", within) for position, (x, y) in enumerate(pairs))


def _pair(x: Any, y: Any, path: str, within: Within) -> Outcome:
    return EQUAL if x is y else within(x, y, path)
