"""Abstract values: what the analysis knows of a value without running anything.

A mutable value is a set of abstract objects on a `Heap`; an immutable one has none. An object may hold others (`parts`,
by reference) and may share another's memory (`bases`, as a numpy view does). The heap only grows: what once was held
counts as held, so "changed" is never missed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, Literal

UNKNOWN_CONST: Final = object()
"""The `const` of a value that is not known without running the notebook."""

IMMUTABLE: Final = frozenset(
    "builtins." + name
    for name in ("int", "float", "complex", "bool", "str", "bytes", "NoneType", "range", "slice", "Ellipsis")
) | {
    *(
        "pathlib.Path",
        "pathlib.PurePath",
        "pandas.Timestamp",
        "pandas.Timedelta",
        "numpy.dtype",
        "re.Pattern",
        "uuid.UUID",
    ),
    *("datetime.datetime", "datetime.date", "datetime.time", "datetime.timedelta", "datetime.timezone"),
    *("decimal.Decimal", "fractions.Fraction"),
}
"""Types whose values cannot change and hold nothing that can."""

ARRAYS: Final = ("pandas.DataFrame", "pandas.Series", "numpy.ndarray", "numpy.ma.MaskedArray", "torch.Tensor")
"""Types whose operators work element by element and give a fresh value of the same type."""


DEFINITION: Final = "notebook."
"""What the type of an object begins with that is, or is made by, a definition of the notebook."""


Access = Literal["get", "set", "delete"]
"""What is done with an attribute."""


@dataclass(eq=False, slots=True)
class Def:
    """A function, lambda or class of the notebook.

    `methods` are a class's own, `properties` its property functions, `bases` its base classes in the notebook. Of a
    function, `defaults` are the values of its defaults, `captures` the variables of the enclosing function that it
    reads, `home` the scope that it was made in, and `wraps` the functions that a decorator put inside it. `factories`
    are what makes the defaults of a dataclass's fields, anew for each instance; `metaclasses` are what makes a class
    itself. `literals` are those attributes of a class that are literals, until one is set anew. `by_name` is
    the import path of a decorator that makes what is stored by its name alone, "" if the function has none.
    """

    name: str
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
    cell: int
    methods: dict[str, Def] = field(default_factory=dict)
    bases: tuple[Def, ...] = ()
    library_bases: tuple[str, ...] = ()
    owner: Def | None = None
    defaults: dict[str, Val] = field(default_factory=dict)
    captures: frozenset[str] = frozenset()
    home: object = None
    heap: Heap | None = None
    wraps: tuple[Def, ...] = ()
    properties: dict[tuple[str, Access], Def] = field(default_factory=dict)
    factories: tuple[Val, ...] = ()
    metaclasses: tuple[Def, ...] = ()
    literals: dict[str, Val] = field(default_factory=dict)
    by_name: str = ""

    def method(self, name: str) -> Def | None:
        """The method `name`, own or inherited from a class of the notebook."""
        if name in self.methods:
            return self.methods[name]
        return next((m for b in self.bases if (m := b.method(name))), None)

    def maker(self, name: str) -> Def | None:
        """The method `name` of what makes the class, or a class that it is made from."""
        found = (m for c in self.metaclasses if (m := c.method(name)))
        return next(found, None) or next((m for b in self.bases if (m := b.maker(name))), None)

    def accessors(self, name: str | None, use: Access) -> list[Def]:
        """The property functions, own or inherited, that such a use of the attribute runs; None: of any attribute."""
        found = [f for (n, u), f in self.properties.items() if u == use and name in (None, n)]
        if found and name is not None:
            return found
        hidden = name in self.methods and not any(n == name for n, _ in self.properties)
        return found if hidden else found + [f for b in self.bases for f in b.accessors(name, use)]

    def lineage(self) -> list[Def]:
        """The class and its base classes in the notebook."""
        return [self, *(c for b in self.bases for c in b.lineage())]

    def functions(self) -> list[Def]:
        """Whatever may run when the definition is used: itself, methods, properties, what a decorator put inside."""
        makers = [d for f in self.factories for d in f.defs]
        own = [self, *self.methods.values(), *self.properties.values(), *makers, *self.wraps]
        own += [f for c in self.metaclasses for f in c.functions()]
        return own + [f for b in self.bases for f in b.functions()]

    @property
    def cached(self) -> bool:
        """Whether the function remembers what it gave: `@lru_cache`, `@functools.cache`."""
        return self._decorated(_CACHE)

    @property
    def traced(self) -> bool:
        """Whether its Python code runs only when it is traced: `@tf.function`, `@jax.jit`."""
        return self._decorated(_TRACED)

    def _decorated(self, pattern: re.Pattern[str]) -> bool:
        return any(pattern.search(ast.unparse(d)) for d in getattr(self.node, "decorator_list", ()))

    @property
    def library_base(self) -> str | None:
        """The import path of the library's class that this class is made from, however far up."""
        return next(iter(self.library_bases), None) or next((p for b in self.bases if (p := b.library_base)), None)

    def special_methods(self) -> list[Def]:
        """Methods that operators, loops, prints and library calls may run: `__getitem__`, `__len__`, ..."""
        own = [f for n, f in self.methods.items() if n.startswith("__") and n.endswith("__") and n not in _EXPLICIT]
        return own + [f for b in self.bases for f in b.special_methods()]


