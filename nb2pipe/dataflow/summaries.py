"""Functions of the notebook: what calling one does, worked out once for each kind of arguments.

A function's body is interpreted on a heap of its own in which a symbol stands for every argument and every outer
value. The result, a Summary, is replayed at each call with the real objects in the symbols' places. Recursive
functions start from "does nothing" and are interpreted again until the summary stays the same.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from nb2pipe.dataflow.events import Place
from nb2pipe.dataflow.machine import Bound, Frame, Lent, Machine, Record
from nb2pipe.dataflow.restores import body_of, settled
from nb2pipe.dataflow.scopes import Function, arguments, bound_names, scope
from nb2pipe.dataflow.values import Def, Heap, Val, join

MOST_VARIANTS = 12
MOST_ROUNDS = 6


@dataclass(slots=True)
class Summary:
    """What a call does. `symbols` maps an object of `heap` to ("argument", name) or ("outer", name)."""

    heap: Heap
    symbols: dict[int, tuple[str, str]]
    record: Record
    returns: Val
    writes: dict[str, tuple[Val, bool]]
    outer: dict[str, Any] = field(default_factory=dict)

    def shape(self) -> Any:
        """What must stay the same for a recursive function to be understood."""
        return (
            sorted(self.record.reads),
            sorted(self.writes),
            self._named(self.record.mutated),
            self._named(self.returns.objs),
            self.returns.type,
        )

    def _named(self, objs: Iterable[int]) -> Any:
        return sorted({self.symbols.get(o, ("fresh", "")) for o in objs})


class FunctionFrame(Frame):
    """The scope of a call. Names that it does not bind are looked up where the call happens."""

    def __init__(self, own: frozenset[str], caller: Machine, machine_symbols: dict[int, tuple[str, str]]) -> None:
        super().__init__()
        self.own = own
        self.caller = caller
        self.symbols = machine_symbols
        self.seen: dict[str, Any] = {}
        self.outer_values: dict[str, Bound] = {}
        self.heap: Heap | None = None
        self.home: object = None

    def owns(self, name: str) -> bool:
        return name in self.own

    def outside(self, name: str) -> Bound | None:
        if name in self.own:
            return None
        if name not in self.outer_values:
            outer = peek(self.caller, name)
            self.seen[name] = signature(outer.val) if outer else None
            if outer is None:
                return None
            self.outer_values[name] = Bound(self._symbolic(name, outer.val), outer.binds, outer.must)
        return self.outer_values[name]

    def _symbolic(self, name: str, val: Val) -> Val:
        assert self.heap is not None
        assert self.symbols is not None
        if not val.objs:
            return val
        symbol = self.heap.new(val.type, opaque=True)
        self.symbols[symbol] = ("outer", name)
        return Val(frozenset([symbol]), val.type, val.ref, val.defs, val.const, None, val.cls)


def peek(m: Machine, name: str) -> Bound | None:
    """The binding of a name as seen from a machine's scope, without noting a read."""
    bound = m.frame.find(name)
    if bound is not None and (bound.binds or bound.must):
        return bound
    return m.frame.outside(name)


def signature(val: Val) -> Any:
    """What of a value a summary may depend on."""
    text = val.const if isinstance(val.const, str) and len(val.const) < 200 else None
    return (val.type, val.ref, val.defs, tuple(bool(d.literals) for d in val.defs), text, bool(val.objs), val.cls)


def define_function(m: Machine, node: Function, name: str) -> Val:
    """The value of a `def` or `lambda`: decorators, defaults and annotations are evaluated here and now."""
    home = _enclosing(m)
    captures = _captures(home, node)
    made = Def(name, node, m.cell, defaults=_defaults(m, node), captures=captures, home=home, heap=m.heap)
    _evaluate_annotations(m, node)
    m.record.defined.append(made)
    held = [v.objs for v in made.defaults.values()]
    held += [b.val.objs for n in sorted(made.captures) if (b := home.find(n) or home.outside(n)) is not None]
    if made.captures and home.rebinds:
        held.append(frozenset([home.cell_in(m.heap)]))
    objs = frozenset().union(*held) if held else frozenset()
    if not objs and not made.captures:
        return Val(type="function", defs=(made,))
    index = m.heap.definition(made)
    m.heap.objs[index].opaque = bool(made.captures)
    for part in objs:
        m.heap.hold(index, part)
    return Val(frozenset([index]), "function", defs=(made,))


