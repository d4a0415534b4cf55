"""Abstract evaluation of expressions."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from nb2pipe.dataflow.assignment import assign_target, global_name
from nb2pipe.dataflow.attributes import attribute
from nb2pipe.dataflow.calls import call
from nb2pipe.dataflow.contents import item, keyed, numbered, remember, remember_each
from nb2pipe.dataflow.effects import apply_effect, drawn_by, elements, has_views, inside, show
from nb2pipe.dataflow.machine import Machine, Template
from nb2pipe.dataflow.paths import ANYTHING, concatenated, formatted, path_joined
from nb2pipe.dataflow.scopes import COMPREHENSIONS
from nb2pipe.dataflow.special import touch
from nb2pipe.dataflow.summaries import define_function
from nb2pipe.dataflow.values import ARRAYS, IMMUTABLE, Val, constant, join, typed

Evaluator = Callable[[Machine, Any], Val]


def evaluate(m: Machine, node: ast.expr) -> Val:
    """The abstract value of an expression; its effects are noted in the machine's record."""
    return _EVALUATORS.get(type(node), _unknown_syntax)(m, node)


def _unknown_syntax(m: Machine, node: ast.expr) -> Val:
    """Syntax of a newer Python than this analysis was written for."""
    m.say("unknown-syntax", f"{type(node).__name__} is an expression that is not known here", m.at(node))
    return m.unknown()


def _constant(m: Machine, node: ast.Constant) -> Val:
    return constant(node.value)


def _name(m: Machine, node: ast.Name) -> Val:
    return _taken(m, _held_definition(m, m.read(node.id, m.at(node))))


def _taken(m: Machine, val: Val) -> Val:
    """A library's function or class that draws, not called here: whatever takes it may hold on to it, and call it."""
    marks = drawn_by(m, [val]) if val.ref is not None and not val.objs else ()
    return replace(val, objs=frozenset([m.heap.reference(str(val.ref), marks)])) if marks else val


def _held_definition(m: Machine, val: Val) -> Val:
    """A function or class that is not called here: whatever takes it may hold on to it."""
    if not val.defs or val.objs:
        return val
    return replace(val, objs=frozenset(m.heap.definition(d) for d in val.defs))


def _attribute(m: Machine, node: ast.Attribute) -> Val:
    return _taken(m, attribute(m, m.evaluate(node.value), node.attr, m.at(node)))


def _subscript(m: Machine, node: ast.Subscript) -> Val:
    named = global_name(m, node)
    if named is not None:
        return m.read(named, m.at(node))
    base = m.evaluate(node.value)
    index = m.evaluate(node.slice)
    if index.objs and not has_views(index.type) and not has_views(base.type):
        m.compare([index.objs])
    return subscript(m, base, index, m.at(node))


def subscript(m: Machine, base: Val, index: Val, place: Any) -> Val:
    """The value of `base[index]`."""
    if base.items is not None and isinstance(index.const, int) and -len(base.items) <= index.const < len(base.items):
        return base.items[index.const]
    if base.ref == "os.environ":
        m.channel("environment", "use", place)
        return typed("builtins.str")
    if base.type in IMMUTABLE or base.ref is not None:
        return Val(type=base.type if base.type in ("builtins.str", "builtins.bytes") else None, ref=None)
    known = m.tables.method(base.type, "__getitem__") if base.type else None
    if known is not None:
        return apply_effect(m, known, base, [index], {}, place)
    if index.type == "builtins.slice" and base.type in ("builtins.list", "builtins.tuple"):
        return m.fresh(base.type, m.heap.elements(base.objs))
    literal = item(m, base, index)
    if literal is not None:
        return literal
    found = inside(m, base)
    special = touch(m, [base, index], place)
    if base.type is None and index.type == "builtins.slice" and base.objs:
        return Val(objs=found.objs | special.objs | {m.heap.new(None, found.objs, opaque=True)})
    return Val(objs=found.objs | special.objs, type=found.type)


