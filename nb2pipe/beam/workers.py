"""What functions do that run on Dataflow's workers, where nothing of the step is but what is handed to them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from nb2pipe.dataflow.tables import Tables
from nb2pipe.findings import Finding, finding
from nb2pipe.training.model import Code, Piece
from nb2pipe.training.names import called


def files_of_workers(code: Code) -> Iterator[Finding]:
    """A finding for each call that opens a file of the step in what a transform is given to run."""
    defined = {
        node.name: (piece, node)
        for piece in code.pieces
        for node in ast.walk(piece.tree)
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    todo = [(piece, node) for piece in code.pieces for node in _given(piece, code.imports)]
    seen: set[int] = set()
    while todo:
        piece, node = todo.pop()
        for part in ast.walk(node):
            if isinstance(part, ast.Call) and isinstance(node, (ast.Lambda, ast.FunctionDef, ast.ClassDef)):
                yield from _opened(part, piece, code.imports)
            if isinstance(part, ast.Name) and part.id in defined and id(defined[part.id][1]) not in seen:
                seen.add(id(defined[part.id][1]))
                todo.append(defined[part.id])


def _given(piece: Piece, imports: Mapping[str, str]) -> Iterator[ast.AST]:
    """What transforms are given: lambdas, and the names of functions and of classes."""
    for call in ast.walk(piece.tree):
        if called(call, imports).startswith("apache_beam.") and isinstance(call, ast.Call):
            given = [*call.args, *(word.value for word in call.keywords)]
            yield from (n for a in given for n in ast.walk(a) if isinstance(n, (ast.Lambda, ast.Name)))


def _opened(call: ast.Call, piece: Piece, imports: Mapping[str, str]) -> Iterator[Finding]:
    path = called(call, imports)
    is_open = isinstance(call.func, ast.Name) and call.func.id == "open"
    row = Tables().function(path) if path and not path.startswith("apache_beam") else None
    if not (is_open or (row is not None and row.files)) or _is_elsewhere(call):
        return
    message = f"`{ast.unparse(call)[:60]}` runs on Dataflow's workers, which do not have the step's files."
    line = piece.fragment.line + call.lineno - 1
    yield finding("beam-worker-file", message, cell=piece.fragment.cell, line=line, name=ast.unparse(call.func))


def _is_elsewhere(call: ast.Call) -> bool:
    """Whether the file is in a store that workers reach."""
    first = call.args[0] if call.args else None
    text = first.values[0] if isinstance(first, ast.JoinedStr) and first.values else first
    return isinstance(text, ast.Constant) and isinstance(text.value, str) and "://" in text.value
