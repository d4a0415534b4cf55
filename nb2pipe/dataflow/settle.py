"""Shared statements that cannot be repeated: each settles in one step, which runs it and hands on what it makes.

Most shared code means the same wherever it is repeated. It does not when steps change what it makes while others hold
it, when it reads or changes what a step has left, or when a step that would repeat it has other values of its names.
Notebook order is the meaning: such a statement runs once, in the first step that it has to do with.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from nb2pipe.dataflow.events import Place
from nb2pipe.dataflow.model import Statement, StepFlow
from nb2pipe.dataflow.resolve import Resolver, flow_cell

Problem = tuple[str, str, Place, str]


class Settlement:
    """Which shared statements settle, and where. `repeated` are set-up calls, which every step must run anew."""

    def __init__(
        self, statements: Sequence[Statement], repeated: Collection[int], parameters: Mapping[str, int]
    ) -> None:
        self.statements = statements
        self.repeated = frozenset(repeated)
        self.parameters = parameters
        self.rank = _ranks(statements)
        self.settled: set[int] = set()
        self.add(_disturbed(statements, self.repeated))

    def add(self, indexes: Iterable[int]) -> bool:
        """Let these shared statements settle, and those that follow from it; whether any is new."""
        new = set(indexes) - self.settled - self.repeated
        if new:
            self.settled |= new
            self._add_followers()
            self._place()
        return bool(new)

    def _add_followers(self) -> None:
        """What comes after a settled statement and has to do with it settles too: repeated, it would come before."""
        given: set[str] = set()
        read: set[str] = set()
        for statement in self.statements:
            its = _given(statement)
            follows = given & (its | set(statement.record.reads)) or (its & read and statement.kind != "import")
            if follows and _may_settle(statement, self.repeated):
                self.settled.add(statement.index)
            if statement.index in self.settled:
                given |= its
                read |= set(statement.record.reads)

    def _place(self) -> None:
        """The step of each: the first that touches what it makes, or would make something else of what it reads."""
        for index in sorted(self.settled, reverse=True):
            statement = self.statements[index]
            statement.step = None
            users = [s.step for s in self.statements[index + 1 :] if s.step is not None and _interfere(statement, s)]
            statement.step = min(users, key=self.rank.__getitem__, default=None)

    # --- what may not be repeated -------------------------------------------------------------------------------
    def unsound(self, resolver: Resolver) -> tuple[set[int], list[Problem]]:
        """The repeated statements that must settle, and what stays wrong because they cannot."""
        changed = frozenset().union(*(f.mutated for f in resolver.steps)) if resolver.steps else frozenset()
        wanted = self._two_copies(resolver, changed)
        problems = [*self._one_object(resolver, changed), *self._given_late(resolver.flows)]
        for flow in resolver.flows:
            for name in sorted(self._contested(flow)):
                cause = self._causes(flow, name)
                wanted |= cause
                if not cause - self.settled - self.repeated:
                    problems.append(self._problem(flow, name))
        return wanted - self.settled, problems

    def _one_object(self, resolver: Resolver, changed: frozenset[int]) -> Iterator[Problem]:
        """Parameters are given one by one: `a = b = []` cannot stay one list."""
        for index in sorted(set(self.parameters.values())):
            names = sorted(n for n, i in self.parameters.items() if i == index)
            if len(names) > 1 and self._reached(resolver, index) & changed:
                message = f"the parameters {' and '.join(names)} are one object, which a step changes"
                yield ("shared-changed", message, self._place_of(index), names[0])

    def _given_late(self, flows: Iterable[StepFlow]) -> Iterator[Problem]:
        """A step has its parameters from the beginning, so it cannot use their names for something else before."""
        for flow in flows:
            for name in flow.parameters:
                index = self.parameters.get(name, -1)
                before = [self.statements[i] for i in flow.statements if i < index]
                if any(name in s.record.reads or name in _given(s) for s in before):
                    message = f"step {flow.name} uses the name {name} before the parameter {name} is set"
                    yield ("parameter-reassigned", message, self._place_of(index), name)

    def _place_of(self, index: int) -> Place:
        return Place(self.statements[index].cell, self.statements[index].first, "")

    def _two_copies(self, resolver: Resolver, changed: frozenset[int]) -> set[int]:
        """Statements repeated after a step has handed on one that holds the same changing object."""
        repeats = [self._repeats(flow) for flow in resolver.flows]
        touched = {i: self._reached(resolver, i) & changed for i in frozenset().union(*repeats)}
        watched = frozenset().union(*touched.values())
        found: set[int] = set()
        escaped: set[int] = set()
        for facts, flow, made in zip(resolver.steps, resolver.flows, repeats, strict=True):
            again = [i for i in made if touched[i] & escaped]
            found |= {b for i in again for n in self.statements[i].writes for b in resolver.builders.get(n, ())}
            for val in flow.output_values.values() if watched else ():
                escaped |= resolver.heap.reach_at(val.objs, facts.clock) & watched
        return found

    def _repeats(self, flow: StepFlow) -> set[int]:
        """The shared statements and parameters that a step makes anew."""
        shared = {i for i in flow.copies if self.statements[i].step is None}
        return shared | {self.parameters[n] for n in flow.parameters if n in self.parameters} - self.settled

    def _reached(self, resolver: Resolver, index: int) -> set[int]:
        return resolver.heap.reach(o for v in self.statements[index].values.values() for o in v.objs)

    def _contested(self, flow: StepFlow) -> set[str]:
        """Names that a step repeats, although it has other values of them."""
        made = {n for i, wanted in flow.copies.items() for n in _made(self.statements[i], wanted)}
        given = {n for n in flow.parameters if self.parameters.get(n) not in flow.statements}
        return (made | given) & set(flow.inputs)

    def _causes(self, flow: StepFlow, name: str) -> set[int]:
        """What makes a step repeat `name`: what reads it, or else the step itself."""
        shared = [self.statements[i] for i in flow.copies if self.statements[i].step is None]
        readers = {s.index for s in shared if name in s.record.reads and name not in s.writes}
        makers = {s.index for s in shared if name in s.writes or name in s.changes}
        return readers - makers or makers | {self.parameters[n] for n in (name,) if n in self.parameters}

    def _problem(self, flow: StepFlow, name: str) -> Problem:
        message = f"step {flow.name} needs {name} as shared code makes it and as another step leaves it"
        return ("shared-changed", message, Place(flow_cell(self.statements, flow), 1, ""), name)


_SHARED = ("shared", "setup", "parameters")


def _ranks(statements: Sequence[Statement]) -> dict[str, int]:
    order = dict.fromkeys(s.step for s in statements if s.step is not None)
    return {name: rank for rank, name in enumerate(order)}


def _may_settle(statement: Statement, repeated: Collection[int]) -> bool:
    """Whether a statement is shared and leaves anything behind."""
    shared = statement.role in _SHARED and statement.index not in repeated
    return shared and bool(statement.writes or statement.changes)


def _given(statement: Statement) -> set[str]:
    return {*statement.writes, *statement.changes, *statement.deletes}


def _made(statement: Statement, wanted: set[str]) -> set[str]:
    """What a repeated statement gives: an import, which is narrowed, only what is wanted of it."""
    if isinstance(statement.node, ast.ImportFrom):
        return wanted
    return {*statement.writes, *statement.changes}


def _interfere(one: Statement, other: Statement) -> bool:
    """Whether the order of two statements matters."""
    mine, its = _given(one), _given(other)
    return bool(mine & its or mine & set(other.record.reads) or its & set(one.record.reads))


def _disturbed(statements: Sequence[Statement], repeated: Collection[int]) -> set[int]:
    """Shared statements that read or change what a step has left, or come between two uses of it in one step."""
    last = {s.step: s.index for s in statements if s.step is not None}
    found: set[int] = set()
    left: set[str] = set()
    used: set[str] = set()
    current: str | None = None
    for statement in statements:
        if statement.step is not None:
            used = used if statement.step == current else set()
            current = statement.step
            left |= _given(statement)
            used |= _given(statement) | set(statement.record.reads)
        elif _may_settle(statement, repeated):
            inside = current is not None and last[current] > statement.index
            if _depends(statement, left) or (inside and _between(statement, used)):
                found.add(statement.index)
                left |= _given(statement)
            else:
                left -= {n for n, (_, must) in statement.writes.items() if must}
    return found


def _depends(statement: Statement, left: set[str]) -> bool:
    """Whether a statement needs the value of one of these names, or perhaps leaves it in place."""
    perhaps = {n for n, (_, must) in statement.writes.items() if not must}
    return bool(left & {*statement.record.reads, *statement.changes, *perhaps})


def _between(statement: Statement, used: set[str]) -> bool:
    """Whether a statement gives names that the step has used before another meaning; importing them again does not."""
    return bool(used & _given(statement)) and statement.kind != "import"
