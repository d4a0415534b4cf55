"""Operators, loops, prints and library calls may run methods of the notebook's classes: `__getitem__`, `__len__`..."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from nb2pipe.dataflow.events import Place
from nb2pipe.dataflow.machine import Lent, Machine
from nb2pipe.dataflow.scopes import arguments
from nb2pipe.dataflow.summaries import OF_THE_MAKER, call_function
from nb2pipe.dataflow.tables import Effect
from nb2pipe.dataflow.values import IMMUTABLE, NOTHING, Def, Val, join


def classes_of(m: Machine, val: Val) -> list[Def]:
    """The notebook's classes that a value may be an instance of, as far as that is known."""
    if val.cls is not None:
        return [val.cls]
    return list(dict.fromkeys(m.heap.classes[o] for o in sorted(val.objs) if o in m.heap.classes))


def is_unknown(m: Machine, val: Val) -> bool:
    """Whether a value may be an instance of any class."""
    return val.cls is None and val.type is None and bool(val.objs) and not val.defs and not classes_of(m, val)


def library_base(cls: Def | None) -> str | None:
    """The import path of the library's class that a class of the notebook is made from, however far up."""
    return cls.library_base if cls is not None else None


def run_overrides(m: Machine, receiver: Val, place: Place) -> None:
    """A library's method runs the methods that the notebook gives its subclasses: `forward`, `call`, `train_step`."""
    if m.shared.guessing or not receiver.objs:
        return
    family = _family(receiver.type or library_base(receiver.cls))
    m.shared.guessing += 1
    for cls in m.shared.subclasses:
        if family is None or _family(library_base(cls)) == family:
            own = Val(receiver.objs | m.heap.elements(receiver.objs), cls=cls)
            for name, method in cls.methods.items():
                if name not in OF_THE_MAKER and method not in m.shared.mentioning:
                    _run(m, method, own, place)
    m.shared.guessing -= 1


def run_hooks(m: Machine, receiver: Val, place: Place) -> None:
    """A method of a library's class may run what the notebook's subclass has: `handle_starttag`, `visit_Name`."""
    if m.shared.guessing:
        return
    for cls in classes_of(m, receiver):
        family = _family(library_base(cls))
        if family is not None and family.partition(".")[0] not in _WITHOUT_HOOKS:
            m.shared.guessing += 1
            for name, method in ((n, f) for c in cls.lineage() for n, f in c.methods.items()):
                if name not in OF_THE_MAKER and method not in m.shared.mentioning:
                    _run(m, method, Val(receiver.objs, cls=cls), place)
            m.shared.guessing -= 1


_WITHOUT_HOOKS = (
    *("builtins", "collections", "abc", "enum", "typing", "dataclasses", "numpy", "pandas"),
    *("torch", "tensorflow", "sklearn", "xgboost", "lightgbm"),
)
"""Libraries whose methods run no others of a subclass, but special ones and those that the tables tell."""


def _family(path: str | None) -> str | None:
    """The library, or its part, whose classes run methods of each other's subclasses: a data loader runs no network."""
    root, *parts = (path or "").split(".")
    if root == "torch":
        return ".".join([root, *parts[:1]])
    return "tensorflow" if root in ("keras", "tf_keras") else root or None


def own_module(m: Machine, ref: str, place: Place) -> None:
    """A function, or a method, of a module of the notebook's own is called: it may be any of the module's."""
    root = ref.partition(".")[0]
    facts = m.shared.modules.get(root)
    if facts is None:
        return
    for event in facts.on_call:
        m.channel(event.channel, event.use, place)
    m.record.files += [replace(event, place=place, perhaps=True) for event in facts.files]
    if facts.stateful:
        m.channel(f"module:{root}", "use", place)
        m.channel(f"module:{root}", "set", place)


_HANDS_ON = ("sklearn", "imblearn")
"""Libraries whose methods give the very data that they are given to the notebook's functions and methods."""


def lend_all(m: Machine, effect: Effect, owner: str | None, receiver: Val, args: list[Val], place: Place) -> None:
    """A library (of a function or type `owner`) runs what the values hold of the notebook's functions and methods."""
    if (
        effect.makes
        or (owner or "").startswith(("builtins.", "functools.partial"))
        or (owner is None and effect.keeps and not effect.mutates_parts)
    ):
        return  # these only keep what they are given
    objs = receiver.objs.union(*(v.objs for v in args))
    if objs and (m.heap.defined or m.heap.classes or m.heap.referred or m.frame.symbols is not None):
        hands_on = bool(receiver.objs) and (owner or "").partition(".")[0] in _HANDS_ON
        given = tuple(Val(v.objs, v.type, cls=v.cls) for v in args) if hands_on else ()
        m.shared.lend(m, objs, Lent(effect.mutates_parts, given), place)


def touch(m: Machine, values: Iterable[Val], place: Place) -> Val:
    """Run the special methods that using these values may run; what they may return."""
    if not m.shared.special:
        return NOTHING
    results = [_touch(m, val, place) for val in values if val.objs and val.type not in IMMUTABLE]
    return join([r for r in results if r is not NOTHING])


def _touch(m: Machine, val: Val, place: Place) -> Val:
    if val.objs in m.record.touched:
        return m.record.touched[val.objs]
    m.record.touched[val.objs] = NOTHING
    if m.shared.guessing:
        return NOTHING  # one deep is enough: all special methods of a value are run where the value is used
    methods = [f for c in classes_of(m, val) for f in c.special_methods()]
    if not methods and is_unknown(m, val):
        methods = list(m.shared.special)
    m.shared.guessing += 1
    results = [_run(m, method, val, place) for method in methods if method not in m.shared.mentioning]
    m.shared.guessing -= 1
    m.record.touched[val.objs] = join(results)
    return m.record.touched[val.objs]


def _run(m: Machine, method: Def, val: Val, place: Place) -> Val:
    m.shared.mentioning.add(method)
    rest = arguments(method.node.args)[1:]  # type: ignore[union-attr]
    with m.perhaps():
        result = call_function(m, method, [val, *[m.unknown() for _ in rest]], {}, place)
    m.shared.mentioning.discard(method)
    return result
