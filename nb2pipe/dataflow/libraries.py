"""Library functions that do more than a row of a table can say."""

from __future__ import annotations

from nb2pipe.dataflow.effects import unknown_call
from nb2pipe.dataflow.events import Place
from nb2pipe.dataflow.filecalls import Keywords, Special, plain_text
from nb2pipe.dataflow.machine import Machine
from nb2pipe.dataflow.values import Val, join


def _thread(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """A thread runs what it is given, and what that holds changes; no process can hand a thread on."""
    unknown_call(m, Val(), args, keywords, place)
    made = m.fresh("threading.Thread", join([*args, *keywords.values()]).objs)
    m.mark(made.objs, "unstorable")
    return made


def _namedtuple(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """A class that holds its defaults; without any there is nothing that could change."""
    held = m.heap.elements(keywords["defaults"].objs) if "defaults" in keywords else frozenset()
    return m.fresh(None, held) if held else Val()


def _import_module(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    name = plain_text(args[0]) if args else None
    if name is not None:
        return Val(ref=name)
    m.say("dynamic-code", "a module whose name is made at run time is imported", place)
    return m.unknown()


def _history(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    m.say("ipython-api", "`get_ipython()` exists only in a notebook", place, "get_ipython")
    return m.unknown()


LIBRARY_CALLS: dict[str, Special] = {
    **dict.fromkeys(["threading.Thread", "threading.Timer"], _thread),
    "collections.namedtuple": _namedtuple,
    "builtins.__import__": _import_module,
    "importlib.import_module": _import_module,
    "IPython.get_ipython": _history,
}
"""Functions by their import path."""
