"""The steps give what the notebook gave when `nb2pipe verify --write-test` ran it with the default parameters."""

from __future__ import annotations

import math
from typing import Any

ITEMS = 20


def describe(value: Any) -> dict[str, Any]:
    """What of a value is kept as JSON: its type, its shape, and numbers that change when the value changes."""
    kind = f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}"
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"type": kind, "value": _plain(value)}
    if hasattr(value, "columns") and hasattr(value, "dtypes"):
        columns = [describe(value.iloc[:, i]) for i in range(min(value.shape[1], ITEMS))]
        return {"type": kind, "shape": list(value.shape), "names": [str(c) for c in value.columns], "items": columns}
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return {"type": kind, "shape": list(value.shape), "dtype": str(value.dtype), "sum": _sum(value)}
    if isinstance(value, dict):
        items = [[describe(key), describe(item)] for key, item in list(value.items())[:ITEMS]]
        return {"type": kind, "length": len(value), "items": items}
    if isinstance(value, (list, tuple)):
        return {"type": kind, "length": len(value), "items": [describe(item) for item in value[:ITEMS]]}
    return {"type": kind}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value[:1000] if isinstance(value, str) else value


def _sum(value: Any) -> Any:
    """A sum that depends on the order of the numbers; None where there is nothing to sum."""
    if getattr(value.dtype, "kind", "O") not in "iufb" or not all(value.shape):
        return None
    numbers = [float(number) for number in value.ravel()] if value.shape and hasattr(value, "ravel") else list(value)
    return math.fsum(float(x) * (1 + i % 7) for i, x in enumerate(numbers) if math.isfinite(x))


def alike(expected: Any, found: Any) -> bool:
    """Whether two descriptions are the same; numbers may differ by a relative 1e-9."""
    if isinstance(expected, float) or isinstance(found, float):
        both = isinstance(expected, (int, float)) and isinstance(found, (int, float))
        return both and math.isclose(expected, found, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(alike(expected[key], found[key]) for key in expected)
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(alike, expected, found))
    return bool(expected == found)
