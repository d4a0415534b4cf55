"""The suggestion as something to play with: labels, a cursor, every earlier state. Pure; `shown` is all that a screen
needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from nb2pipe.suggest.model import Labels

ROLES = ("skip", "shared", "parameters")


@dataclass(frozen=True, slots=True)
class Board:
    """`order` are the cells that have a label, `fixed` those whose own tags give it; `at` is an index into `order`."""

    order: tuple[int, ...]
    labels: Labels
    fixed: frozenset[int]
    at: int = 0
    past: tuple[Labels, ...] = field(default=(), repr=False)

    @property
    def cell(self) -> int:
        """The cell under the cursor."""
        return self.order[self.at]


def board(labels: Labels, fixed: frozenset[int]) -> Board:
    """A board with the cursor on the first cell that begins a step."""
    order = tuple(sorted(labels))
    first = next((i for i, c in enumerate(order) if labels[c].startswith("step:")), 0)
    return Board(order, dict(labels), fixed, first)


def moved(state: Board, by: int) -> Board:
    """The cursor up or down, as far as it goes."""
    return replace(state, at=max(0, min(len(state.order) - 1, state.at + by)))


def changed(state: Board, new: Mapping[int, str]) -> Board:
    """Labels of cells that are not fixed; what was is remembered. The same board if that changes nothing."""
    labels = {**state.labels, **{c: v for c, v in new.items() if c not in state.fixed}}
    return state if labels == state.labels else replace(state, labels=labels, past=(*state.past, state.labels))


def undone(state: Board) -> Board:
    """The board before the last change."""
    return replace(state, labels=state.past[-1], past=state.past[:-1]) if state.past else state


def steps(state: Board) -> list[str]:
    """The names of the steps, in the order of their first cells."""
    return list(dict.fromkeys(_step(v) for c in state.order if _step(v := state.labels[c])))


def _step(label: str) -> str:
    return label.removeprefix("step:") if label.startswith("step:") else ""


def _above(state: Board) -> str:
    """The label of the nearest step cell above the cursor."""
    labels = [state.labels[c] for c in state.order[: state.at]]
    return next((v for v in reversed(labels) if _step(v)), "")


def _run(state: Board, label: str) -> list[int]:
    """The cells from the cursor on that have the label, as far as no other step comes between."""
    found: list[int] = []
    for cell in state.order[state.at :]:
        if _step(state.labels[cell]) and state.labels[cell] != label:
            break
        found += [cell] if state.labels[cell] == label else []
    return found


def toggled(state: Board) -> Board:
    """A step begins at the cursor, or, where one does, goes on from the step above."""
    label, above = state.labels[state.cell], _above(state)
    if not _step(label):
        return changed(state, {state.cell: above or f"step:{_new(state)}"})
    if label == above:
        return changed(state, dict.fromkeys(_run(state, label), f"step:{_new(state, _step(label))}"))
    return changed(state, dict.fromkeys(_run(state, label), above)) if above else state


def _new(state: Board, like: str = "step") -> str:
    """A name that no step has."""
    number = 2
    while f"{like}_{number}" in steps(state):
        number += 1
    return f"{like}_{number}"


def shifted(state: Board, by: int) -> Board:
    """The boundary at or above the cursor moves: up, the step takes a cell more; down, it gives its first away."""
    places = [i for i, c in enumerate(state.order) if _step(state.labels[c])]
    label = [state.labels[c] for c in state.order]
    starts = [p for q, p in pairwise(places) if label[p] != label[q]]
    here = next((p for p in reversed(starts) if p <= state.at), None)
    if here is None:
        return state
    rank = places.index(here)
    lower, upper = label[here], label[places[rank - 1]]
    if by < 0:
        new = changed(state, {state.order[places[rank - 1]]: lower})
        return replace(new, at=places[rank - 1]) if new is not state else state
    new = changed(state, {state.order[here]: upper})
    follows = places[rank + 1] if rank + 1 < len(places) else here
    return replace(new, at=follows) if new is not state else state


def role_given(state: Board, role: str) -> Board:
    """The cell gets the role; the same again, and it is in the step above (or below) once more."""
    if state.labels[state.cell] != role:
        return changed(state, {state.cell: role})
    below = next((v for c in state.order[state.at :] if _step(v := state.labels[c])), f"step:{_new(state)}")
    return changed(state, {state.cell: _above(state) or below})


def renamed(state: Board, name: str) -> Board:
    """The step under the cursor gets another name, on all of its cells."""
    label = state.labels[state.cell]
    if not _step(label) or name in ("", _step(label)):
        return state
    return changed(state, {c: f"step:{name}" for c in state.order if state.labels[c] == label})


def begins(state: Board) -> Sequence[bool]:
    """For each cell of the order whether a step begins there."""
    found, last = [], ""
    for cell in state.order:
        label = state.labels[cell]
        found.append(bool(_step(label)) and label != last)
        last = label if _step(label) else last
    return found
