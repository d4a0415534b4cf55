"""Where steps begin: the best of all ways to cut a notebook's cells, by a dynamic program over the boundaries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nb2pipe.suggest.model import ACTIVITIES, CellFacts, Facts
from nb2pipe.suggest.tables import weights


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive cells that become one step, and what they do. `name` is set by the tags of one of the cells."""

    activity: str
    cells: tuple[int, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """A cell that the program may cut before: `gain` of a cut there, whether it must or must not be one."""

    facts: CellFacts
    emission: Mapping[str, float]
    gain: float
    opens: bool
    must: bool
    never: bool


def segments(facts: Facts, chosen: Sequence[int]) -> list[Segment]:
    """The best cut of the `chosen` cells, in notebook order, into steps."""
    places = _places(facts, chosen)
    if not places:
        return []
    scores = [dict(places[0].emission)]
    before: list[dict[str, tuple[str, bool]]] = [{}]
    for place in places[1:]:
        now, origin = _advance(place, scores[-1])
        scores.append(now)
        before.append(origin)
    return _traced(places, scores, before)


def _advance(place: _Place, last: Mapping[str, float]) -> tuple[dict[str, float], dict[str, tuple[str, bool]]]:
    """The scores of one more cell for each activity, and from where: (activity of the cell before, whether cut)."""
    now: dict[str, float] = {}
    origin: dict[str, tuple[str, bool]] = {}
    for activity in ACTIVITIES:
        ways = [] if place.must else [(last[activity], activity, False)]
        if not place.never:
            ways += [(last[a] + place.gain + _order(a, activity, place), a, True) for a in ACTIVITIES]
        score, came, cut = max(ways, key=lambda way: (way[0], not way[2]))
        now[activity] = score + place.emission[activity]
        origin[activity] = (came, cut)
    return now, origin


def _traced(
    places: Sequence[_Place], scores: Sequence[Mapping[str, float]], before: Sequence[Mapping[str, tuple[str, bool]]]
) -> list[Segment]:
    activity = max(ACTIVITIES, key=lambda a: scores[-1][a])
    found: list[Segment] = []
    cells: list[CellFacts] = []
    for index in range(len(places) - 1, -1, -1):
        cells.insert(0, places[index].facts)
        came, cut = before[index].get(activity, (activity, True))
        if cut:
            name = next((c.fixed.removeprefix("step:") for c in cells if c.fixed), "")
            found.insert(0, Segment(activity, tuple(c.cell for c in cells), name))
            cells = []
        activity = came
    return found


def _places(facts: Facts, chosen: Sequence[int]) -> list[_Place]:
    by_cell = {c.cell: c for c in facts.cells}
    found: list[_Place] = []
    previous = -1
    for cell in chosen:
        own = by_cell[cell]
        between = [c for c in facts.cells if previous < c.cell <= cell and c.opens]
        fixed_before = next((by_cell[c].fixed for c in reversed(chosen) if c < cell and by_cell[c].fixed), "")
        fixed_next = next((by_cell[c].fixed for c in chosen if c >= cell and by_cell[c].fixed), "")
        at_once = bool(found) and found[-1].facts.fixed == own.fixed
        glued = bool(fixed_before) and fixed_before == fixed_next
        found.append(
            _Place(
                own,
                _emission(own),
                _gain(cell, facts, between),
                bool(between),
                must=bool(own.fixed) and not at_once and not glued,
                never=glued,
            )
        )
        previous = cell
    return found


def _emission(cell: CellFacts) -> dict[str, float]:
    table = weights()["emission"]
    said = cell.heading.speaks if cell.heading else {}
    found = {a: min(cell.speaks.get(a, 0.0), 4.0) + table["heading"] * said.get(a, 0.0) for a in ACTIVITIES}
    found["load"] += table["begins"] if cell.begins else 0.0
    return {**found, "other": float(table["other"])}


def _gain(cell: int, facts: Facts, headings: Sequence[CellFacts]) -> float:
    """What a cut before the cell gains (above 0) or costs, whatever is done on both sides."""
    table = weights()["cut"]
    size = min(4, next(c.statements for c in facts.cells if c.cell == cell))
    gain: float = table["size"] * size - table["base"] - table["name"] * math.log2(1 + len(crossing(facts, cell)))
    if headings:
        levels = [c.heading.level for c in headings if c.heading]
        gain += table["heading"] * (0.8 if min(levels, default=1) > 5 else 1.0)
    elif facts.headed:
        gain -= table["no_heading"]
    torn: float = table["tie"] * sum(t.first < cell <= t.last for t in facts.ties)
    return gain - torn


def crossing(facts: Facts, cell: int) -> frozenset[str]:
    """The names that are handed on over a cut before the cell."""
    return frozenset(n for c in facts.cells if c.cell >= cell for n, source in c.takes.items() if source < cell)


def _order(before: str, after: str, place: _Place) -> float:
    table = weights()["cut"]
    if before == after:
        again = after in ("train", "other") and place.opens
        return 0.0 if again else -float(table["same"])
    course = weights()["order"]["course"].split()
    back = before in course and after in course and course.index(after) < course.index(before)
    return -float(table["back"]) if back else 0.0
