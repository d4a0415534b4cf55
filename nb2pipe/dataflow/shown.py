"""Whose name or text says where it is defined: functions and classes of the notebook that are printed, or pickled."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from nb2pipe.dataflow.events import Place
from nb2pipe.dataflow.machine import Machine, Showing
from nb2pipe.dataflow.special import classes_of
from nb2pipe.dataflow.values import Def, Val

_CONTAINERS = frozenset(f"builtins.{name}" for name in ("list", "tuple", "set", "frozenset", "dict", "dict_view"))

_BY_NAME = ("pickle", "multiprocessing", "concurrent", "inspect")
"""Libraries that find a function again by its module and name."""


def definitions_in(m: Machine, val: Val) -> list[Def]:
    """The functions and classes that a value may be, or that the containers in it hold."""
    found = dict.fromkeys(val.defs)
    seen: set[int] = set()
    todo = set(val.objs)
    while todo:
        index = todo.pop()
        seen.add(index)
        if index in m.heap.defined:
            found[m.heap.defined[index]] = None
        elif m.heap.objs[index].type in _CONTAINERS:
            todo |= m.heap.objs[index].parts.keys() - seen
    return list(found)


def note_text(m: Machine, val: Val, place: Place) -> None:
    """A value is turned into text: that of a class names its module, that of a function where in it it stands."""
    for made in definitions_in(m, val):
        m.record.shown.setdefault((made, "module" if isinstance(made.node, ast.ClassDef) else "name"), place)


def note_attribute(m: Machine, val: Val, name: str, place: Place) -> None:
    """`f.__qualname__` and `f.__module__` are read; of an unknown value, that of any definition in it may be."""
    if name in _ATTRIBUTES:
        inside = [m.heap.defined[i] for i in m.heap.reach(val.objs) & m.heap.defined.keys()]
        for made in [*val.defs, *classes_of(m, val), *inside]:
            m.record.shown.setdefault((made, _ATTRIBUTES[name]), place)


_ATTRIBUTES: dict[str, Showing] = {"__qualname__": "name", "__module__": "module read"}


def note_named(m: Machine, library: str | None, values: Iterable[Val], place: Place) -> None:
    """A library that finds functions by their names is given some."""
    if library is not None and library.partition(".")[0] in _BY_NAME:
        for val in values:
            for made in definitions_in(m, val):
                m.record.shown.setdefault((made, "name"), place)
