"""Containers of Python: element by element, in their order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from nb2pipe.verify.compare.outcome import EQUAL, Outcome, Within, different, said, short, worst


def compare_sequences(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Lists, tuples and deques."""
    if len(a) != len(b):
        return different(path, said(f"{len(a)} items ({short(a)})"), said(f"{len(b)} ({short(b)})"))
    pairs = enumerate(zip(a, b, strict=True))
    return worst(within(x, y, f"{path}[{index}]") for index, (x, y) in pairs)


def compare_mappings(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Dicts of every kind: the same keys in the same order, the same values."""
    if len(a) != len(b):
        only = [short(key) for key in a if key not in b], [short(key) for key in b if key not in a]
        texts = [
            f"{len(d)} keys" + (f" (with {', '.join(names[:3])})" if names else "")
            for d, names in zip((a, b), only, strict=True)
        ]
        return different(path, said(texts[0]), said(texts[1]))
    return worst(_entries(a, b, path, within))


def _entries(a: Any, b: Any, path: str, within: Within) -> Iterator[Outcome]:
    for (key, value), (other_key, other) in zip(dict.items(a), dict.items(b), strict=True):
        keys = within(key, other_key, f"{path} key {short(key)}")
        yield keys
        yield within(value, other, f"{path}[{short(key)}]")
    yield within(getattr(a, "default_factory", None), getattr(b, "default_factory", None), f"{path}.default_factory")


def compare_sets(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Sets: the same elements; those that are equal only by their content are paired by their text."""
    if a == b:
        return EQUAL
    if len(a) != len(b):
        return different(path, said(f"{len(a)} elements"), said(f"{len(b)}"))
    pairs = zip(sorted(a - b, key=_text), sorted(b - a, key=_text), strict=False)
    return worst(within(x, y, f"{path} element {short(x)}") for x, y in pairs)


def _text(value: object) -> str:
    return re.sub(r"0x[0-9a-f]+", "", repr(value))
