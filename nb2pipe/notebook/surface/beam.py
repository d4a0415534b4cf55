"""Interactive Beam -> Beam: what only shows something is left out, and a plain runner takes the place of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from nb2pipe.findings import Finding, finding
from nb2pipe.notebook.model import PyCell

INTERACTIVE = "apache_beam.runners.interactive"
IB = f"{INTERACTIVE}.interactive_beam"
RUNNERS = frozenset({f"{INTERACTIVE}.interactive_runner.InteractiveRunner", "apache_beam.runners.InteractiveRunner"})
SHOWING = frozenset(f"{IB}.{name}" for name in ("show", "show_graph", "watch", "describe", "evict_recorded_data"))
"""Functions that show something or prepare for it; called as statements they are left out."""

SETTINGS = (f"{IB}.options.", f"{IB}.recordings.")
"""What is set or called below these concerns recordings, which only the interactive runner makes."""


def without_interaction(cells: Iterable[PyCell]) -> list[PyCell]:
    """The cells with Beam's interactive calls left out, each with a note, and a plain runner for the interactive one.

    `ib.collect` stays: it gives a value. Cells that do not parse stay as they are.
    """
    cells = list(cells)
    if not any("interactive" in cell.text.lower() for cell in cells):
        return cells
    trees = [_parsed(cell.text) if "apache_beam" in cell.text else None for cell in cells]
    names = _names(tree for tree in trees if tree is not None)
    return [_plain(cell, names) if any(name in cell.text for name in names) else cell for cell in cells]


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _names(trees: Iterable[ast.Module]) -> dict[str, str]:
    """The dotted path behind each name that is imported from Beam, in any cell."""
    found: dict[str, str] = {}
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "apache_beam":
                    found[alias.asname or "apache_beam"] = alias.name if alias.asname else "apache_beam"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "apache_beam":
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _path(node: ast.AST, names: Mapping[str, str]) -> str:
    """The dotted path that an expression names, or that of the function it calls; "" for anything else."""
    node = node.func if isinstance(node, ast.Call) else node
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([names[node.id], *reversed(parts)]) if isinstance(node, ast.Name) and node.id in names else ""


def _plain(cell: PyCell, names: Mapping[str, str]) -> PyCell:
    tree = _parsed(cell.text)
    if tree is None:
        return cell
    edits = [*_left_out(tree, names), *_runners(tree, names)]
    return _edited(cell, edits) if edits else cell


_Edit = tuple[ast.stmt | ast.expr, str, str]
"""A node, the text that takes its place, and why."""


def _left_out(tree: ast.Module, names: Mapping[str, str]) -> Iterator[_Edit]:
    """Statements that only show something, or set how it is shown."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            path = _path(node.value, names)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            path = _path(node.targets[0], names)
            path = path if path.startswith(SETTINGS) else ""
        else:
            continue
        if path in SHOWING or path.startswith(SETTINGS):
            yield (
                node,
                "" if node in tree.body else "pass",
                f"{path.removeprefix(IB)[1:]} shows something in a notebook only",
            )


def _runners(tree: ast.Module, names: Mapping[str, str]) -> Iterator[_Edit]:
    """Interactive runners, made with or without arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _path(node, names) in RUNNERS:
            yield node, '"DirectRunner"', "the interactive runner works in a notebook only"


def _edited(cell: PyCell, edits: Iterable[_Edit]) -> PyCell:
    lines, changes, notes = list(cell.lines), dict(cell.changes), []
    for node, text, why in sorted(edits, key=lambda edit: (edit[0].lineno, edit[0].col_offset), reverse=True):
        before = list(lines)
        _put(lines, node, text)
        changes |= {index + 1: why for index, line in enumerate(lines) if line != before[index]}
        notes.append(_note(cell, node, why))
    return replace(
        cell,
        lines=tuple(lines),
        changes=dict(sorted(changes.items())),
        findings=(*cell.findings, *reversed(notes)),
    )


def _note(cell: PyCell, node: ast.stmt | ast.expr, why: str) -> Finding:
    message = f"`{ast.unparse(node)[:60]}` was left out: {why}."
    return finding("beam-interactive", message, cell=cell.cell.index, line=node.lineno)


def _put(lines: list[str], node: ast.stmt | ast.expr, text: str) -> None:
    """Put `text` in the place of a node, then what stands behind it; the node's further lines are then empty."""
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    first, last = node.lineno - 1, node.end_lineno - 1
    head = lines[first].encode()[: node.col_offset].decode()
    tail = lines[last].encode()[node.end_col_offset :].decode()
    alone = not text and not tail.lstrip().startswith(";")
    lines[first] = head + (text if text or alone else "pass") + tail
    lines[first + 1 : last + 1] = [""] * (last - first)
