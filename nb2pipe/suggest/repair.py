"""Makes a suggestion convert: what the real analysis finds wrong is moved, merged, or put into one step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nb2pipe.findings import Finding, errors
from nb2pipe.suggest.model import Attempt, CellFacts, Facts, Labels, Try

BUDGET = 60
"""How many conversions a repair may try."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """Labels, the conversion with them, and for each cell that was moved the finding that made it move."""

    labels: Labels
    attempt: Attempt
    moved: Mapping[int, Finding]


def repaired(labels: Labels, facts: Facts, attempt: Try) -> Repaired:
    """The labels with as few moves as bring all errors down; those that nothing brings down remain in the attempt."""
    state = Repaired(dict(labels), attempt(labels), {})
    budget = BUDGET
    while errors(state.attempt.findings) and budget > 0:
        better, budget = _better(state, facts, attempt, budget)
        if better is None:
            break
        state = better
    if errors(state.attempt.findings):
        state = _last_resort(state, facts, attempt)
    return state


def _better(state: Repaired, facts: Facts, attempt: Try, budget: int) -> tuple[Repaired | None, int]:
    """The first move that leaves fewer errors."""
    before = errors(state.attempt.findings)
    seen: list[Labels] = [state.labels]
    for error in before:
        for labels in _moves(error, state, facts):
            if labels in seen or budget <= 0:
                continue
            seen.append(labels)
            budget -= 1
            tried = attempt(labels)
            if len(errors(tried.findings)) < len(before):
                changed = {c: error for c in labels if labels[c] != state.labels[c]}
                return Repaired(labels, tried, {**state.moved, **changed}), budget
    return None, budget


def _last_resort(state: Repaired, facts: Facts, attempt: Try) -> Repaired:
    """One step for all that computes; for all that is no import or definition; for everything."""
    fixed = {c.cell for c in facts.cells if c.fixed}
    bad = {c.cell for c in facts.cells if c.unreadable}
    best = state
    error = errors(state.attempt.findings)[0]
    for kept in (("skip", "shared", "parameters"), ("shared", "parameters"), ()):
        labels = {c: v if c in fixed | bad or v in kept else "step:run" for c, v in state.labels.items()}
        tried = attempt(labels)
        if len(errors(tried.findings)) < len(errors(best.attempt.findings)):
            best = Repaired(
                labels, tried, {**state.moved, **{c: error for c in labels if labels[c] != state.labels[c]}}
            )
    return best


def _moves(error: Finding, state: Repaired, facts: Facts) -> Iterator[dict[int, str]]:
    """Labels that may cure an error, the smallest change first."""
    by_cell = {c.cell: c for c in facts.cells}
    cell = error.cell
    if cell is None or cell not in by_cell:
        yield from (_merged(state.labels, facts, a, b) for a, b in _neighbours(_order(state.labels)))
        return
    label = state.labels.get(cell, "")
    if error.code == "skipped-definition":
        yield from _unskipped(error, state, facts)
    if label in ("shared", "parameters"):
        yield from _into_steps(cell, state, facts)
    yield from _boundaries(error, state, facts, by_cell[cell])
    if label.startswith("step:") and not by_cell[cell].needed_by:
        yield _set(state.labels, facts, {cell: "skip"})


def _set(labels: Labels, facts: Facts, new: Mapping[int, str]) -> dict[int, str]:
    """The labels with new ones, never for a cell that has its own tags."""
    fixed = {c.cell for c in facts.cells if c.fixed}
    return {**labels, **{c: v for c, v in new.items() if c not in fixed}}


def _order(labels: Labels) -> list[str]:
    """The steps, in the order of their first cells."""
    return list(dict.fromkeys(v for _, v in sorted(labels.items()) if v.startswith("step:")))


def _neighbours(order: Sequence[str]) -> Iterator[tuple[str, str]]:
    return ((order[i], order[i + 1]) for i in range(len(order) - 1))


def _nearest(labels: Labels, cell: int, *, before: bool) -> str | None:
    """The step of the nearest step cell before or after a cell."""
    cells = [c for c, v in labels.items() if v.startswith("step:") and (c < cell if before else c > cell)]
    return labels[max(cells) if before else min(cells)] if cells else None


def _unskipped(error: Finding, state: Repaired, facts: Facts) -> Iterator[dict[int, str]]:
    """The skipped cells that others need become part of the step before them, or after."""
    skipped = [c.cell for c in facts.cells if state.labels.get(c.cell) == "skip" and not c.unreadable and not c.fixed]
    wanted = [c for c in skipped if any(state.labels.get(n) != "skip" for n in _needed(facts, c))]
    for cells in filter(None, (wanted, [c for c in skipped if error.cell is not None and c < error.cell])):
        for before in (True, False):
            new = {
                c: _nearest(state.labels, c, before=before) or _nearest(state.labels, c, before=not before)
                for c in cells
            }
            yield _set(state.labels, facts, {c: v for c, v in new.items() if v})


def _needed(facts: Facts, cell: int) -> frozenset[int]:
    return next(c.needed_by for c in facts.cells if c.cell == cell)


def _into_steps(cell: int, state: Repaired, facts: Facts) -> Iterator[dict[int, str]]:
    """A cell that was to be shared, or for parameters, becomes part of a step."""
    if state.labels[cell] == "parameters":
        yield _set(state.labels, facts, {cell: "shared"})
    for before in (False, True):
        step = _nearest(state.labels, cell, before=before)
        if step:
            yield _set(state.labels, facts, {cell: step})


def _boundaries(error: Finding, state: Repaired, facts: Facts, at: CellFacts) -> Iterator[dict[int, str]]:
    """Move a boundary so that what belongs together is together; then merge the steps, and those between."""
    labels = state.labels
    step = labels.get(at.cell, "")
    order = _order(labels)
    if step not in order:
        step = _nearest(labels, at.cell, before=True) or _nearest(labels, at.cell, before=False) or ""
    source = _source(error, state, at) or (order[order.index(step) - 1] if step in order and order.index(step) else "")
    if step in order and source in order and source != step:
        own = [c for c in sorted(labels) if labels[c] == step]
        givers = [c for c in sorted(labels) if labels[c] == source]
        needed = [t for t in at.takes.values() if labels.get(t) == source]
        if at.cell != own[-1] and order.index(step) - order.index(source) == 1:
            yield _set(labels, facts, {c: source for c in own if c <= at.cell})
        for first in sorted(set(needed), reverse=True):
            if first != givers[0] and order.index(step) - order.index(source) == 1:
                yield _set(labels, facts, {c: step for c in givers if c >= first})
        yield _merged(labels, facts, source, step)
    index = order.index(step) if step in order else 0
    for a, b in ((index - 1, index), (index, index + 1), (index - 2, index), (index, index + 2)):
        if 0 <= a < b < len(order):
            yield _merged(labels, facts, order[a], order[b])
    yield from (_merged(labels, facts, a, b) for a, b in _neighbours(order))


def _source(error: Finding, state: Repaired, at: CellFacts) -> str:
    """The step that gives what the error is about."""
    if error.name is not None and error.name in at.takes:
        return state.labels.get(at.takes[error.name], "")
    channel = error.name or ""
    cells = [
        s.cell
        for s in state.attempt.flow.statements
        if s.step and s.cell < at.cell and any(c.channel == channel for c in s.record.channels)
    ]
    own = state.labels.get(at.cell)
    return next((state.labels[c] for c in reversed(cells) if state.labels.get(c, own) != own), "")


def _merged(labels: Labels, facts: Facts, first: str, last: str) -> dict[int, str]:
    """The labels with two steps, and those between them, as one. It has the name that tags give, else the longer's."""
    order = _order(labels)
    several = order[order.index(first) : order.index(last) + 1]
    fixed = [c.fixed for c in facts.cells if c.fixed in several]
    sizes = {s: sum(v == s for v in labels.values()) for s in several}
    name = fixed[0] if fixed else max(several, key=lambda s: (sizes[s], s == last))
    return _set(labels, facts, {c: name for c, v in labels.items() if v in several})
