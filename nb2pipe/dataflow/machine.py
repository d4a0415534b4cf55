"""The state of the abstract interpretation: names in scope, the heap, and the record of what a statement does."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from nb2pipe.dataflow.events import ChannelEvent, ChannelUse, FileEvent, ModuleFacts, Place, channel_of
from nb2pipe.dataflow.tables import FileUse, Tables
from nb2pipe.dataflow.values import IMMUTABLE, NOTHING, Access, Def, Heap, Val, constant, join
from nb2pipe.findings import Finding, finding

BUILTINS = frozenset(dir(builtins))
IPYTHON_HISTORY = frozenset(["_", "__", "___", "_i", "_ii", "_iii", "In", "Out", "_dh", "_ih", "_oh", "_exit_code"])


Showing = Literal["name", "module", "module read"]
"""What of a definition is shown: where in its module it stands, or which that is, in text or for itself."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a name is bound to: its value, the bindings it may come from, and whether it is bound for certain."""

    val: Val
    binds: frozenset[int] = frozenset()
    must: bool = True


UNBOUND = Bound(NOTHING, frozenset(), must=False)


class Template(str):
    """A text with `{parameter}` placeholders in it: known but for the parameters of the run."""


@dataclass(frozen=True, slots=True)
class Lent:
    """How a library runs the functions and methods that it is given: whether it trains, and the data that it hands
    on to them, in order, where it does."""

    training: bool
    given: tuple[Val, ...] = ()


@dataclass(slots=True)
class Record:
    """What a statement or a function body does beyond computing its value."""

    reads: dict[str, tuple[Place, frozenset[int]]] = field(default_factory=dict)
    uncertain: set[str] = field(default_factory=set)
    written: dict[str, Place] = field(default_factory=dict)
    mutated: dict[int, Place] = field(default_factory=dict)
    patched: dict[int, Place] = field(default_factory=dict)
    spared: set[int] = field(default_factory=set)
    used: set[int] = field(default_factory=set)
    resting: set[int] = field(default_factory=set)
    compared: set[int] = field(default_factory=set)
    equalled: set[int] = field(default_factory=set)
    channels: list[ChannelEvent] = field(default_factory=list)
    files: list[FileEvent] = field(default_factory=list)
    mentions: list[tuple[str, Place]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    counted: set[str] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)
    stars: dict[str, Place] = field(default_factory=dict)
    strings: set[str] = field(default_factory=set)
    dynamic: set[str] = field(default_factory=set)
    undefined: dict[str, tuple[Place, bool]] = field(default_factory=dict)
    class_rebinds: set[str] = field(default_factory=set)
    builtins: set[str] = field(default_factory=set)
    unknown_calls: list[Place] = field(default_factory=list)
    defined: list[Def] = field(default_factory=list)
    raised: set[int] = field(default_factory=set)
    called: set[int] = field(default_factory=set)
    touched: dict[frozenset[int], Val] = field(default_factory=dict)
    shown: dict[tuple[Def, Showing], Place] = field(default_factory=dict)
    retuned: dict[int, frozenset[str | None]] = field(default_factory=dict)
    lent: dict[int, Lent] = field(default_factory=dict)
    run: set[tuple[int, Lent]] = field(default_factory=set)
    copied: set[int] = field(default_factory=set)
    remembered: set[tuple[Def, int]] = field(default_factory=set)


_DATA = ("builtins.", "pandas.", "numpy.ndarray", "tensorflow.Tensor", "torch.utils.data.", "function")
"""Types that a model may hold but does not change when it is trained."""


_DRAWING: Mapping[str, ChannelUse] = {"draws": "draw", "advances": "advance"}
"""Marks of what draws when it is used, each followed by `:GENERATOR`, and how it does."""

_COPIED = (*_DRAWING, "retuned")
"""Marks that a copy has too."""

_GENERATORS = ("numpy.random.RandomState", "numpy.random.Generator", "random.Random", "torch.Generator")
"""Types of random generators that what holds them passes on uncopied."""


