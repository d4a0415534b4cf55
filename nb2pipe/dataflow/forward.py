"""The forward pass: every top-level statement is interpreted once, in order."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from nb2pipe.dataflow.events import Place
from nb2pipe.dataflow.expressions import evaluate
from nb2pipe.dataflow.machine import Bound, Frame, Machine, Record, Shared, Template
from nb2pipe.dataflow.model import Statement
from nb2pipe.dataflow.statements import execute
from nb2pipe.dataflow.summaries import lend, mention
from nb2pipe.dataflow.tables import Tables
from nb2pipe.dataflow.values import Def, Heap, Val
from nb2pipe.findings import finding
from nb2pipe.notebook.model import Layout, Parameter, PyCell


def statements_of(cells: Sequence[PyCell], layout: Layout) -> list[Statement]:
    """All top-level statements of the cells that are converted, in notebook order."""
    found: list[Statement] = []
    for cell in cells:
        role = layout.roles[cell.cell.index]
        if role == "text" or (role == "skip" and not _parses(cell.text)):
            continue
        step = layout.step_of.get(cell.cell.index)
        for node in ast.parse(cell.text).body:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            last = node.end_lineno or node.lineno
            found.append(Statement(len(found), cell.cell.index, role, step, node, first, last))
    return found


def provided_names(imports: Iterable[str]) -> dict[str, str]:
    """The names that import statements bind, with what they refer to.

    >>> provided_names(["import os", "from google.cloud import bigquery"])
    {'os': 'os', 'bigquery': 'google.cloud.bigquery'}
    """
    found: dict[str, str] = {}
    for node in ast.parse("\n".join(imports)).body:
        if isinstance(node, ast.Import):
            found.update({a.asname or a.name.partition(".")[0]: a.name.partition(".")[0] for a in node.names})
        elif isinstance(node, ast.ImportFrom):
            found.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    return found


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


class ModuleFrame(Frame):
    """The notebook's own namespace; knows which names hold which objects."""

    private = False

    def __init__(self) -> None:
        super().__init__()
        self.names_of: dict[int, set[str]] = {}
        self.names_of_definition: dict[Def, set[str]] = {}
        self._named: dict[str, set[int]] = {}

    def set(self, name: str, bound: Bound, *, leak: bool = False) -> None:
        super().set(name, bound, leak=leak)
        named = self._named.setdefault(name, set())
        for index in bound.val.objs - named:
            self.names_of.setdefault(index, set()).add(name)
        named |= bound.val.objs
        for made in bound.val.defs:
            self.names_of_definition.setdefault(made, set()).add(name)

    def holders(self, index: int, made: Def | None) -> list[str]:
        """The names that now hold an object; `made` is the definition that it stands for, if it does."""
        names = self.names_of.get(index, set())
        if made is not None:
            names = names | self.names_of_definition.get(made, set())
        found = [(n, b.val) for n in sorted(names) if (b := self.find(n)) is not None]
        return [n for n, val in found if index in val.objs or made in val.defs]


_IN_PATHS = ("builtins.str", "builtins.int", "builtins.float")
"""Types of parameters that read in a path as they are written."""


