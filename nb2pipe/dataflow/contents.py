"""What lists, dicts and iterators hold for certain: the paths in a table of paths, the rounds of a short loop.

What is known of an object is forgotten when the object may change, wherever that is (`Machine.mutate`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from nb2pipe.dataflow.machine import Machine, Template
from nb2pipe.dataflow.values import DEFINITION, Def, Known, Val, constant, join

MOST_ROUNDS = 12
"""How many rounds of a loop are looked at one by one."""

_KEYS = (str, int, float, bool, type(None))
_PLAIN = ("builtins.list", "builtins.dict")
_ITERATED = (*_PLAIN, "builtins.dict_view", "builtins.iterator")
_LEAVES = (ast.Break, ast.Continue, ast.Return, ast.Yield, ast.YieldFrom, ast.Await)


def remember(m: Machine, made: Val, items: Mapping[Any, Val], of: Sequence[Val] = ()) -> None:
    """A fresh container holds `items`, a list's by number; `of`: a view or iterator, as long as those stay the same."""
    if len(items) <= MOST_ROUNDS * 4:
        _know(m, made, Known(dict(items), of=_standing(m, of)))


def remember_each(m: Machine, made: Val, each: Val) -> None:
    """Each of what a fresh container holds is `each`, however many there are."""
    _know(m, made, Known(None, each))


def _know(m: Machine, made: Val, known: Known) -> None:
    for index in made.objs:
        m.heap.contents[index] = known


def _standing(m: Machine, values: Sequence[Val]) -> tuple[tuple[int, Known], ...]:
    return tuple((o, m.heap.contents[o]) for v in values for o in sorted(v.objs) if o in m.heap.contents)


def keyed(keys: Sequence[Val | None], values: Sequence[Val]) -> dict[Any, Val] | None:
    """The items of a dict display; None when a key is not known."""
    if not all(key is not None and _is_key(key) for key in keys):
        return None
    return {key.const: val for key, val in zip(keys, values, strict=True) if key is not None}


def _is_key(val: Val) -> bool:
    return type(val.const) in _KEYS and val.type != "pathlib.Path"


def item(m: Machine, base: Val, index: Val) -> Val | None:
    """`base[index]`, when that is a literal or a table of literals for certain."""
    known = m.heap.known(base.objs)
    kind = _kind(m, base)
    if known is None or kind not in _PLAIN or not _is_key(index) or m.frame.hidden:
        return None
    return _agreed(m, [_at(k, index.const, kind) for k in known])


def field_of(m: Machine, base: Val, name: str) -> Val | None:
    """`base.name` of an instance of a class of the notebook, when that is a literal for certain."""
    known = m.heap.known(base.objs)
    if known is None or m.frame.hidden or not (_kind(m, base) or "").startswith(DEFINITION):
        return None
    return _agreed(m, [(k.items or {}).get(name) for k in known])


def _kind(m: Machine, val: Val) -> str | None:
    """The type of all the objects that a value may be."""
    types = {m.heap.objs[o].type for o in val.objs}
    return types.pop() if len(types) == 1 else None


def _agreed(m: Machine, found: Sequence[Val | None]) -> Val | None:
    sure = [val for val in found if val is not None and _is_literal(m, val)]
    return join(sure) if len(sure) == len(found) else None


def _at(known: Known, key: Any, type_name: str | None) -> Val | None:
    if known.items is None:
        return known.each
    if type_name == "builtins.list" and isinstance(key, int) and key < 0:
        key += len(known.items)
    return known.items.get(key)


def _is_literal(m: Machine, val: Val) -> bool:
    """Whether nothing but literals is in a value: then which object it is matters to nobody who only reads."""
    if not val.objs:
        return val.is_const
    known = m.heap.known(val.objs)
    return known is not None and all(_is_literal(m, v) for k in known for v in (k.items or {"each": k.each}).values())


def each_of(m: Machine, val: Val) -> Val | None:
    """What each element of a list or iterator is, when they are all told by one text: what `glob` found."""
    known = m.heap.known(val.objs)
    if known is None or any(k.items is not None for k in known):
        return None
    return join([k.each for k in known])


def keys_of(m: Machine, val: Val) -> Val | None:
    """What iterating over a dict that is known gives; its keys stay as they are meanwhile."""
    keys = rows(m, val) if _kind(m, val) == "builtins.dict" else None
    return join(keys) if keys else None


def rows(m: Machine, val: Val) -> list[Val] | None:
    """What iterating over a value gives, one by one; None when that is not known."""
    if val.type == "builtins.tuple" and val.items is not None:
        return list(val.items)
    known, kind = m.heap.known(val.objs), _kind(m, val)
    if known is None or len(known) != 1 or known[0].items is None or kind not in _ITERATED:
        return None
    return [constant(k) for k in known[0].items] if kind == "builtins.dict" else list(known[0].items.values())


def numbered(values: Sequence[Val]) -> dict[int, Val]:
    """Values as the items of a list."""
    return dict(enumerate(values))


def row(m: Machine, values: Sequence[Val]) -> Val:
    """A tuple of known values."""
    parts = frozenset().union(*(v.objs for v in values))
    objs = frozenset([m.heap.new("builtins.tuple", parts)]) if parts else frozenset()
    return Val(objs, "builtins.tuple", items=tuple(values))


