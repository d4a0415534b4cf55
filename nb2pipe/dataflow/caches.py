"""Functions that remember what they gave (`functools.lru_cache`), or how they were traced (`tf.function`): each step
begins with an empty memory."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from nb2pipe.dataflow.forward import Forward
from nb2pipe.dataflow.machine import Record
from nb2pipe.dataflow.model import Statement
from nb2pipe.dataflow.summaries import CACHED, mention
from nb2pipe.dataflow.values import Def, Val

UNKNOWN: Final = "it calls what is not known here"
"""Why a cached function may give something else when it is called again; not known to be so."""

_HARMLESS = ("module:", "text of:", "figure")


def cache_problem(statement: Statement, forward: Forward, statements: Sequence[Statement]) -> str:
    """Why who calls the cached or traced functions of a definition could notice that a step begins without what they
    remember; "" when nobody can."""
    by_call = _cached_by_call(statement, forward)
    for one in [*_made_here(statement, forward, statements), *by_call]:
        why = _why(one, statement, forward, statements) if one.cached or one in by_call else ""
        why = why or (_why_traced(one, statement, forward, statements) if one.traced else "")
        if why:
            return why
    return ""


def _made_here(statement: Statement, forward: Forward, statements: Sequence[Statement]) -> list[Def]:
    """The functions and methods that a statement defines, and those that it has a function of the notebook make."""
    own = statement.record.defined
    values = [d for v in statement.values.values() for d in v.defs] + _held(statement, forward)
    others = [d for d in dict.fromkeys(values) if d not in own]
    elsewhere = {d for s in statements for d in s.record.defined} if others else set()
    return [one for d in [*own, *(d for d in others if d not in elsewhere)] for one in (d, *d.methods.values())]


def _held(statement: Statement, forward: Forward) -> list[Def]:
    """The functions and classes that the values hold which a statement binds."""
    heap = forward.heap
    reached = heap.reach(o for v in statement.values.values() for o in v.objs)
    return [heap.defined[o] for o in sorted(reached) if o in heap.defined]


def _cached_by_call(statement: Statement, forward: Forward) -> list[Def]:
    """The functions that a statement makes cached ones of: `fast = lru_cache(slow)`."""
    heap = forward.heap
    reached = heap.reach(o for v in statement.values.values() for o in v.objs)
    return _held(statement, forward) if any(heap.objs[o].type in _CACHES for o in reached) else []


_CACHES = ("functools.cache", "functools.lru_cache")


def _why(made: Def, statement: Statement, forward: Forward, statements: Sequence[Statement]) -> str:
    if _given_changed(made, forward, statements):
        return "it is given what changes"
    if _asks(made.name, statements):
        return "the notebook looks at the cache"
    record = _effects(made, forward)
    effect = _effect(record, statements)
    if effect:
        return effect
    frees = statement.frees | forward.outer_reads([made])
    touched = Counter(n for s in statements for n in frees & {*s.writes, *s.changes})
    changed = min((n for n, count in touched.items() if count > 1), default=None)
    if changed is not None:
        return f"it reads {changed}, which changes"
    mark = CACHED + made.name
    given = [i for i, obj in enumerate(forward.heap.objs) if mark in obj.marks]
    mutated = frozenset().union(*(s.record.mutated for s in statements if s.step is not None))
    if forward.heap.reach(given) & mutated:
        return "what it gave is changed"
    if forward.heap.reach(given) & _told_apart(forward, statements):
        return "what it gave is told from its equals (`is`)"
    return UNKNOWN if record.unknown_calls else ""


_IN_PYTHON = ("stdout", "random:random", "random:numpy")


def _why_traced(made: Def, statement: Statement, forward: Forward, statements: Sequence[Statement]) -> str:
    """Python code runs once for each kind of arguments, TensorFlow's in every call; only the first could be noticed."""
    record = _effects(made, forward)
    event = next((e for e in record.channels if e.channel in _IN_PYTHON), None)
    if event is not None:
        return "it prints" if event.channel == "stdout" else "it draws a number only when it is traced"
    if record.written:
        return "it binds variables of the notebook"
    if record.mutated.keys() & _containers(forward, statements):
        return "it changes values of the notebook only when it is traced"
    bound = Counter(n for s in statements for n in statement.frees & s.writes.keys() if _is_python(s.values.get(n)))
    changed = min((n for n, count in bound.items() if count > 1), default=None)
    return f"it reads {changed}, which changes" if changed is not None else ""


def _containers(forward: Forward, statements: Iterable[Statement]) -> set[int]:
    """The lists, dicts and the like that names of the notebook mean, and those in them: not those inside of models."""
    objs = forward.heap.objs
    todo = [i for s in statements for val in s.values.values() for i in val.objs]
    found: set[int] = set()
    while todo:
        index = todo.pop()
        if index not in found and (objs[index].type or "").startswith("builtins."):
            found.add(index)
            todo += objs[index].parts
    return found


def _is_python(val: Val | None) -> bool:
    return val is not None and (val.type or "").startswith("builtins.")


def _effects(made: Def, forward: Forward) -> Record:
    m = forward.machine
    before, m.record = m.record, Record()
    mention(m, Val(defs=(made,)), m.place)
    record, m.record = m.record, before
    return record


def _effect(record: Record, statements: Iterable[Statement]) -> str:
    for event in record.channels:
        if not event.channel.startswith(_HARMLESS) or event.use != "use":
            return "it prints" if event.channel == "stdout" else f"it depends on the {event.channel.replace(':', ' ')}"
    written = [f.path for s in statements for f in s.record.files if f.use in ("write", "remove")]
    for file in record.files:
        if file.use not in ("read", "probe") or file.path in written or (written and None in (file.path, *written)):
            return "it reads or writes files that change"
    return "it binds variables of the notebook" if record.written else ""


def _given_changed(made: Def, forward: Forward, statements: Sequence[Statement]) -> bool:
    """Whether what a cached function was given changes before another step gives it that again."""
    calls = [(s, {o for f, o in s.record.remembered if f is made}) for s in statements if s.step is not None]
    calls = [(s, forward.heap.reach(given)) for s, given in calls if given]
    for first, given in calls:
        changed = [s for s in statements if s.index > first.index and given & s.record.mutated.keys()]
        again = [s.index for s, objs in calls if s.step != first.step and given & objs]
        if changed and any(index >= changed[0].index for index in again):
            return True
    return False


def _told_apart(forward: Forward, statements: Iterable[Statement]) -> set[int]:
    """What is asked whether it is the same object (`is`), instances of the notebook's classes also by `==`."""
    steps = [s.record for s in statements if s.step is not None]
    equalled = {o for r in steps for o in r.equalled if o in forward.heap.classes}
    return equalled.union(*(r.compared for r in steps))


def _asks(name: str, statements: Sequence[Statement]) -> bool:
    """Whether the notebook calls `NAME.cache_info()`, or looks at the cache of what may be the function by any name."""
    others = {d.name for s in statements for d in s.record.defined if d.cached} - {name}
    for node in (n for s in statements if s.role != "skip" for n in s.nodes):
        if isinstance(node, ast.Constant) and node.value == "cache_info":
            return True
        if isinstance(node, ast.Attribute) and node.attr == "cache_info":
            asked = ast.unparse(node.value).rpartition(".")[2]
            if asked not in others:
                return True
    return False
