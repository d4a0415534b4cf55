"""Whether a text is Python: compiled, never run; and what to say when it is not."""

from __future__ import annotations

import ast
import re
import warnings

from nb2pipe.findings import Finding, Severity, finding

_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
DEEPEST = 200
"""Nesting of an expression that every later pass follows without reaching Python's recursion limit."""
_LONG_TEXT = 4_000
_LONG_LINE = 400
_NESTING = re.compile(r"[-+~*/%|&^@,(\[{.]|\bnot\b|\bel?if\b|\blambda\b|\bfor\b")
_PYTHON_2 = re.compile(r"print'|exec'|multiple exception types|\bprint\b.*parentheses")


def error_of(text: str) -> tuple[str, int] | None:
    """None when `text` compiles (top-level await allowed), else the compiler's message and the line (from 1)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, "<cell>", "exec", _FLAGS, dont_inherit=True)
    except SyntaxError as error:
        return error.msg or "invalid syntax", _line(error.lineno, text)
    except (RecursionError, MemoryError):
        return "too deep", 1
    except ValueError as error:  # NUL characters, lone surrogates
        return str(error), 1
    return None


def _line(line: int | None, text: str) -> int:
    return min(max(line or 1, 1), text.count("\n") + 1)


def syntax_finding(problem: tuple[str, int], cell: int, source: str, severity: Severity | None = None) -> Finding:
    """The finding for a problem that `error_of` found."""
    message, line = problem
    if message == "too deep" or "too many nested" in message:
        return finding("too-deep", f"Cell {cell} nests too deeply.", cell=cell, line=line, severity=severity)
    lines = source.split("\n")
    shown = lines[line - 1].strip()[:60] if line <= len(lines) else ""
    old = bool(_PYTHON_2.search(message)) or bool(re.match(r"print\s+[^(=\s]", shown))
    hint = "This is Python 2: port the notebook to Python 3, for example `print(x)`." if old else None
    text = f"Cell {cell} line {line} is not valid Python: {message}" + (f" (`{shown}`)." if shown else ".")
    return finding("syntax-error", text, cell=cell, line=line, hint=hint, severity=severity)


def nests_too_deeply(text: str) -> int | None:
    """The line of the first statement whose tree is deeper than DEEPEST, None if there is none. `text` must compile."""
    if len(text) < _LONG_LINE or not _may_nest(text):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            body = ast.parse(text).body
        except (SyntaxError, RecursionError, MemoryError):
            return 1
    return next((statement.lineno for statement in body if _depth_exceeds(statement)), None)


def _may_nest(text: str) -> bool:
    if len(text) < _LONG_TEXT and max(map(len, text.split("\n"))) < _LONG_LINE:
        return False
    return sum(1 for _ in _NESTING.finditer(text)) >= DEEPEST


def _depth_exceeds(statement: ast.AST) -> bool:
    level: list[ast.AST] = [statement]
    for _ in range(DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return False
    return True
