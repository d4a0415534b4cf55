"""The import statements of a file: taken apart, without doubles, and what they bind."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nb2pipe.pipeline.model import Fragment


@dataclass(frozen=True, slots=True)
class Statement:
    """The lines `start` to `stop` of `fragment`: one import statement with the comments above it."""

    fragment: Fragment
    start: int
    stop: int
    future: bool

    @property
    def text(self) -> str:
        """Its lines, as the notebook has them."""
        return "\n".join(self.fragment.lines[self.start : self.stop])


def parse(text: str) -> ast.Module | None:
    """The tree of `text`, with await allowed at the top; None if it is no Python by itself."""
    try:
        flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        tree = compile(text, "<fragment>", "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    return tree if isinstance(tree, ast.Module) else None


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _statements(fragment: Fragment) -> Iterator[Statement]:
    tree = parse("\n".join(fragment.lines))
    if tree is None or not tree.body:
        yield Statement(fragment, 0, len(fragment.lines), False)
        return
    start = 0
    for node, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        stop = node.end_lineno or node.lineno
        if following is not None and following.lineno == stop:
            continue  # `import a; import b`: one line stays one line
        yield Statement(fragment, start, stop if following else len(fragment.lines), _is_future(node))
        start = stop


def statements(fragments: Iterable[Fragment]) -> tuple[Statement, ...]:
    """The import statements in order, `from __future__` first, each text once."""
    first: dict[str, Statement] = {}
    for fragment in fragments:
        for statement in _statements(fragment):
            first.setdefault(statement.text.strip(), statement)
    return tuple(sorted(first.values(), key=lambda s: not s.future))


def bound_names(texts: Iterable[str]) -> dict[str, str]:
    """What import statements bind: qualified name -> the name it has in the file.

    `import pandas as pd` gives {"pandas": "pd"}, `import a.b` gives {"a": "a"}, `from a import b` gives {"a.b": "b"}.
    """
    bound: dict[str, str] = {}
    for text in texts:
        for node in ast.walk(parse(text) or ast.Module([], [])):
            if isinstance(node, ast.Import):
                bound.update(_plain_import(alias) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                bound.update({f"{node.module or '.'}.{a.name}": a.asname or a.name for a in node.names})
    return bound


def _plain_import(alias: ast.alias) -> tuple[str, str]:
    head = alias.name.partition(".")[0]
    return (alias.name, alias.asname) if alias.asname else (head, head)
