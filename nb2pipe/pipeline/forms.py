"""Whether a step can be a plain function, or must be a module run as a script."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from nb2pipe.dataflow.events import Place
from nb2pipe.dataflow.machine import BUILTINS, Showing
from nb2pipe.dataflow.model import Flow, Statement, StepFlow
from nb2pipe.dataflow.scopes import bound_names
from nb2pipe.findings import Finding, finding
from nb2pipe.pipeline.placement import Placement

Unbound = Collection[tuple[str, str]]
"""(step, name) for what a step may leave without a value."""


def unbound(flow: Flow) -> Unbound:
    """What any step may leave without a value."""
    return {(step.name, name) for step in flow.steps for name in step.maybe_unbound}


Shown = Mapping[int, Sequence[tuple[Showing, Place]]]
"""By the number of the statement that defines it: what is shown of a function or class, and where."""


def shown(flow: Flow) -> Shown:
    """All definitions whose place in the notebook any statement shows."""
    found: dict[int, list[tuple[Showing, Place]]] = {}
    for statement in flow.statements:
        for (made, how), place in statement.record.shown.items():
            line = made.node.lineno
            for other in (s for s in flow.statements if s.cell == made.cell and s.first <= line <= s.last):
                found.setdefault(other.index, []).append((how, place))
    return found


def shown_elsewhere(flow: Flow, placement: Placement, definitions: Shown) -> Iterator[Finding]:
    """Classes whose text, and definitions whose module, is that of shared.py and not `__main__`."""
    for index in sorted(definitions.keys() & placement.shared):
        name = next(iter(flow.statements[index].writes), None)
        for how, place in definitions[index]:
            if how == "module":
                message = f"{place} makes text of {name}, which says `__main__` in the notebook and `shared` in a step"
                yield finding("class-text", message, cell=place.cell, line=place.line, name=name)
            elif how == "module read":
                message = f"{place} reads in which module {name} is: in a step it is not `__main__`"
                yield finding("module-name", message, cell=place.cell, line=place.line, name=name)


def why_module(flow: Flow, step: StepFlow, placement: Placement, missing: Unbound, definitions: Shown) -> str:
    """Why a function cannot hold the meaning of a step; "" when it can. `missing` is `unbound(flow)`, `definitions` is
    `shown(flow)`."""
    inside = _inside(flow, step, placement)
    for statement in inside:
        reason = _dynamic(statement)
        if reason:
            return f"{reason} in cell {statement.cell} line {statement.first}"
    own = {s.index for s in inside} | placement.top[step.name]
    for _, place in (s for i in sorted(own & definitions.keys()) for s in definitions[i]):
        return f"what a definition says of its place, shown in cell {place.cell} line {place.line},"
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
