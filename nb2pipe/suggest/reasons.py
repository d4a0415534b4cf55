"""Why each cell got its label, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nb2pipe.findings import Finding
from nb2pipe.suggest.model import CellFacts, Facts, Labels
from nb2pipe.suggest.segments import Segment, crossing


def reasons(labels: Labels, facts: Facts, found: Sequence[Segment], moved: Mapping[int, Finding]) -> dict[int, str]:
    """A reason for each cell that has a label."""
    activity = {c: s.activity for s in found for c in s.cells}
    first = {s.cells[0] for s in found[1:]}
    texts: dict[int, str] = {}
    for cell in facts.cells:
        label = labels.get(cell.cell)
        if label is None:
            continue
        if cell.fixed:
            texts[cell.cell] = "tagged"
        elif cell.cell in moved:
            texts[cell.cell] = f"otherwise {moved[cell.cell].code}: {moved[cell.cell].message}"
        elif label.startswith("step:"):
            cut = f"; {_cut(facts, cell.cell)}" if cell.cell in first else ""
            texts[cell.cell] = _of_step(cell, activity.get(cell.cell, "other")) + cut
        else:
            texts[cell.cell] = _of_role(cell, label)
    return texts


def _of_step(cell: CellFacts, activity: str) -> str:
    parts = []
    if cell.heading and (cell.opens or activity in cell.heading.speaks):
        parts.append(f"heading '{cell.heading.text}'")
    if activity in cell.calls:
        call = cell.calls[activity]
        parts.append(call if " " in call else f"calls {call}")
    if not parts and cell.takes:
        name, source = max(cell.takes.items(), key=lambda item: item[1])
        parts.append(f"goes on with {name} of cell {source}")
    return "; ".join(parts) or "goes with the cells around it"


def _cut(facts: Facts, cell: int) -> str:
    names = sorted(crossing(facts, cell))
    if not names:
        return "nothing is handed on to it"
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{shown} cross{'es' if len(names) == 1 else ''} into it"


def _of_role(cell: CellFacts, label: str) -> str:
    if cell.unreadable:
        return f"is not Python: {cell.unreadable}"
    if label == "skip":
        calls = cell.calls.get("explore")
        return f"only shows{f' ({calls})' if calls else ''}; nothing needs it"
    if label == "parameters":
        return f"sets {', '.join(cell.literals)} to plain values"
    return "only imports, defines or sets up"