def _enclosing(m: Machine) -> Frame:
    """The scope whose variables a function defined here sees: a class body's it does not."""
    frame = m.frame
    while (around := frame.around) is not None:
        frame = around.frame
    return frame


def _captures(home: Frame, node: Function) -> frozenset[str]:
    """The variables of the enclosing functions that a function mentions."""
    if not isinstance(home, FunctionFrame):
        return frozenset()
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    around: list[FunctionFrame] = []
    frame: object = home
    while isinstance(frame, FunctionFrame):
        around.append(frame)
        frame = frame.home
    return frozenset(n for n in names if any(f.owns(n) for f in around))


def _defaults(m: Machine, node: Function) -> dict[str, Val]:
    """The default value of each parameter that has one: made once, when the function is."""
    args = node.args
    positional = [a.arg for a in [*args.posonlyargs, *args.args]]
    named = list(zip(positional[len(positional) - len(args.defaults) :], args.defaults, strict=True))
    named += [(a.arg, d) for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True) if d is not None]
    return {name: m.evaluate(default) for name, default in named}


def _evaluate_annotations(m: Machine, node: Function) -> None:
    if isinstance(node, ast.Lambda) or m.shared.future_annotations:
        return
    args = node.args
    every = [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, [args.vararg, args.kwarg])]
    for annotation in [*(a.annotation for a in every), node.returns]:
        if annotation is not None and not isinstance(annotation, ast.Constant):
            m.evaluate(annotation)


# --- summaries --------------------------------------------------------------------------------------------------
CLOSURE = "<closure>"
CACHED = "cached:"
"""What the mark of an object begins with that a cached function gave."""


def bind_arguments(
    m: Machine, made: Def, args: list[Val], keywords: Mapping[str | None, Val], closure: frozenset[int]
) -> dict[str, Val]:
    """The value of each parameter for a call; a missing one is its default."""
    spec = made.node.args  # type: ignore[union-attr]
    positional = [a.arg for a in [*spec.posonlyargs, *spec.args]]
    bound = dict(zip(positional, args, strict=False))
    rest = args[len(positional) :]
    named = {a.arg for a in spec.kwonlyargs} | set(positional)
    bound.update({k: v for k, v in keywords.items() if k in named and k is not None})
    loose = [v for k, v in keywords.items() if k not in named]
    if spec.vararg:
        bound[spec.vararg.arg] = _packed(m, "builtins.tuple", [*rest, *loose])
    if spec.kwarg:
        bound[spec.kwarg.arg] = _packed(m, "builtins.dict", loose)
    if None in keywords:
        for name in named - set(bound):
            bound[name] = keywords[None]
    return {**{name: _default(m, made, val, closure) for name, val in made.defaults.items()}, **bound}


def _default(m: Machine, made: Def, val: Val, closure: frozenset[int]) -> Val:
    """A default as the caller knows it: inside of another function its objects are those that the function holds."""
    if made.heap is m.heap or not val.objs:
        return val
    held = closure | m.heap.elements(closure) if closure else frozenset([m.heap.new(None, opaque=True)])
    return Val(held, val.type, cls=val.cls)


def _packed(m: Machine, type_name: str, values: list[Val]) -> Val:
    """The tuple or dict that takes a call's further arguments."""
    return m.fresh(type_name, frozenset().union(*(v.objs for v in values)) if values else ())


def summarize(m: Machine, made: Def, arguments_: Mapping[str, Val]) -> Summary:
    """The summary of calling `made` from `m` with arguments like these."""
    key = tuple((name, signature(val)) for name, val in sorted(arguments_.items()))
    known = m.shared.summaries.setdefault(made, [])
    for other_key, summary in known:
        if other_key == key and _still_holds(m, summary):
            return summary  # type: ignore[no-any-return]
    if len(known) >= MOST_VARIANTS:
        arguments_ = {name: Val(objs=val.objs) for name, val in arguments_.items()}
        key = tuple((name, signature(val)) for name, val in sorted(arguments_.items()))
    running = (made, key)
    if running in m.shared.running:
        m.shared.assumed.add(running)
        assumed: Summary = m.shared.running[running]
        return assumed
    return _interpreted(m, made, arguments_, running)


