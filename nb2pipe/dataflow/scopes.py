"""Which names a function binds itself (Language Reference, section 4.2 "Naming and binding")."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
NESTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Scope:
    """`bound`: names local to the function; `outer`: declared `global`; `nonlocals`: declared `nonlocal`."""

    bound: frozenset[str] = frozenset()
    outer: frozenset[str] = frozenset()
    nonlocals: frozenset[str] = frozenset()
    generator: bool = False


@dataclass(slots=True)
class _Binder:
    bound: set[str] = field(default_factory=set)
    outer: set[str] = field(default_factory=set)
    nonlocals: set[str] = field(default_factory=set)
    generator: bool = False

    def visit(self, node: ast.AST) -> None:
        """Collect what `node` binds in this scope, not looking into nested scopes."""
        if isinstance(node, NESTED):
            if not isinstance(node, ast.Lambda):
                self.bound.add(node.name)
            return
        if isinstance(node, COMPREHENSIONS):
            self.bound.update(walrus_names(node))
            return
        self._bind(node)
        for child in ast.iter_child_nodes(node):
            self.visit(child)

    def _bind(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            self.bound.add(node.id)
        elif isinstance(node, ast.Global):
            self.outer.update(node.names)
        elif isinstance(node, ast.Nonlocal):
            self.nonlocals.update(node.names)
        elif isinstance(node, (ast.Yield, ast.YieldFrom)):
            self.generator = True
        else:
            self.bound.update(plainly_bound(node))


def plainly_bound(node: ast.AST) -> Iterator[str]:
    """The names that `node` binds as plain strings: imports, except-names, match captures."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (a.asname or a.name.partition(".")[0] for a in node.names if a.name != "*")
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name
    elif isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest


def walrus_names(node: ast.AST) -> set[str]:
    """The names that `:=` inside a comprehension binds in the scope around it."""
    return {n.target.id for n in ast.walk(node) if isinstance(n, ast.NamedExpr)}


def arguments(args: ast.arguments) -> list[str]:
    """The parameter names of a signature, in order."""
    several = [
        *args.posonlyargs,
        *args.args,
        *filter(None, [args.vararg]),
        *args.kwonlyargs,
        *filter(None, [args.kwarg]),
    ]
    return [a.arg for a in several]


def scope(node: Function) -> Scope:
    """The scope of a function or lambda."""
    binder = _Binder()
    binder.bound.update(arguments(node.args))
    body = [node.body] if isinstance(node, ast.Lambda) else node.body
    for statement in body:
        binder.visit(statement)
    free = binder.outer | binder.nonlocals
    return Scope(frozenset(binder.bound - free), frozenset(binder.outer), frozenset(binder.nonlocals), binder.generator)


def bound_names(node: ast.AST) -> frozenset[str]:
    """Every name that a statement binds in its own scope."""
    binder = _Binder()
    binder.visit(node)
    return frozenset(binder.bound)


def chain(node: ast.AST) -> str | None:
    """The dotted text of an attribute chain on a name ("np.random.rand"), else None."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(names)])
