"""Definitions that travel inside values: refused where a copy would not mean what the notebook's one thing means.

A closed function or class stands in shared.py and is stored by reference. One that reads data of the notebook is stored
with what that data is when the step ends: wrong as soon as a later step changes it, or makes the class a second time.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from nb2pipe.dataflow.model import Statement, StepFlow
from nb2pipe.findings import Finding, finding
from nb2pipe.pipeline.placement import Placer


def carried_findings(placer: Placer) -> list[Finding]:
    """What is wrong with definitions inside stored values."""
    return [f for step in placer.flow.steps for f in _of_step(placer, step)]


def _of_step(placer: Placer, step: StepFlow) -> Iterator[Finding]:
    for name in step.outputs:
        taken = [s for s in placer.flow.steps if name in s.inputs and s.inputs[name].source == step.name]
        held = set(step.carries.get(name, ())) | ({name} if name in step.by_value else set())
        for statement in placer.statements:
            if held & set(statement.writes) and statement.kind == "definition" and not placer.closed(statement.index):
                yield from _problems(placer, step, name, statement, taken)


def _problems(
    placer: Placer, step: StepFlow, name: str, statement: Statement, taken: list[StepFlow]
) -> Iterator[Finding]:
    defined = next(iter(statement.writes))
    if isinstance(statement.node, ast.ClassDef):
        twice = next((s for s in taken if statement.index in s.copies), None)
        if twice is not None:
            message = f"{name} holds an instance of {defined}, which step {twice.name} would define a second time"
            yield finding("class-identity", message, cell=statement.cell, line=statement.first, name=defined)
    if statement.writes_globals and taken:
        message = f"{name} holds {defined}, whose functions bind variables of the notebook: the stored copy would bind its own"
        yield finding("late-binding", message, cell=statement.cell, line=statement.first, name=defined)
        return
    changed = _changed_later(placer, step, statement)
    if changed and taken:
        message = (
            f"{name} holds {defined}, which reads {changed}: a later step changes it, the stored copy would not see it"
        )
        yield finding("late-binding", message, cell=statement.cell, line=statement.first, name=defined)


def _changed_later(placer: Placer, step: StepFlow, statement: Statement) -> str | None:
    """A name that a definition reads when it is called and that a later step binds or changes."""
    later = [s for s in placer.statements if s.step and placer.rank[s.step] > placer.rank[step.name]]
    touched = {n for s in later for n in (*s.writes, *s.changes) if s.kind not in ("import", "definition")}
    return min(statement.frees & touched, default=None)
