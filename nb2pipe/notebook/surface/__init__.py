"""Code cells -> plain Python, line for line: magics, shell escapes and IPython's other liberties are written out.

A new magic is one row in `lines.LINE_MAGICS` or `cells.CELL_MAGICS`.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Container, Iterator
from dataclasses import replace

from nb2pipe.findings import Finding, finding
from nb2pipe.notebook.model import Cell, Layout, Notebook, PyCell
from nb2pipe.notebook.surface.api import as_magic
from nb2pipe.notebook.surface.beam import without_interaction
from nb2pipe.notebook.surface.bigquery import without_context
from nb2pipe.notebook.surface.check import error_of, nests_too_deeply, syntax_finding
from nb2pipe.notebook.surface.lines import AUTOMAGIC
from nb2pipe.notebook.surface.scan import Scanner
from nb2pipe.notebook.surface.translate import Draft, dedent, translate
from nb2pipe.notebook.vocabulary import TAGS

_AUTOMATIC = re.compile(rf"\s*({'|'.join(sorted(AUTOMAGIC))})(\s+-[^=]*)?\s*")
_LIST_OF_IPYTHON = re.compile(r"\b(\w+)\.(?:n|s|l|p|nlstr|spstr|list|paths|grep|fields|get_list|get_nlstr|get_spstr)\b")
_API_CALL = re.compile(r"^[^#\"']*(?<!\w)get_ipython\(\)|^(?=[^#]*[\"'] in str\()[^#]*get_ipython\(\)")
_API_IMPORT = re.compile(r"import\s[^\n]*\bget_ipython")
_BINDING = re.compile(r"^[ \t]*([A-Za-z_]\w*)\s*=[^=]", re.MULTILINE)


def surface(notebook: Notebook, layout: Layout) -> tuple[PyCell, ...]:
    """Every code cell of `notebook` as Python, skipped ones too.

    A skipped cell has no findings but notes about its syntax; its requirements and files are empty.
    """
    names = _Names(notebook, layout)
    cells = [
        _skipped(pythonize(cell, names)) if layout.roles[cell.index] == "skip" else pythonize(cell, names)
        for cell in notebook.cells
        if cell.kind == "code"
    ]
    return tuple(without_context(without_interaction(_output_lists(_captured(cells)))))


def pythonize(cell: Cell, names: Container[str] | None = None) -> PyCell:
    """The code cell as Python of exactly as many lines.

    `names` are the names that the notebook binds: `!echo $x` means a variable of Python only if it knows one (None: any
    name may be bound). Findings: `syntax-error` and `too-deep` with the notebook's own line, magics that were dropped
    (notes) or that cannot be converted (errors).
    """
    draft = Draft(cell, names, cell.source.split("\n"))
    _blank_directives(draft)
    problem = _without_calls(draft) or _automatic(cell.source, names) or error_of("\n".join(draft.lines))
    if problem is not None:
        dedent(draft)
        translate(draft)
        problem = error_of("\n".join(draft.lines))
    if problem is not None:
        draft.findings.append(syntax_finding(problem, cell.index, cell.source))
    elif (line := nests_too_deeply("\n".join(draft.lines))) is not None:
        draft.findings.append(syntax_finding(("too deep", line), cell.index, cell.source))
    return draft.pycell()


def _blank_directives(draft: Draft) -> None:
    for tag in draft.cell.tags:
        if tag.line is not None and tag.kind in TAGS and tag.line <= len(draft.lines):
            draft.put(tag.line - 1, [""], "a directive of nb2pipe")


def _automatic(source: str, names: Container[str] | None) -> tuple[str, int] | None:
    """`ls -l` and `pwd` alone in a cell are magics for IPython although they are Python too."""
    if "\n" in source.strip() or not (match := _AUTOMATIC.fullmatch(source)):
        return None
    return None if names is not None and match[1] in names else ("a magic", 1)


def _without_calls(draft: Draft) -> tuple[str, int] | None:
    """Write calls of IPython's API as the magics they stand for; ("", line) if there are any."""
    if "get_ipython" not in draft.cell.source:
        return None
    scanner = Scanner()
    found = None
    for index, line in enumerate(draft.lines):
        magic = as_magic(line) if scanner.fresh and "get_ipython" in line else None
        if magic is not None:
            draft.put(index, [magic], "call of IPython's API")
            message = f"`{line.strip()[:60]}` was read as the magic `{magic.strip()[:60]}`."
            draft.findings.append(finding("ipython-api", message, cell=draft.cell.index, line=index + 1))
            found = found or ("a magic", index + 1)
        else:
            draft.findings += [] if scanner.in_string else _call_left(draft.cell, line, index + 1)
            scanner.feed(line)
    return found


