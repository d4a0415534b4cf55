"""Definitions that travel inside values: refused where a copy would not mean what the notebook's one thing means.

A closed function or class stands in shared.py and is stored by reference. One that reads data of the notebook is stored
with what that data is when the step ends: wrong as soon as a later step changes it, or makes the class a second time.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from nb2pipe.dataflow.caches import UNKNOWN
from nb2pipe.dataflow.model import Statement, StepFlow
from nb2pipe.dataflow.values import Def
from nb2pipe.findings import Finding, finding
from nb2pipe.pipeline.placement import Placer


def carried_findings(placer: Placer) -> list[Finding]:
    """What is wrong with definitions inside stored values."""
    return [f for step in placer.flow.steps for f in _of_step(placer, step)] + list(_caches(placer))


def _caches(placer: Placer) -> Iterator[Finding]:
    """A function that remembers begins with nothing in each step that calls it."""
    for statement in placer.statements:
        if statement.cache and len(_in_force(placer, statement)) > 1:
            name = next(iter(statement.writes), "")
            message = f"{name} begins without its cache or traces in each step that calls it, and {statement.cache}"
            found = finding("cache-across-steps", message, cell=statement.cell, line=statement.first, name=name)
            yield replace(found, severity="warning") if statement.cache == UNKNOWN else found


def _in_force(placer: Placer, statement: Statement) -> set[str]:
    """The steps that have what a statement defines: by its name, or in a value that they take."""
    found = {step.name for step in placer.users(statement.index)}
    for step in placer.flow.steps:
        for name, functions in step.by_name.items():
            if any(placer.defined_in.get(f) == statement.index for f in functions):
                found.update(taker.name for taker in placer.takers.get((step.name, name), ()))
    return found


def _of_step(placer: Placer, step: StepFlow) -> Iterator[Finding]:
    rank = placer.rank[step.name]
    for name in step.outputs:
        taken = list(placer.takers.get((step.name, name), ()))
        yield from _stored_by_name(placer, step, name, taken)
        reads = step.carried_reads.get(name, frozenset()) - {name}
        stale = min((n for n in reads if _becomes_stale(placer, step, name, n)), default=None)
        if stale is not None and taken:
            message = (
                f"{name} holds a function that reads {stale}, which a later step changes: the copy would not see it"
            )
            yield _at_output(placer, step, name, "late-binding", message)
        held = set(step.carries.get(name, ())) | ({name} if name in step.by_value else set())
        for statement in (d for n in sorted(held) for d in placer.definitions.get(n, ())):
            if not placer.closed(statement.index):
                changed = placer.last_change.get(name_of(statement), -1) > rank
                yield from _problems(name, statement, step, taken, changed)


def _stored_by_name(placer: Placer, step: StepFlow, name: str, taken: list[StepFlow]) -> Iterator[Finding]:
    """What a cache makes of a function is stored by the function's name, so it must stand in a module under it."""
    made = next((f for f in step.by_name.get(name, ()) if not _in_module(placer, f)), None)
    if made is not None and taken:
        what = f"{name} is" if made.name == name else f"{name} holds {made.name}:"
        message = f"{what} what {made.by_name} makes, which cannot be stored"
        message += f", and step {taken[0].name} takes it from step {step.name}"
        hint = (
            f"Let each step define it: use {made.name} by this name, and let no step change the function or the name; "
        )
        hint += "or call it where it is defined, and hand on what it gives."
        yield replace(_at_output(placer, step, name, "unpicklable", message), hint=hint)


def _in_module(placer: Placer, made: Def) -> bool:
    """Whether a function, or the class that it is a method of, is found by its name at the top of a module."""
    where = placer.defined_in.get(made)
    return where is not None and placer.closed(where)


def _becomes_stale(placer: Placer, step: StepFlow, name: str, read: str) -> bool:
    """Whether a function inside the stored `name` would not see what a later step makes of `read`.

    It does see changes of the value if both are stored in one artifact; it never sees another value.
    """
    rank = placer.rank[step.name]
    together = any(name in bundle and read in bundle for bundle in step.bundles)
    return placer.last_bound.get(read, -1) > rank or (placer.last_change.get(read, -1) > rank and not together)


def name_of(statement: Statement) -> str:
    """The name that a definition defines."""
    return next(iter(statement.writes))


def _at_output(placer: Placer, step: StepFlow, name: str, code: str, message: str) -> Finding:
    writer = next(
        (placer.statements[i] for i in reversed(step.statements) if name in placer.statements[i].writes), None
    )
    cell, line = (writer.cell, writer.first) if writer is not None else (step.cells[-1], 1)
    return finding(code, message, cell=cell, line=line, name=name)


def _problems(
    name: str, statement: Statement, step: StepFlow, taken: list[StepFlow], changed: bool
) -> Iterator[Finding]:
    defined = name_of(statement)
    if isinstance(statement.node, ast.ClassDef):
        twice = next((s for s in taken if statement.index in s.copies), None)
        if twice is None and statement.index in step.copies:
            others = (s for s in taken if defined in s.inputs and s.inputs[defined].source != step.name)
            twice = step if any(others) else None
        if twice is not None:
            message = f"{name} holds an instance of {defined}, which step {twice.name} would define a second time"
            yield finding("class-identity", message, name=defined, cell=statement.cell, line=statement.first)
        elif name != defined and changed and taken:
            message = f"{name} holds {defined}, which a later step changes: the stored copy would not see it"
            yield finding("late-binding", message, name=defined, cell=statement.cell, line=statement.first)
    if statement.writes_globals and taken:
        message = f"{name} holds {defined}, which binds variables of the notebook: the stored copy would bind its own"
        yield finding("late-binding", message, name=defined, cell=statement.cell, line=statement.first)