def _still_holds(m: Machine, summary: Summary) -> bool:
    return all(
        (signature(bound.val) if (bound := peek(m, name)) else None) == seen for name, seen in summary.outer.items()
    )


def _interpreted(m: Machine, made: Def, arguments_: Mapping[str, Val], running: Any) -> Summary:
    shared = m.shared
    shared.running[running] = Summary(Heap(), {}, Record(), Val(), {})
    nested = bool(shared.assumed)
    for _ in range(MOST_ROUNDS):
        summary = _run_body(m, made, arguments_)
        recursive = running in shared.assumed
        if not recursive or summary.shape() == shared.running[running].shape():
            break
        shared.running[running] = summary
    del shared.running[running]
    shared.assumed.discard(running)
    if not shared.assumed and not nested:
        shared.summaries[made].append((running[1], summary))
    return summary


def _run_body(m: Machine, made: Def, arguments_: Mapping[str, Val]) -> Summary:
    node = made.node
    assert not isinstance(node, ast.ClassDef)
    names = scope(node)
    symbols: dict[int, tuple[str, str]] = {}
    closure = made.captures if CLOSURE in arguments_ else frozenset()
    frame = FunctionFrame(names.bound | closure, m, symbols)
    frame.home = made.home
    heap = frame.heap = Heap(inner=True)
    frame.rebinds = any(isinstance(n, ast.Nonlocal) for n in ast.walk(node))
    inner = Machine(m.tables, frame, heap, m.shared)
    inner.cell, inner.lines = made.cell, m.shared.lines.get(made.cell, ())
    inner.place = inner.at(node)
    inner.class_of_self = made.owner
    for name in arguments(node.args):
        frame.env[name] = Bound(_parameter(heap, symbols, name, arguments_.get(name)))
    entered = _enter_closure(heap, symbols, frame, closure, arguments_)
    _execute(inner, node)
    if any(frame.env[name] is not bound for name, bound in entered.items()):
        held = next(iter(entered.values())).val.objs
        inner.mutate(held, inner.place, deep=True)
        inner.patch(held, inner.place)
    for index, captured in frame.closures:
        for name in captured:
            for part in (frame.find(name) or Bound(Val())).val.objs:
                heap.hold(index, part)
    returns = _outward(join(frame.returns) if frame.returns else Val(type="builtins.NoneType", const=None))
    if names.generator:
        returns = Val(frozenset([heap.new("builtins.generator", returns.objs)]), "builtins.generator")
    settled(inner.record, body_of(made))
    writes = {n: (_outward(b.val), b.must) for n, b in frame.env.items() if n not in frame.own}
    return Summary(heap, symbols, inner.record, returns, writes, frame.seen)


def _enter_closure(
    heap: Heap,
    symbols: dict[int, tuple[str, str]],
    frame: FunctionFrame,
    names: frozenset[str],
    arguments_: Mapping[str, Val],
) -> dict[str, Bound]:
    """Bind the variables that a function took with it from where it was made: each is whatever the function holds."""
    if not names:
        return {}
    held = _parameter(heap, symbols, CLOSURE, arguments_[CLOSURE])
    bound = Bound(Val(objs=held.objs | heap.elements(held.objs)))
    frame.env.update(dict.fromkeys(sorted(names), bound))
    return dict.fromkeys(sorted(names), bound)


def _execute(inner: Machine, node: Function) -> None:
    if isinstance(node, ast.Lambda):
        inner.frame.returns.append(inner.evaluate(node.body))
    else:
        inner.execute(node.body)


def _parameter(heap: Heap, symbols: dict[int, tuple[str, str]], name: str, val: Val | None) -> Val:
    if val is None:
        return Val(frozenset([heap.new(None, opaque=True)]))
    if not val.objs:
        return val
    symbol = heap.new(val.type, opaque=True)
    symbols[symbol] = ("argument", name)
    return Val(frozenset([symbol]), val.type, val.ref, val.defs, val.const, None, val.cls)


