"""Tracebacks of generated steps in the notebook's terms, from any log that they stand in.

A log may come from this machine, from a pod, from Vertex AI or from a Dataflow worker: lines may have anything before
the traceback's text, and colours. Frames of generated files are known by the end of their path, the same everywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nb2pipe.codegen.sourcemap import lookup

Json = Mapping[str, Any]
FRAME = re.compile(
    r'^(?P<before>.*?)(?P<indent> *)File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<name>.+?))?\s*$'
)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CARETS = re.compile(r"^ *[\^~]+ *$")


@dataclass(frozen=True, slots=True)
class Project:
    """A generated project on disk, with its source map."""

    folder: Path
    map: Json

    @property
    def notebook(self) -> str:
        """The notebook's file name."""
        return str(self.map["notebook"]["path"])


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of generated code: `file` in the project and `line` there; `cell` (from 0) and `cell_line` (from 1) of
    the notebook, None for a line of nb2pipe's own; `source` is the line as the notebook has it."""

    file: str
    line: int
    cell: int | None
    cell_line: int | None
    source: str

    def to_json(self) -> dict[str, Any]:
        """The frame in the document of `nb2pipe explain --json`."""
        return {
            "file": self.file,
            "line": self.line,
            "cell": self.cell,
            "cell_line": self.cell_line,
            "source": self.source,
        }


@dataclass(frozen=True, slots=True)
class Explained:
    """A log with its frames of generated code replaced."""

    text: str
    frames: tuple[Frame, ...]


def explain(log: str, projects: Sequence[Project]) -> Explained:
    """The log with every frame of a generated file as notebook, cell, line and source; all else as it is."""
    lines = [COLOUR.sub("", line) for line in _lines(log)]
    frames: list[Frame] = []
    text: list[str] = []
    number = 0
    while number < len(lines):
        match = FRAME.match(lines[number])
        found = _frame(match["file"], int(match["line"]), projects) if match else None
        if match is None or found is None:
            text.append(lines[number])
            number += 1
            continue
        frame, project = found
        frames.append(frame)
        rest = _below(lines, number + 1, match["before"])
        text += _told(match, frame, project, rest)
        number += 1 + len(rest)
    return Explained("\n".join(text), tuple(frames))


def _lines(log: str) -> list[str]:
    """The lines of a log; one that holds a whole traceback as a JSON string is opened up."""
    return [line for whole in log.splitlines() for line in _opened(whole).split("\n")]


def _opened(line: str) -> str:
    """The text of a line of JSON, or with its escapes undone, if it holds a traceback; else the line as it is."""
    if "\\n" not in line or 'File \\"' not in line:
        return line
    try:
        return _message(line)
    except ValueError:
        return line.replace("\\n", "\n").replace('\\"', '"')


def _message(line: str) -> str:
    """The longest text in a line of JSON, as structured logs have it."""
    texts = [value for value in _values(json.loads(line)) if isinstance(value, str)]
    return max(texts, key=len, default=line)


def _values(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        for value in node.values():
            yield from _values(value)
    elif isinstance(node, list):
        for value in node:
            yield from _values(value)
    else:
        yield node


def _frame(path: str, line: int, projects: Iterable[Project]) -> tuple[Frame, Project] | None:
    """The frame of generated code that a line of a traceback speaks of, and its project."""
    plain = path.replace("\\", "/")
    for project in projects:
        for file in project.map["files"]:
            if plain == file or plain.endswith(f"/{file}"):
                source = _source(project.folder / file, line)
                if source is None:
                    continue
                place, indent = lookup(project.map, file, line), _indent(project.map, file, line)
                cell, cell_line = place if place else (None, None)
                return Frame(file, line, cell, cell_line, source[indent:]), project
    return None


def _source(path: Path, line: int) -> str | None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return lines[line - 1] if 0 < line <= len(lines) else None


def _indent(source_map: Json, file: str, line: int) -> int:
    """How many columns right of its place in the cell a generated line stands."""
    for start, count, _, _, indent in source_map["files"][file]:
        if start <= line < start + count:
            return int(indent)
    return 0


def _below(lines: Sequence[str], start: int, before: str) -> list[str]:
    """The source line under a frame, and the carets under that, where they are there."""
    found: list[str] = []
    for number in range(start, min(start + 2, len(lines))):
        line = lines[number][len(before) :] if lines[number].startswith(before) else lines[number]
        is_source = number == start and line.startswith("    ") and not FRAME.match(lines[number])
        if not (is_source or (found and CARETS.match(line))):
            break
        found.append(line)
    return found


def _told(match: re.Match[str], frame: Frame, project: Project, below: Sequence[str]) -> list[str]:
    """The frame for people. Tracebacks show source without its indentation, so carets stay where they are."""
    before, margin = match["before"], match["indent"]
    if frame.cell is None:
        where = f"{frame.file}, line {frame.line} (nb2pipe's own)"
    else:
        where = f"{project.notebook}, cell {frame.cell}, line {frame.cell_line}"
    name = f", in {match['name']}" if match["name"] else ""
    told = [f"{before}{margin}{where}{name}"]
    if below or frame.source:
        told.append(f"{before}{margin}  {frame.source.strip()}")
    return [*told, *(f"{before}{line}" for line in below[1:])]


# --- finding projects -------------------------------------------------------------------------------------------------
def projects_near(folder: Path) -> list[Project]:
    """The generated projects in a folder, beside notebooks in it, and those that runs left in `.nb2pipe`."""
    places = [folder, *sorted(folder.glob("*/")), *sorted(folder.glob(".nb2pipe/projects/*/"))]
    return [project for place in places if (project := project_at(place)) is not None]


def project_at(folder: Path) -> Project | None:
    """The project whose folder this is; None if it is none, or its map cannot be read."""
    try:
        described = json.loads((folder / "nb2pipe.map.json").read_text(encoding="utf-8"))
        return Project(folder, described) if {"files", "notebook"} <= described.keys() else None
    except (OSError, ValueError, AttributeError):
        return None
