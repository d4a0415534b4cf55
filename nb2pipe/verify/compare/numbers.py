"""Numbers: equal, or close within a tolerance that depends on their precision."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from nb2pipe.verify.compare.outcome import EQUAL, Outcome, close, different

TOLERANCES = {"float64": 1e-9, "complex128": 1e-9, "float32": 1e-6, "complex64": 1e-6, "float16": 1e-3}
"""Relative tolerance by the name of the dtype; other types of numbers must be equal."""


_LOOSENED: ContextVar[float] = ContextVar("loosened", default=0.0)


@contextmanager
def loosened(relative: float) -> Iterator[None]:
    """While it lasts floats may differ by `relative`, those of an array also by that part of its largest."""
    token = _LOOSENED.set(relative)
    try:
        yield
    finally:
        _LOOSENED.reset(token)


def tolerance(dtype: str) -> float:
    """The relative tolerance for numbers of a dtype, 0 where they must be equal."""
    strict = TOLERANCES.get(dtype, 1e-9 if dtype.startswith(("float", "complex", "longdouble")) else 0.0)
    return max(strict, _LOOSENED.get()) if strict else 0.0


def margin(largest: float) -> float:
    """How far apart numbers may be whatever their size, where the largest one beside them is `largest`."""
    return _LOOSENED.get() * largest if _LOOSENED.get() else 0.0


def compare_floats(a: Any, b: Any, path: str, _: Any = None) -> Outcome:
    """Two floats or complex numbers of the same type; nan equals nan."""
    if a == b:
        return EQUAL if math.copysign(1, a.real) == math.copysign(1, b.real) else close(f"{path}: {a!r} and {b!r}")
    if a != a and b != b:
        return EQUAL
    limit = tolerance(type(a).__name__ if type(a).__name__ in TOLERANCES else "float64")
    if abs(a - b) <= max(limit * max(abs(a), abs(b)), margin(limit)) and not math.isinf(abs(a - b)):
        return close(f"{path}: {a!r} and {b!r}, relative tolerance {limit:g}")
    return different(path, a, b)


def compare_exactly(a: Any, b: Any, path: str, _: Any = None) -> Outcome:
    """Values that are equal or not: int, str, bytes, None..."""
    return EQUAL if a == b else different(path, a, b)
