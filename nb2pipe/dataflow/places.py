"""Names that hold a path in the folder of the process that made it, or in a temporary one: another step has others."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from nb2pipe.dataflow.events import WORKING_DIRECTORY, Place
from nb2pipe.dataflow.model import Statement

TEMPORARY = "temporary files"

_SEEDS = frozenset(
    ["getcwd", "cwd", "abspath", "realpath", "resolve", "absolute"]
    + ["mkdtemp", "mkstemp", "mktemp", "NamedTemporaryFile", "TemporaryDirectory"]
)
"""Calls that give such a path, or a file that has one."""

_KEEPING = _SEEDS | {
    "join",
    "joinpath",
    "Path",
    "PurePath",
    "str",
    "fspath",
    "with_suffix",
    "with_name",
    "append",
    "add",
}
"""Calls whose result is such a path when an argument is."""


def own_places(statements: Iterable[Statement]) -> dict[str, Place]:
    """The names that the statements of a step bind to such paths, each with the place."""
    found: dict[str, Place] = {}
    for statement in statements:
        seeded = any(c.channel in (WORKING_DIRECTORY, TEMPORARY) for c in statement.record.channels)
        for name, line, value in _bindings(statement.node):
            if _is_place(value, found if not seeded else {**found, "": Place(0, 0, "")}):
                found.setdefault(name, Place(statement.cell, line, ast.unparse(value)))
            elif name in statement.writes:
                found.pop(name, None)
    return found


def _bindings(node: ast.AST) -> Iterator[tuple[str, int, ast.expr]]:
    """The names that a statement binds, or adds to, with the expression whose value they get."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assign):
            for target in inner.targets:
                several = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
                yield from ((t.id, inner.lineno, inner.value) for t in several if isinstance(t, ast.Name))
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and len(inner.args) == 1:
            if inner.func.attr in ("append", "add") and isinstance(inner.func.value, ast.Name):
                yield inner.func.value.id, inner.lineno, inner.args[0]


def _is_place(node: ast.expr, known: dict[str, Place]) -> bool:
    """Whether the value is made of such a path, by steps that keep it one; `""` in `known`: calls may give one."""
    if isinstance(node, (ast.Compare, ast.UnaryOp)):
        return False  # tells something of a path
    inside = list(ast.walk(node))
    calls = [_last(n.func) for n in inside if isinstance(n, ast.Call)]
    if not all(name in _KEEPING for name in calls):
        return False
    return ("" in known and any(name in _SEEDS for name in calls)) or any(
        isinstance(n, ast.Name) and n.id in known for n in inside
    )


def _last(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