_CACHE = re.compile(r"^(?:\w+\.)*(?:lru_)?cache\b")
_TRACED = re.compile(r"^(?:(?:tf|tensorflow)\.function|jax\.jit)\b")
_EXPLICIT = ("__init__", "__new__", "__init_subclass__", "__class_getitem__", "__call__")


@dataclass(frozen=True, slots=True)
class Val:
    """The result of an expression.

    `objs` are the objects it may be; `type` is a qualified type name when certain; `ref` the import path of a module,
    class or function ("numpy.random"); `defs` the notebook definitions it may be; `const` its value when that follows
    from literals; `items` the elements of a tuple or list display; `cls` the notebook class of an instance.
    """

    objs: frozenset[int] = frozenset()
    type: str | None = None
    ref: str | None = None
    defs: tuple[Def, ...] = ()
    const: Any = UNKNOWN_CONST
    items: tuple[Val, ...] | None = None
    cls: Def | None = None

    @property
    def is_const(self) -> bool:
        """Whether the value follows from literals."""
        return self.const is not UNKNOWN_CONST


NOTHING: Final = Val()


def constant(value: Any) -> Val:
    """A literal of an immutable type."""
    return Val(type=f"builtins.{type(value).__name__}", const=value)


def typed(type_name: str) -> Val:
    """An immutable value of a known type whose content is not known."""
    return Val(type=type_name)


def join(values: Iterable[Val]) -> Val:
    """What a name holds when it may be any of `values`."""
    several = list(values)
    if len(several) == 1:
        return several[0]
    if not several:
        return NOTHING
    first = several[0]
    return Val(
        objs=frozenset().union(*(v.objs for v in several)),
        type=_same([v.type for v in several]),
        ref=_same([v.ref for v in several]),
        defs=tuple(dict.fromkeys(d for v in several for d in v.defs)),
        const=first.const if all(_same_const(first.const, v.const) for v in several) else UNKNOWN_CONST,
        cls=first.cls if all(v.cls is first.cls for v in several) else None,
    )


def _same(values: list[str | None]) -> str | None:
    return values[0] if all(v == values[0] for v in values) else None


def _same_const(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and bool(a == b))


@dataclass(slots=True)
class Obj:
    """One abstract object. `parts` maps what it may hold to the statement that made it so.

    `owners` are what it is inside of: they hold it once it is changed in place.
    `element` stands for all parts that are not known one by one. A `hub` is the result of an unknown call: it may be
    anything that can be reached from it.
    """

    type: str | None
    parts: dict[int, int]
    bases: set[int]
    opaque: bool
    element: int | None = None
    marks: frozenset[str] = frozenset()
    hub: bool = False
    owners: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False, slots=True)
class Known:
    """What a container holds for certain: its `items` by key, in order; or, of any number, what `each` of them is.

    It stands as long as what is known of the objects in `of` does.
    """

    items: dict[Any, Val] | None
    each: Val = NOTHING
    of: tuple[tuple[int, Known], ...] = ()


