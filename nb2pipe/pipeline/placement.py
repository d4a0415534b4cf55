"""Where every definition goes: shared.py, the top of a step's file, or the step itself.

A definition that needs nothing but imports, constants and other such definitions is closed: it stands once, in
shared.py when several steps use it. One that reads data of the notebook stays in each step that uses it.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from nb2pipe.dataflow.machine import BUILTINS
from nb2pipe.dataflow.model import Flow, Statement, StepFlow
from nb2pipe.dataflow.values import IMMUTABLE, Def
from nb2pipe.pipeline.fragments import alone_on_its_lines


@dataclass(slots=True)
class Placement:
    """Statement numbers by place. `top` are imports and definitions at module level of a step's file."""

    shared: set[int] = field(default_factory=set)
    shared_imports: set[int] = field(default_factory=set)
    imports: dict[str, set[int]] = field(default_factory=dict)
    top: dict[str, set[int]] = field(default_factory=dict)
    setup: dict[str, set[int]] = field(default_factory=dict)
    prelude: dict[str, set[int]] = field(default_factory=dict)
    from_shared: dict[str, set[str]] = field(default_factory=dict)


class Placer:
    """Decides the place of every statement that is repeated or moved."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.statements = flow.statements
        self.rank = {s.name: i for i, s in enumerate(flow.steps)}
        self.steps_of: dict[int, list[StepFlow]] = {}
        for step in flow.steps:
            for index in {*step.copies, *step.statements}:
                self.steps_of.setdefault(index, []).append(step)
        self.provides = {s.name: self._provided(s) for s in flow.steps}
        self.local = {s.name: self._bound_in(s) for s in flow.steps}
        self.by_value = set().union(*(s.by_value for s in flow.steps)) if flow.steps else set()
        self.changed = {n for s in self.statements if s.step for n in s.changes}
        self.defined_by = Counter(n for s in self.statements if s.kind == "definition" for n in s.writes)
        self.carried = {n for s in flow.steps for names in s.carries.values() for n in names}
        self.takers: dict[tuple[str, str], list[StepFlow]] = {}
        for step in flow.steps:
            for need in step.inputs.values():
                self.takers.setdefault((need.source, need.name), []).append(step)
        self.definitions: dict[str, list[Statement]] = {}
        self.defined_in: dict[Def, int] = {}
        self.last_bound: dict[str, int] = {}
        self.last_change: dict[str, int] = {}
        for statement in self.statements:
            self._note(statement)
        self.neighbours: dict[int, list[Statement]] = {}
        for statement in self.statements:
            self.neighbours.setdefault(statement.cell, []).append(statement)
        self.missed = {n for s in self.statements for n in s.record.undefined}  # and perhaps bound later
        self._closed: dict[int, bool] = {}
        self._mentions: dict[int, frozenset[str]] = {}

    def _note(self, statement: Statement) -> None:
        """Index a statement: what it defines, and in which step names were last bound or changed."""
        if statement.kind == "definition":
            self.defined_in.update(dict.fromkeys(statement.record.defined, statement.index))
            for name in statement.writes:
                self.definitions.setdefault(name, []).append(statement)
        if statement.step is not None:
            rank = self.rank[statement.step]
            self.last_change.update({n: max(rank, self.last_change.get(n, -1)) for n in statement.changes})
            if statement.kind != "import":
                again = {n for n in statement.writes if statement.kind != "definition" or self.defined_by[n] > 1}
                self.last_bound.update({n: max(rank, self.last_bound.get(n, -1)) for n in again})

    def place(self) -> Placement:
        """Place everything."""
        placement = Placement()
        for step in self.flow.steps:
            for table in (placement.imports, placement.top, placement.setup, placement.prelude):
                table[step.name] = set()
            placement.from_shared[step.name] = set()
        for step in self.flow.steps:
            self._place_step(step, placement)
        self._complete_shared(placement)
        self._complete_tops(placement)
        self._use_shared(placement)
        return placement

    def _provided(self, step: StepFlow) -> dict[str, int]:
        """The one statement that gives each name a source in this step: repeated, or its own."""
        found: dict[str, int] = dict.fromkeys([*step.inputs, *step.parameters], -1)
        written = [(i, n) for i, names in sorted(step.copies.items()) for n in names]
        written += [(i, n) for i in step.statements for n in self.statements[i].writes]
        for index, name in written:
            before = found.get(name)
            again = before is not None and before >= 0 and self._imports_same(before, index)
            found[name] = index if before is None or again else -1
        return found

    def _imports_same(self, one: int, other: int) -> bool:
        """Whether two statements are `import a.b` and `import a.c`, or the same import twice."""
        nodes = [self.statements[i].node for i in (one, other)]
        if not all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in nodes):
            return False
        return all(isinstance(n, ast.Import) for n in nodes) or ast.dump(nodes[0]) == ast.dump(nodes[1])

    def _bound_in(self, step: StepFlow) -> set[str]:
        """Names that the step's own code computes: no source outside of it can stand for them."""
        own = [self.statements[i] for i in step.statements]
        return {n for s in own for n in [*s.writes, *s.deletes] if s.kind not in ("import", "definition")}

    # --- closed definitions -----------------------------------------------------------------------------------------
    def needs(self, statement: Statement) -> set[str]:
        """The outer names that a statement and the functions it defines read."""
        return {*statement.record.reads, *statement.frees}

    def users(self, index: int) -> list[StepFlow]:
        """The steps in which a statement is in force: those that repeat it, and its own."""
        return self.steps_of.get(index, [])

    def closed(self, index: int) -> bool:
        """Whether a definition or constant means the same at the top of a module."""
        if index not in self._closed:
            self._closed[index] = True  # a cycle of functions is as closed as its members
            self._closed[index] = self._is_closed(self.statements[index])
            if not self._closed[index]:
                self._closed = {i: c for i, c in self._closed.items() if not c}
        return self._closed[index]

    def _is_closed(self, statement: Statement) -> bool:
        if statement.kind not in ("definition", "constant", "import") or statement.writes_globals:
            return False
        if set(statement.writes) & (self.by_value | self.changed | self.missed) or not self._bound_once(statement):
            return False
        if statement.kind == "definition" and any(self.defined_by[n] > 1 for n in statement.writes):
            return False
        if any(
            n in BUILTINS and self._reads_builtin(s, n) for n in statement.writes for s in self.users(statement.index)
        ):
            return False
        if not alone_on_its_lines(statement, self.neighbours[statement.cell]):
            return False
        if statement.kind == "constant" and not self._unchanging(statement):
            return False
        users = self.users(statement.index)
        return all(
            len(self._sources(users, name)) <= 1 and all(self._closed_name(s, name) for s in users)
            for name in self.needs(statement)
        )

    def _sources(self, users: Iterable[StepFlow], name: str) -> set[int | None]:
        """What gives the name to steps; a step that has it from nowhere does not call what reads it, if no builtin is
        meant."""
        found = {self._source(step, name) for step in users}
        return found if name in BUILTINS else found - {None}

    def _reads_builtin(self, step: StepFlow, name: str) -> bool:
        """Whether a step reads the builtin of that name before it has another meaning there."""
        return any(name in self.statements[i].record.builtins for i in (*step.copies, *step.statements))

    def _source(self, step: StepFlow, name: str) -> int | None:
        """The statement that gives a step the name; imports of one package count as one."""
        source = self.provides[step.name].get(name)
        if source is not None and source >= 0 and self.statements[source].kind == "import":
            return min(i for i in self._all_imports(step, name))
        return source

    def _bound_once(self, statement: Statement) -> bool:
        """Whether every step that uses the statement binds its names nowhere else."""
        return all(
            self._is_source(step, name, statement) and name not in self._rebound(step, statement)
            for step in self.users(statement.index)
            for name in statement.writes
            if name in self.provides[step.name]
        )

    def _is_source(self, step: StepFlow, name: str, statement: Statement) -> bool:
        source = self.provides[step.name].get(name, -1)
        return source == statement.index or (source >= 0 and self._imports_same(source, statement.index))

    def _rebound(self, step: StepFlow, statement: Statement) -> set[str]:
        """What other statements of the step bind, but for imports of the same."""
        own = [
            self.statements[i]
            for i in step.statements
            if i != statement.index and not self._imports_same(i, statement.index)
        ]
        return {n for s in own for n in [*s.writes, *s.deletes]}

    def _unchanging(self, statement: Statement) -> bool:
        """Constants of other types than the plain ones must not be changed by any step."""
        return all(v.type in IMMUTABLE or n not in self.changed for n, v in statement.values.items())

    def _closed_name(self, step: StepFlow, name: str) -> bool:
        source = self.provides[step.name].get(name)
        if source is None:
            return name not in step.inputs and name not in step.parameters
        return source >= 0 and self.closed(source)

    # --- placing ----------------------------------------------------------------------------------------------------
    def _place_step(self, step: StepFlow, placement: Placement) -> None:
        for index in step.copies:
            self._place_copy(step, self.statements[index], placement)
        for index in step.setup:
            if index not in step.copies:
                early = self._is_early(self.statements[index])
                (placement.prelude if early else placement.setup)[step.name].add(index)
        for index in step.statements:
            self._place_own(step, self.statements[index], placement)

    def _place_copy(self, step: StepFlow, statement: Statement, placement: Placement) -> None:
        index = statement.index
        if statement.kind == "import" and self.closed(index):
            placement.imports[step.name].add(index)
        elif not self.closed(index):
            placement.setup[step.name].add(index)
        elif self._is_shared(statement):
            placement.shared.add(index)
        else:
            placement.top[step.name].add(index)

    def _place_own(self, step: StepFlow, statement: Statement, placement: Placement) -> None:
        index = statement.index
        if statement.kind == "future":
            placement.imports[step.name].add(index)
        elif isinstance(statement.node, (ast.Import, ast.ImportFrom)):
            if self.closed(index) and not self._after_environment(step, index):
                placement.imports[step.name].add(index)
        elif statement.kind == "definition" and self.closed(index):
            if self._is_shared(statement):
                placement.shared.add(index)
            else:
                placement.top[step.name].add(index)
        elif statement.kind == "constant" and index in placement.shared:
            pass

    def _is_shared(self, statement: Statement) -> bool:
        """What several steps use stands in shared.py, and what values may hold, so that it is one thing everywhere."""
        if isinstance(statement.node, ast.ClassDef) or set(statement.writes) & self.carried:
            return len(self.flow.steps) > 1
        return len(self._real_users(statement)) > 1

    def _real_users(self, statement: Statement) -> list[StepFlow]:
        """The steps that mention what the statement defines, its own only if it does so itself."""
        names = set(statement.writes)
        return [
            s
            for s in self.users(statement.index)
            if statement.index in s.copies
            or any(names & self.needs(self.statements[i]) for i in s.statements if i != statement.index)
        ]

    @staticmethod
    def _is_early(statement: Statement) -> bool:
        """Set-up of the environment comes before the imports that may look at it."""
        return any(c.channel in ("environment", "search path") and c.use == "set" for c in statement.record.channels)

    def _after_environment(self, step: StepFlow, index: int) -> bool:
        """Whether the step sets up the environment before this import: then the import stays where it is."""
        return any(self._is_early(self.statements[i]) for i in step.statements if i < index)

    # --- shared.py --------------------------------------------------------------------------------------------------
    def _complete_shared(self, placement: Placement) -> None:
        """What shared definitions need is shared too."""
        todo = sorted(placement.shared)
        while todo:
            index = todo.pop()
            for name in sorted(self.needs(self.statements[index])):
                for step in self.users(index):
                    source = self.provides[step.name].get(name)
                    if source is None or source < 0 or source in placement.shared or source == index:
                        continue
                    if self.statements[source].kind == "import":
                        placement.shared_imports |= self._all_imports(step, name)
                    else:
                        placement.shared.add(source)
                        todo.append(source)
        for step in self.flow.steps:
            placement.top[step.name] -= placement.shared

    def _complete_tops(self, placement: Placement) -> None:
        """Constants and guarded imports that definitions at the top of a step's file need stand there too."""
        for step in self.flow.steps:
            todo = sorted(placement.top[step.name])
            while todo:
                for name in sorted(self.needs(self.statements[todo.pop()])):
                    source = self.provides[step.name].get(name, -1)
                    placed = placement.shared | placement.top[step.name]
                    if source >= 0 and source not in placed and self.statements[source].kind == "constant":
                        placement.top[step.name].add(source)
                        todo.append(source)
                    elif source in step.statements and isinstance(self.statements[source].node, (ast.Try, ast.If)):
                        placement.imports[step.name] |= {source} if self.statements[source].kind == "import" else set()

    def _all_imports(self, step: StepFlow, name: str) -> set[int]:
        """Every import that makes `name` what it is in a step."""
        return {
            i
            for i in {*step.copies, *step.statements}
            if self.statements[i].kind == "import" and name in self.statements[i].writes
        }

    def _use_shared(self, placement: Placement) -> None:
        """What each step imports from shared.py: the names that its file mentions."""
        for step in self.flow.steps:
            mentioned = self.mentioned(step, placement)
            for name, source in self.provides[step.name].items():
                if source in placement.shared and name in mentioned:
                    placement.from_shared[step.name].add(name)

    def mentioned(self, step: StepFlow, placement: Placement) -> set[str]:
        """The names that the code in a step's file mentions."""
        here = {*step.statements, *placement.top[step.name], *placement.setup[step.name], *placement.prelude[step.name]}
        found = {name for i in here for name in self.statements[i].record.strings}
        return found.union(*(self._names_in(i) for i in here - placement.shared))

    def _names_in(self, index: int) -> frozenset[str]:
        if index not in self._mentions:
            nodes = self.statements[index].nodes
            self._mentions[index] = frozenset(n.id for n in nodes if isinstance(n, ast.Name))
        return self._mentions[index]

    def mentioned_imports(self, step: StepFlow, placement: Placement) -> set[int]:
        """Of the imports that could stand at the top of the step's file, those that its code mentions."""
        mentioned = self.mentioned(step, placement)
        kept: set[int] = set()
        more = True
        while more:
            more = False
            for index in placement.imports[step.name] - kept:
                statement = self.statements[index]
                if index in step.statements or _always(statement) or set(statement.writes) & mentioned:
                    kept.add(index)
                    mentioned |= self.needs(statement)
                    more = True
        return kept


def _always(statement: Statement) -> bool:
    """Imports whose use no name shows."""
    return statement.kind == "future" or any(a.name == "*" for a in getattr(statement.node, "names", []))
