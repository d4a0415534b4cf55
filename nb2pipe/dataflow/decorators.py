"""What decorators do: when they run what they decorate, and what they make of it."""

from __future__ import annotations

import ast
from collections.abc import Callable

from nb2pipe.dataflow.calls import call_method, call_value
from nb2pipe.dataflow.effects import call_back
from nb2pipe.dataflow.events import Place
from nb2pipe.dataflow.machine import Machine
from nb2pipe.dataflow.special import own_module
from nb2pipe.dataflow.summaries import peek
from nb2pipe.dataflow.tables import has_table
from nb2pipe.dataflow.values import Val

Decorator = Callable[[list[Val], Place], Val]


def _imported_path(m: Machine, node: ast.expr) -> str | None:
    """The import path of a decorator, or of the function that makes it; None for one of the notebook."""
    root = called = node.func if isinstance(node, ast.Call) else node
    while isinstance(root, ast.Attribute):
        root = root.value
    bound = peek(m, root.id) if isinstance(root, ast.Name) else None
    if not isinstance(root, ast.Name) or (bound is not None and bound.val.ref is None):
        return None
    return m.evaluate(called).ref or ""


def unstorable(m: Machine, node: ast.expr) -> str:
    """The import path of a decorator, or of what makes it, that gives what cannot be stored; "" for others."""
    path = _imported_path(m, node)
    effect = m.tables.function(path) if path else None
    return path if path and effect is not None and effect.unstorable else ""


def _calls_later(m: Machine, path: str) -> bool:
    """Whether a library's decorator calls what it decorates only when that is called, as known ones do but a few."""
    effect = m.tables.function(path)
    return not effect.unknown if effect is not None else has_table(path.partition(".")[0])


def decorator(m: Machine, node: ast.expr) -> Decorator | None:
    """What a decorator does; None for one that leaves what it decorates until that is called."""
    if isinstance(node, ast.Attribute) and node.attr not in ("setter", "getter", "deleter"):
        receiver = m.evaluate(node.value)
        if receiver.ref is None and receiver.objs:
            return lambda args, place: call_method(m, receiver, node.attr, args, {}, place)
    value = m.evaluate(node)
    path = _imported_path(m, node) if value.ref is None else value.ref
    if path is not None:
        return None if not path or _calls_later(m, path) else lambda args, place: _handed_over(m, path, args, place)
    return (lambda args, place: call_value(m, value, args, {}, place)) if value.defs or value.objs else None


def _handed_over(m: Machine, path: str, args: list[Val], place: Place) -> Val:
    """What a library's decorator makes: what it decorates, which may run at once."""
    own_module(m, path, place)
    call_back(m, args, place)
    return args[0]


def decorated(m: Machine, decorators: list[Decorator | None], val: Val, node: ast.stmt) -> Val:
    """What decorators make of a definition, the last one first."""
    for one in filter(None, reversed(decorators)):
        val = _decorated_once(m, one, val, node)
    return val


def _decorated_once(m: Machine, decorate: Decorator, val: Val, node: ast.stmt) -> Val:
    held = Val(val.objs | {m.heap.definition(d) for d in val.defs}, val.type, defs=val.defs)
    result = decorate([held], m.at(node))
    if result.defs == val.defs and result.defs and result.objs <= held.objs:
        return val
    for made in result.defs:
        made.wraps = (*made.wraps, *(d for d in val.defs if d is not made))
    return Val(result.objs | held.objs, result.type, defs=result.defs)