class Heap:
    """All abstract objects of one analysis, with who holds whom both ways; `inner`: of a call, which finds functions
    and classes with attributes already. `variables`: the objects that are variables of the notebook's own modules, with
    their import paths."""

    __slots__ = (
        *(
            "classes",
            "clock",
            "contents",
            "defined",
            "definitions",
            "holders",
            "inner",
            "insides",
            "instances",
            "objs",
            "referred",
            "variables",
            "views",
        ),
    )

    def __init__(self, *, inner: bool = False) -> None:
        self.clock = 0
        self.inner = inner
        self.contents: dict[int, Known] = {}
        self.objs: list[Obj] = []
        self.variables: dict[int, str] = {}
        self.definitions: dict[Def, int] = {}
        self.defined: dict[int, Def] = {}
        self.referred: dict[int, str] = {}
        self.classes: dict[int, Def] = {}
        self.insides: dict[int, set[int]] = {}
        self.instances: dict[Def, set[int]] = {}
        self.holders: list[set[int]] = []
        self.views: list[set[int]] = []

    def new(self, type_name: str | None = None, parts: Iterable[int] = (), *, opaque: bool = False) -> int:
        """A fresh object that holds `parts`; `opaque` when it may hold more than is known."""
        index = len(self.objs)
        self.objs.append(Obj(type_name, {}, set(), opaque))
        self.holders.append(set())
        self.views.append(set())
        for part in parts:
            self.hold(index, part)
        return index

    def known(self, objs: frozenset[int]) -> list[Known] | None:
        """What each of the containers holds for certain; None when that is not known of all."""
        found = [k for o in sorted(objs) if (k := self.contents.get(o)) is not None and self._stands(k)]
        return found if found and len(found) == len(objs) else None

    def _stands(self, known: Known) -> bool:
        return all(self.contents.get(o) is k and self._stands(k) for o, k in known.of)

    def definition(self, made: Def) -> int:
        """The object that stands for a function or class of the notebook as a value."""
        if made not in self.definitions:
            self.definitions[made] = self.new(DEFINITION + made.name, opaque=self.inner)
            self.defined[self.definitions[made]] = made
        return self.definitions[made]

    def reference(self, ref: str, marks: Iterable[str]) -> int:
        """An object that stands for a library's function or class as a value; `marks`: what calling it does."""
        index = self.new("function")
        self.objs[index].marks = frozenset(marks)
        self.referred[index] = ref
        return index

    def callables(self) -> set[int]:
        """The objects that stand for functions and classes: they are used, not changed."""
        return self.defined.keys() | self.referred.keys()

    def instance(self, index: int, made: Def) -> None:
        """Record that `index` is an instance of a class of the notebook: it holds the class, as no part of it."""
        self.classes[index] = made
        for one in made.lineage():
            self.instances.setdefault(one, set()).add(index)

    def hub(self, objs: Iterable[int]) -> int:
        """The result of an unknown call that was given `objs`: it may be or hold each of them, and they may hold it.

        Functions and classes do not: they are only used.
        """
        index = self.new(None, objs, opaque=True)
        self.objs[index].hub = True
        self.objs[index].element = index
        for part in self.objs[index].parts.keys() - self.callables():
            self.hold(part, index)
        return index

    def hold(self, holder: int, part: int) -> None:
        """Record that `holder` may hold a reference to `part`."""
        self.objs[holder].parts.setdefault(part, self.clock)
        self.holders[part].add(holder)

    def view(self, viewer: int, base: int) -> None:
        """Record that `viewer` may share the memory of `base`."""
        if viewer != base:
            self.objs[viewer].bases.add(base)
            self.views[base].add(viewer)

    def put_inside(self, part: int, owner: int) -> None:
        """Record that `owner` may have `part` in it as it is: an index of a frame."""
        self.objs[part].owners |= {owner}
        self.insides.setdefault(owner, set()).add(part)

    def open(self, objs: Iterable[int]) -> set[int]:
        """The objects change in place: what they are inside of, and what else is there, which may be one of them."""
        owners: set[int] = set()
        todo = set(objs)
        while new := {o for i in todo for o in self.objs[i].owners} - owners:
            owners |= new
            todo = {part for owner in new for part in self.insides[owner]}
        for owner in owners:
            for part in self.insides[owner]:
                self.hold(owner, part)
                self.objs[owner].parts[part] = 0  # it was there before anybody changed it
        return owners.union(*(self.insides[o] for o in owners))

    def elements(self, objs: Iterable[int]) -> frozenset[int]:
        """What an item, attribute or iteration of `objs` may be."""
        found: set[int] = set()
        for index in objs:
            obj = self.objs[index]
            found.update(obj.parts)
            if obj.opaque:
                found.add(self._element(index))
        return frozenset(found)

    def copied(self, elements: frozenset[int]) -> frozenset[int]:
        """Of the elements of containers, what a copy holds too: not the inside of an object, which `vars(x)` gives."""
        return frozenset(o for o in elements if "namespace" not in self.objs[o].marks)

    def _element(self, index: int) -> int:
        obj = self.objs[index]
        if obj.element is None:
            obj.element = self.new(opaque=True)
            self.objs[obj.element].element = obj.element
            self.hold(index, obj.element)
            obj.parts[obj.element] = 0  # it was there before anybody looked
        return obj.element

    def given(self, objs: Iterable[int]) -> set[int]:
        """What an unknown call may change of `objs`: all that they hold, and containers that their classes hold."""
        held = _closure(objs, lambda i: self.objs[i].parts)
        inherited = self.reach(held) - held
        return held | {o for o in inherited if (self.objs[o].type or "").startswith(("builtins.", DEFINITION))}

    def reach(self, objs: Iterable[int]) -> set[int]:
        """`objs` and everything that they hold, however deep."""
        return _closure(objs, lambda i: [*self.objs[i].parts, *self._class_of(i)])

    def reach_at(self, objs: Iterable[int], clock: int) -> set[int]:
        """What `objs` held when statement `clock` had run."""
        return _closure(
            objs, lambda i: [*(p for p, since in self.objs[i].parts.items() if since <= clock), *self._class_of(i)]
        )

    def inherited(self, objs: Iterable[int]) -> frozenset[int]:
        """What instances find in their classes."""
        return self.elements(c for o in objs for c in self._class_of(o))

    def attributes(self, objs: Iterable[int]) -> set[int]:
        """`objs` and all that their attributes give, however deep: what their classes hold, but not the classes."""
        return _closure(objs, lambda i: [*self.objs[i].parts, *self.inherited([i])])

    def _class_of(self, index: int) -> list[int]:
        lineage = self.classes[index].lineage() if index in self.classes else []
        return [self.definitions[c] for c in lineage if c in self.definitions]

    def individuals(self, objs: Iterable[int]) -> set[int]:
        """Of all that `objs` hold, what may equal nothing but itself: instances, and what holds itself."""
        given = frozenset(objs)
        held = {i: self.objs[i] for i in self.reach(given)}
        found = set(given) & _in_cycles(held, lambda i: [*self.objs[i].parts, *self._class_of(i)])
        for index, obj in held.items():
            alone = obj.type is None or obj.type.startswith(DEFINITION) or index in self.classes or index in obj.parts
            if alone and not obj.bases:
                found.add(index)
        return found

    def memory(self, objs: Iterable[int]) -> set[int]:
        """`objs` and everything whose memory they may look into."""
        return _closure(objs, lambda i: self.objs[i].bases)

    def looked_into(self, objs: Iterable[int]) -> set[int]:
        """The arrays whose memory is that of one of `objs` too, and what `vars(x)` among them is the inside of."""
        bases = {o: self.memory([o]) - {o} for o in objs}
        return {
            b
            for o, several in bases.items()
            for b in several
            if self.objs[b].type in ARRAYS or "namespace" in self.objs[o].marks
        }

    def sharing(self, objs: Iterable[int]) -> set[int]:
        """What changes when `objs` change: what they look into, and what looks into that."""
        return _closure(self.memory(objs), lambda i: self.views[i])

    def holding(self, objs: Iterable[int]) -> set[int]:
        """`objs` and everything from which one of them can be reached."""
        return _closure(objs, lambda i: self.holders[i] | self._instances_of(i))

    def _instances_of(self, index: int) -> set[int]:
        return self.instances.get(self.defined[index], set()) if index in self.defined else set()


