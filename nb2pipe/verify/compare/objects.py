"""Any other object: by what it would be pickled as, which for most is its attributes."""

from __future__ import annotations

import copyreg
from typing import Any

from nb2pipe.verify.compare.outcome import EQUAL, Outcome, Within, different, not_proved, said, worst

_ROW = ("constructor", "arguments", "state", "items", "entries")


def compare_objects(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Two objects of the same class."""
    try:
        rows = _reduced(a), _reduced(b)
    except Exception as error:
        return _unpicklable(a, b, path, within, error)
    if isinstance(rows[0], str) or isinstance(rows[1], str):
        return EQUAL if rows[0] == rows[1] else different(path, a, b)
    pairs = zip(_ROW, *rows, strict=False)
    parts = (_part(what, x, y, path, within) for what, x, y in pairs)
    return worst(parts)


def _part(what: str, x: Any, y: Any, path: str, within: Within) -> Outcome:
    here = path if what == "state" else f"{path} {what}"
    if what == "state" and isinstance(x, dict) and isinstance(y, dict):
        return compare_attributes(x, y, path, within)
    return within(x, y, here)


def compare_attributes(x: dict[str, Any], y: dict[str, Any], path: str, within: Within) -> Outcome:
    """Two sets of attributes, in whatever order they were set."""
    if x.keys() != y.keys():
        only = [", ".join(map(str, sorted(map(str, p.keys() - q.keys())))) for p, q in ((x, y), (y, x))]
        return different(path, said(f"has {only[0] or 'nothing'} more"), said(f"has {only[1] or 'nothing'} more"))
    return worst(within(x[name], y[name], f"{path}.{name}") for name in x)


def _reduced(value: Any) -> Any:
    """What pickle would store: a name, or constructor, arguments, state, list items, dict entries."""
    dispatch = copyreg.dispatch_table.get(type(value))
    row = dispatch(value) if dispatch else value.__reduce_ex__(4)
    if isinstance(row, str):
        return row
    function, arguments, state, items, entries = (*row, None, None, None)[:5]
    return (
        function,
        arguments,
        state,
        list(items) if items is not None else None,
        dict(entries) if entries is not None else None,
    )


def _unpicklable(a: Any, b: Any, path: str, within: Within, error: Exception) -> Outcome:
    try:
        if a == b:
            return EQUAL
    except Exception as trouble:
        return not_proved(path, f"{type(a).__name__} can be neither pickled ({error}) nor compared ({trouble})")
    if hasattr(a, "__dict__") and not within.is_library(type(a)):
        return compare_attributes(vars(a), vars(b), path, within)
    return not_proved(path, f"{type(a).__name__} has no content that can be compared: {error}")