def _outward(val: Val) -> Val:
    """A value as seen outside of the function."""
    items = tuple(_outward(i) for i in val.items) if val.items is not None else None
    return Val(val.objs, val.type, val.ref, val.defs, val.const, items, val.cls)


# --- calls ------------------------------------------------------------------------------------------------------
def call_function(
    m: Machine,
    made: Def,
    args: list[Val],
    keywords: Mapping[str | None, Val],
    place: Place,
    closure: frozenset[int] = frozenset(),
) -> Val:
    """Call a function of the notebook: its effects happen here, its value is returned.

    `closure` are the objects of the function's value, which hold what it captured where it was made.
    """
    bound = bind_arguments(m, made, args, keywords, closure)
    if made.captures and not _at_home(m, made):
        bound[CLOSURE] = Val(objs=closure or _held_by_class(m, made))
    result = replay(m, summarize(m, made, bound), bound, place)
    if made.cached:
        m.record.remembered |= {(made, o) for v in bound.values() for o in v.objs}
        for index in result.objs:
            m.heap.objs[index].marks |= {CACHED + made.name}
    return result


def _held_by_class(m: Machine, made: Def) -> frozenset[int]:
    """What the class of a method holds, its methods with what they captured among it."""
    held = m.heap.elements([m.heap.definition(made.owner)]) if made.owner is not None else frozenset()
    return held or frozenset([m.heap.new(None, opaque=True)])


def _at_home(m: Machine, made: Def) -> bool:
    """Whether the scope that the function was made in is still running."""
    frame: Frame = m.frame
    while isinstance(frame, FunctionFrame):
        if frame is made.home:
            return True
        frame = frame.caller.frame
    return False


def replay(m: Machine, summary: Summary, bound: Mapping[str, Val], place: Place, *, certain: bool = True) -> Val:
    """Do to the real objects what the summary did to its symbols; `certain` when the call is sure to happen."""
    values = {name: m.read(name, place, calling=True) for name in summary.record.reads if peek(m, name)}
    real = _Real(m, summary, bound, values)
    record = summary.record
    for index in record.mutated:
        if index not in record.spared:
            m.mutate(real.objects(index), place)
    for index in record.patched:
        m.patch(real.patched(index), place)
    for index, names in record.retuned.items():
        m.retune(real.objects(index), names)
    for index in sorted(record.resting - record.used):
        m.use_parts(real.objects(index), place, resting=True)
    for index in sorted(record.used):
        m.wake(real.objects(index))
        m.use_parts(real.objects(index), place)
    for index, how in sorted(record.lent.items(), key=lambda row: row[0]):
        lend(m, real.objects(index), Lent(how.training, tuple(map(real.val, how.given))), place)
    for index in sorted(record.copied):
        m.use_copies(real.objects(index), place)
    m.record.compared |= real.several(record.compared)
    m.compare([real.several(record.equalled)])
    m.record.raised |= real.several(record.raised)
    m.record.remembered |= {(cached, o) for cached, index in record.remembered for o in real.objects(index)}
    _call_held(m, real.several(record.called), place)
    _pass_on(m, record, place)
    real.edges()
    for name, (val, must) in summary.writes.items():
        _write(m, name, real.val(val), must and certain, place)
    return real.val(summary.returns)


def _call_held(m: Machine, callees: frozenset[int], place: Place) -> None:
    """A call of what a function was given, or found outside: the functions of the notebook among it run."""
    m.record.called |= callees
    m.draw(m.marks_of(callees & m.heap.referred.keys()), place)
    for index in sorted(callees & m.heap.defined.keys()):
        mention(m, Val(frozenset([index]), defs=(m.heap.defined[index],)), place)


def _pass_on(m: Machine, record: Record, place: Place) -> None:
    mine = m.record
    mine.channels += record.channels
    mine.files += record.files
    mine.mentions += record.mentions
    mine.texts += record.texts
    mine.counted |= record.counted
    mine.findings += [f for f in record.findings if f not in mine.findings]
    mine.strings |= record.strings
    mine.builtins |= record.builtins
    mine.unknown_calls += record.unknown_calls
    mine.dynamic |= record.dynamic
    mine.shown = {**record.shown, **mine.shown}
    for name, (_, maybe) in record.undefined.items():
        if peek(m, name) is None:
            mine.undefined.setdefault(name, (place, maybe or m.maybe > 0))


