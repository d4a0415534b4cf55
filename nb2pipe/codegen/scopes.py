"""Which names a generated file binds where: what decides whether a function may hold the cells of a step."""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterable


def means_global(source: str, name: str) -> bool:
    """Whether the file binds `name` at its top or reads a global of that name anywhere; True if it is no Python."""
    try:
        module = symtable.symtable(source, "<step>", "exec")
    except SyntaxError:
        return True
    return name in module.get_identifiers() or any(
        name in scope.get_identifiers() and scope.lookup(name).is_global() for scope in _scopes_in(module)
    )


def hidden_by(source: str, function: str) -> tuple[str, ...]:
    """Names that the file binds at its top and assigns in `function` too, which makes them local there."""
    try:
        module = symtable.symtable(source, "<step>", "exec")
        tree = ast.parse(source)
    except SyntaxError:
        return ()
    node = next(n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)) and n.name == function)
    top = {symbol.get_name() for symbol in module.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    parameters = {argument.arg for argument in node.args.args}
    return tuple(sorted(top & set(_bound(node.body)) - parameters - {function}))


def _scopes_in(table: symtable.SymbolTable) -> Iterable[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _scopes_in(child)


def _bound(body: Iterable[ast.AST]) -> Iterable[str]:
    """The names that a function's statements bind in its own scope (symtable adds those of comprehensions)."""
    pending = list(body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.comprehension):
            pending += [node.iter, *node.ifs]
        elif not isinstance(node, ast.Lambda):
            pending += ast.iter_child_nodes(node)