class Frame:
    """A scope. Branches write into overlays, which are joined where the branches meet.

    `private`: what the scope binds itself is nobody else's business, so that reading it is not noted.
    """

    private = True

    def __init__(self) -> None:
        self.env: dict[str, Bound] = {}
        self.layers: list[dict[str, Bound]] = [self.env]
        self.hidden: list[int] = []
        self.ended = False
        self.returns: list[Val] = []
        self.closures: list[tuple[int, frozenset[str]]] = []
        self.cell: int | None = None
        self.rebinds = False
        self.around: Machine | None = None
        self.symbols: dict[int, tuple[str, str]] | None = None
        self.trails: list[dict[str, list[Bound]]] = []
        self.loops: list[tuple[int, list[dict[str, Bound]]]] = []

    def cell_in(self, heap: Heap) -> int:
        """The object that stands for the variables that functions made in this scope share."""
        if self.cell is None:
            self.cell = heap.new("cell", opaque=True)
        return self.cell

    def find(self, name: str) -> Bound | None:
        """The binding of `name` in this scope, None when the scope never binds it."""
        for layer in reversed(self.layers):
            if name in layer:
                return layer[name]
        return None

    def set(self, name: str, bound: Bound, *, leak: bool = False) -> None:
        """Bind `name`; `leak` writes below the layers of comprehensions, as `:=` does."""
        index = len(self.layers) - 1
        while leak and index in self.hidden:
            index -= 1
        self.layers[index][name] = bound
        for trail in self.trails:
            trail.setdefault(name, []).append(bound)

    @contextmanager
    def trail(self) -> Iterator[dict[str, list[Bound]]]:
        """All that names are bound to inside, one after the other: code may be left at any point."""
        followed: dict[str, list[Bound]] = {}
        self.trails.append(followed)
        try:
            yield followed
        finally:
            self.trails.remove(followed)

    def outside(self, name: str) -> Bound | None:
        """The binding of a name that this scope does not bind itself."""
        return None

    def owns(self, name: str) -> bool:
        """Whether an assignment to `name` in this scope binds it here."""
        return True

    @contextmanager
    def loop(self) -> Iterator[list[dict[str, Bound]]]:
        """A loop's body: what is bound where `break` and `continue` leave it."""
        left: list[dict[str, Bound]] = []
        self.loops.append((len(self.layers), left))
        try:
            yield left
        finally:
            self.loops.pop()

    def leave(self) -> None:
        """`break` or `continue`: nothing more of this round is reached."""
        depth, left = self.loops[-1]
        left.append({name: bound for layer in self.layers[depth:] for name, bound in layer.items()})
        self.ended = True

    @contextmanager
    def layer(self, *, comprehension: bool = False) -> Iterator[dict[str, Bound]]:
        """A branch: what is bound inside is given back and not visible afterwards."""
        overlay: dict[str, Bound] = {}
        self.layers.append(overlay)
        if comprehension:
            self.hidden.append(len(self.layers) - 1)
        try:
            yield overlay
        finally:
            self.layers.pop()
            if comprehension:
                self.hidden.pop()

    def merge(self, branches: list[dict[str, Bound]]) -> None:
        """Bind every name of the branches to what it may be after them; no branch binds a comprehension's own names."""
        for name in dict.fromkeys(n for b in branches for n in b):
            before = self.find(name) or UNBOUND
            several = [b.get(name, before) for b in branches]
            present = [b for b in several if b.binds or b.must] or several
            self.set(
                name,
                Bound(
                    join([b.val for b in present]),
                    frozenset().union(*(b.binds for b in several)),
                    all(b.must for b in several),
                ),
                leak=True,
            )


