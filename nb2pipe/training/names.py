"""Which library a name means, by the imports above it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping


def imported(trees: Iterable[ast.AST]) -> dict[str, str]:
    """The dotted path behind every imported name.

    >>> imported([ast.parse("import torch.nn as nn, numpy; from torch.utils.data import DataLoader as D")])
    {'nn': 'torch.nn', 'numpy': 'numpy', 'D': 'torch.utils.data.DataLoader'}
    """
    found: dict[str, str] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {
                    a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0]
                    for a in node.names
                }
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names if a.name != "*"}
    return found


def path_of(node: ast.expr, imports: Mapping[str, str]) -> str:
    """The dotted path that an expression names, "" for what is no imported name.

    >>> path_of(ast.parse("nn.Linear", mode="eval").body, {"nn": "torch.nn"})
    'torch.nn.Linear'
    """
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in imports:
        return ""
    return ".".join([imports[node.id], *reversed(parts)])


def called(node: ast.AST, imports: Mapping[str, str]) -> str:
    """The dotted path of the function that a call calls; "" for any other node and for what is not imported."""
    return path_of(node.func, imports) if isinstance(node, ast.Call) else ""
