"""Where statements begin: a line scanner that knows strings, brackets and continuations, but not what is between."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(r"""#.*|(?P<quote>\"{3}|'{3}|"|')|(?P<open>[(\[{])|(?P<close>[)\]}])""", re.DOTALL)
_END = {quote: re.compile(rf"(?:\\.|[^\\])*?{quote}", re.DOTALL) for quote in ('"""', "'''", '"', "'")}
_ASSIGNED = re.compile(
    r"(?P<target>[A-Za-z_][\w.,\[\]\"' ]*?|\([\w, ]+\))\s*=\s*(?P<magic>![^=].*|!!.*|%[A-Za-z_].*)", re.DOTALL
)
_NAMED = re.compile(r"(?P<name>[A-Za-z_][\w.]*)(?P<text>(?:\s.*)?)", re.DOTALL)
_HELP = re.compile(r"\?{1,2}[^?].*|%{0,2}[A-Za-z_*][\w.*\[\]]*\s?\?{1,2}\s*;?")
_AUTO = re.compile(r"(?P<name>[A-Za-z_]\w*)(?:[ \t]+(?P<text>[^=,].*)?)?", re.DOTALL)


class Scanner:
    """Is fed line after line; `fresh` says whether the next line begins a statement."""

    def __init__(self) -> None:
        self._quote = ""
        self._depth = 0
        self._continued = False

    @property
    def fresh(self) -> bool:
        """Whether the next line begins a statement: no string, bracket or continuation is open."""
        return not (self._quote or self._depth or self._continued)

    @property
    def in_string(self) -> bool:
        """Whether the next line begins inside a string."""
        return bool(self._quote)

    def feed(self, line: str) -> None:
        """Read one line without its newline."""
        place = self._leave_string(line, 0) if self._quote else 0
        comment = False
        while not self._quote and (token := _TOKEN.search(line, place)):
            place = token.end()
            comment = token[0].startswith("#")
            if token["quote"]:
                self._quote = token["quote"]
                place = self._leave_string(line, place)
            elif token["open"]:
                self._depth += 1
            elif token["close"]:
                self._depth = max(0, self._depth - 1)
        self._continued = not self._quote and not comment and line.endswith("\\")

    def _leave_string(self, line: str, place: int) -> int:
        """The place after the open string's end. A string of one line that does not end there is an error of Python."""
        end = _END[self._quote].match(line, place)
        if end:
            self._quote = ""
            return end.end()
        if len(self._quote) == 1 and not line.endswith("\\"):
            self._quote = ""
        return len(line)


@dataclass(frozen=True, slots=True)
class Found:
    """A magic that begins at a line: its parts as written, and how many lines it spans."""

    indent: str
    target: str
    name: str
    raw: tuple[str, ...]
    automatic: bool = False

    @property
    def text(self) -> str:
        """What follows the name, continuation lines joined as IPython joins them."""
        parts = [line.rstrip()[:-1] for line in self.raw[:-1]]
        return " ".join([*parts, self.raw[-1].rstrip()])


def magic_at(lines: Sequence[str], start: int, automagic: Container[str]) -> Found | None:
    """The magic or shell escape at line `start`, which begins a statement; None when it is Python.

    `automagic` are the names that are magics without a percent sign. The name "?" stands for a request for help.
    """
    line = lines[start]
    code = line.lstrip(" \t")
    indent = line[: len(line) - len(code)]
    if _HELP.fullmatch(code.rstrip()):
        return Found(indent, "", "?", (code,))
    if code[:1] in ("!", "%"):
        return _escaped(indent, "", code, lines, start)
    if assigned := _ASSIGNED.fullmatch(code):
        return _escaped(indent, assigned["target"], assigned["magic"], lines, start)
    automatic = _AUTO.fullmatch(code.rstrip())
    if automatic and automatic["name"] in automagic:
        return Found(indent, "", automatic["name"], _continued(automatic["text"] or "", lines, start), True)
    return None


def _escaped(indent: str, target: str, code: str, lines: Sequence[str], start: int) -> Found | None:
    if code[0] == "!":
        double = "!!" if code.startswith("!!") or target else "!"
        return Found(indent, target, double, _continued(code.lstrip("!"), lines, start))
    named = _NAMED.fullmatch(code.lstrip("%").lstrip())
    if named is None:
        return None
    name = ("%%" if code.startswith("%%") else "") + named["name"]
    return Found(indent, target, name, _continued(named["text"].lstrip(), lines, start))


def _continued(first: str, lines: Sequence[str], start: int) -> tuple[str, ...]:
    raw = [first]
    while raw[-1].rstrip().endswith("\\") and start + len(raw) < len(lines):
        raw.append(lines[start + len(raw)])
    return tuple(raw)