def _write(m: Machine, name: str, val: Val, must: bool, place: Place) -> None:
    if must:
        m.assign(name, val, place, leak=True)
        return
    with m.frame.layer() as branch:
        m.assign(name, val, place)
    m.frame.merge([branch, {}])


class _Real:
    """The real objects for the objects of a summary's heap; fresh ones are made anew for each call."""

    def __init__(self, m: Machine, summary: Summary, bound: Mapping[str, Val], outer: Mapping[str, Val]) -> None:
        self.m = m
        self.summary = summary
        self.known: dict[int, frozenset[int]] = {}
        self.direct: dict[int, frozenset[int]] = {}
        for index, (kind, name) in summary.symbols.items():
            val = bound.get(name, Val()) if kind == "argument" else outer.get(name, Val())
            self._stands_for(index, val.objs)
        for index, made in summary.heap.defined.items():
            if not made.captures:
                self._stands_for(index, frozenset([m.heap.definition(made)]))

    def _stands_for(self, index: int, objs: frozenset[int]) -> None:
        """`index` was there before the call: it, and what it held, are these objects."""
        self.known[index] = objs
        element = self.summary.heap.objs[index].element
        if element is not None:
            parts = self.m.heap.elements(objs)
            self.known[element] = frozenset(self.m.heap.attributes(parts | self.m.heap.inherited(objs)))
            self.direct[element] = parts

    def objects(self, index: int) -> frozenset[int]:
        """The real objects that `index` stands for."""
        if index not in self.known:
            obj = self.summary.heap.objs[index]
            made = self._made(index)
            self.m.heap.objs[made].marks = obj.marks
            if index in self.summary.heap.classes:
                self.m.heap.instance(made, self.summary.heap.classes[index])
            self.known[index] = frozenset([made])
        return self.known[index]

    def patched(self, index: int) -> frozenset[int]:
        """Of the real objects, those that a function or class must be among to be what is patched."""
        return self.direct.get(index, self.objects(index))

    def _made(self, index: int) -> int:
        obj, heap = self.summary.heap.objs[index], self.m.heap
        definition = self.summary.heap.defined.get(index)
        made = heap.hub(()) if obj.hub else heap.new(obj.type, opaque=obj.opaque)
        if definition is not None:
            heap.defined[made] = definition
        if index in self.summary.heap.referred:
            heap.referred[made] = self.summary.heap.referred[index]
        return made

    def several(self, indexes: Iterable[int]) -> frozenset[int]:
        """The real objects of several."""
        return frozenset().union(*(self.objects(i) for i in indexes)) if indexes else frozenset()

    def val(self, val: Val) -> Val:
        """A value of the function as a value of the caller."""
        items = tuple(self.val(i) for i in val.items) if val.items is not None else None
        return Val(self.several(val.objs), val.type, val.ref, val.defs, val.const, items, val.cls)

    def edges(self) -> None:
        """Repeat who holds and who views whom, for every object that the caller can reach."""
        heap = self.summary.heap
        kept = heap.reach([*self.summary.symbols, *heap.defined, *self.summary.returns.objs, *self._written()])
        for index in sorted(kept):
            obj = heap.objs[index]
            for part in obj.parts:
                if part == obj.element and (index in self.summary.symbols or index in heap.defined):
                    continue
                self._link(self.m.heap.hold, index, part)
            for base in obj.bases:
                self._link(self.m.heap.view, index, base)
            for owner in obj.owners:
                self._link(self.m.heap.put_inside, index, owner)

    def _written(self) -> set[int]:
        return {o for val, _ in self.summary.writes.values() for o in val.objs}

    def _link(self, link: Any, holder: int, part: int) -> None:
        for a in self.objects(holder):
            for b in self.objects(part):
                link(a, b)


def mention(m: Machine, val: Val, place: Place) -> None:
    """A function or class is named but not called here: it may be called, so what it reads and changes counts."""
    for made in val.defs:
        for one in made.functions():
            if isinstance(one.node, ast.ClassDef) or one in m.shared.mentioning:
                continue
            m.shared.mentioning.add(one)
            _mention_one(m, one, place, val.objs)
            m.shared.mentioning.discard(one)


