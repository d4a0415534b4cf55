"""Which cells are shared, parameters or exploration; the others make steps."""

from __future__ import annotations

from collections.abc import Mapping

from nb2pipe.suggest.model import CellFacts, Facts


def roles(facts: Facts) -> dict[int, str]:
    """A label for each cell that is in no step; the cells without a statement get none."""
    by_cell = {c.cell: c for c in facts.cells}
    found: dict[int, str] = {}
    for cell in facts.cells:
        label = cell.fixed or _role(cell, by_cell)
        if label and not label.startswith("step:"):
            found[cell.cell] = label
    _spread(found, facts)
    if len(found) == len([c for c in facts.cells if not c.empty]):
        found = {c: v for c, v in found.items() if v != "skip" or by_cell[c].fixed or by_cell[c].unreadable}
    return found


def _role(cell: CellFacts, by_cell: Mapping[int, CellFacts]) -> str:
    if cell.unreadable:
        return "skip"
    if cell.repeatable:
        return "parameters" if cell.only_literals else "shared"
    return "skip" if cell.only_shows and not cell.leaves_traces and not _shows_results(cell, by_cell) else ""


def _shows_results(cell: CellFacts, by_cell: Mapping[int, CellFacts]) -> bool:
    """Whether what is shown is a result, not the data: said so, printed, or made by a cell that evaluates."""
    if cell.speaks.get("evaluate", 0.0) >= 0.8:
        return True
    sources = [by_cell[c] for c in cell.takes.values() if c in by_cell]
    judged = any(s.speaks.get("evaluate", 0.0) >= 2.0 for s in sources)
    made = [s for s in sources if s.takes and not cell.opens and s.heading is not None and s.heading == cell.heading]
    said = cell.heading.speaks if cell.heading else {}
    exploring = said.get("explore", 0.0) > said.get("evaluate", 0.0)
    return not exploring and (judged or any(_is_result(s) for s in made) or cell.prints)


def _is_result(source: CellFacts) -> bool:
    """Whether a cell makes something that is worth keeping a picture of: it neither prepares nor trains."""
    return max((w for a, w in source.speaks.items() if a in ("load", "prepare", "train")), default=0.0) < 1.0


def _spread(found: dict[int, str], facts: Facts) -> None:
    """A cell that only skipped cells need, and that only shows, is skipped with them."""
    by_cell = {c.cell: c for c in facts.cells}
    for cell in reversed(facts.cells):
        needs = cell.needed_by
        if needs and cell.cell not in found and not cell.leaves_traces and not cell.fixed:
            looks = max((w for a, w in cell.speaks.items() if a != "explore"), default=0.0) < 0.8
            if looks and "explore" in cell.speaks and all(found.get(n) == "skip" for n in needs if n in by_cell):
                found[cell.cell] = "skip"