class Machine:
    """One run of the analysis over a scope; functions get a machine of their own with an empty heap.

    `evaluate` and `execute` are the interpreters of expressions and statements (see interpret.py). `found` is the file
    that the innermost `if` has found to be there, with the depth of its branch: removed in it, it is gone in any case.
    """

    def __init__(self, tables: Tables, frame: Frame, heap: Heap, shared: Shared) -> None:
        self.tables = tables
        self.frame = frame
        self.heap = heap
        self.shared = shared
        self.record = Record()
        self.cell = 0
        self.lines: tuple[str, ...] = ()
        self.place = Place(0, 1, "")
        self.maybe = 0
        self.found: tuple[str, int] | None = None
        self.unrolled = 1
        self.bind = 0
        self.class_of_self: Def | None = None
        self.outside_reads: dict[str, Place] = {}
        self.evaluate: Callable[[ast.expr], Val] = shared.evaluate_in(self)
        self.execute: Callable[[Iterable[ast.stmt]], None] = shared.execute_in(self)

    @contextmanager
    def perhaps(self) -> Iterator[None]:
        """What runs inside may not run: a name missing there is no certain error, one bound there is not bound for
        certain."""
        self.maybe += 1
        try:
            with self.frame.layer() as branch:
                yield
        finally:
            self.maybe -= 1
        self.frame.merge([branch, {}])

    # --- places -------------------------------------------------------------------------------------------------
    def at(self, node: ast.AST) -> Place:
        """The place of a node of the notebook's text."""
        line = getattr(node, "lineno", None)
        if line is None:
            return self.place
        if line == self.place.line and self.cell == self.place.cell:
            return self.place
        text = self.lines[line - 1].strip() if line <= len(self.lines) else ""
        return Place(self.cell, line, text if len(text) <= 70 else text[:67] + "...")

    # --- names --------------------------------------------------------------------------------------------------
    def read(self, name: str, place: Place, *, calling: bool = False) -> Val:
        """The value of a name; notes the read. `calling`: the name is called right here."""
        bound = self.frame.find(name)
        if bound is None or (not bound.binds and not bound.must):
            return self._read_outside(name, place, bound, calling)
        if not self.frame.private:
            self._note_read(name, place, bound)
        if bound.val.defs and not calling:
            self.shared.mention(self, bound.val, place)
        if not bound.must and not self.frame.private and name in BUILTINS:
            self.record.builtins.add(name)
            return join([bound.val, Val(ref=f"builtins.{name}")])
        return self._of_modules(bound.val, place)

    def _note_read(self, name: str, place: Place, bound: Bound) -> None:
        if not bound.must:
            self.record.uncertain.add(name)
        before = self.record.reads.get(name)
        binds = bound.binds | before[1] if before else bound.binds
        self.record.reads[name] = (before[0] if before else place, binds)

    def _read_outside(self, name: str, place: Place, local: Bound | None, calling: bool) -> Val:
        outer = self.frame.outside(name)
        if outer is not None:
            self.outside_reads.setdefault(name, place)
            self.record.reads.setdefault(name, (place, outer.binds))
            if outer.val.defs and not calling:
                self.shared.mention(self, outer.val, place)
            return self._of_modules(outer.val, place)
        if name in self.shared.provided.get(self.cell, {}):
            return Val(ref=self.shared.provided[self.cell][name])
        if name == "__name__":
            return constant("__main__")
        if name in BUILTINS:
            self.record.builtins.add(name)
            return Val(ref=f"builtins.{name}")
        if name in ("display", "get_ipython"):
            self.record.reads.setdefault(name, (place, frozenset()))
            return Val(ref=f"IPython.{name}")
        self.record.undefined.setdefault(name, (place, self.maybe > 0 or local is not None))
        return Val(objs=frozenset([self.heap.new(opaque=True)]))

    def assign(self, name: str, val: Val, place: Place, *, leak: bool = False) -> None:
        """Bind a name in this scope."""
        self.record.written.setdefault(name, place)
        self.frame.set(name, Bound(val, frozenset([self.shared.bind_of(self, name)])), leak=leak)

    def delete(self, name: str, place: Place) -> None:
        """Unbind a name in this scope."""
        self.record.written.setdefault(name, place)
        self.frame.set(name, UNBOUND)

    # --- effects ------------------------------------------------------------------------------------------------
    def mutate(self, objs: Iterable[int], place: Place, *, deep: bool = False) -> None:
        """The objects change; with `deep` also all that they hold. Functions and classes are used, not changed."""
        given = set(objs)
        given |= self.heap.given(o for o in given if deep or self.heap.objs[o].hub)
        given |= self.heap.open(given)
        for index in self.heap.sharing(given - self.heap.callables()):
            self.record.mutated.setdefault(index, place)
            self.record.spared.discard(index)
            self.forget(index)
            self._change_module(index, place)

    def library_value(self, ref: str, place: Place) -> Val:
        """What an import path stands for: a variable of a module of the notebook's own is an object that can change."""
        facts = self.shared.modules.get(ref.partition(".")[0])
        if facts is None:
            return Val(ref=ref)
        path = facts.origin(ref)
        if path not in facts.variables:
            return facts.constants.get(path, Val(ref=ref))
        known = next((index for index, variable in self.heap.variables.items() if variable == path), None)
        if known is None:
            known = self.heap.new(facts.variables[path], opaque=True)
            self.heap.variables[known] = path
        return self._of_modules(Val(frozenset([known]), facts.variables[path]), place)

    def _of_modules(self, val: Val, place: Place) -> Val:
        """The value that a name has; what it is or holds of the variables of the notebook's own modules is used."""
        if val.ref is not None and self.shared.modules:
            return self.library_value(val.ref, place)
        if self.heap.variables:
            for index in sorted(self.heap.reach(val.objs) & self.heap.variables.keys()):
                self.channel(channel_of(self.heap.variables[index]), "use", place)
        return val

    def _change_module(self, index: int, place: Place) -> None:
        if index in self.heap.variables:
            channel = channel_of(self.heap.variables[index])
            self.channel(channel, "use", place)
            self.channel(channel, "set", place)

    def forget(self, index: int) -> None:
        """What an object holds is not known any more; a function's arguments may be one another, and what it made."""
        if self.frame.symbols is not None:
            self.heap.contents.clear()
        self.heap.contents.pop(index, None)

    def compare(self, several: Iterable[frozenset[int]]) -> None:
        """Values are looked up or compared: those that equal only themselves must stay the same objects."""
        self.record.equalled |= self.heap.individuals(frozenset().union(*several))

    def use_parts(self, objs: frozenset[int], place: Place, *, resting: bool = False) -> None:
        """What holds `objs` is used or trained: its models, generators and callbacks change and draw, no data does."""
        reached = self.heap.reach(objs)
        held = {o for o in reached if not self._is_data(o)} - self.heap.defined.keys()
        for index in sorted(reached & self.heap.defined.keys()):  # hooks and callbacks run
            self.shared.mention(self, Val(frozenset([index]), defs=(self.heap.defined[index],)), place)
        resting = resting or all("rests" in self.heap.objs[o].marks for o in objs)
        (self.record.resting if resting else self.record.used).update(held, objs)
        for index in self.heap.sharing(held):
            self.forget(index)
            if index not in self.record.mutated:
                self.record.mutated[index] = place
                self.record.spared.add(index)
                self._change_module(index, place)
        self.draw(() if resting else self.marks_of(reached), place)

    def use_copies(self, objs: frozenset[int], place: Place) -> None:
        """Copies of what `objs` are made of are used or trained: they draw, but only generators are the same."""
        self.record.copied |= objs
        reached = self.heap.reach(objs)
        self.mutate({o for o in reached if self.heap.objs[o].type in _GENERATORS}, place)
        self.draw(self.marks_of(reached), place)

    def draw(self, marks: Iterable[str], place: Place) -> None:
        """What has the marks is used: it draws."""
        for mark in sorted(marks):
            use, _, generator = mark.partition(":")
            if use in _DRAWING:
                self.channel("random:" + generator, _DRAWING[use], place)

    def marks_of(self, objs: Iterable[int]) -> frozenset[str]:
        """The marks of all the objects."""
        return frozenset().union(*(self.heap.objs[o].marks for o in objs))

    def drawing(self, objs: frozenset[int]) -> set[str]:
        """The marks of what `objs` hold that a copy of them has too."""
        marks = self.marks_of(self.heap.reach(objs))
        rests = bool(objs) and all("rests" in self.heap.objs[o].marks for o in objs)
        return {mark for mark in marks if mark.partition(":")[0] in _COPIED} | ({"rests"} if rests else set())

    def patch(self, objs: Iterable[int], place: Place) -> None:
        """Attributes of the objects are set: that changes functions and classes as well."""
        several = set(objs)
        for index in several & self.heap.defined.keys():
            self._hold_method(self.heap.defined[index])
        self.mutate(several, place)
        for index in several:
            self.record.patched.setdefault(index, place)
        for index in several & self.heap.defined.keys():
            self.record.mutated.setdefault(index, place)
            self.heap.defined[index].literals.clear()

    def _hold_method(self, made: Def) -> None:
        """A class holds its methods; that matters once an attribute of one is set."""
        if made.owner is not None:
            owner, method = self.heap.definition(made.owner), self.heap.definition(made)
            self.heap.hold(owner, method)
            self.heap.objs[owner].parts[method] = 0  # it was there before anybody set anything

    def patch_any(self, holder: Val) -> None:
        """An attribute is set of what may be any class of the notebook: a function's argument of no known type."""
        if self.frame.symbols is not None and holder.cls is None and holder.type is None:
            for made in self.shared.with_literals:
                made.literals.clear()

    def _is_data(self, index: int) -> bool:
        type_name = self._library_type(index)
        if type_name == "torch.Tensor":
            return not self.learns(index)
        return type_name.startswith(_DATA) or self._is_within_data(index)

    def _is_within_data(self, index: int) -> bool:
        """Whether an object stands for whatever data of a known type holds."""
        obj = self.heap.objs[index]
        owners = self.heap.holders[index] - {index}
        inner = obj.type is None and not obj.hub and obj.element == index and bool(owners)
        return inner and all(self._library_type(o).startswith(_DATA) for o in owners)

    def _library_type(self, index: int) -> str:
        cls = self.heap.classes.get(index)
        return (cls.library_base if cls is not None else self.heap.objs[index].type) or ""

    def learns(self, index: int) -> bool:
        """Whether a torch object is or has parameters; of what a function is given that is not known."""
        obj = self.heap.objs[index]
        if self._is_parameter(index):
            return True
        if obj.type == "torch.Tensor" and any(map(self._is_parameter, self.heap.reach([index]))):
            return True
        return self.frame.symbols is not None and obj.type in (None, "torch.Tensor")

    def _is_parameter(self, index: int) -> bool:
        type_name = self._library_type(index)
        learning = "learns" in self.heap.objs[index].marks or type_name.startswith("torch.nn.")
        return learning and not type_name.endswith("Loss")

    def mark(self, objs: Iterable[int], mark: str) -> None:
        """From now on the objects have the mark."""
        for index in objs:
            self.heap.objs[index].marks |= {mark}

    def wake(self, objs: Iterable[int]) -> None:
        """Whatever holds one of the objects does not rest any more."""
        for index in self.heap.holding(objs):
            self.heap.objs[index].marks -= {"rests"}

    def retune(self, objs: frozenset[int], names: frozenset[str | None]) -> None:
        """Settings of these names (None: any) of what `objs` hold become others: it may draw from now on."""
        for index in objs if self.frame.symbols is not None else ():
            self.record.retuned[index] = self.record.retuned.get(index, frozenset()) | names
        for index in self.heap.reach(objs):
            for mark in self.heap.objs[index].marks:
                use, _, rest = mark.partition(":")
                generator, _, settings = rest.partition(":")
                if use == "retuned" and (None in names or not names.isdisjoint(settings.split("/"))):
                    self.mark([index], "draws:" + generator)

    def derived(self, made: Val, sources: Iterable[Val]) -> Val:
        """`made`, a tensor: from it `backward` finds what learns among the values that it is computed from."""
        given = [o for v in sources for o in (*v.objs, *self.heap.elements(v.objs))]
        roots = {o for o in given if self.learns(o)}
        for index in made.objs if roots else ():
            for root in roots:
                self.heap.hold(index, root)
        return made

    def fresh(self, type_name: str | None, parts: Iterable[int] = (), *, opaque: bool = False) -> Val:
        """A new value of that type; immutable types have no object, one of an unknown type may hold anything."""
        if type_name in IMMUTABLE:
            return Val(type=type_name)
        return Val(
            objs=frozenset([self.heap.new(type_name, parts, opaque=opaque or type_name is None)]), type=type_name
        )

    def unknown(self, objs: Iterable[int] = ()) -> Val:
        """A value of which nothing is known but that it may be or hold `objs`."""
        several = frozenset(objs)
        return Val(objs=frozenset([self.heap.hub(several) if several else self.heap.new(None, opaque=True)]))

    def channel(self, name: str, use: ChannelUse, place: Place) -> None:
        """Note a use of hidden state."""
        self.record.channels.append(ChannelEvent(name, use, place))
        module = name.removeprefix("module:")
        if use == "set" and module in self.shared.modules:
            changed = replace(self.shared.modules[module], constants={})
            self.shared.modules = {**self.shared.modules, module: changed}

    def file(self, use: FileUse, path: Val, place: Place, *, certain: bool = False, takes_urls: bool = False) -> None:
        """Note what happens to the file at `path`; `certain`: whatever branch it stands in."""
        known = path.const if path.is_const and isinstance(path.const, str) else None
        gone = use == "remove" and known is not None and self.found == (known, self.maybe)
        perhaps = self.maybe > 0 and not certain and not gone
        self.record.files.append(FileEvent(use, known, place, perhaps, takes_urls))

    def say(self, code: str, message: str, place: Place, name: str | None = None) -> None:
        """Note a finding."""
        self.record.findings.append(finding(code, message, cell=place.cell, line=place.line, name=name))


