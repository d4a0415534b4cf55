"""The weights, from the data file beside."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from fnmatch import translate
from functools import cache
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@cache
def weights() -> Mapping[str, Any]:
    """The data file as it stands."""
    found: dict[str, Any] = tomllib.loads((Path(__file__).parent / "weights.toml").read_text(encoding="utf-8"))
    return found


@cache
def activities_of(path: str) -> Mapping[str, float]:
    """For each activity, how much a call of the dotted name `path` speaks for it; empty for most names.

    >>> dict(activities_of("sklearn.datasets.load_iris"))
    {'load': 2.5}
    """
    found: dict[str, float] = {}
    for activity, pattern, weight in _patterns():
        if pattern.fullmatch(path):
            found[activity] = max(weight, found.get(activity, 0.0))
    return found


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str], float], ...]:
    return tuple(
        (activity, re.compile(translate(glob) if glob[0] == "*" else rf"(?:.*\.)?{translate(glob)}"), weight)
        for activity, rows in weights()["calls"].items()
        for glob, weight in rows.items()
    )


@cache
def _words() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for activity, words in weights()["words"].items():
        for word in words.split():
            found[word] = (*found.get(word, ()), activity)
    return found


def spoken(text: str) -> Mapping[str, float]:
    """For each activity, how much the words of a heading or of a function's name speak for it: the first most.

    >>> dict(spoken("3.1 Load the data"))
    {'load': 1.5}
    """
    found: dict[str, float] = {}
    words = re.findall(r"[a-z]+(?:-[a-z]+)*", text.lower().replace("_", " "))
    for word in words:
        for activity in _words().get(word, ()):
            found[activity] = found.get(activity, 0.0) + (1.0 if not found or activity in found else 0.5)
    return {a: min(w, 1.5) for a, w in found.items()}


def hyperparameter(name: str) -> str | None:
    """The usual search space of a hyperparameter of that name, "" if it has none; None for other names."""
    table: Mapping[str, str] = weights()["hyperparameters"]
    return next((space for known, space in table.items() if name.lower() == known.lower()), None)


def goal_of(name: str) -> str | None:
    """Whether a metric of that name is maximised or minimised; None when nothing is known of it."""
    words = name.lower().split("_")
    table = {goal: set(names.split()) for goal, names in weights()["metrics"].items()}
    return next((goal for goal in ("minimize", "maximize") for w in reversed(words) if w in table[goal]), None)