def _in_cycles(nodes: Collection[int], following: Callable[[int], Iterable[int]]) -> set[int]:
    """Of `nodes`, which hold all that follows them, those from which a way leads back to themselves: strongly
    connected components after Kosaraju, in time proportional to the edges."""
    after = {node: list(following(node)) for node in nodes}
    before: dict[int, list[int]] = {node: [] for node in nodes}
    for node, several in after.items():
        for other in several:
            before[other].append(node)
    found = {node for node, several in after.items() if node in several}
    for component in _grouped(reversed(list(chain.from_iterable(_grouped(nodes, after)))), before):
        found |= set(component) if len(component) > 1 else set()
    return found


def _grouped(nodes: Iterable[int], edges: Mapping[int, Iterable[int]]) -> Iterator[list[int]]:
    """The nodes by the one of `nodes` from which they are reached first, each after all that it leads to."""
    seen: set[int] = set()
    for start in nodes:
        if start in seen:
            continue
        seen.add(start)
        ended: list[int] = []
        todo = [(start, iter(edges[start]))]
        while todo:
            fresh = next((other for other in todo[-1][1] if other not in seen), None)
            if fresh is None:
                ended.append(todo.pop()[0])
            else:
                seen.add(fresh)
                todo.append((fresh, iter(edges[fresh])))
        yield ended


def _closure(start: Iterable[int], following: Any) -> set[int]:
    seen = set(start)
    todo = list(seen)
    while todo:
        for index in following(todo.pop()):
            if index not in seen:
                seen.add(index)
                todo.append(index)
    return seen
