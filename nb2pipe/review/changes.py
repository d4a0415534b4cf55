"""What differs between two states of a project: since the last conversion, by the last one, and by people's hands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nb2pipe.codegen.project import MAP_FILE, Project
from nb2pipe.codegen.write import on_disk, pristine

MOST_LINES = 400
"""Lines of the difference of one file that are shown."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a difference: `old` and `new` are its numbers before and after, None where it is not there."""

    kind: Literal["same", "gone", "new", "gap"]
    old: int | None
    new: int | None
    text: str


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that differs; `cut` counts the rows that are not shown."""

    path: str
    word: Literal["changed", "new", "gone"]
    rows: tuple[Row, ...]
    added: int
    removed: int
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """One comparison, in the words of its heading; no files: nothing differs."""

    title: str
    files: tuple[FileChange, ...]


def changes(project: Project | None, folder: Path) -> tuple[Changes, ...]:
    """The comparisons with the project on disk; none if there is none. `project` is what is generated now."""
    base = texts(pristine(folder))
    if not base:
        return ()
    found = []
    if project is not None:
        now = {path: text for path, text in project.files.items() if path != MAP_FILE}
        compiled = {path for path in base if path not in now and path.endswith((".yaml", ".yml"))}
        known = {path: text for path, text in base.items() if path not in compiled}
        found.append(Changes("Since the last conversion", _files(known, now)))
    before = texts(pristine(folder, previous=True))
    if before:
        found.append(Changes("By the last conversion", _files(before, base)))
    disk = texts(on_disk(folder, base))
    found.append(Changes("Edited by people", _files(base, disk)))
    return tuple(found)


def texts(contents: Mapping[str, bytes]) -> dict[str, str]:
    """The text files among `contents`; data and the source map are left out."""
    found = {}
    for path, content in contents.items():
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            continue
        if path != MAP_FILE and not path.startswith("tests/data/"):
            found[path] = text.replace("\r\n", "\n")
    return found


def _files(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[FileChange, ...]:
    paths = sorted({*old, *new})
    return tuple(_change(path, old.get(path), new.get(path)) for path in paths if old.get(path) != new.get(path))


def _change(path: str, old: str | None, new: str | None) -> FileChange:
    rows = list(_rows((old or "").splitlines(), (new or "").splitlines()))
    word: Literal["changed", "new", "gone"] = "new" if old is None else "gone" if new is None else "changed"
    added, removed = (sum(row.kind == kind for row in rows) for kind in ("new", "gone"))
    return FileChange(path, word, tuple(rows[:MOST_LINES]), added, removed, max(0, len(rows) - MOST_LINES))


def _rows(old: Sequence[str], new: Sequence[str]) -> Iterator[Row]:
    """The difference with three lines around each change; a gap where lines are left out."""
    from difflib import SequenceMatcher

    groups = SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(3)
    for number, group in enumerate(groups):
        if number or group[0][1] or group[0][3]:
            yield Row("gap", None, None, "")
        for word, a1, a2, b1, b2 in group:
            if word == "equal":
                yield from (Row("same", a + 1, b1 + a - a1 + 1, old[a]) for a in range(a1, a2))
            else:
                yield from (Row("gone", a + 1, None, old[a]) for a in range(a1, a2))
                yield from (Row("new", None, b + 1, new[b]) for b in range(b1, b2))
