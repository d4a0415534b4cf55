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
    for made in statement.record.defined:
        for one in [made, *made.methods.values()]:
            why = _why(one, statement, forward, statements) if one.cached else ""
            why = why or (_why_traced(one, statement, forward, statements) if one.traced else "")
            if why:
                return why
    return ""


def _why(made: Def, statement: Statement, forward: Forward, statements: Sequence[Statement]) -> str:
    if _asks(made.name, statements):
        return "the notebook looks at the cache"
    record = _effects(made, forward)
    effect = _effect(record, statements)
    if effect:
        return effect
    touched = Counter(n for s in statements for n in statement.frees & {*s.writes, *s.changes})
    changed = min((n for n, count in touched.items() if count > 1), default=None)
    if changed is not None:
        return f"it reads {changed}, which changes"
    mark = CACHED + made.name
    given = [i for i, obj in enumerate(forward.heap.objs) if mark in obj.marks]
    mutated = frozenset().union(*(s.record.mutated for s in statements if s.step is not None))
    if forward.heap.reach(given) & mutated:
        return "what it gave is changed"
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


def _asks(name: str, statements: Iterable[Statement]) -> bool:
    """Whether the notebook calls `NAME.cache_info()`."""
    return any(
        isinstance(node, ast.Attribute) and node.attr == "cache_info" and ast.unparse(node.value).endswith(name)
        for statement in statements
        if statement.role != "skip"
        for node in statement.nodes
    )