def dict_view(m: Machine, receiver: Val, name: str, made: Val) -> None:
    """`keys()`, `values()` and `items()` of a dict that is known."""
    keys, known = rows(m, receiver), m.heap.known(receiver.objs)
    if keys is None or known is None or _kind(m, receiver) != "builtins.dict" or not made.objs:
        return
    values = list((known[0].items or {}).values())
    pairs = [row(m, pair) for pair in zip(keys, values, strict=True)]
    remember(m, made, numbered({"keys": keys, "values": values, "items": pairs}[name]), [receiver])


DICT_VIEWS = ("keys", "values", "items")


Order = Literal["as it is", "sorted", "somehow"]


def copied(m: Machine, source: Val, made: Val, *, how: Order) -> None:
    """`made` is a new list of what `source` gives, in that order, sorted, or in an order that is not known."""
    each = each_of(m, source)
    if each is not None:
        remember_each(m, made, each)
    values = rows(m, source)
    if values is None or not made.objs:
        return
    if how == "as it is":
        remember(m, made, numbered(values))
    elif how == "sorted" and all(type(v.const) is str for v in values):
        remember(m, made, numbered(sorted(values, key=lambda v: str(v.const))))


def zipped(m: Machine, args: Sequence[Val], made: Val) -> None:
    """`made` is an iterator over tuples of what each of `args` gives."""
    columns = [rows(m, a) for a in args]
    if columns and all(c is not None for c in columns):
        several = [row(m, values) for values in zip(*(c for c in columns if c is not None), strict=False)]
        remember(m, made, numbered(several), args)


def rounds(m: Machine, node: ast.For | ast.AsyncFor, source: Val) -> list[Val] | None:
    """The values that a loop's target takes, when there are few, they tell texts apart, and nothing leaves the loop."""
    found = _range(node.iter) if source.type == "builtins.range" else rows(m, source)
    if not found or len(found) > MOST_ROUNDS or isinstance(node, ast.AsyncFor) or m.unrolled * len(found) > 64:
        return None
    inside = [n for part in node.body for n in ast.walk(part)]
    texts = any(type(v.const) is str or isinstance(v.const, Template) for one in found for v in (one, *_parts(one)))
    makes_text = any(isinstance(n, (ast.JoinedStr, ast.Mod)) for n in inside)
    if not (texts or makes_text) or any(isinstance(n, _LEAVES) for n in inside):
        return None
    return found


def _parts(val: Val) -> tuple[Val, ...]:
    return val.items or ()


def _range(node: ast.expr) -> list[Val] | None:
    numbers = [a.value for a in getattr(node, "args", ()) if isinstance(a, ast.Constant) and isinstance(a.value, int)]
    if not isinstance(node, ast.Call) or len(numbers) != len(node.args) or not numbers or 0 in numbers[2:]:
        return None
    found = range(*numbers)
    return [constant(n) for n in found] if len(found) <= MOST_ROUNDS else None


# --- instances ------------------------------------------------------------------------------------------------------
def fields(made: Def, given: Mapping[str, Val] | None, args: Sequence[Val], keywords: Mapping[str | None, Val]) -> Any:
    """The attributes of a new instance that are what the call or the class says; `given`: the arguments of an
    `__init__`, if there is one. None when more is done than to set attributes."""
    init = made.method("__init__")
    if made.bases or made.library_bases or None in keywords or any(made.method(n) for n in _HOOKS):
        return None
    if init is not None:
        return _set_by(init.node, given or {})
    if not any(_DATACLASS.match(ast.unparse(d)) for d in getattr(made.node, "decorator_list", ())):
        return None
    names = [n.target.id for n in made.node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]  # type: ignore[union-attr]
    defaults = {n: val for n, val in made.literals.items() if n in names}
    named = {n: val for n, val in keywords.items() if n is not None}
    return {**defaults, **dict(zip(names, args, strict=False)), **named}


_DATACLASS = re.compile(r"^(?:\w+\.)?dataclass\b")
_HOOKS = ("__new__", "__post_init__", "__setattr__", "__getattribute__", "__getattr__")


def is_plain_class(node: ast.ClassDef) -> bool:
    """Whether nothing but `@dataclass` changes what a class's body says."""
    return not node.keywords and all(_DATACLASS.match(ast.unparse(d)) for d in node.decorator_list)


def _set_by(init: Any, given: Mapping[str, Val]) -> dict[str, Val] | None:
    """What an `__init__` sets that does nothing but set attributes to literals and arguments."""
    found: dict[str, Val] = {}
    own = init.args.args[0].arg if init.args.args else ""
    for node in init.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
        if not isinstance(target, ast.Attribute) or not isinstance(target.value, ast.Name) or target.value.id != own:
            return None
        value = node.value
        if isinstance(value, ast.Constant):
            found[target.attr] = constant(value.value)
        elif isinstance(value, ast.Name) and value.id in given:
            found[target.attr] = given[value.id]
        elif any(isinstance(n, ast.Name) and n.id == own for n in ast.walk(value)):
            return None
        else:
            found.pop(target.attr, None)
    return found
