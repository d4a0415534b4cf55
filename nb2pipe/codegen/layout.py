"""Lists laid out as Python within a line length, the way formatters do it."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH = 100


def bracketed(opening: str, items: Sequence[str], closing: str, indent: int = 0) -> list[str]:
    """`opening` + items + `closing` on one line if it fits in WIDTH columns, else one item a line."""
    pad = " " * indent
    line = pad + opening + ", ".join(items) + closing
    if len(line) <= WIDTH or not items:
        return [line]
    return [pad + opening, *(f"{pad}    {item}," for item in items), pad + closing]


def from_import(module: str, names: Sequence[str], note: str = "") -> list[str]:
    """`from module import names` within WIDTH columns; `note` is a comment for its first line."""
    comment = f"  {note}" if note else ""
    line = f"from {module} import {', '.join(names)}{comment}"
    if len(line) <= WIDTH:
        return [line]
    return [f"from {module} import ({comment}", *(f"    {name}," for name in names), ")"]
