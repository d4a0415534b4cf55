"""Values and notebook text as Python source that means exactly them."""

from __future__ import annotations

import ast
import math
from typing import Any

from nb2pipe.notebook.model import Parameter


def pyliteral(value: Any) -> str:
    """An expression that evaluates to `value`: None, bool, int, float, str, and lists, tuples, dicts of these."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, str):
        return string_literal(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{pyliteral(k)}: {pyliteral(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(pyliteral, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(pyliteral, value)) + ("," if len(value) == 1 else "") + ")"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    raise TypeError(f"not a literal: {type(value).__name__}")


def string_literal(text: str) -> str:
    """`text` as a literal in double quotes where `repr` would take single ones for no reason."""
    plain = repr(text)
    if plain.startswith("'") and '"' not in plain:
        return f'"{plain[1:-1]}"'
    return plain


def default_literal(parameter: Parameter) -> str:
    """The parameter's default as the notebook wrote it (`1e-3`, `10_000`) if that fits on one line, else by value."""
    source = parameter.source.strip()
    try:
        same = repr(ast.literal_eval(source)) == repr(parameter.default)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        same = False
    return source if same and source.isprintable() and "#" not in source else pyliteral(parameter.default)


def one_line(text: str) -> str:
    """`text` without line ends and unprintable characters, safe in a comment or a docstring's line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def docstring_line(text: str) -> str:
    """`text` as one line that may stand in a docstring of triple double quotes, also as its last."""
    safe = one_line(text).replace("\\", "\\\\").replace('"""', "'''")
    return safe[:-1] + "'" if safe.endswith('"') else safe
