"""Abstract calls and attributes: which function is meant, and what it does."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from nb2pipe.dataflow.attributes import ATTRIBUTE_CALLS, attribute, class_value
from nb2pipe.dataflow.contents import (
    DICT_VIEWS,
    Order,
    copied,
    dict_view,
    fields,
    numbered,
    remember,
    row,
    rows,
    zipped,
)
from nb2pipe.dataflow.effects import (
    Keywords,
    apply_effect,
    elements,
    has_views,
    made_marks,
    show,
    unknown_call,
    unknown_function,
)
from nb2pipe.dataflow.events import Place, channel_of
from nb2pipe.dataflow.filecalls import FILE_CALLS, PATH_METHODS, Special, text_method
from nb2pipe.dataflow.libraries import LIBRARY_CALLS
from nb2pipe.dataflow.machine import Machine
from nb2pipe.dataflow.numbered import counted_kind
from nb2pipe.dataflow.shown import note_named
from nb2pipe.dataflow.special import classes_of, is_unknown, lend_all, library_base, own_module, run_hooks, touch
from nb2pipe.dataflow.summaries import bind_arguments, call_function
from nb2pipe.dataflow.tables import has_table
from nb2pipe.dataflow.texts import formula_references, run_text, string_references
from nb2pipe.dataflow.values import DEFINITION, IMMUTABLE, Def, Val, constant, join, typed


def call(m: Machine, node: ast.Call) -> Val:
    """The value of a call expression."""
    place = m.at(node)
    if isinstance(node.func, ast.Attribute):
        receiver = m.evaluate(node.func.value)
        if receiver.ref is None:
            args, keywords = _arguments(m, node)
            if not (receiver.type or "").startswith("google."):  # there `@x` is a parameter of the query
                string_references(m, node.func.attr, [*args, *keywords.values()], place)
            return call_method(m, receiver, node.func.attr, args, keywords, place)
        callee = attribute(m, receiver, node.func.attr, place)
    else:
        callee = _callee(m, node.func, place)
    if callee.ref in ("builtins.isinstance", "builtins.issubclass") and len(node.args) == 2 and not node.keywords:
        return _of_class(m, *node.args, place=place)
    args, keywords = _arguments(m, node)
    if callee.ref in ("builtins.eval", "builtins.exec"):
        return run_text(m, callee.ref, node, place)
    formula_references(m, callee.ref, [*args, *keywords.values()], place)
    return call_value(m, callee, args, keywords, place)


def _of_class(m: Machine, node: ast.expr, classes: ast.expr, *, place: Place) -> Val:
    """`isinstance(x, C)`: the class is named, but nothing makes an instance of it."""
    touch(m, [m.evaluate(node)], place)
    for one in classes.elts if isinstance(classes, ast.Tuple) else [classes]:
        if isinstance(one, ast.Name):
            m.read(one.id, place, calling=True)
        else:
            m.evaluate(one)
    return typed("builtins.bool")


def _callee(m: Machine, node: ast.expr, place: Place) -> Val:
    if isinstance(node, ast.Name):
        return m.read(node.id, place, calling=True)
    return m.evaluate(node)


def _arguments(m: Machine, node: ast.Call) -> tuple[list[Val], dict[str | None, Val]]:
    args = [val for a in node.args for val in _positional(m, a)]
    keywords: dict[str | None, Val] = {}
    for keyword in node.keywords:
        val = m.evaluate(keyword.value)
        keywords[keyword.arg] = val if keyword.arg is not None else Val(objs=m.heap.elements(val.objs))
    return args, keywords


MOST_ARGUMENTS = 16
"""How many arguments `f(*args)` may stand for when their number is not known."""


def _positional(m: Machine, node: ast.expr) -> list[Val]:
    if not isinstance(node, ast.Starred):
        return [m.evaluate(node)]
    whole = m.evaluate(node.value)
    return list(whole.items) if whole.items is not None else [elements(m, whole)] * MOST_ARGUMENTS


def call_value(m: Machine, callee: Val, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """Call a value."""
    if callee.defs:
        return join([_call_def(m, made, callee, args, keywords, place) for made in callee.defs])
    if callee.ref is not None:
        return _call_library(m, callee.ref, args, keywords, place)
    held = [m.heap.defined[o] for o in sorted(callee.objs & m.heap.defined.keys())]
    if held and len(held) == len(callee.objs):
        return call_value(m, replace(callee, defs=tuple(held)), args, keywords, place)
    named = [m.heap.referred[o] for o in sorted(callee.objs & m.heap.referred.keys())]
    results = []
    with m.perhaps():
        results += [_call_def(m, made, callee, args, keywords, place) for made in held]
        results += [_call_library(m, ref, args, keywords, place) for ref in dict.fromkeys(named)]
    if named and len(held) + len(named) == len(callee.objs):
        return join(results)
    if callee.cls is not None or callee.objs:
        return join([call_method(m, callee, "__call__", args, keywords, place), *results])
    return unknown_call(m, callee, args, keywords, place)


def _call_def(m: Machine, made: Def, callee: Val, args: list[Val], keywords: Keywords, place: Place) -> Val:
    if isinstance(made.node, ast.ClassDef):
        return instantiate(m, made, args, keywords, place)
    return call_function(m, made, args, keywords, place, callee.objs)


def instantiate(m: Machine, made: Def, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """A new instance of a class of the notebook."""
    m.shared.mention(m, Val(defs=(made,)), place)
    new, init = made.method("__new__"), made.method("__init__")
    if new is not None:
        given = call_function(m, new, [class_value(m, [made]), *args], keywords, place)
        instance = Val(given.objs or _bare_instance(m, made).objs, cls=made)
    else:
        instance = _bare_instance(m, made)
    makes = made.maker("__call__")
    if makes is not None:  # such as a singleton: it may give an instance that is there already
        given = call_function(m, makes, [class_value(m, [made]), *args], keywords, place)
        instance = Val(instance.objs | given.objs, cls=made)
    if init is not None:
        call_function(m, init, [instance, *args], keywords, place)
    elif new is None:
        _hold(m, instance, [*args, *keywords.values(), *_made_fields(m, made, place)])
    bound = bind_arguments(m, init, [instance, *args], keywords, frozenset()) if init is not None else None
    _mark_as_base(m, made, instance, _given_to_base(init, bound or {}, keywords))
    attributes = fields(made, bound, args, keywords)
    if attributes is not None:
        remember(m, instance, attributes)
    return instance


def _mark_as_base(m: Machine, made: Def, instance: Val, keywords: Keywords) -> None:
    """An instance draws when it is used where one of the estimator's class that it is made from would."""
    base = library_base(made) or ""
    row = m.tables.function(base) if base.startswith(("sklearn.", "imblearn.")) else None
    for mark in made_marks(m, row, keywords) if row is not None and row.makes else ():
        m.mark(instance.objs, mark)