@dataclass(slots=True)
class Shared:
    """What all machines of one analysis share: the interpreters, the binding numbers and the summaries of functions."""

    tables: Tables
    evaluate_in: Callable[[Machine], Callable[[ast.expr], Val]]
    execute_in: Callable[[Machine], Callable[[Iterable[ast.stmt]], None]]
    mention: Callable[[Machine, Val, Place], None]
    lend: Callable[[Machine, frozenset[int], Lent, Place], None]
    summaries: dict[Def, list[Any]] = field(default_factory=dict)
    running: dict[Any, Any] = field(default_factory=dict)
    assumed: set[Any] = field(default_factory=set)
    lines: dict[int, tuple[str, ...]] = field(default_factory=dict)
    provided: dict[int, dict[str, str]] = field(default_factory=dict)
    binds: dict[tuple[int, str], int] = field(default_factory=dict)
    future_annotations: bool = False
    mentioning: set[Def] = field(default_factory=set)
    special: dict[Def, None] = field(default_factory=dict)
    subclasses: dict[Def, None] = field(default_factory=dict)
    guessing: int = 0
    properties: dict[Access, list[tuple[str, Def]]] = field(default_factory=dict)
    accessors: set[str] = field(default_factory=set)
    modules: Mapping[str, ModuleFacts] = field(default_factory=dict)
    methods: dict[str, list[Def]] = field(default_factory=dict)
    with_literals: list[Def] = field(default_factory=list)

    def bind_of(self, machine: Machine, name: str) -> int:
        """The number of the binding of `name` by the statement that runs; stable for one statement."""
        return self.binds.setdefault((machine.bind, name), len(self.binds))