def _mention_one(m: Machine, made: Def, place: Place, closure: frozenset[int]) -> None:
    before = set(m.record.undefined)
    bound = {a: m.unknown() for a in arguments(made.node.args)} if not isinstance(made.node, ast.ClassDef) else {}
    if made.captures and not _at_home(m, made):
        bound[CLOSURE] = Val(objs=closure or _held_by_class(m, made))
    replay(m, summarize(m, made, bound), bound, place, certain=False)
    # Called later than now, when the name may well be bound.
    for name in set(m.record.undefined) - before:
        m.record.undefined[name] = (m.record.undefined[name][0], True)


def lend(m: Machine, objs: frozenset[int], how: Lent, place: Place) -> None:
    """A library is given `objs`: functions, and methods of instances, of the notebook that they are or hold may run.

    Methods that train do so only when the library's call does.
    """
    if m.shared.guessing:
        return
    for index in objs if m.frame.symbols is not None else ():
        m.record.lent[index] = _lent_again(m.record.lent.get(index), how)
    reached = m.heap.reach(objs)
    m.draw(m.marks_of(reached & m.heap.referred.keys()), place)
    running = {(i, how) for i in (reached & m.heap.defined.keys()) | (reached & m.heap.classes.keys())}
    fresh = sorted(i for i, _ in running - m.record.run)
    m.record.run |= running
    for index in fresh:
        if index in m.heap.classes:
            _lend_instance(m, index, m.heap.classes[index], how, place)
        else:
            _lend_function(m, index, m.heap.defined[index], how, place)


def _lent_again(before: Lent | None, how: Lent) -> Lent:
    """Both ways in one."""
    if before is None or before == how:
        return how
    given = tuple(join([v for v in pair if v is not None]) for pair in zip_longest(before.given, how.given))
    return Lent(before.training or how.training, given)


def _lend_function(m: Machine, index: int, made: Def, how: Lent, place: Place) -> None:
    mention(m, Val(frozenset([index]), defs=(made,)), place)
    if not how.given or isinstance(made.node, ast.ClassDef) or made in m.shared.mentioning:
        return
    m.shared.mentioning.add(made)
    with m.perhaps():
        call_function(m, made, _handed_on(m, arguments(made.node.args), how), {}, place, frozenset([index]))
    m.shared.mentioning.discard(made)


def _handed_on(m: Machine, names: Sequence[str], how: Lent) -> list[Val]:
    """The arguments of parameters of these names: what is given, or something made of it."""
    return [*how.given[: len(names)], *(m.unknown() for _ in names[len(how.given) :])]


OF_THE_MAKER = ("__init__", "__new__", "get_config", "from_config")
"""Methods that run where an object is made or stored, not where it is used."""


def _lend_instance(m: Machine, index: int, cls: Def, how: Lent, place: Place) -> None:
    for name, method in ((n, f) for c in cls.lineage() for n, f in c.methods.items()):
        if name in OF_THE_MAKER or method in m.shared.mentioning or (not how.training and _trains(m, cls, name)):
            continue
        m.shared.mentioning.add(method)
        known = m.tables.method(cls.library_base, name) is not None  # other methods only the class itself calls
        names = arguments(method.node.args)[1:]  # type: ignore[union-attr]
        with m.perhaps():
            own = Val(frozenset([index]), cls=cls)
            call_function(m, method, [own, *_handed_on(m, names, how if known else Lent(False))], {}, place)
        m.shared.mentioning.discard(method)


def _trains(m: Machine, cls: Def, name: str) -> bool:
    """Whether a method of that name trains: it runs only where the library's call trains too."""
    effect = m.tables.method(cls.library_base, name) or m.tables.method(None, name)
    return effect is not None and effect.mutates_parts


def class_members(m: Machine, node: ast.ClassDef, frame: Frame) -> tuple[dict[str, Def], frozenset[str]]:
    """The methods that a class body defined, and all names that it binds."""
    names = bound_names(ast.Module(body=node.body, type_ignores=[]))
    found = {n: b.val.defs[0] for n in sorted(names) if (b := frame.find(n)) is not None and b.val.defs}
    return found, names
