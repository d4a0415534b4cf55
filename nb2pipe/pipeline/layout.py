"""Plain values as Python source, laid out for people."""

from __future__ import annotations

from typing import Any

WIDTH = 76
"""A row that is longer than this with its indentation is broken over lines."""


def literal(value: Any) -> str:
    """A Python expression that gives `value`, strings in double quotes where that needs no more escapes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(literal, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, float) and value - value != 0:
        return f'float("{value}")'
    text = repr(value)
    return f'"{text[1:-1]}"' if isinstance(value, str) and text[0] == "'" and '"' not in text else text


def layout(value: Any, indent: int = 0) -> str:
    """`literal(value)`, broken over lines where it is wider than a page; tables of tables always are."""
    text = literal(value)
    nested = isinstance(value, dict) and any(isinstance(item, dict) and item for item in value.values())
    if not isinstance(value, (dict, list, tuple)) or not value or (len(text) + indent < WIDTH and not nested):
        return text
    margin = " " * (indent + 4)
    if isinstance(value, dict):
        lines = [f"{margin}{literal(key)}: {layout(item, indent + 4)}," for key, item in value.items()]
    else:
        lines = [f"{margin}{layout(item, indent + 4)}," for item in value]
    opening, closing = text[0], text[-1]
    return "\n".join([opening, *lines, f"{' ' * indent}{closing}"])
