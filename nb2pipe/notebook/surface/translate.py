"""One cell with magics -> the same lines in Python. The tables say what a magic becomes; this applies it."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace

from nb2pipe.findings import Finding, errors
from nb2pipe.notebook.model import Cell, PyCell
from nb2pipe.notebook.surface.cells import CELL_MAGICS
from nb2pipe.notebook.surface.lines import AUTOMAGIC, LINE_MAGICS
from nb2pipe.notebook.surface.model import Magic, Python, dropped, refused
from nb2pipe.notebook.surface.scan import Found, Scanner, magic_at
from nb2pipe.notebook.surface.shell import shell

_CELL_MAGIC = re.compile(r"%%(?P<name>!|[A-Za-z_][\w.]*)(?P<text>(?:\s.*)?)", re.DOTALL)
_KEPT_LENGTH = 80


@dataclass(slots=True)
class Draft:
    """A cell under translation. `lines` are changed in place and never get more or fewer."""

    cell: Cell
    names: Container[str] | None
    lines: list[str]
    changes: dict[int, str] = field(default_factory=dict)
    imports: dict[str, None] = field(default_factory=dict)
    requirements: list[tuple[str, int]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def put(self, index: int, new: Iterable[str], why: str) -> None:
        """Replace lines from `index` (from 0) by `new`; `why` is noted for those that differ."""
        for number, line in enumerate(new, index):
            if self.lines[number] != line:
                self.lines[number] = line
                self.changes[number + 1] = why

    def gather(self, python: Python, line: int) -> None:
        """Note what the translated magic of `line` (from 1) needs and says."""
        self.imports |= dict.fromkeys(python.imports)
        self.requirements += [(spec, line) for spec in python.requirements]
        self.files += python.files
        self.findings += python.findings

    def pycell(self) -> PyCell:
        """The cell as it stands now."""
        return PyCell(
            cell=self.cell,
            lines=tuple(self.lines),
            changes=dict(sorted(self.changes.items())),
            imports=tuple(self.imports),
            requirements=tuple(self.requirements),
            files=tuple(self.files),
            findings=tuple(self.findings),
        )


def dedent(draft: Draft) -> None:
    """Take the first line's indentation from every line that has it, as IPython does."""
    first = next((line for line in draft.lines if line.strip() and not line.lstrip().startswith("#")), "")
    indent = first[: len(first) - len(first.lstrip(" \t"))]
    if indent:
        draft.put(0, (line.removeprefix(indent) for line in draft.lines), "indentation of the whole cell removed")


def translate(draft: Draft) -> None:
    """Translate the cell magic, if the cell begins with one, and every line magic after it."""
    start = 0
    while (magic := _cell_magic(draft, start)) is not None:
        handler = CELL_MAGICS.get(magic.name)
        python = handler(magic) if handler else _unknown_cell(magic)
        draft.gather(python, magic.line)
        if python.lines is not None:
            draft.put(magic.line - 1, python.lines, python.why)
            return
        draft.put(magic.line - 1, [""], python.why)
        start = magic.line
    _translate_lines(draft, start)


def _cell_magic(draft: Draft, start: int) -> Magic | None:
    """The cell magic on the first line from `start` that is neither blank nor a comment."""
    for index in range(start, len(draft.lines)):
        line = draft.lines[index].strip()
        if line and not line.startswith("#"):
            match = _CELL_MAGIC.fullmatch(line)
            if match is None:
                return None
            return Magic(
                name=match["name"],
                text=match["text"].strip(),
                raw=(match["text"].strip(),),
                cell=draft.cell.index,
                line=index + 1,
                names=draft.names,
                body=tuple(draft.lines[index + 1 :]),
                written=_shown(line),
            )
    return None


def _unknown_cell(magic: Magic) -> Python:
    python = refused(magic, f"`%%{magic.name}` is not known")
    return replace(python, lines=("",) * (len(magic.body) + 1))


def _translate_lines(draft: Draft, start: int) -> None:
    scanner = Scanner()
    index = start
    while index < len(draft.lines):
        found = magic_at(draft.lines, index, _automagic(draft)) if scanner.fresh else None
        if found is None:
            scanner.feed(draft.lines[index])
            index += 1
            continue
        _apply(draft, index, found)
        index += len(found.raw)


class _automagic:
    """The automagic names that no variable of the notebook hides."""

    def __init__(self, draft: Draft) -> None:
        self._names = draft.names

    def __contains__(self, name: object) -> bool:
        return name in AUTOMAGIC and (self._names is None or name not in self._names)


def _apply(draft: Draft, index: int, found: Found) -> None:
    written = _shown(draft.lines[index].strip())
    magic = Magic(
        name=found.name,
        text=found.text,
        raw=found.raw,
        cell=draft.cell.index,
        line=index + 1,
        target=found.target,
        names=draft.names,
        written=written,
    )
    python = _python(magic, draft)
    draft.gather(python, index + 1)
    draft.put(index, _lines(found, python, written), python.why)


def _python(magic: Magic, draft: Draft) -> Python:
    if magic.name in ("!", "!!"):
        return shell(magic)
    if magic.name == "?":
        return dropped(magic, "it asks for help")
    handler = LINE_MAGICS.get(magic.name)
    if handler is None:
        return refused(magic, f"`%{magic.name}` is not known")
    python = handler(magic)
    if magic.target and python.code is None and not errors(python.findings):
        return refused(magic, "it gives no value")
    return _inner(python, magic, draft) if python.code is not None else python


def _inner(python: Python, magic: Magic, draft: Draft) -> Python:
    """`%time !cmd`: the statement that a magic keeps may be a magic itself."""
    code = (python.code or "").split("\n")
    found = magic_at(code, 0, ()) if magic.raw[0].lstrip()[:1] in ("!", "%") or len(code) > 1 else None
    if found is None or found.name == magic.name:
        return python
    inner = _python(
        replace(magic, name=found.name, text=found.text, raw=found.raw, target=magic.target or found.target), draft
    )
    prefix = f"{found.target} = " if found.target and inner.code is not None else ""
    return replace(
        inner,
        code=None if inner.code is None else prefix + inner.code,
        imports=(*python.imports, *inner.imports),
        findings=(*python.findings, *inner.findings),
    )


def _lines(found: Found, python: Python, written: str) -> list[str]:
    """The physical lines of a line magic: its code, then blank lines; `pass` where a block may need a statement."""
    height = len(found.raw)
    if python.code is None:
        first = f"{found.indent}pass  # {written}" if found.indent else ""
        if found.target:
            first = f"{found.indent}{found.target} = None"
        return [first, *[""] * (height - 1)]
    code = python.code.split("\n")
    code[0] = f"{found.indent}{found.target} = {code[0]}" if found.target else f"{found.indent}{code[0]}"
    return [*code, *[""] * (height - len(code))][:height]


def _shown(line: str) -> str:
    line = "".join(char if char.isprintable() else "?" for char in line)
    return line if len(line) <= _KEPT_LENGTH else f"{line[: _KEPT_LENGTH - 3]}..."
