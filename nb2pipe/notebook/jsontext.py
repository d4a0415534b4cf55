"""Where things stand in JSON text, and edits that leave everything else as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

_SPACE = re.compile(r"[ \t\n\r]*")
_SCAN: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Span:
    """A value: `text[start:end]`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an object: its key begins at `start`, its value is `value`."""

    key: str
    start: int
    value: Span


@dataclass(frozen=True, slots=True)
class Edit:
    """`text[start:end]` becomes `new`."""

    start: int
    end: int
    new: str


@dataclass(frozen=True, slots=True)
class Style:
    """How an object or array is laid out: white space after its bracket, between parts, before the closing bracket,
    and around the colon."""

    lead: str
    comma: str
    tail: str
    colon: str = ": "


def applied(text: str, edits: Iterable[Edit]) -> str:
    """The text with edits that do not overlap.

    >>> applied("abc", [Edit(0, 1, "x"), Edit(3, 3, "!")])
    'xbc!'
    """
    parts, at = [], 0
    for edit in sorted(edits, key=lambda e: (e.start, e.end)):
        parts += [text[at : edit.start], edit.new]
        at = edit.end
    return "".join([*parts, text[at:]])


def skip(text: str, at: int) -> int:
    """The position of what follows the white space at `at`."""
    match = _SPACE.match(text, at)
    return match.end() if match else at


def members(text: str, at: int) -> list[Member]:
    """The members of the object whose `{` stands at `at`; `text` is valid JSON."""
    found: list[Member] = []
    here = skip(text, at + 1)
    while text[here] != "}":
        key, end = scanstring(text, here + 1)
        start = skip(text, skip(text, end) + 1)
        value = Span(start, _SCAN(text, start)[1])
        found.append(Member(key, here, value))
        here = skip(text, value.end)
        here = skip(text, here + 1) if text[here] == "," else here
    return found


def elements(text: str, at: int) -> list[Span]:
    """The elements of the array whose `[` stands at `at`."""
    found: list[Span] = []
    here = skip(text, at + 1)
    while text[here] != "]":
        found.append(Span(here, _SCAN(text, here)[1]))
        here = skip(text, found[-1].end)
        here = skip(text, here + 1) if text[here] == "," else here
    return found


def member(several: Sequence[Member], key: str) -> Member | None:
    """The member that counts: of several with one key the last, as `json.loads` has it."""
    return next((m for m in reversed(several) if m.key == key), None)


def object_style(text: str, at: int, own: Sequence[Member]) -> Style:
    """The layout of an object that has members."""
    first, last = own[0], own[-1]
    lead = text[at + 1 : first.start]
    colon = text[scanstring(text, first.start + 1)[1] : first.value.start]
    inline = "," + " " * colon.endswith(" ")
    comma = text[first.value.end : own[1].start] if len(own) > 1 else "," + lead if "\n" in lead else inline
    return Style(lead, comma, text[last.value.end : skip(text, last.value.end)], colon)


def array_style(text: str, at: int, own: Sequence[Span], colon: str) -> Style:
    """The layout of an array that has elements; of one without commas it follows the colon of its object."""
    lead = text[at + 1 : own[0].start]
    inline = "," + " " * colon.endswith(" ")
    comma = text[own[0].end : own[1].start] if len(own) > 1 else "," + lead if "\n" in lead else inline
    return Style(lead, comma, text[own[-1].end : skip(text, own[-1].end)], colon)


def deeper(style: Style, parent_tail: str) -> Style:
    """The layout one level below an object of this layout, whose closing bracket follows `parent_tail`."""
    if "\n" not in style.lead:
        return Style("", "," + " " * style.colon.endswith(" "), "", style.colon)
    unit = style.lead[len(parent_tail) :] if style.lead.startswith(parent_tail) else " "
    lead = style.lead + unit
    return Style(lead, "," + lead, style.lead, style.colon)


def without(text: str, at: int, own: Sequence[Member], gone: Member) -> Edit:
    """The edit that takes a member out of the object at `at`."""
    index = own.index(gone)
    if len(own) == 1:
        return Edit(at, skip(text, gone.value.end) + 1, "{}")
    if index == 0:
        return Edit(gone.start, own[1].start, "")
    return Edit(own[index - 1].value.end, gone.value.end, "")


def with_member(text: str, at: int, own: Sequence[Member], key: str, value: str) -> Edit:
    """The edit that puts a member into an object that has some: in order if they are, else last."""
    style = object_style(text, at, own)
    new = json.dumps(key) + style.colon + value
    keys = [m.key for m in own]
    later = next((m for m in own if m.key > key), None) if keys == sorted(keys) else None
    if later is not None:
        return Edit(later.start, later.start, new + style.comma)
    return Edit(own[-1].value.end, own[-1].value.end, style.comma + new)
