"""The few places where a generated line differs from the notebook's: as edits of single lines, each with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from nb2pipe.dataflow.model import Flow, Statement, StepFlow
from nb2pipe.pipeline.model import Metric

SHOWN = "shown_metrics"
_NOT_NUMBERS = (
    "pandas.",
    "builtins.str",
    "builtins.list",
    "builtins.dict",
    "function",
    "class",
    "sklearn.",
    "matplotlib.",
)


def main_guard_edits(flow: Flow, statements: Iterable[Statement]) -> dict[tuple[int, int], tuple[str, str]]:
    """In a function of an imported module `__name__` is not "__main__", as it is in a notebook: say so literally."""
    edits: dict[tuple[int, int], tuple[str, str]] = {}
    for statement in statements:
        for node in statement.nodes:
            if isinstance(node, ast.Name) and node.id == "__name__" and isinstance(node.ctx, ast.Load):
                key = (statement.cell, node.lineno)
                line = edits[key][0] if key in edits else flow.cells[statement.cell].lines[node.lineno - 1]
                edits[key] = (line.replace("__name__", '"__main__"', 1), '`__name__` is "__main__" in a notebook')
    return edits


def metrics(flow: Flow, step: StepFlow) -> tuple[tuple[Metric, ...], dict[tuple[int, int], tuple[str, str]]]:
    """The numbers that the step's `metrics` cells assign or show, and the edit that gives a shown one a name."""
    found: dict[str, Metric] = {}
    edits: dict[tuple[int, int], tuple[str, str]] = {}
    for cell in step.cells:
        if cell not in flow.layout.metrics:
            continue
        own = [s for s in (flow.statements[i] for i in step.statements) if s.cell == cell]
        for statement in own:
            for name in _assigned_numbers(statement):
                found[name] = Metric(name, name, cell, statement.first)
        if own and isinstance(own[-1].node, ast.Expr):
            shown, edit = _shown(flow, own[-1])
            found.update({m.label: m for m in shown if m.label not in found})
            edits.update(edit)
    return tuple(found.values()), edits


def _assigned_numbers(statement: Statement) -> list[str]:
    if statement.kind in ("import", "definition"):
        return []
    names = []
    for name, val in statement.values.items():
        if name.startswith("_") or (val.type or "").startswith(_NOT_NUMBERS) or val.type == "numpy.ndarray":
            continue
        if isinstance(statement.node, (ast.For, ast.With)):
            continue
        names.append(name)
    return names


def _shown(flow: Flow, statement: Statement) -> tuple[list[Metric], Mapping[tuple[int, int], tuple[str, str]]]:
    """The metrics in the last expression of a cell: names as they are, calls and dicts under a name of their own."""
    assert isinstance(statement.node, ast.Expr)
    value, cell, line = statement.node.value, statement.cell, statement.first
    parts = value.elts if isinstance(value, ast.Tuple) else [value]
    if all(isinstance(p, ast.Name) for p in parts):
        return [Metric(p.id, p.id, cell, line) for p in parts if isinstance(p, ast.Name)], {}
    labels = _labels(value)
    if not labels:
        return [], {}
    text = flow.cells[cell].lines[line - 1]
    column = len(text.encode()[: value.col_offset].decode())
    edit = {(cell, line): (f"{text[:column]}{SHOWN} = {text[column:]}", "what the cell shows is a metric")}
    return [Metric(label, expression, cell, line) for label, expression in labels], edit


def _labels(value: ast.expr) -> list[tuple[str, str]]:
    if isinstance(value, ast.Dict):
        keys = [k.value for k in value.keys if isinstance(k, ast.Constant) and isinstance(k.value, str)]
        return [(k, f"{SHOWN}[{k!r}]") for k in keys]
    if isinstance(value, ast.Call) and not _prints(value):
        name = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "shown")
        return [(name, SHOWN)]
    return []


def _prints(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id in ("print", "display")


def import_edits(
    statements: Iterable[Statement], wanted: AbstractSet[str], taken: AbstractSet[str]
) -> dict[tuple[int, int], tuple[str, str]]:
    """Imports that bind more than the file may have: a star import, and one of whose names a step takes another value.

    `wanted` are the names that the file needs from imports, `taken` those that mean something else in it.
    """
    edits: dict[tuple[int, int], tuple[str, str]] = {}
    for statement in statements:
        node = statement.node
        if not isinstance(node, ast.ImportFrom) or node.module == "__future__":
            continue
        star = node.names[0].name == "*"
        if not (star and statement.writes) and not set(statement.writes) & taken:
            continue
        text = _narrowed(node, sorted((set(statement.writes) & wanted) - taken), star=star)
        reason = "only the names that are used" if star else "without the names that mean something else here"
        edits[statement.cell, statement.first] = (text, reason)
        for line in range(statement.first + 1, statement.last + 1):
            edits[statement.cell, line] = ("", reason)
    return edits


def _narrowed(node: ast.ImportFrom, names: list[str], *, star: bool) -> str:
    module = "." * node.level + (node.module or "")
    real = {a.asname or a.name: a.name for a in node.names}
    parts = [n if star or real[n] == n else f"{real[n]} as {n}" for n in names]
    return f"from {module} import {', '.join(parts)}" if parts else ""
