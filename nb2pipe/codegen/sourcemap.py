"""The source map: which generated line is which line of which cell.

A row `[gen_start, n, cell, cell_line, indent]` says: the `n` lines of the file from `gen_start` (from 1) are the lines
of `cell` from `cell_line` (from 1), each moved right by `indent` columns. Lines of nb2pipe's own have no row.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from nb2pipe.pipeline.model import BLOCK, Fragment

Row = list[int]


class Emitter:
    """Collects the lines of one file and the rows of its source map; every generated Python file is made through it.

    `reasons` says of every line (from 1) that is not the notebook's as it stands there why it is so.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.rows: list[Row] = []
        self.reasons: dict[int, str] = {}

    def own(self, *lines: str, why: str) -> None:
        """Add lines of nb2pipe's own, with the reason."""
        for line in lines:
            self.lines.append(line)
            self.reasons[len(self.lines)] = why

    def blank(self, count: int) -> None:
        """Let exactly `count` blank lines stand at the end of what is there; nothing at the top of the file.

        A blank line after a backslash ends the user's statement: it stays whatever `count` says.
        """
        while self.lines and not self.lines[-1] and not self._continued(len(self.lines) - 1):
            self.reasons.pop(len(self.lines), None)
            self.lines.pop()
        if self.lines:
            self.own(*[""] * count, why="space")

    def _continued(self, index: int) -> bool:
        return index > 0 and self.lines[index - 1].endswith("\\")

    def fragment(self, fragment: Fragment, start: int, stop: int, indent: int) -> None:
        """Add the lines `start` to `stop` of `fragment`, moved right by `indent` except where that would change a
        string."""
        changes = dict(fragment.changes)
        for index in range(start, stop):
            self._added(fragment, index, indent)
            raw = index in fragment.raw
            text = fragment.lines[index].removesuffix("\r")
            right = 0 if raw else indent + BLOCK * (index in fragment.moved)
            if not raw:
                text = " " * right + text.lstrip("\f") if text.strip() else ""
            self._row(fragment.cell, fragment.line + index, right)
            self.lines.append(text)
            if index in changes:
                self.reasons[len(self.lines)] = changes[index]
            elif index in fragment.moved:
                self.reasons[len(self.lines)] = "in a block that was added around it"
        if stop == len(fragment.lines):
            self._added(fragment, stop, indent)

    def _added(self, fragment: Fragment, index: int, indent: int) -> None:
        for before, lines, why in fragment.added:
            if before == index:
                self.own(*(" " * indent + line for line in lines), why=why)

    def _row(self, cell: int, cell_line: int, indent: int) -> None:
        here = len(self.lines) + 1
        if self.rows:
            start, count, last_cell, last_line, last_indent = self.rows[-1]
            follows = (start + count, last_cell, last_line + count, last_indent) == (here, cell, cell_line, indent)
            if follows:
                self.rows[-1][1] += 1
                return
        self.rows.append([here, 1, cell, cell_line, indent])

    def text(self) -> str:
        """The file, with one line end at its end."""
        while self.lines and not self.lines[-1]:
            self.reasons.pop(len(self.lines), None)
            self.lines.pop()
        self._cut_rows()
        return "\n".join(self.lines) + "\n" if self.lines else ""

    def _cut_rows(self) -> None:
        for row in self.rows:
            row[1] = min(row[1], len(self.lines) + 1 - row[0])
        self.rows = [row for row in self.rows if row[1] > 0]


def lookup(source_map: Mapping[str, Any], file: str, line: int) -> tuple[int, int] | None:
    """The (cell, line of the cell) of line `line` of `file` (relative, with slashes), by a read `nb2pipe.map.json`.

    None for lines of nb2pipe's own and for files that it does not know.
    """
    rows: Sequence[Sequence[int]] = source_map.get("files", {}).get(file, ())
    index = bisect_right([row[0] for row in rows], line) - 1
    if index < 0:
        return None
    start, count, cell, cell_line = rows[index][:4]
    return (cell, cell_line + line - start) if line < start + count else None
