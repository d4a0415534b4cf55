"""The figures of a notebook end with their cell; in a step of several cells, that has to be said."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nb2pipe.dataflow.model import Flow, Statement, StepFlow
from nb2pipe.pipeline.model import Fragment

_PYPLOT = "matplotlib.pyplot"
_REASON = "a notebook's figures end with their cell"


@dataclass(frozen=True, slots=True)
class Closing:
    """Before which cells of a step the figures of the cells before must go: by the line `line`, which may need
    `imports`."""

    cells: frozenset[int] = frozenset()
    line: str = ""
    imports: tuple[str, ...] = ()


def closing(flow: Flow, step: StepFlow) -> Closing:
    """Where a step draws in a cell after it has drawn in an earlier one: there it would go on with the old figure."""
    own = [flow.statements[i] for i in step.statements]
    drawing = sorted({s.cell for s in own if _draws(s)})
    if len(drawing) < 2:
        return Closing()
    name = _pyplot(flow, own)
    imports = () if name else ("from matplotlib import pyplot",)
    return Closing(frozenset(drawing[1:]), f'{name or "pyplot"}.close("all")  # {_REASON}', imports)


def _draws(statement: Statement) -> bool:
    return any(event.channel == "figure" for event in statement.record.channels)


def _pyplot(flow: Flow, own: Sequence[Statement]) -> str:
    """The name under which the step's own code knows pyplot, "" when it has none."""
    mentioned = {n.id for s in own for n in ast.walk(s.node) if isinstance(n, ast.Name)}
    read = mentioned & {name for statement in own for name in statement.record.reads}
    named = {n for s in flow.statements for n, val in s.values.items() if val.ref == _PYPLOT}
    others = {n for s in flow.statements for n, val in s.values.items() if val.ref != _PYPLOT}
    return min(read & named - others, default="")


def closed(fragments: Sequence[Fragment], where: Closing) -> tuple[Fragment, ...]:
    """The fragments of a step's body, with the line that closes the figures before the first line of each such cell."""
    seen: set[int] = set()
    result = []
    for fragment in fragments:
        first = next((i for i, line in enumerate(fragment.lines) if line.strip()), None)
        opens = fragment.cell in where.cells - seen and first is not None
        added = ((first, (where.line,), _REASON), *fragment.added) if opens and first is not None else fragment.added
        result.append(replace(fragment, added=added))
        seen |= {fragment.cell} if opens else set()
    return tuple(result)