def _given_to_base(init: Def | None, bound: Mapping[str, Val], keywords: Keywords) -> Keywords:
    """What the constructor of the library's class is given by name: by `super().__init__(...)` if there is one."""
    if init is None:
        return keywords
    calls = [n for n in ast.walk(init.node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    given = [k for n in calls if isinstance(n.func, ast.Attribute) and n.func.attr == "__init__" for k in n.keywords]
    named: dict[str | None, Val] = {k.arg: _known_as(k.value, bound) for k in given if k.arg is not None}
    return {**keywords, **named} if any(k.arg is None for k in given) else named


def _known_as(node: ast.expr, bound: Mapping[str, Val]) -> Val:
    if isinstance(node, ast.Constant):
        return constant(node.value)
    return bound.get(node.id, Val()) if isinstance(node, ast.Name) else Val()


def _bare_instance(m: Machine, made: Def) -> Val:
    """What `object.__new__` gives."""
    index = m.heap.new(DEFINITION + made.name, opaque=True)
    m.heap.instance(index, made)
    base = m.tables.function(library_base(made) or "")
    if made.method("__del__") is not None or (base is not None and base.unstorable):  # `__del__` would run twice
        m.heap.objs[index].marks = frozenset(["unstorable"])
    return Val(frozenset([index]), cls=made)


def _made_fields(m: Machine, made: Def, place: Place) -> list[Val]:
    """What the default factories of a dataclass make for one instance."""
    own = [call_value(m, factory, [], {}, place) for factory in made.factories]
    return own + [val for b in made.bases for val in _made_fields(m, b, place)]


def _hold(m: Machine, holder: Val, values: Iterable[Val]) -> None:
    for part in frozenset().union(*(v.objs for v in values)):
        for index in holder.objs:
            m.heap.hold(index, part)


def _call_library(m: Machine, ref: str, args: list[Val], keywords: Keywords, place: Place) -> Val:
    special = _SPECIAL.get(ref)
    if special is not None:
        return special(m, args, keywords, place)
    root = ref.partition(".")[0]
    sets_up = _SETTING.fullmatch(ref.rpartition(".")[2]) and root not in m.shared.modules and not has_table(root)
    m.channel(f"module:{root}", "seed" if sets_up else "use", place)
    note_named(m, ref, [*args, *keywords.values()], place)
    if ref.startswith("builtins.") and _is_exception(ref[9:]):
        return m.fresh(None, frozenset().union(*(a.objs for a in args)) if args else ())
    unbound = _unbound_method(m, ref, args, keywords, place)
    if unbound is not None:
        return unbound
    effect = m.tables.function(ref)
    kind = counted_kind(m.tables.canonical(ref), named="name" in keywords)
    m.record.counted |= set() if kind is None else {kind}
    own_module(m, ref, place)
    if effect is None:
        if _changes_variable(ref):
            m.channel(channel_of(ref), "set", place)
            if not any(v.objs or v.defs for v in (*args, *keywords.values())):
                return m.unknown()
        result = unknown_function(m, args, keywords, place)
        last = ref.rpartition(".")[2]
        return Val(result.objs, ref if last[:1].isupper() else None)
    lend_all(m, effect, ref, Val(), [*args, *keywords.values()], place)
    result = apply_effect(m, effect, Val(), args, keywords, place)
    return m.fresh(_HANDLE) if ref in _DISPLAYS and _is_given(keywords.get("display_id")) else result


def _changes_variable(ref: str) -> bool:
    """Whether a call of which nothing is known changes a list, dict or set that is a variable of a library's module."""
    path, _, method = ref.rpartition(".")
    return "." in path and method in _CHANGING


_CHANGING = "append extend insert update add setdefault pop popitem remove discard clear".split()


_SETTING = re.compile(r"(set|add|register|enable|disable|configure|config|init|setup|use|seed|reset)(_\w+)?")
"""Names of functions that set a library up: those of one without a table are taken to do so."""

_DISPLAYS = ("IPython.display", "IPython.display.display")
_HANDLE = "IPython.handle"
"""What `display(x, display_id=True)` gives: in a notebook, and only there."""


def _is_given(val: Val | None) -> bool:
    return val is not None and val.const not in (None, False)


def _is_exception(name: str) -> bool:
    made = getattr(builtins, name, None)
    return isinstance(made, type) and issubclass(made, BaseException)


def _unbound_method(m: Machine, ref: str, args: list[Val], keywords: Keywords, place: Place) -> Val | None:
    """`list.reverse(x)` is `x.reverse()`; a static method has a row of its own."""
    owner, _, name = ref.rpartition(".")
    if args and not m.tables.names(ref) and (owner.startswith("builtins.") or owner.rpartition(".")[2][:1].isupper()):
        known = m.tables.method(owner, name)
        if known is not None:
            return apply_effect(m, known, args[0], args[1:], keywords, place)
    return None


def call_method(m: Machine, receiver: Val, name: str, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """Call a method of a value."""
    note_named(m, receiver.type, args, place)
    own_module(m, receiver.type or "", place)
    owned = [own for c in classes_of(m, receiver) if (own := c.method(name)) is not None]
    if owned:
        return join([_own_method(m, own, receiver, args, keywords, place) for own in owned])
    if is_unknown(m, receiver):
        _any_class(m, name, receiver, args, keywords, place)
    if receiver.defs and isinstance(receiver.defs[0].node, ast.ClassDef):
        own = receiver.defs[0].method(name)
        if own is not None:
            return _call_def(m, own, Val(), [*([receiver] if _takes_class(own) else []), *args], keywords, place)
    if name in ("__setattr__", "__delattr__"):
        return ATTRIBUTE_CALLS["builtins.setattr"](m, [receiver, *args], keywords, place)
    if name == "__new__" and args and args[0].defs and isinstance(args[0].defs[0].node, ast.ClassDef):
        return join([_bare_instance(m, c) for c in args[0].defs])
    if receiver.type == _HANDLE:
        m.say("display-handle", f"what `display` gave has `{name}` only in a notebook", place)
    if receiver.type == "pathlib.Path" and name in PATH_METHODS:
        return PATH_METHODS[name](m, [receiver, *args], keywords, place)
    if receiver.type == "concurrent.futures.Executor" and name in _EXECUTORS:
        return _EXECUTORS[name](m, args, keywords, place)
    text = text_method(receiver, name, args)
    if text is not None:
        return text
    if name in _BY_EQUALITY and any(a.objs for a in args) and not has_views(receiver.type):
        m.compare(v.objs for v in (receiver, *args))
    bases = {library_base(c) for c in classes_of(m, receiver)}
    type_name = receiver.type or (bases.pop() if len(bases) == 1 else None)
    effect = m.tables.method(type_name, name) if type_name else None
    if effect is None and type_name not in IMMUTABLE:
        effect = m.tables.method(None, name)
    if effect is not None:
        run_hooks(m, receiver, place)
        lend_all(m, effect, type_name, receiver, [*args, *keywords.values()], place)
        made = apply_effect(m, effect, receiver, args, keywords, place)
        if name in DICT_VIEWS:
            dict_view(m, receiver, name, made)
        return join([made, *_composed(m, receiver, name, args, place)])
    if type_name in IMMUTABLE:
        return m.fresh(None)
    run_hooks(m, receiver, place)
    return unknown_call(m, receiver, args, keywords, place)


def _composed(m: Machine, receiver: Val, name: str, args: list[Val], place: Place) -> list[Val]:
    """What an inherited method gives that calls the class's own: `fit_transform` gives what `transform` does."""
    classes = [c for c in classes_of(m, receiver) if (library_base(c) or "").startswith("sklearn.")]
    last = _COMPOSED.get(name) if classes and args else None
    owned = [own for c in classes if last is not None and (own := c.method(last)) is not None]
    return [_own_method(m, own, receiver, args[:1], {}, place) for own in owned]


_COMPOSED = {"fit_transform": "transform", "fit_predict": "predict"}
"""Methods that scikit-learn's mixins have, and the last method that each calls."""


_BY_EQUALITY = ("index", "remove", "count", "get", "pop", "discard", "issubset", "issuperset", "isdisjoint")
"""Methods of containers that look for what equals an argument."""


def _any_class(m: Machine, name: str, receiver: Val, args: list[Val], keywords: Keywords, place: Place) -> None:
    """A method of an unknown value may be one of the notebook's classes."""
    if m.shared.guessing:
        return
    m.shared.guessing += 1
    for own in m.shared.methods.get(name, ()):
        if own not in m.shared.mentioning:
            m.shared.mentioning.add(own)
            with m.perhaps():
                _own_method(m, own, receiver, args, keywords, place)
            m.shared.mentioning.discard(own)
    m.shared.guessing -= 1


def _own_method(m: Machine, own: Def, receiver: Val, args: list[Val], keywords: Keywords, place: Place) -> Val:
    first = [] if _is_decorated(own, "staticmethod") or isinstance(own.node, ast.ClassDef) else [receiver]
    if _takes_class(own):
        classes = classes_of(m, receiver)
        first = [class_value(m, classes)] if classes else first
    return _call_def(m, own, Val(), [*first, *args], keywords, place)


_OF_THE_CLASS = ("__new__", "__init_subclass__", "__class_getitem__")
"""Methods whose first argument is the class although no decorator says so."""


def _takes_class(method: Def) -> bool:
    """Whether the first argument of a method is the class."""
    return method.name in _OF_THE_CLASS or _is_decorated(method, "classmethod")


def _is_decorated(made: Def, by: str) -> bool:
    decorators = getattr(made.node, "decorator_list", [])
    return any(isinstance(d, ast.Name) and d.id == by for d in decorators)


# --- functions with a meaning of their own ------------------------------------------------------------------------
def _iterated(type_name: str, how: Order = "as it is") -> Special:
    def build(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
        if "key" in keywords:
            _called_on_each(m, keywords["key"], args, place)
        parts = frozenset().union(*(elements(m, a).objs for a in args)) if args else frozenset()
        parts = parts.union(*(v.objs for k, v in keywords.items() if k != "key"))
        made = m.fresh(type_name, parts)
        if len(args) == 1 and type_name == "builtins.list":
            copied(m, args[0], made, how=how if not keywords else "somehow")
        return made

    return build


def _dict(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """A dict holds what a mapping holds, or what the pairs hold that it is made of."""
    rows = [m.heap.copied(elements(m, a).objs | m.heap.elements(a.objs)) for a in args]
    parts = frozenset().union(*rows, *(m.heap.elements(r) for r in rows), *(v.objs for v in keywords.values()))
    return m.fresh("builtins.dict", parts)


def _zip(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    items = tuple(elements(m, a) for a in args)
    made = _of_tuples(m, items)
    if not keywords:
        zipped(m, args, made)
    return made


def _enumerate(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    made = _of_tuples(m, (typed("builtins.int"), *(elements(m, a) for a in args[:1])))
    several = rows(m, args[0]) if len(args) == 1 and not keywords else None
    if several is not None:
        remember(m, made, numbered([row(m, [constant(i), v]) for i, v in enumerate(several)]), args)
    return made


def _of_tuples(m: Machine, items: tuple[Val, ...]) -> Val:
    parts = frozenset().union(*(i.objs for i in items)) if items else frozenset()
    row = m.fresh("builtins.tuple", parts)
    return Val(frozenset([m.heap.new("builtins.iterator", row.objs)]), "builtins.iterator")


def _called_on(m: Machine, function: Val, args: list[Val], place: Place) -> Val:
    with m.perhaps():
        return call_value(m, function, args, {}, place)


def _called_on_each(m: Machine, function: Val, args: list[Val], place: Place) -> None:
    """A key is called on what is sorted or chosen from, one by one where that is known."""
    known = args if len(args) > 1 else rows(m, args[0]) if args else []
    for val in known if known is not None else [elements(m, a) for a in args]:
        _called_on(m, function, [val], place)


def _map(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    if not args:
        return m.unknown()
    result = _called_on(m, args[0], [elements(m, a) for a in args[1:]], place)
    return m.fresh("builtins.iterator", result.objs)


def _submit(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """`executor.submit(function, ...)`: what the function gives is in the future."""
    if not args:
        return m.unknown()
    with m.perhaps():
        result = call_value(m, args[0], args[1:], keywords, place)
    made = m.fresh("concurrent.futures.Future", result.objs)
    m.mark(made.objs, "unstorable")
    return made


def _as_completed(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    made = m.fresh("builtins.list", join([elements(m, a) for a in args[:1]]).objs)
    m.mark(made.objs, "each:concurrent.futures.Future")
    return made


_EXECUTORS: dict[str, Special] = {"map": _map, "submit": _submit}


def _filter(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    items = [elements(m, a) for a in args[1:]]
    if args and args[0].const is not None:
        _called_on(m, args[0], items, place)
    return m.fresh("builtins.iterator", join(items).objs if items else ())


def _choose(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """min, max, next, reduce-like: one of the elements or of the arguments."""
    if "key" in keywords:
        _called_on_each(m, keywords["key"], args, place)
    several = [*args] if len(args) > 1 else [elements(m, a) for a in args]
    several += [v for k, v in keywords.items() if k == "default"]
    return join(several) if several else m.unknown()


def _next(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    if args:
        m.mutate(args[0].objs, place)
    return join([elements(m, a) if i == 0 else a for i, a in enumerate(args)])


def _str(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    show(m, args[:1], place)
    if args and isinstance(args[0].const, str):
        return Val(type="builtins.str", const=args[0].const)
    return typed("builtins.str")


def _super(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    own = m.class_of_self
    first = next(iter(m.frame.env.values()), None)
    objs = first.val.objs if first is not None else frozenset()
    base = own.bases[0] if own is not None and own.bases else None
    return Val(objs, library_base(own), cls=base)


def _type(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    if len(args) == 1 and classes_of(m, args[0]):
        return class_value(m, classes_of(m, args[0]))
    return Val() if len(args) == 1 else m.unknown()


_SPECIAL: dict[str, Special] = {
    "builtins.zip": _zip,
    "builtins.enumerate": _enumerate,
    "builtins.map": _map,
    "builtins.filter": _filter,
    "builtins.list": _iterated("builtins.list"),
    "builtins.tuple": _iterated("builtins.tuple"),
    "builtins.set": _iterated("builtins.set"),
    "builtins.frozenset": _iterated("builtins.frozenset"),
    "builtins.dict": _dict,
    "builtins.sorted": _iterated("builtins.list", "sorted"),
    "builtins.reversed": _iterated("builtins.iterator"),
    "builtins.iter": _iterated("builtins.iterator"),
    "builtins.min": _choose,
    "builtins.max": _choose,
    "builtins.next": _next,
    "concurrent.futures.as_completed": _as_completed,
    "builtins.str": _str,
    "builtins.super": _super,
    "builtins.type": _type,
    **ATTRIBUTE_CALLS,
    **FILE_CALLS,
    **LIBRARY_CALLS,
}
