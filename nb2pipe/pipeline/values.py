"""Values of parameters: from text, and as text. `parse_value` and `bounded` are also copied as they stand into a
project's task.py.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any


def parse_value(kind: str, value: Any) -> Any:
    """The value of a parameter of type `kind`: int, float, str, bool, list, dict or None.

    Text is read as a literal, JSON or Python; whole floats become ints where an int is wanted:
    platforms pass every number as a float. Raises ValueError when `value` is not of the type.
    """
    if kind == "str":
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not a str")
        return value
    if kind == "None" and isinstance(value, str):
        try:
            return _parse_literal(value)
        except ValueError:
            return value
    if kind in ("int", "float") and isinstance(value, str):
        return int(value) if kind == "int" else float(value)
    if isinstance(value, str):
        value = _parse_literal(value)
    if kind == "int" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    names = {"list": ("list", "tuple", "set"), "None": (type(value).__name__,)}.get(kind, (kind,))
    wanted = type(value).__name__ in names
    if not wanted:
        raise ValueError(f"{value!r} is not a {kind}")
    return value


def _parse_literal(text: str) -> Any:
    """The value of a JSON or Python literal; True, False and None are understood in any case."""
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    raise ValueError(f"{text!r} is not a literal")


def bounded(value: Any, least: int | None = None, form: str | None = None) -> Any:
    """`value`, if it is not less than `least` and, as a text, all of it is of the form `form`.

    Raises ValueError.
    """
    if least is not None and value < least:
        raise ValueError(f"{value!r} is less than {least}")
    if form is not None and not re.fullmatch(form, value):
        raise ValueError(f"{value!r} is not of the form {form}")
    return value


def value_text(kind: str, value: Any) -> str:
    """The text that `parse_value(kind, ...)` reads back as `value`: JSON where JSON is exact, else Python's own."""
    if kind == "str":
        return str(value)
    if kind in ("int", "float"):
        return repr(value)
    return json.dumps(value) if is_json(value) else repr(value)


def is_json(value: Any) -> bool:
    """Whether JSON gives back `value` itself: no tuples, no keys but strings, no infinities."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_json(item) for key, item in value.items())
    if isinstance(value, list):
        return all(is_json(item) for item in value)
    if isinstance(value, float):
        return value - value == 0
    return value is None or isinstance(value, (str, int))


def bounds(parameter: Mapping[str, Any]) -> dict[str, Any]:
    """The bounds that a parameter of the graph has, as `bounded` takes them."""
    return {name: parameter[name] for name in ("least", "form") if name in parameter}


def default_value(parameter: Mapping[str, Any]) -> Any:
    """The Python value of the default of a parameter of the graph."""
    return parse_value(parameter["type"], parameter["text"])
