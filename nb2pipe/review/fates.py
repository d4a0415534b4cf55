"""What becomes of every line of the notebook's code: where it stands in the project, or why it does not."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from nb2pipe.notebook.model import Layout, Parameter, PyCell
from nb2pipe.pipeline.model import Pipeline
from nb2pipe.review.origins import Origin

Place = tuple[str, int]
"""A file of the project and a line in it, from 1."""


@dataclass(frozen=True, slots=True)
class Fate:
    """Of one line of a cell: its places in the project, in the order of its files; `why` says why it is another line
    there, or, without places, why it is in none. `blank` lines have neither."""

    kind: Literal["kept", "rewritten", "parameter", "dropped", "blank"]
    places: tuple[Place, ...] = ()
    why: str = ""


def places_of(origins: Mapping[str, Sequence[Origin]]) -> dict[tuple[int, int], list[Place]]:
    """The places of each line of the notebook, by (cell, line)."""
    found: dict[tuple[int, int], list[Place]] = {}
    for path, lines in origins.items():
        for number, origin in enumerate(lines, 1):
            if origin.cell is not None and origin.line is not None:
                found.setdefault((origin.cell, origin.line), []).append((path, number))
    return found


class Fates:
    """The fates of the lines of one notebook. Without `origins` nothing was generated, and no line has a place."""

    def __init__(
        self,
        layout: Layout,
        parameters: Sequence[Parameter],
        pipeline: Pipeline | None,
        origins: Mapping[str, Sequence[Origin]] | None,
    ) -> None:
        self._layout = layout
        self._parameters = {(p.cell, p.line): p.name for p in parameters}
        self._dropped = {row.cell: row.why for row in pipeline.dropped} if pipeline else {}
        self._origins = origins
        self._places = places_of(origins or {})

    def of(self, cell: PyCell) -> list[Fate]:
        """One Fate for each line of the cell's source."""
        declared = self._declared(cell)
        lines = cell.cell.source.split("\n")
        return [self._fate(cell, number, text, declared.get(number, "")) for number, text in enumerate(lines, 1)]

    def _fate(self, cell: PyCell, number: int, text: str, parameter: str) -> Fate:
        places = tuple(self._places.get((cell.cell.index, number), ()))
        if places:
            whys = [self._why(place) for place in places]
            why = next(filter(None, whys), "")
            return Fate("rewritten" if why else "kept", places, why)
        if not text.strip() or self._origins is None:
            return Fate("blank")
        if parameter:
            return Fate("parameter", why=f"parameter {parameter} of the pipeline")
        return Fate("dropped", why=self._reason(cell, number, text))

    def _why(self, place: Place) -> str:
        path, number = place
        return self._origins[path][number - 1].why if self._origins else ""

    def _reason(self, cell: PyCell, number: int, text: str) -> str:
        index = cell.cell.index
        if number in cell.changes:
            return cell.changes[number]
        if self._layout.roles[index] == "skip":
            return self._dropped.get(index, "skipped")
        if text.lstrip().startswith("#"):
            return "a comment of code that is left out"
        return "no step uses it" if index not in self._layout.step_of else "the step does not need it"

    def _declared(self, cell: PyCell) -> dict[int, str]:
        """The parameter that each line of a parameters cell belongs to."""
        index = cell.cell.index
        if not any(where[0] == index for where in self._parameters):
            return {}
        spans = ((s.lineno, s.end_lineno or s.lineno) for s in _statements(cell.text))
        return {
            number: self._parameters[index, first]
            for first, last in spans
            if (index, first) in self._parameters
            for number in range(first, last + 1)
        }


def _statements(text: str) -> Iterator[ast.stmt]:
    try:
        yield from ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
