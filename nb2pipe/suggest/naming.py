"""Names of steps that people read: verbs for what is known, the heading's words for the rest."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from nb2pipe.notebook.tags import step_name
from nb2pipe.suggest.model import CellFacts, Facts
from nb2pipe.suggest.segments import Segment

_STOP = frozenset(
    "the a an of and or with our your we to for in on by from it its is are be into at as how what which let us this"
    " that some all step part section chapter data dataset using use used now first then next finally new here".split()
)


def named(found: Sequence[Segment], facts: Facts) -> list[str]:
    """A name for each segment, all different; those that the tags give stay."""
    by_cell = {c.cell: c for c in facts.cells}
    taken = {s.name for s in found if s.name}
    often = Counter(s.activity for s in found if not s.name)
    names: list[str] = []
    for segment in found:
        cells = [by_cell[c] for c in segment.cells]
        wish = segment.name or _wish(segment, cells, often)
        name = wish if segment.name else _free(wish, taken)
        taken.add(name)
        names.append(name)
    return names


def _wish(segment: Segment, cells: Sequence[CellFacts], often: Mapping[str, int]) -> str:
    words = _words(cells)
    if segment.activity == "other":
        return step_name("_".join(words[:2]) or _made(cells))
    if often[segment.activity] == 1:
        return segment.activity
    if segment.activity in words[:1] or not words:
        return step_name("_".join(words[:3]) or f"{segment.activity}_{_made(cells)}")
    return step_name("_".join([segment.activity, *words[:2]]))


def _words(cells: Sequence[CellFacts]) -> list[str]:
    """The telling words of the heading over the first cell."""
    heading = cells[0].heading
    if heading is None:
        return []
    words = re.findall(r"[a-z][a-z0-9]*", heading.text.lower().replace("-", " "))
    return [w for w in words if w not in _STOP][:3] if heading.text.isascii() else []


def _made(cells: Iterable[CellFacts]) -> str:
    """What the cells call to make it, else "compute"."""
    calls = [call.lstrip(".") for c in cells for call in c.calls.values() if call.lstrip(".").isidentifier()]
    return calls[0].lower() if calls else "compute"


def _free(wish: str, taken: Iterable[str]) -> str:
    name, number = wish, 1
    while name in taken:
        number += 1
        name = f"{wish}_{number}"
    return name
