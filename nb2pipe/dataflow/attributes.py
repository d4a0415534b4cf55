"""Abstract attributes: what `x.name` gives, by its text or through `getattr`, `setattr` and `vars`."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from nb2pipe.dataflow.contents import field_of
from nb2pipe.dataflow.effects import Keywords, apply_effect, inside, namespace_of
from nb2pipe.dataflow.events import Place, channel_of
from nb2pipe.dataflow.filecalls import Special, plain_text
from nb2pipe.dataflow.machine import Machine
from nb2pipe.dataflow.properties import run_properties
from nb2pipe.dataflow.shown import note_attribute
from nb2pipe.dataflow.special import classes_of, touch
from nb2pipe.dataflow.tables import SELF
from nb2pipe.dataflow.values import IMMUTABLE, Access, Def, Val, join, typed


def attribute(m: Machine, base: Val, name: str, place: Place) -> Val:
    """The value of `base.name`."""
    if base.ref is not None:
        return _library_attribute(m, f"{base.ref}.{name}", place)
    touch(m, [base], place)
    note_attribute(m, base, name, place)
    if name == "__class__" and classes_of(m, base):
        return class_value(m, classes_of(m, base))
    if name == "__dict__" and not base.defs:
        return namespace_of(m, base)
    if name in m.shared.accessors:
        m.channel(f"accessor:{name}", "use", place)
        return m.unknown(base.objs)
    literal = field_of(m, base, name)
    if literal is not None:
        return literal
    made = run_properties(m, base, name, "get", place)
    if made is not None and base.cls is not None and (name, "get") in base.cls.properties:
        return made
    found = _attribute_of(m, base, name, place)
    return found if made is None else join([found, made])


def _attribute_of(m: Machine, base: Val, name: str, place: Place) -> Val:
    """The value of `base.name` where no property function runs."""
    owners = classes_of(m, base)
    if owners:
        methods = [Val(frozenset([m.heap.new("method", base.objs, opaque=True)])) for c in owners if c.method(name)]
        return join(methods) if methods else _held(m, base, name)
    if base.type == "pathlib.Path" and base.is_const and name == "parent" and base.const[-1:] != ".":
        return Val(type="pathlib.Path", const=base.const.rpartition("/")[0] or ".")
    known = m.tables.attribute(base.type, name)
    if known is None and base.type is not None and base.type not in IMMUTABLE:
        known = m.tables.attribute(None, name)
    if known is not None:
        return apply_effect(m, known, base, [], {}, place)
    if base.type in IMMUTABLE:
        return Val()
    if len(base.defs) == 1 and name in base.defs[0].literals:
        return base.defs[0].literals[name]
    if base.defs:
        classes = [d for d in base.defs if isinstance(d.node, ast.ClassDef)]
        objs = frozenset(o for c in classes for o in _class_objects(m, c)) | base.objs
        return Val(objs=m.heap.elements(objs), defs=tuple(d for c in classes if (d := c.method(name)) is not None))
    return _held(m, base, name)


def _held(m: Machine, base: Val, name: str) -> Val:
    """An attribute of which no row says more: a part, or a method that holds the value."""
    part = inside(m, base)
    if not base.objs:
        return part
    method = m.tables.method(base.type, name)
    if method is not None and SELF in method.mutates:  # handed on uncalled: `column.apply(names.append)`
        m.mutate(base.objs, m.place)
    inherited = m.heap.inherited(base.objs)
    is_method = m.tables.method(base.type, name) is not None if base.type else not classes_of(m, base)
    bound = {m.heap.new("method", base.objs, opaque=True)} if is_method else set()
    return Val(objs=part.objs | inherited | bound)


def _library_attribute(m: Machine, ref: str, place: Place) -> Val:
    if ref.startswith("os.environ"):
        return Val(ref=ref)
    effect = m.tables.attribute("modules", ref)
    if effect is not None:
        return apply_effect(m, effect, Val(), [], {}, place)
    m.channel(channel_of(ref), "use", place)
    return m.library_value(ref, place)


def class_value(m: Machine, classes: Sequence[Def]) -> Val:
    """Classes of the notebook as a value."""
    return Val(frozenset(m.heap.definition(c) for c in classes), "class", defs=tuple(classes))


def _class_objects(m: Machine, made: Def) -> list[int]:
    """The objects of a class and its bases, where class attributes live."""
    return [m.heap.definitions[c] for c in made.lineage() if c in m.heap.definitions]


# --- functions that name an attribute ------------------------------------------------------------------------------
def _getattr(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    name = plain_text(args[1]) if len(args) >= 2 else None
    if name is not None:
        found = attribute(m, args[0], name, place)
        return join([found, *args[2:]])
    for one in args[:1]:
        run_properties(m, one, None, "get", place)
    return m.unknown(frozenset().union(*(a.objs for a in args)))


def _hasattr(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    for one in args[:1]:
        run_properties(m, one, plain_text(args[1]) if len(args) == 2 else None, "get", place)
    return typed("builtins.bool")


def _setattr(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    if args:
        use: Access = "set" if len(args) == 3 else "delete"
        run_properties(m, args[0], plain_text(args[1]) if len(args) > 1 else None, use, place, args[2:])
        if args[0].ref is not None:
            m.channel(channel_of(f"{args[0].ref}.{plain_text(args[1]) if len(args) > 1 else None}"), "set", place)
        m.patch_any(args[0])
        m.patch(args[0].objs.union(m.heap.definition(d) for d in args[0].defs), place)
        for index in args[0].objs:
            for val in args[1:]:
                for part in val.objs:
                    m.heap.hold(index, part)
    return Val(type="builtins.NoneType", const=None)


def _accessor(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """A class is made an attribute of all frames: from here on, in this process."""
    name = plain_text(join([*args, *keywords.values()])) or "?"
    m.shared.accessors.add(name)
    m.channel(f"accessor:{name}", "set", place)
    return Val(ref="pandas.api.extensions.accessor")


def _namespace(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    if args:
        return attribute(m, args[0], "__dict__", place)
    m.say(
        "dynamic-code", "`globals()`, `locals()` or `vars()` gives all names at once; which are used is unknown", place
    )
    return m.unknown()


ATTRIBUTE_CALLS: dict[str, Special] = {
    "builtins.getattr": _getattr,
    "builtins.hasattr": _hasattr,
    "builtins.setattr": _setattr,
    "builtins.object.__setattr__": _setattr,
    "builtins.object.__delattr__": _setattr,
    "builtins.delattr": _setattr,
    **{f"pandas.api.extensions.register_{kind}_accessor": _accessor for kind in ("dataframe", "series", "index")},
    "builtins.globals": _namespace,
    "builtins.locals": _namespace,
    "builtins.vars": _namespace,
}
