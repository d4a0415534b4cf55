"""Property functions: code of the notebook that runs where an attribute is read, set or deleted."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from nb2pipe.dataflow.events import Place
from nb2pipe.dataflow.machine import Machine
from nb2pipe.dataflow.special import classes_of, is_unknown
from nb2pipe.dataflow.summaries import call_function
from nb2pipe.dataflow.values import Access, Def, Val, join

_DECORATORS: dict[str, Access] = {"getter": "get", "setter": "set", "deleter": "delete"}
_ARGUMENTS: dict[str, Access] = {"fget": "get", "fset": "set", "fdel": "delete"}


def property_functions(m: Machine, node: ast.ClassDef) -> dict[tuple[str, Access], Def]:
    """The property functions of a class whose body the machine has run, by attribute and use."""
    found = {(f.name, use): f for f in m.record.defined if f.owner is None and (use := _decorated_for(f.node))}
    for statement in node.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            names = [t.id for t in statement.targets if isinstance(t, ast.Name)]
            for use, function in _arguments(statement.value):
                found.update({(n, use): d for n in names for d in m.evaluate(function).defs})
    return found


def _decorated_for(node: ast.AST) -> Access | None:
    for decorator in getattr(node, "decorator_list", ()):
        last = ast.unparse(decorator).partition("(")[0].rpartition(".")[2]
        if last in _DECORATORS or "property" in last:
            return _DECORATORS.get(last, "get")
    return None


def _arguments(node: ast.Call) -> Iterator[tuple[Access, ast.expr]]:
    """The functions given to `property(...)`."""
    if "property" in ast.unparse(node.func):
        yield from zip(_ARGUMENTS.values(), node.args, strict=False)
        yield from ((_ARGUMENTS[k.arg], k.value) for k in node.keywords if k.arg in _ARGUMENTS)


def run_properties(
    m: Machine, base: Val, name: str | None, use: Access, place: Place, given: Sequence[Val] = ()
) -> Val | None:
    """Run what may run where the attribute `name` (None: any) of `base` is used; what that gives, if anything runs."""
    known = [f for c in classes_of(m, base) for f in c.accessors(name, use)]
    if known:
        return join([call_function(m, f, [base, *given], {}, place) for f in known])
    return _guessed(m, base, name, use, place, given) if is_unknown(m, base) else None


def _guessed(m: Machine, base: Val, name: str | None, use: Access, place: Place, given: Sequence[Val]) -> Val | None:
    """`base` may be an instance of any class."""
    if m.shared.guessing:
        return None
    m.shared.guessing += 1
    results = []
    for attribute, function in m.shared.properties.get(use, ()):
        if name in (None, attribute) and function not in m.shared.mentioning:
            m.shared.mentioning.add(function)
            with m.perhaps():
                results.append(call_function(m, function, [base, *given], {}, place))
            m.shared.mentioning.discard(function)
    m.shared.guessing -= 1
    return join(results) if results else None
