"""Cutting a cell's lines into fragments: whole statements leave it, the rest stays as it is."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterable, Mapping
from functools import lru_cache

from nb2pipe.dataflow.model import Statement
from nb2pipe.notebook.model import PyCell
from nb2pipe.pipeline.model import Fragment

Edits = Mapping[tuple[int, int], tuple[str, str]]
"""(cell, line) -> (the line's new text, the reason)."""


@lru_cache(maxsize=8192)
def lines_in_strings(lines: tuple[str, ...]) -> frozenset[int]:
    """The lines (from 1) that begin inside a string, so that indenting them would change it.

    >>> sorted(lines_in_strings(("x = '''a", "b'''", "y = 1")))
    [2]
    """
    text = "\n".join(lines)
    if not any(mark in text for mark in ("'''", '"""', "\\\n")):
        return frozenset()
    found: set[int] = set()
    opened = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(text + "\n").readline):
            name = tokenize.tok_name[token.type]
            if name == "STRING":
                found.update(range(token.start[0] + 1, token.end[0] + 1))
            elif name in ("FSTRING_START", "TSTRING_START"):
                opened = token.start[0]
            elif name in ("FSTRING_END", "TSTRING_END"):
                found.update(range(opened + 1, token.end[0] + 1))
    except (tokenize.TokenError, IndentationError):
        return frozenset(found)
    return frozenset(found)


def alone_on_its_lines(statement: Statement, all_statements: Iterable[Statement]) -> bool:
    """Whether no other statement of the cell shares a line with this one."""
    return not any(
        other is not statement
        and other.cell == statement.cell
        and other.first <= statement.last
        and statement.first <= other.last
        for other in all_statements
    )


def cut(cell: PyCell, first: int, last: int, edits: Edits, names: Iterable[str] = ()) -> Fragment:
    """The lines `first` to `last` (from 1, inclusive) of a cell."""
    inside = lines_in_strings(cell.lines)
    index = cell.cell.index
    numbers = range(first, last + 1)
    edited = {n: edits[index, n] for n in numbers if (index, n) in edits}
    changes = [
        (n - first, edited[n][1] if n in edited else cell.changes[n])
        for n in numbers
        if n in edited or n in cell.changes
    ]
    return Fragment(
        index,
        first,
        tuple(edited[n][0] if n in edited else cell.lines[n - 1] for n in numbers),
        frozenset(n - first for n in numbers if n in inside),
        tuple(changes),
        tuple(names),
    )


def with_comments(cell: PyCell, first: int) -> int:
    """The first line of the comment block directly above line `first`."""
    while first > 1 and cell.lines[first - 2].startswith("#") and (first - 1) not in cell.changes:
        first -= 1
    return first


def statement_fragment(cell: PyCell, statement: Statement, edits: Edits, *, alone: bool) -> Fragment:
    """A statement with the comments above it; one that shares its line is cut out of it."""
    names = tuple(sorted(statement.writes))
    if alone:
        return cut(cell, with_comments(cell, statement.first), statement.last, edits, names)
    text = ast.get_source_segment(cell.text, statement.node) or ""
    reason = "one of several statements on its line"
    lines = tuple(text.split("\n"))
    whole = cut(cell, statement.first, statement.first + len(lines) - 1, edits)
    changes = dict(whole.changes) | {0: reason, len(lines) - 1: reason}
    return Fragment(statement.cell, statement.first, lines, whole.raw, tuple(sorted(changes.items())), names)


def remaining(cell: PyCell, taken: Iterable[tuple[int, int]], edits: Edits) -> list[Fragment]:
    """What is left of a cell when the line ranges `taken` have gone elsewhere, in runs."""
    gone = {n for first, last in taken for n in range(first, last + 1)}
    runs: list[Fragment] = []
    start: int | None = None
    for number in range(1, len(cell.lines) + 2):
        inside = number <= len(cell.lines) and number not in gone
        if inside and start is None:
            start = number
        elif not inside and start is not None:
            runs.append(cut(cell, start, number - 1, edits))
            start = None
    return [r for r in runs if any(line.strip() for line in r.lines)]
