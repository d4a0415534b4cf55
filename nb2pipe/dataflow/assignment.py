"""Abstract assignment: what binding, storing into and deleting a target does."""

from __future__ import annotations

import ast

from nb2pipe.dataflow.effects import elements, has_views
from nb2pipe.dataflow.events import Place, channel_of
from nb2pipe.dataflow.machine import Machine
from nb2pipe.dataflow.properties import run_properties
from nb2pipe.dataflow.special import touch
from nb2pipe.dataflow.values import Access, Val


def assign_target(m: Machine, target: ast.expr, val: Val) -> None:
    """Bind or store `val` at a target of an assignment, loop, `with` or comprehension."""
    place = m.at(target)
    if isinstance(target, ast.Name):
        m.assign(target.id, val, place)
    elif isinstance(target, (ast.Tuple, ast.List)):
        _unpack(m, target, val)
    elif isinstance(target, ast.Starred):
        item = elements(m, val)
        assign_target(m, target.value, Val(objs=frozenset([m.heap.new("builtins.list", item.objs)])))
    elif (named := global_name(m, target)) is not None:
        m.assign(named, val, place)
    else:
        store(m, target, val, place)


def _unpack(m: Machine, target: ast.Tuple | ast.List, val: Val) -> None:
    starred = any(isinstance(e, ast.Starred) for e in target.elts)
    if val.items is not None and not starred and len(val.items) == len(target.elts):
        for part, item in zip(target.elts, val.items, strict=True):
            assign_target(m, part, item)
        return
    item = elements(m, val)
    for part in target.elts:
        if isinstance(part, ast.Starred):
            parts = Val(objs=frozenset([m.heap.new("builtins.list", item.objs)]), type="builtins.list")
            assign_target(m, part.value, parts)
        else:
            assign_target(m, part, item)


def store(m: Machine, target: ast.expr, val: Val, place: Place) -> None:
    """`x[i] = val` and `x.a = val`: the object that holds the item or attribute changes."""
    assert isinstance(target, (ast.Subscript, ast.Attribute))
    holder = m.evaluate(target.value)
    if isinstance(target, ast.Subscript):
        m.evaluate(target.slice)
    if isinstance(target, ast.Attribute):
        use: Access = "set" if isinstance(target.ctx, ast.Store) else "delete"
        run_properties(m, holder, target.attr, use, place, [val] if use == "set" else [])
    _store_into(m, target, holder, place)
    parts = val.objs
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Slice):
        items = elements(m, val).objs  # `some[1:] = [a, b]`
        parts = items if holder.type == "builtins.list" else parts | items
    elif isinstance(target, ast.Subscript) and has_views(holder.type) and val.type in _SEQUENCES:
        parts |= m.heap.elements(val.objs)  # `objects[rows] = [a, b]`
    for index in holder.objs:
        for part in parts:
            m.heap.hold(index, part)
            if isinstance(target, ast.Attribute) and target.attr == "__dict__":
                m.heap.view(index, part)


_SEQUENCES = ("builtins.list", "builtins.tuple")


def _store_into(m: Machine, target: ast.Subscript | ast.Attribute, holder: Val, place: Place) -> None:
    if holder.ref is not None and not holder.objs:
        m.channel(_channel(holder.ref, target), "set", place)
    elif holder.defs:
        m.patch(holder.objs.union(m.heap.definition(d) for d in holder.defs), place)
    else:
        touch(m, [holder], place)
        m.patch_any(holder)
        m.patch(holder.objs, place)
        if isinstance(target, ast.Attribute) and target.attr == "requires_grad":
            m.mark(holder.objs, "learns")


def _channel(ref: str, target: ast.Subscript | ast.Attribute) -> str:
    return channel_of(f"{ref}.{target.attr}" if isinstance(target, ast.Attribute) else ref)


def delete_target(m: Machine, target: ast.expr) -> None:
    """`del target`."""
    if isinstance(target, ast.Name):
        m.read(target.id, m.at(target))
        m.delete(target.id, m.at(target))
    elif isinstance(target, (ast.Tuple, ast.List)):
        for part in target.elts:
            delete_target(m, part)
    elif isinstance(target, (ast.Subscript, ast.Attribute)):
        store(m, target, Val(), m.at(target))


def global_name(m: Machine, node: ast.expr) -> str | None:
    """The name in `globals()["name"]`, else None."""
    if not (isinstance(node, ast.Subscript) and isinstance(node.value, ast.Call)):
        return None
    callee = node.value.func
    if not (isinstance(callee, ast.Name) and callee.id in ("globals", "locals", "vars")) or node.value.args:
        return None
    if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        m.record.dynamic.add("globals")
        return node.slice.value
    return None
