"""Three-way merge of texts by lines: what people edited and what a new conversion changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

OURS, BASE, MIDDLE, THEIRS = "<<<<<<< your edit", "||||||| as generated before", "=======", ">>>>>>> as generated now"

Lines = Sequence[str]


@dataclass(frozen=True, slots=True)
class Merged:
    """The merged text and how many conflicts are marked in it."""

    text: str
    conflicts: int


def merge(base: str | None, ours: str, theirs: str) -> Merged:
    """`ours` with the changes from `base` to `theirs`; lines that both changed differently are marked as conflicts.

    Without a base every difference is a conflict, as nobody can know which side changed.
    """
    a, b = ours.split("\n"), theirs.split("\n")
    chunks = _two_way(a, b) if base is None else _three_way(base.split("\n"), a, b)
    out: list[str] = []
    conflicts = 0
    for before, mine, new in chunks:
        settled = _settled(before, mine, new)
        if settled is None:
            conflicts += 1
            settled = _conflict(before, mine, new)
        out += settled
    return Merged("\n".join(out), conflicts)


def is_conflicted(text: str) -> bool:
    """Whether `text` still has a conflict that `merge` marked."""
    return any(line.rstrip("\r") == OURS for line in text.split("\n"))


Chunk = tuple[Lines | None, Lines, Lines]
"""Corresponding lines of base (None: there is none), ours and theirs."""


def _settled(before: Lines | None, mine: Lines, new: Lines) -> list[str] | None:
    if mine == new or new == before:
        return list(mine)
    return list(new) if mine == before else None


def _conflict(before: Lines | None, mine: Lines, new: Lines) -> list[str]:
    """The conflict, without the lines at its ends that both sides have."""
    start = 0
    while start < min(len(mine), len(new)) and mine[start] == new[start]:
        start += 1
    stop = 0
    while stop < min(len(mine), len(new)) - start and mine[-1 - stop] == new[-1 - stop]:
        stop += 1
    head, tail = mine[:start], mine[len(mine) - stop :]
    old = [BASE, *before] if before is not None else []
    return [*head, OURS, *mine[start : len(mine) - stop], *old, MIDDLE, *new[start : len(new) - stop], THEIRS, *tail]


def _two_way(a: Lines, b: Lines) -> Iterator[Chunk]:
    for _, a1, a2, b1, b2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        yield None, a[a1:a2], b[b1:b2]


def _three_way(base: Lines, a: Lines, b: Lines) -> Iterator[Chunk]:
    at_base = at_a = at_b = 0
    for base_start, a_start, b_start, size in _common(base, a, b):
        yield base[at_base:base_start], a[at_a:a_start], b[at_b:b_start]
        same = base[base_start : base_start + size]
        yield same, same, same
        at_base, at_a, at_b = base_start + size, a_start + size, b_start + size
    yield base[at_base:], a[at_a:], b[at_b:]


def _common(base: Lines, a: Lines, b: Lines) -> Iterator[tuple[int, int, int, int]]:
    """Runs of lines that all three have: where they begin in each, and how long they are."""
    blocks_a = SequenceMatcher(None, base, a, autojunk=False).get_matching_blocks()
    blocks_b = SequenceMatcher(None, base, b, autojunk=False).get_matching_blocks()
    i = j = 0
    while i < len(blocks_a) and j < len(blocks_b):
        in_a, in_b = blocks_a[i], blocks_b[j]
        start = max(in_a.a, in_b.a)
        stop = min(in_a.a + in_a.size, in_b.a + in_b.size)
        if start < stop:
            yield start, in_a.b + start - in_a.a, in_b.b + start - in_b.a, stop - start
        if in_a.a + in_a.size < in_b.a + in_b.size:
            i += 1
        else:
            j += 1
