"""The left side: the notebook's cells as HTML, every line of code with the places it went to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nb2pipe.findings import Finding
from nb2pipe.notebook.model import Cell, Layout, PyCell
from nb2pipe.notebook.outputs import Output, Saved
from nb2pipe.review.fates import Fate, Fates, Place
from nb2pipe.review.highlight import highlighted
from nb2pipe.review.html import Html, element, escaped
from nb2pipe.review.markdown import Headings, plain, rendered

WORDS: Mapping[str, str] = {"setup": "shared", "shared": "shared", "parameters": "parameters", "skip": "left out"}
"""What a cell that is in no step is called."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link inside the page."""

    href: str
    label: str


@dataclass(frozen=True, slots=True)
class CellView:
    """A cell as the page shows it. `label` is its step or what else it is for; `style` the class of its stripe."""

    index: int
    kind: str
    label: str
    step: str | None
    style: str
    body: Html
    findings: tuple[Finding, ...]
    outputs: tuple[Output, ...]
    links: tuple[Link, ...]
    why: str


class Ids:
    """The ids of the page's lines: files are numbered, since their names may be long."""

    def __init__(self, paths: Sequence[str], steps: Sequence[str]) -> None:
        self._files = {path: number for number, path in enumerate(paths)}
        self._steps = {name: number for number, name in enumerate(steps)}

    def file(self, path: str) -> str:
        """Of a file."""
        return f"f{self._files[path]}"

    def place(self, place: Place) -> str:
        """Of a generated line."""
        return f"{self.file(place[0])}-{place[1]}"

    def line(self, cell: int, line: int) -> str:
        """Of a line of a cell."""
        return f"c{cell}-{line}"

    def style(self, step: str | None) -> str:
        """The class of a step's stripe; there are eight colours, and the step's name or number stands beside."""
        return f"s{self._steps[step] % 8}" if step in self._steps else ""


def line_html(
    ident: str, number: int, href: str, code: str, *, kind: str = "", why: str = "", origin: str | None = None
) -> Html:
    """A line: its number, which links to its counterpart, its code, and why it is not simply the counterpart's."""
    name = f"l {kind}" if kind else "l"
    data = f" data-o={origin}" if origin else ""
    note = f"<small>{escaped(why)}</small>" if why else ""
    return Html(f'<div class="{name}" id={ident}{data}><a href="#{href}">{number}</a><code>{code}</code>{note}</div>')


def cell_views(
    cells: Sequence[Cell],
    code: Mapping[int, PyCell],
    layout: Layout,
    fates: Fates,
    ids: Ids,
    findings: Sequence[Finding],
    saved: Mapping[int, Saved],
) -> list[CellView]:
    """Every cell in order; `code` are the code cells as plain Python, by index."""
    headings = Headings()
    said: dict[int, list[Finding]] = {}
    for found in findings:
        if found.cell is not None:
            said.setdefault(found.cell, []).append(found)
    views = []
    for cell in cells:
        kept = saved.get(cell.index, Saved())
        if cell.kind == "code":
            own = code.get(cell.index) or PyCell(cell, tuple(cell.source.split("\n")))
            views.append(_code_view(own, layout, fates, ids, said.get(cell.index, ()), kept))
        else:
            body = rendered(cell.source, kept.attachments, headings) if cell.kind == "markdown" else plain(cell.source)
            notes = tuple(said.get(cell.index, ()))
            views.append(CellView(cell.index, cell.kind, "", None, "", body, notes, (), (), ""))
    return views


def _code_view(cell: PyCell, layout: Layout, fates: Fates, ids: Ids, said: Sequence[Finding], kept: Saved) -> CellView:
    index = cell.cell.index
    step = layout.step_of.get(index)
    lines = fates.of(cell)
    whole = _common_reason(lines) if layout.roles[index] != "parameters" else ""
    loose = tuple(f for f in said if not f.line or f.line > len(lines))
    return CellView(
        index,
        "code dropped" if whole else "code",
        step or WORDS.get(layout.roles[index], ""),
        step,
        ids.style(step),
        _code(cell, lines, ids, whole if whole else "", [f for f in said if f not in loose]),
        loose,
        kept.outputs,
        _links(lines, ids),
        whole,
    )


def _common_reason(lines: Sequence[Fate]) -> str:
    """Why a cell is left out as a whole, "" if a part of it is not."""
    whys = {line.why if line.kind == "dropped" else "" for line in lines if line.kind != "blank"}
    return next(iter(whys)) if len(whys) == 1 else ""


def _links(lines: Sequence[Fate], ids: Ids) -> tuple[Link, ...]:
    """Where the cell went: the first line of it in each file."""
    first: dict[str, Place] = {}
    for line in lines:
        for place in line.places:
            first.setdefault(place[0], place)
    return tuple(Link(ids.place(place), path.partition("/")[2] or path) for path, place in first.items())


def _code(cell: PyCell, lines: Sequence[Fate], ids: Ids, said: str, findings: Sequence[Finding]) -> Html:
    index = cell.cell.index
    parts: list[str] = []
    for number, (fate, code) in enumerate(zip(lines, highlighted(cell.cell.source), strict=True), 1):
        why = fate.why if fate.why != said else ""
        said = fate.why or ("" if fate.kind != "blank" else said)
        here = ids.line(index, number)
        kind = fate.kind if fate.kind in ("rewritten", "dropped") else ""
        href = ids.place(fate.places[0]) if fate.places else "parameters" if fate.kind == "parameter" else here
        parts.append(line_html(here, number, href, code, kind=kind, why=why))
        parts += [finding_html(found) for found in findings if found.line == number]
    return Html("".join(parts))


def finding_html(found: Finding) -> Html:
    """A finding under its line."""
    hint = element("span", escaped(found.hint), class_="hint")
    code = element("b", f"{escaped(found.severity)} {escaped(found.code)}")
    return element("div", f"{code} {escaped(found.message)} {hint}", class_=f"finding {found.severity}")