class Forward:
    """The state of the pass; `run` interprets the statements in the order given."""

    def __init__(self, cells: Mapping[int, PyCell], tables: Tables, parameters: Iterable[Parameter]) -> None:
        self.heap = Heap()
        self.frame = ModuleFrame()
        shared = Shared(
            tables,
            lambda m: partial(evaluate, m),
            lambda m: partial(execute, m),
            mention,
            lend,
        )
        self.machine = Machine(tables, self.frame, self.heap, shared)
        self.shared = shared
        self.cells = cells
        self.parameters = {(p.cell, p.name): p for p in parameters}
        self.mutations: dict[str, tuple[int, ...]] = {}
        self.skipped: dict[str, int] = {}
        shared.lines.update({i: c.lines for i, c in cells.items()})
        shared.provided.update({i: provided_names(c.imports) for i, c in cells.items() if c.imports})

    def run(self, statements: Iterable[Statement]) -> None:
        """Interpret; each statement's facts are written into it."""
        for statement in statements:
            self._run_one(statement)

    def _run_one(self, statement: Statement) -> None:
        m = self.machine
        m.cell, m.lines, m.bind = statement.cell, self.cells[statement.cell].lines, statement.index
        m.place = Place(-1, 0, "")
        self.heap.clock = statement.index
        m.record = statement.record = Record()
        statement.writes, statement.values, statement.deletes = {}, {}, set()
        statement.changes, statement.versions = {}, {}
        self.frame.ended = False
        if statement.role == "skip":
            self._look_at(statement)
            return
        m.execute([statement.node])
        self._note_skipped(statement)
        self._parameter_texts(statement)
        self._note_writes(statement)
        self._note_changes(statement)

    def _look_at(self, statement: Statement) -> None:
        """A skipped statement binds nothing, but what it would bind or change must not be read later."""
        with self.frame.layer() as overlay:
            self.machine.execute([statement.node])
        known = [n for n in overlay if self.value(n) is not None]
        self._note_changes(statement)
        self.skipped.update(dict.fromkeys([*known, *statement.changes], statement.cell))
        for name in statement.changes:
            self.mutations.pop(name, None)
        statement.record, statement.changes, statement.versions = Record(), {}, {}

    def _note_skipped(self, statement: Statement) -> None:
        for name, (place, _) in statement.record.reads.items():
            if name in self.skipped:
                cell = self.skipped[name]
                message = f"{place} needs {name} as the skipped cell {cell} leaves it"
                found = finding("skipped-definition", message, cell=place.cell, line=place.line, name=name)
                statement.record.findings.append(found)
        for name in statement.record.written:
            bound = self.frame.find(name)
            if bound is not None and bound.must:
                self.skipped.pop(name, None)

    def _parameter_texts(self, statement: Statement) -> None:
        """A parameter's value is known only when the pipeline runs."""
        for name in statement.record.written:
            bound = self.frame.find(name)
            if (statement.cell, name) in self.parameters and bound is not None:
                val = bound.val
                for index in self.heap.reach(val.objs):
                    self.heap.contents.pop(index, None)
                text: Any = Template("{" + name + "}") if val.type in _IN_PATHS else None
                known = Val(val.objs, val.type, const=text) if text else Val(val.objs, val.type, items=None)
                self.frame.set(name, Bound(known, bound.binds, bound.must))

    def _note_writes(self, statement: Statement) -> None:
        for name in statement.record.written:
            bound = self.frame.find(name)
            if bound is None or (not bound.binds and not bound.must):
                statement.deletes.add(name)
                self.mutations.pop(name, None)
                continue
            own = self.shared.binds.get((statement.index, name), -1)
            must = bound.must and (bound.binds == frozenset([own]) or isinstance(statement.node, ast.Import))
            statement.writes[name] = (own, must)
            statement.values[name] = bound.val
            if must:
                self.mutations.pop(name, None)

    def _note_changes(self, statement: Statement) -> None:
        record = statement.record
        for name, (_, binds) in record.reads.items():
            statement.versions[name] = (binds, self.mutations.get(name, ()))
        if record.mutated:
            first = next(iter(record.mutated.values()))
            for index in self.heap.holding(record.mutated):
                for name in self.frame.holders(index, self.heap.defined.get(index)):
                    statement.changes.setdefault(name, record.mutated.get(index, first))
        self._note_hidden(statement)
        for name in statement.changes:
            self.mutations[name] = (*self.mutations.get(name, ())[-50:], statement.index)

    def body_facts(self, statement: Statement) -> tuple[frozenset[str], bool]:
        """What the functions and methods that a statement defines read from outside, and whether they bind there."""
        m = self.machine
        defined, m.record = statement.record.defined, Record()
        made = [*defined, *(d for v in statement.values.values() for d in v.defs)]
        functions = [f for d in made for f in d.functions() if not isinstance(f.node, ast.ClassDef)]
        for one in made:
            mention(m, Val(defs=(one,)), m.place)
        summaries = [s for f in functions for _, s in self.shared.summaries.get(f, [])]
        reads = frozenset(n for s in summaries for n in (*s.record.reads, *s.record.undefined))
        return reads, any(s.writes for s in summaries)

    def _note_hidden(self, statement: Statement) -> None:
        """Files and hidden state have versions like names, so that moving cells cannot swap them."""
        record = statement.record
        touched = [(f"file {f.path}", f.use in ("write", "folder", "remove")) for f in record.files]
        touched += [(f"state {c.channel}", c.use != "use") for c in record.channels if not c.channel.startswith("text")]
        for key, changes in touched:
            statement.versions.setdefault(key, (frozenset(), self.mutations.get(key, ())))
            if changes:
                self.mutations[key] = (*self.mutations.get(key, ())[-50:], statement.index)

    def outer_reads(self, definitions: Iterable[Def]) -> frozenset[str]:
        """The names that functions and methods read from outside when they are called."""
        inner = [f for d in definitions for f in d.functions()]
        summaries = [s for f in inner for _, s in self.shared.summaries.get(f, [])]
        return frozenset(n for s in summaries for n in s.record.reads)

    def value(self, name: str) -> Val | None:
        """What a name holds now."""
        bound = self.frame.find(name)
        return bound.val if bound is not None and (bound.binds or bound.must) else None