def _display(type_name: str) -> Evaluator:
    def build(m: Machine, node: Any) -> Val:
        items = [m.evaluate(e) for e in node.elts]
        starred = any(isinstance(e, ast.Starred) for e in node.elts)
        parts = frozenset().union(*(i.objs for i in items)) if items else frozenset()
        kept = None if starred else tuple(items)
        if type_name == "builtins.tuple" and not parts:
            return Val(type=type_name, items=kept)
        items_ = kept if type_name == "builtins.tuple" else None
        made = Val(objs=frozenset([m.heap.new(type_name, parts)]), type=type_name, items=items_)
        if type_name == "builtins.list" and not starred:
            remember(m, made, numbered(items))
        return made

    return build


def _starred(m: Machine, node: ast.Starred) -> Val:
    return elements(m, m.evaluate(node.value))


def _dict(m: Machine, node: ast.Dict) -> Val:
    parts: set[int] = set()
    keys, values = [], []
    for key, value in zip(node.keys, node.values, strict=True):
        keys.append(m.evaluate(key) if key is not None else None)
        values.append(m.evaluate(value))
        parts |= (
            m.heap.copied(m.heap.elements(values[-1].objs))
            if key is None
            else (keys[-1] or Val()).objs | values[-1].objs
        )
    made = m.fresh("builtins.dict", parts)
    items = keyed(keys, values)
    if items is not None:
        remember(m, made, items)
    return made


_NUMBERS = ("builtins.int", "builtins.float", "builtins.bool", "builtins.complex")


def _binop(m: Machine, node: ast.BinOp) -> Val:
    left, right = m.evaluate(node.left), m.evaluate(node.right)
    known = _of_library(m, node, left, right)
    if known is not None:
        return known
    special = touch(m, [left, right], m.at(node))
    if isinstance(node.op, ast.Mod) and left.type == "builtins.str":
        show(m, [right], m.at(node))
    found = binary(m, node.op, left, right)
    return join([found, special]) if special.objs else found


_BUILDING: Mapping[type[ast.operator], str] = {ast.BitOr: "or", ast.RShift: "rshift"}
"""Operators with which libraries build something: `pipeline | transform`, `"label" >> transform`."""


def _of_library(m: Machine, node: ast.BinOp, left: Val, right: Val) -> Val | None:
    """What an operator does by the row of a table for it, of the left operand's type or else of the right one's."""
    name = _BUILDING.get(type(node.op))
    if name is None:
        return None
    built_on = replace(left, objs=left.objs | m.heap.elements(left.objs))  # collections in a tuple, a list or a dict
    for receiver, other, method in ((left, right, f"__{name}__"), (right, built_on, f"__r{name}__")):
        row = m.tables.method(receiver.type, method) if receiver.type else None
        if row is not None:
            return apply_effect(m, row, receiver, [other], {}, m.at(node))
    return None


def binary(m: Machine, op: ast.operator, left: Val, right: Val) -> Val:
    """The value of `left op right`."""
    left, right = _number(left), _number(right)
    if left.is_const and right.is_const:
        return _folded(op, left, right)
    text = _made_text(m, op, left, right)
    if text is not None:
        return text
    if left.type in _NUMBERS and right.type in _NUMBERS:
        floats = isinstance(op, ast.Div) or "builtins.float" in (left.type, right.type)
        return typed("builtins.float" if floats else "builtins.int")
    for side in (left, right):
        if side.type in ARRAYS:
            return m.derived(m.fresh(side.type), [left, right])
    if left.type == "builtins.str":
        return typed("builtins.str")
    if not left.objs and not right.objs:
        return Val()
    parts = m.heap.elements(left.objs | right.objs)
    same = left.type if left.type == right.type else None
    return m.fresh(same, parts)


