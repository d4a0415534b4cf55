"""Whether a step can be a plain function, or must be a module run as a script."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable

from nb2pipe.dataflow.machine import BUILTINS
from nb2pipe.dataflow.model import Flow, Statement, StepFlow
from nb2pipe.dataflow.scopes import bound_names
from nb2pipe.pipeline.placement import Placement

Unbound = Collection[tuple[str, str]]
"""(step, name) for what a step may leave without a value."""


def unbound(flow: Flow) -> Unbound:
    """What any step may leave without a value."""
    return {(step.name, name) for step in flow.steps for name in step.maybe_unbound}


def why_module(flow: Flow, step: StepFlow, placement: Placement, missing: Unbound) -> str:
    """Why a function cannot hold the meaning of a step; "" when it can. `missing` is `unbound(flow)`."""
    inside = _inside(flow, step, placement)
    for statement in inside:
        reason = _dynamic(statement)
        if reason:
            return f"{reason} in cell {statement.cell} line {statement.first}"
    perhaps = {*step.maybe_unbound, *(n for n, need in step.inputs.items() if (need.source, n) in missing)}
    if perhaps:
        return f"{min(perhaps)} may be unbound"
    clash = _clash(flow, step, placement, inside)
    return f"the step rebinds {clash}, which it also reads from outside" if clash else ""


def _inside(flow: Flow, step: StepFlow, placement: Placement) -> list[Statement]:
    """The statements that stand in the step's body."""
    elsewhere = placement.shared | placement.top[step.name] | placement.imports[step.name]
    own = set(step.statements) - elsewhere
    return [flow.statements[i] for i in sorted(own | placement.setup[step.name])]


def _dynamic(statement: Statement) -> str:
    """What in a statement only works at module level."""
    record, node = statement.record, statement.node
    if record.dynamic:
        return f"`{sorted(record.dynamic)[0]}`"
    if record.class_rebinds:
        return "a class body that reads and rebinds a name"
    for inner in statement.nodes:
        if isinstance(inner, ast.Global):
            return f"`global {inner.names[0]}`"
        if isinstance(inner, ast.ImportFrom) and inner.names[0].name == "*":
            return "a star import"
    if statement.kind == "definition" and isinstance(node, ast.ClassDef):
        return f"class {node.name}, which reads notebook variables,"
    if record.strings and statement.kind == "definition":
        return "a function that reads a name inside a string"
    return ""


def _clash(flow: Flow, step: StepFlow, placement: Placement, inside: Iterable[Statement]) -> str | None:
    """A name that a function would take for its own variable before it is bound."""
    inside = list(inside)
    assigned = {n for s in inside for n in bound_names(s.node)}
    top = placement.top[step.name] | placement.imports[step.name]
    outside = placement.from_shared[step.name] | {n for i in top for n in flow.statements[i].writes}
    read_builtins = {n for s in inside for n in s.record.builtins}
    clashing = (assigned & outside) | (assigned & read_builtins & BUILTINS)
    return min(clashing) if clashing else None
