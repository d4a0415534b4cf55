"""What the translation of magics hands around: a magic as it stands in a cell, and the Python it becomes."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import TypeAlias

from nb2pipe.findings import Finding, finding


@dataclass(frozen=True, slots=True)
class Magic:
    """One magic or shell escape. `name` is "!" for `!cmd`, "!!" for `!!cmd` and `x = !cmd`.

    `text` is what follows the name, continuation lines joined; `raw` the same as its physical lines. `target` is what
    it is assigned to, "" when nothing. `names` are the names the notebook binds (None: any may be bound). `body` is the
    rest of the cell for a cell magic.
    """

    name: str
    text: str
    raw: tuple[str, ...]
    cell: int
    line: int
    target: str = ""
    names: Container[str] | None = None
    body: tuple[str, ...] = ()
    written: str = ""

    def bound(self, name: str) -> bool:
        """Whether Python knows `name` when the magic runs, as far as can be said."""
        return self.names is None or name in self.names

    def finding(self, code: str, message: str, hint: str | None = None) -> Finding:
        """A finding about this magic; its name is the magic's, with the signs it was written with."""
        signs = self.written[: len(self.written) - len(self.written.lstrip("%!"))] if not self.target else ""
        name = f"{signs}{self.name.strip('%!')}" or self.name
        return finding(code, message, cell=self.cell, line=self.line, name=name, hint=hint)


@dataclass(frozen=True, slots=True)
class Python:
    """What a magic becomes. `code` None: the line is dropped.

    For a line magic `code` is an expression or a statement, with at most as many lines as the magic has. For a cell
    magic `lines` stand for its whole cell, first line included; None keeps the body, which is translated in its turn.
    """

    why: str
    code: str | None = None
    lines: tuple[str, ...] | None = None
    imports: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = field(default=())


Handler: TypeAlias = Callable[[Magic], Python]


def dropped(magic: Magic, why: str) -> Python:
    """The magic is left out, with a note that says why."""
    note = magic.finding("magic-dropped", f"`{magic.written}` was left out: {why}.")
    return Python(why=f"{note.name} left out: {why}", findings=(note,))


def refused(magic: Magic, why: str, hint: str | None = None, code: str = "unknown-magic") -> Python:
    """The magic has no counterpart; an error says why."""
    return Python(why=why, findings=(magic.finding(code, f"`{magic.written}` cannot be converted: {why}.", hint),))


def translated(magic: Magic, code: str, *imports: str) -> Python:
    """The magic as the Python expression or statement `code`, which needs `imports`."""
    note = magic.finding("magic-translated", f"`{magic.written}` was written as Python.")
    return Python(why="magic written as Python", code=code, imports=imports, findings=(note,))