def _made_text(m: Machine, op: ast.operator, left: Val, right: Val) -> Val | None:
    """A text or path of which one part is known: `"part-" + name`, `FOLDER / name`, `"x%d.csv" % n`."""
    if left.type == "builtins.str" and isinstance(left.const, str) and isinstance(op, ast.Mod):
        known = formatted(left.const, percent=True) if not isinstance(left.const, Template) else ANYTHING
        return Val(type="builtins.str", const=known)
    texts = [v.const if isinstance(v.const, str) else ANYTHING for v in (left, right)]
    if isinstance(op, ast.Add) and left.type == "builtins.str" and right.type not in ARRAYS:
        sure = right.type == "builtins.str" or not right.objs  # an unknown value may be a series, which stays one
        made = Val() if sure else m.fresh(None)
        return Val(made.objs, "builtins.str" if sure else None, const=concatenated(*texts))
    if isinstance(op, ast.Div) and left.type == "pathlib.Path":
        return Val(type="pathlib.Path", const=path_joined(texts))
    return None


def _number(val: Val) -> Val:
    """A parameter that is a number is known as a text only where texts are made of it."""
    if isinstance(val.const, Template) and val.type not in ("builtins.str", "pathlib.Path"):
        return typed(val.type) if val.type else Val(objs=val.objs)
    return val


def _folded(op: ast.operator, left: Val, right: Val) -> Val:
    a, b = left.const, right.const
    if isinstance(a, str) and isinstance(b, str):
        if isinstance(op, ast.Add):
            return Val(type="builtins.str", const=concatenated(a, b))
        if isinstance(op, ast.Div) and left.type == "pathlib.Path":
            return Val(type="pathlib.Path", const=path_joined([a, b]))
    if isinstance(a, str):
        return typed("builtins.str")
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        floats = isinstance(op, ast.Div) or isinstance(a, float) or isinstance(b, float)
        return typed("builtins.float" if floats else "builtins.int")
    return Val(type=left.type)


def _unary(m: Machine, node: ast.UnaryOp) -> Val:
    val = m.evaluate(node.operand)
    touch(m, [val], m.at(node))
    if isinstance(node.op, ast.Not):
        return typed("builtins.bool")
    if val.is_const and isinstance(val.const, (int, float)):
        return constant(-val.const) if isinstance(node.op, ast.USub) else typed(val.type or "builtins.int")
    return m.fresh(val.type) if val.objs else Val(type=val.type)


def _boolop(m: Machine, node: ast.BoolOp) -> Val:
    values = [m.evaluate(node.values[0])]
    for value in node.values[1:]:
        with m.perhaps():
            values.append(m.evaluate(value))
    touch(m, values[:-1], m.at(node))
    return join(values)


def _compare(m: Machine, node: ast.Compare) -> Val:
    sides = [m.evaluate(v) for v in [node.left, *node.comparators]]
    touch(m, sides, m.at(node))
    if any(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops):
        for side in sides if not any(_is_singleton(s) for s in sides) else ():
            m.record.compared |= m.heap.memory(side.objs)
    elif all(s.objs and not has_views(s.type) for s in sides):
        m.compare(s.objs for s in sides)
    for side in sides:
        if side.type in ARRAYS:
            return m.fresh(side.type)
    if all(s.type in IMMUTABLE or not s.objs for s in sides) or all(
        isinstance(op, (ast.Is, ast.IsNot, ast.In, ast.NotIn)) for op in node.ops
    ):
        return typed("builtins.bool")
    return m.fresh(None)


def _is_singleton(val: Val) -> bool:
    """Whether a value is the same object in every process: `x is None` asks nothing of the identity of x."""
    return val.is_const and (val.const is None or val.const is ... or isinstance(val.const, bool))


def _conditional(m: Machine, node: ast.IfExp) -> Val:
    touch(m, [m.evaluate(node.test)], m.at(node))
    values = []
    for part in (node.body, node.orelse):
        with m.perhaps():
            values.append(m.evaluate(part))
    return join(values)


def _lambda(m: Machine, node: ast.Lambda) -> Val:
    val = define_function(m, node, "<lambda>")
    m.shared.mention(m, val, m.at(node))
    return _held_definition(m, val)


