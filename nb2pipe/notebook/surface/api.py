"""Calls of `get_ipython()` with literal arguments -> the magic that they stand for."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

_CALL = re.compile(
    r"[ \t]*(?:[\w.,\[\]\"' ]+?\s*=\s*)?get_ipython\(\)\.(?P<method>\w+)\((?P<rest>.*)\)\s*;?\s*(?:#.*)?", re.DOTALL
)
_PLACE = re.compile(r"get_ipython\(\)\..*", re.DOTALL)
_AS_MAGIC = {
    "system": "!{0}",
    "getoutput": "!!{0}",
    "magic": "%{0}",
    "run_line_magic": "%{0} {1}",
}


def as_magic(line: str) -> str | None:
    """The line with the magic in place of the call, None when it is no such call or its arguments are no literals."""
    match = _CALL.fullmatch(line)
    template = _AS_MAGIC.get(match["method"]) if match else None
    if match is None or template is None:
        return None
    arguments = _literals(match["rest"])
    if arguments is None or len(arguments) != template.count("{") or any("\n" in text for text in arguments):
        return None
    magic = template.format(*arguments).rstrip()
    return _PLACE.sub(lambda _: magic, line)


def _literals(text: str) -> Sequence[str] | None:
    try:
        values = ast.literal_eval(f"({text},)")
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return values if isinstance(values, tuple) and all(isinstance(value, str) for value in values) else None
