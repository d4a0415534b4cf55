"""Other values for parameters, to show that the pipeline computes with them and does not replay stored values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nb2pipe.notebook.model import Parameter, Search


def varied(parameters: tuple[Parameter, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    """Another value for each parameter that can be varied without knowing what it means, inside its search space.

    `given` are the values of the run that is varied. Texts and None keep their value, unless they have choices.
    """
    found = {}
    for parameter in (p for p in parameters if not p.option):
        before = given.get(parameter.name, parameter.default)
        value = _other(before, parameter.search)
        if type(value) is type(before) and value != before:
            found[parameter.name] = value
    return found


def _other(value: Any, search: Search | None) -> Any:
    if search is not None and search.values:
        return next((v for v in search.values if v != value and type(v) is type(value)), value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return _number(value, search)
    if isinstance(value, list):
        return value[:-1] if len(value) > 1 else value
    if isinstance(value, dict):
        return {key: item if isinstance(item, (list, dict)) else _other(item, None) for key, item in value.items()}
    return value


def _number(value: Any, search: Search | None) -> Any:
    """Shares stay shares: what lies between 0 and 1 is halved, other fractions are doubled, whole numbers grow by 1."""
    candidates: list[float] = [value + 1, value - 1] if isinstance(value, int) else [value / 2, value * 2, value + 1.0]
    if isinstance(value, float) and abs(value) >= 1:
        candidates = [value * 2, value / 2]
    low = search.low if search is not None else None
    high = search.high if search is not None else None
    inside = [c for c in candidates if (low is None or c >= low) and (high is None or c <= high)]
    return next((c for c in inside if c != value), value)