def _joined_str(m: Machine, node: ast.JoinedStr) -> Val:
    parts = [m.evaluate(v) for v in node.values]
    texts = [p.const for p in parts]
    if any(isinstance(t, str) for t in texts):
        return Val(type="builtins.str", const=concatenated(*(t if isinstance(t, str) else ANYTHING for t in texts)))
    return typed("builtins.str")


def _formatted(m: Machine, node: ast.FormattedValue) -> Val:
    val = m.evaluate(node.value)
    touch(m, [val], m.at(node))
    show(m, [val], m.at(node))
    if node.format_spec is not None:
        m.evaluate(node.format_spec)
    elif node.conversion == -1 and val.is_const and isinstance(val.const, (str, int)):
        return Val(type="builtins.str", const=val.const if isinstance(val.const, str) else str(val.const))
    return typed("builtins.str")


def _template(m: Machine, node: Any) -> Val:
    """A template string (Python 3.14) holds the values that stand in it."""
    return m.fresh("string.templatelib.Template", join([m.evaluate(v) for v in node.values]).objs)


def _interpolation(m: Machine, node: Any) -> Val:
    val = m.evaluate(node.value)
    if node.format_spec is not None:
        m.evaluate(node.format_spec)
    return val


def _comprehension(m: Machine, node: Any) -> Val:
    first, *rest = node.generators
    source = elements(m, m.evaluate(first.iter))
    with m.perhaps(), m.frame.layer(comprehension=True):
        assign_target(m, first.target, source)
        for test in first.ifs:
            m.evaluate(test)
        for generator in rest:
            assign_target(m, generator.target, elements(m, m.evaluate(generator.iter)))
            for test in generator.ifs:
                m.evaluate(test)
        values = [m.evaluate(e) for e in _results(node)]
    parts = frozenset().union(*(v.objs for v in values))
    made = m.fresh(_COMPREHENSION_TYPES[type(node)], parts)
    if len(values) == 1 and values[0].type is not None:
        m.mark(made.objs, "each:" + values[0].type)
    if len(values) == 1 and isinstance(values[0].const, Template) and not isinstance(node, ast.SetComp):
        remember_each(m, made, values[0])
    return made


_COMPREHENSION_TYPES = {
    ast.ListComp: "builtins.list",
    ast.SetComp: "builtins.set",
    ast.DictComp: "builtins.dict",
    ast.GeneratorExp: "builtins.generator",
}


def _results(node: Any) -> list[ast.expr]:
    return [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]


def _walrus(m: Machine, node: ast.NamedExpr) -> Val:
    val = m.evaluate(node.value)
    m.assign(node.target.id, val, m.at(node), leak=True)
    return val


def _await(m: Machine, node: ast.Await) -> Val:
    return m.evaluate(node.value)


def _yield(m: Machine, node: ast.Yield | ast.YieldFrom) -> Val:
    if node.value is not None:
        m.frame.returns.append(m.evaluate(node.value))
    return m.unknown()


def _slice(m: Machine, node: ast.Slice) -> Val:
    for part in (node.lower, node.upper, node.step):
        if part is not None:
            m.evaluate(part)
    return typed("builtins.slice")


_EVALUATORS: dict[type, Evaluator] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.Call: call,
    ast.List: _display("builtins.list"),
    ast.Tuple: _display("builtins.tuple"),
    ast.Set: _display("builtins.set"),
    ast.Dict: _dict,
    ast.Starred: _starred,
    ast.BinOp: _binop,
    ast.UnaryOp: _unary,
    ast.BoolOp: _boolop,
    ast.Compare: _compare,
    ast.IfExp: _conditional,
    ast.Lambda: _lambda,
    ast.JoinedStr: _joined_str,
    ast.FormattedValue: _formatted,
    ast.NamedExpr: _walrus,
    ast.Await: _await,
    ast.Yield: _yield,
    ast.YieldFrom: _yield,
    ast.Slice: _slice,
    **dict.fromkeys(COMPREHENSIONS, _comprehension),
}
for _newer, _run in (("TemplateStr", _template), ("Interpolation", _interpolation)):
    if hasattr(ast, _newer):
        _EVALUATORS[getattr(ast, _newer)] = _run