def _call_left(cell: Cell, line: str, number: int) -> list[Finding]:
    """An error for a call that stays, unless the cell copes with being outside IPython or has a real import of it."""
    if not _API_CALL.search(line) or "NameError" in cell.source or _API_IMPORT.search(cell.source):
        return []
    message = f"Cell {cell.index} line {number} calls IPython, which a step does not run in."
    return [finding("ipython-api", message, cell=cell.index, line=number, name="get_ipython", severity="error")]


def _skipped(cell: PyCell) -> PyCell:
    notes = (replace(f, severity="note") for f in cell.findings if f.code in ("syntax-error", "too-deep"))
    return replace(cell, requirements=(), files=(), findings=tuple(notes))


class _Names:
    """The names that the notebook's cells bind; a cell is parsed only when it mentions a name that is asked for."""

    def __init__(self, notebook: Notebook, layout: Layout) -> None:
        self._cells = [c for c in notebook.cells if c.kind == "code" and layout.roles[c.index] != "skip"]
        self._bound: dict[int, set[str]] = {}
        self._known: dict[str, bool] = {}

    def __contains__(self, name: object) -> bool:
        word = str(name)
        if word not in self._known:
            mentioned = re.compile(rf"\b{re.escape(word)}\b")
            self._known[word] = any(mentioned.search(cell.source) and word in self._of(cell) for cell in self._cells)
        return self._known[word]

    def _of(self, cell: Cell) -> set[str]:
        if cell.index not in self._bound:
            tree = _parsed(cell.source) or _parsed(pythonize(cell).text)
            self._bound[cell.index] = _bound(tree) if tree else set(_BINDING.findall(cell.source))
        return self._bound[cell.index]


def _parsed(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _bound(tree: ast.Module) -> set[str]:
    """Names that the tree binds anywhere, in functions too: more than is bound, never less but for star imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def _captured(cells: list[PyCell]) -> Iterator[PyCell]:
    """A captured name that no cell mentions again is harmless."""
    for cell in cells:
        codes = {found.code for found in cell.findings}
        yield (
            replace(cell, findings=tuple(_mild(f, cells) for f in cell.findings))
            if "captured-output" in codes
            else cell
        )


def _mild(found: Finding, cells: list[PyCell]) -> Finding:
    name = re.search(r"output in (\w+)", found.message)
    if found.code != "captured-output" or name is None:
        return found
    word = re.compile(rf"\b{name[1]}\b")
    used = any(word.search(cell.text) for cell in cells)
    return found if used else replace(found, severity="note")


def _output_lists(cells: Iterator[PyCell]) -> Iterator[PyCell]:
    """`x = !cmd` is a plain list here: what only IPython's list can do is an error."""
    done = list(cells)
    text = "\n".join(cell.text for cell in done if "splitlines()" in cell.text)
    lists = (
        set(re.findall(r"^[ \t]*(\w+) = subprocess\.run\(.*\.splitlines\(\)$", text, re.MULTILINE)) if text else set()
    )
    for cell in done:
        extra = tuple(_beyond_lists(cell, lists)) if lists else ()
        yield replace(cell, findings=(*cell.findings, *extra)) if extra else cell


def _beyond_lists(cell: PyCell, lists: set[str]) -> Iterator[Finding]:
    for number, line in enumerate(cell.lines, 1):
        for match in _LIST_OF_IPYTHON.finditer(line):
            if match[1] in lists:
                message = f"`{match[0]}` exists only for IPython's own list; `{match[1]}` is a plain list of lines."
                yield finding(
                    "ipython-api", message, cell=cell.cell.index, line=number, name=match[1], severity="error"
                )
