"""What a rewrite asks for, and the one place where it is done: text is put into lines, lines and blocks are added.

A rewrite only says what to change; lines never move between cells, and every change carries its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from nb2pipe.pipeline.model import BLOCK, Fragment


@dataclass(frozen=True, slots=True)
class Insert:
    """`text` is put in at `column` (UTF-8 bytes from 0, as in `ast`) of `line` (from 1 in the fragment)."""

    line: int
    column: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Replace:
    """`text` takes the place of what stands from `column` to `end` (UTF-8 bytes from 0) of `line` (from 1)."""

    line: int
    column: int
    end: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of nb2pipe's own, with their indent, before `line` (from 1; one past the end: at the fragment's end)."""

    line: int
    lines: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Block:
    """The lines `first` to `last` (whole statements, from 1 in the fragment) move into a block that `head` opens."""

    first: int
    last: int
    head: str
    reason: str


Edit = Insert | Replace | Lines | Block


def around(node: ast.expr, before: str, after: str, reason: str) -> tuple[Insert, Insert]:
    """`before` and `after` around an expression: `around(node, "shared(", ")", ...)` makes a call of it."""
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return (
        Insert(node.lineno, node.col_offset, before, reason),
        Insert(node.end_lineno, node.end_col_offset, after, reason),
    )


def applied(fragment: Fragment, edits: Sequence[Edit]) -> Fragment:
    """The fragment with all `edits` done. Their order counts only for those at the same place."""
    inserts = [e for e in edits if isinstance(e, (Insert, Replace))]
    blocks = [e for e in edits if isinstance(e, Block)]
    lines = _inserted(fragment.lines, inserts)
    changes = {**dict(fragment.changes)}
    for edit in inserts:
        changes[edit.line - 1] = edit.reason
    heads = [(b.first - 1, (_indent(fragment.lines[b.first - 1]) + b.head,), b.reason) for b in blocks]
    moved = {n - 1 for b in blocks for n in range(b.first, b.last + 1)}
    opened = {index for index, text, _ in (*fragment.added, *heads) if text[-1].endswith(":")}
    inside = {n for n in fragment.moved | moved if n - 1 in fragment.moved | moved} - opened
    own = [(e.line - 1, _right(e.lines, BLOCK * (e.line - 1 in inside)), e.reason) for e in _lines(edits)]
    added = [*fragment.added, *own, *heads]
    return replace(
        fragment,
        lines=lines,
        changes=tuple(sorted(changes.items())),
        added=tuple(sorted(added, key=lambda row: row[0])),
        moved=fragment.moved | moved,
    )


def _right(lines: Sequence[str], columns: int) -> tuple[str, ...]:
    return tuple(" " * columns + line for line in lines)


def _lines(edits: Iterable[Edit]) -> list[Lines]:
    return [e for e in edits if isinstance(e, Lines)]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _inserted(lines: Sequence[str], inserts: Sequence[Insert | Replace]) -> tuple[str, ...]:
    """The lines with every text put in; from the right, so that columns stay true."""
    done = [line.encode() for line in lines]
    order = sorted(enumerate(inserts), key=lambda pair: (pair[1].line, pair[1].column, pair[0]), reverse=True)
    for _, edit in order:
        line = done[edit.line - 1]
        end = edit.end if isinstance(edit, Replace) else edit.column
        done[edit.line - 1] = line[: edit.column] + edit.text.encode() + line[end:]
    return tuple(line.decode() for line in done)
