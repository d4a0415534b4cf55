"""From facts of statements to what each step takes, gives and repeats.

A name that a step reads and does not bind itself is one of three things: a parameter; something that may be repeated
as source (an import, a definition, a constant, whatever shared cells make); or data, an output of the last step that
wrote or changed it. What is data is handed on only when a later step reads it: liveness, backward over the steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nb2pipe.dataflow.events import Place
from nb2pipe.dataflow.machine import Bound, Record
from nb2pipe.dataflow.model import Kind, Need, Statement, StepFlow
from nb2pipe.dataflow.values import DEFINITION, IMMUTABLE, Def, Heap, Val

REPEATABLE = ("import", "definition", "constant")


@dataclass(slots=True)
class StepFacts:
    """What one step's statements do, before it is known what others need.

    `reads`: names read before the step binds them for certain: place, bindings and reading statement. `must`, `may`:
    bound for certain, perhaps. `changes`: names whose value is mutated. `entry`, `exit`: all names when the step begins
    and when it has ended.
    """

    name: str
    statements: list[Statement]
    reads: dict[str, list[tuple[Place, frozenset[int], int]]] = field(default_factory=dict)
    must: dict[str, Place] = field(default_factory=dict)
    may: dict[str, Place] = field(default_factory=dict)
    changes: dict[str, Place] = field(default_factory=dict)
    carried: set[str] = field(default_factory=set)
    mutated: set[int] = field(default_factory=set)
    entry: Mapping[str, Bound] = field(default_factory=dict)
    exit: Mapping[str, Bound] = field(default_factory=dict)
    clock: int = 0

    def written(self) -> set[str]:
        """Names whose value or content this step may give anew."""
        return set(self.must) | set(self.may) | set(self.changes) | self.carried

    def reason(self, name: str) -> str:
        """Why the step gives `name`."""
        if name in self.changes and name not in self.must:
            return f"{self.changes[name]} changes {name}"
        place = self.must.get(name) or self.may.get(name)
        if place is not None:
            return f"{place} sets {name}"
        return f"{name} shares its identity with a value that this step gives"


def step_facts(
    name: str,
    statements: list[Statement],
    entry: Mapping[str, Bound],
    exit_: Mapping[str, Bound],
    owner: Mapping[int, int],
) -> StepFacts:
    """Fold the facts of a step's statements. `owner` maps a binding to the statement that makes it."""
    own = {s.index for s in statements}
    facts = StepFacts(name, statements, entry=entry, exit=exit_, clock=statements[-1].index if statements else 0)
    for statement in statements:
        for read, (place, binds) in statement.record.reads.items():
            outer = frozenset(b for b in binds if owner[b] not in own)
            if outer and read not in facts.must:
                facts.reads.setdefault(read, []).append((place, outer, statement.index))
        facts.mutated |= _identified(statement.record)
        for changed, place in statement.changes.items():
            facts.changes.setdefault(changed, place)
        _fold_writes(facts, statement)
    return facts


def _fold_writes(facts: StepFacts, statement: Statement) -> None:
    for name, (_, must) in statement.writes.items():
        place = statement.record.written.get(name) or Place(statement.cell, statement.first, "")
        (facts.must if must else facts.may).setdefault(name, place)
    for name in statement.deletes:
        facts.must.setdefault(name, statement.record.written[name])


class Resolver:
    """Works out StepFlow for every step. Construct, then call `resolve`."""

    def __init__(
        self,
        statements: Sequence[Statement],
        steps: list[StepFacts],
        owner: Mapping[int, int],
        heap: Heap,
        parameters: Mapping[str, int],
        outer_reads: Callable[[Iterable[Def]], frozenset[str]],
    ) -> None:
        self.outer_reads = outer_reads
        self.reads_of: dict[Def, frozenset[str]] = {}
        self.statements = statements
        self.steps = steps
        self.owner = owner
        self.heap = heap
        self.parameters = parameters
        self.kinds: dict[int, Kind] = {s.index: s.kind for s in statements}
        self.position = {facts.name: i for i, facts in enumerate(steps)}
        self.mutated = frozenset().union(*(_identified(s.record) for s in statements))
        self.bound_by = Counter(n for s in statements for n in (*s.writes, *s.deletes))
        self.builders = self._builders()
        self.changers: dict[str, list[int]] = {}
        self.first_bound: dict[str, int] = {}
        for index, facts in enumerate(steps):
            self._note(index, facts)
        self.flows = [StepFlow(f.name, (), tuple(s.index for s in f.statements)) for f in steps]
        self.data: list[dict[str, Place]] = [{} for _ in steps]
        self.wanted: list[dict[str, Place]] = [{} for _ in steps]
        self.problems: list[tuple[str, str, Place, str]] = []

    def _note(self, index: int, facts: StepFacts) -> None:
        """Index which steps change each name, and the first that binds it."""
        for name in facts.changes:
            self.changers.setdefault(name, []).append(index)
        for name in (*facts.must, *facts.may):
            self.first_bound.setdefault(name, index)

    def _builders(self) -> dict[str, list[int]]:
        """The shared statements that bind or change each name."""
        found: dict[str, list[int]] = {}
        for statement in self.statements:
            if statement.step is None:
                for name in [*statement.writes, *(c for c in statement.changes if c not in statement.writes)]:
                    found.setdefault(name, []).append(statement.index)
        return found

    def resolve(self) -> list[StepFlow]:
        """Fill in and give back the flows."""
        declared = {i: n for n, i in self.parameters.items()}
        for index, facts in enumerate(self.steps):
            for statement in facts.statements:
                if statement.index in declared:
                    self._want_parameter(index, declared[statement.index])
            for name, reads in facts.reads.items():
                for place, binds, at in reads:
                    self._classify(index, name, place, binds, at)
        outputs = self._liveness()
        for index, facts in enumerate(self.steps):
            self._outputs(index, facts, outputs[index])
        for index in range(len(self.steps)):
            self._inputs(index)
        self._bundles()
        return self.flows

    def need(self, index: int, statement: Statement) -> None:
        """Step `index` repeats a set-up call of shared code: it needs what the call needs."""
        self.flows[index].setup.add(statement.index)
        for read, (place, binds) in statement.record.reads.items():
            self._shared_reads(index, statement, read, binds, place)

    # --- what a read is --------------------------------------------------------------------------------------------
    def _classify(self, index: int, name: str, place: Place, binds: frozenset[int], at: int) -> None:
        if self._changed_before(index, name, binds):
            self.data[index].setdefault(name, place)
            return
        origins = {self.owner[b] for b in binds if b in self.owner}
        touched = self.first_bound.get(name, index + 1) <= index
        if name in self.statements[at].record.uncertain and (touched or not self._import_perhaps(origins)):
            self.data[index].setdefault(name, place)
            return
        shared = {o for o in origins if self.statements[o].step is None}
        if origins and shared == origins:
            self._from_shared(index, name, place, at)
        elif self._one_source(origins) and all(
            self._repeat(index, self.statements[o], name, place) for o in sorted(origins)
        ):
            pass
        else:
            self.data[index].setdefault(name, place)

    def _import_perhaps(self, origins: set[int]) -> bool:
        """Imports and shared code may be repeated although they only perhaps bind: they do the same again."""
        return all(self.kinds[o] == "import" or self.statements[o].step is None for o in origins)

    def _one_source(self, origins: set[int]) -> bool:
        """Whether one statement binds, or several imports of one package do."""
        return len(origins) == 1 or (bool(origins) and all(self.kinds[o] == "import" for o in origins))

    def _changed_before(self, index: int, name: str, binds: frozenset[int]) -> bool:
        """Whether a step up to this one changes the content of the value read."""
        origins = [self.owner[b] for b in binds if b in self.owner]
        first = min((self._position_of(o) for o in origins), default=0)
        # A definition or shared value that only this step changes may be repeated in it first.
        again = all(self.kinds[o] == "definition" or self.statements[o].step is None for o in origins)
        last = index if again else index + 1
        return any(first <= i < last and self._same_value(i, name, binds) for i in self.changers.get(name, ()))

    def _position_of(self, statement: int) -> int:
        step = self.statements[statement].step
        return 0 if step is None else self.position[step]

    def _same_value(self, index: int, name: str, binds: frozenset[int]) -> bool:
        """Whether the step changes the value of these bindings, not of a later one of its own."""
        bound = self.steps[index].exit.get(name)
        return bound is None or bool(bound.binds & binds)

    def _repeat(self, index: int, origin: Statement, name: str, place: Place) -> bool:
        """Repeat a step's definition, import or constant in another step, if it means the same there."""
        if not self._repeatable(origin, name) or self._hides(index, origin.record.builtins):
            return False
        if self._held_elsewhere(index, origin, name):
            return False
        for read, (_, binds) in origin.record.reads.items():
            if not self._same_at(index, read, binds):
                self.flows[self._position_of(origin.index)].by_value.add(name)
                return False
        self.flows[index].copies.setdefault(origin.index, set()).add(name)
        for read, (_, binds) in origin.record.reads.items():
            self._classify(index, read, place, binds, origin.index)
        return True

    def _held_elsewhere(self, index: int, origin: Statement, name: str) -> bool:
        """Whether other names hold what changes of a definition when step `index` begins: `kept = f.__defaults__`."""
        before = self.steps[index - 1].clock if index else -1
        held = self.heap.reach_at(self._objects(origin.values.get(name, Val())), before) & self.mutated
        others = (self._objects(b.val) for n, b in self.steps[index].entry.items() if n != name) if held else ()
        return any(self.heap.reach_at(objs, before) & held for objs in others)

    def _objects(self, val: Val) -> set[int]:
        """The objects of a value, the functions and classes among them."""
        return set(val.objs).union(self.heap.definitions[d] for d in val.defs if d in self.heap.definitions)

    def _hides(self, index: int, builtins: Iterable[str]) -> bool:
        """Whether one of these builtins has another meaning when step `index` begins."""
        return any(name in self.steps[index].entry for name in builtins)

    def _repeatable(self, origin: Statement, name: str) -> bool:
        what = self.kinds[origin.index]
        if what not in REPEATABLE or len(origin.writes) == 0 or not all(m for _, m in origin.writes.values()):
            return what == "import" and name in origin.writes
        if len(origin.writes) > 1 and any(self.bound_by[n] > 1 for n in origin.writes):
            return False  # repeating it would bind the other names as well
        if what != "constant":
            return True
        if not all(self._constant_read(binds, read) for read, (_, binds) in origin.record.reads.items()):
            return False
        values = [origin.values.get(n, Val()) for n in origin.writes]
        return all(v.type in IMMUTABLE or not (self.heap.reach(v.objs) & self.mutated) for v in values)

    def _constant_read(self, binds: frozenset[int], name: str) -> bool:
        """Whether what a constant is made of is constant itself."""
        origins = [self.statements[self.owner[b]] for b in binds if b in self.owner]
        return all(o.step is None or self._repeatable(o, name) for o in origins)

    def _same_at(self, index: int, name: str, binds: frozenset[int]) -> bool:
        """Whether `name` still has these bindings when step `index` begins, and may be had there."""
        before = self.steps[index].entry.get(name)
        if before is None or not binds:
            return True
        return before.binds == binds and not self._changed_before(index, name, binds)

    def _from_shared(self, index: int, name: str, place: Place, at: int) -> None:
        """Repeat what shared cells do to make `name`, and what that needs."""
        for builder in self.builders.get(name, ()):
            if builder >= at:
                break
            if builder <= self.parameters.get(name, -1):
                self._want_parameter(index, name)
                continue
            known = self.flows[index].copies.setdefault(builder, set())
            if name in known:
                continue
            known.add(name)
            statement = self.statements[builder]
            for read, (_, binds) in statement.record.reads.items():
                if read != name or self.owner.get(next(iter(binds), -1)) != builder:
                    self._shared_reads(index, statement, read, binds, place)

    def _shared_reads(self, index: int, statement: Statement, read: str, binds: frozenset[int], place: Place) -> None:
        origins = [self.statements[self.owner[b]] for b in binds if b in self.owner]
        if all(o.step is None for o in origins):
            self._from_shared(index, read, place, statement.index)
        elif all(self._repeatable(o, read) for o in origins):
            self._classify(index, read, place, binds, statement.index)
        else:
            self.problems.append(self._not_repeated(index, statement, read))

    def _not_repeated(self, index: int, statement: Statement, read: str) -> tuple[str, str, Place, str]:
        where = statement.record.reads[read][0]
        if statement.step is None:
            return ("shared-computes", f"shared code uses {read}, which a step computes", where, read)
        message = (
            f"step {self.steps[index].name} relies on what step {statement.step} sets in {where}, and cannot set it "
            f"itself: that takes {read}, which a step computes"
        )
        return ("hidden-process-state", message, where, read)

    def _want_parameter(self, index: int, name: str) -> None:
        flow = self.flows[index]
        if name not in flow.parameters:
            flow.parameters = (*flow.parameters, name)

    # --- liveness -----------------------------------------------------------------------------------------------------
    def _liveness(self) -> list[set[str]]:
        """The outputs of every step, taking shared identity into account until nothing more must be carried."""
        while True:
            outputs, live_out = self._live()
            if not self._carry(live_out):
                return outputs

    def _live(self) -> tuple[list[set[str]], list[set[str]]]:
        live: set[str] = set()
        outputs: list[set[str]] = []
        live_out: list[set[str]] = []
        for index in range(len(self.steps) - 1, -1, -1):
            facts = self.steps[index]
            live_out.append(set(live))
            outputs.append({n for n in live & facts.written() if self._exists(facts, n)})
            repeated = {n for names in self.flows[index].copies.values() for n in names}
            through = (live & facts.written()) - set(facts.must) - repeated
            self.wanted[index] = {**self.data[index], **{n: self._touch(facts, n) for n in sorted(through)}}
            live = (live - set(facts.must) - (repeated & facts.written())) | set(self.wanted[index])
        return outputs[::-1], live_out[::-1]

    @staticmethod
    def _exists(facts: StepFacts, name: str) -> bool:
        bound = facts.exit.get(name)
        return bound is not None and (bool(bound.binds) or bound.must)

    @staticmethod
    def _touch(facts: StepFacts, name: str) -> Place:
        return facts.changes.get(name) or facts.may.get(name) or Place(-1, 0, name)

    def _carry(self, live_out: list[set[str]]) -> bool:
        """Names that share a later-changed object with what a step gives must be given by that step too."""
        more = False
        future: set[int] = set()
        for index in range(len(self.steps) - 1, -1, -1):
            facts = self.steps[index]
            stale = {n for n in live_out[index] - facts.written() if self._reads_changed(facts, n)}
            facts.carried |= stale
            more |= bool(stale)
            for names in self._sharing(facts, live_out[index], future):
                if names & facts.written() and not names <= facts.written():
                    facts.carried |= names
                    more = True
            future |= facts.mutated
        return more

    def _sharing(self, facts: StepFacts, names: Iterable[str], changed: set[int]) -> list[set[str]]:
        """Groups of names that reach one same object of `changed` when the step has ended."""
        groups: dict[int, set[str]] = {}
        for name in sorted(names):
            bound = facts.exit.get(name)
            if bound is not None and (bound.val.objs or bound.val.defs):
                reached = self._reach(facts, bound.val) & changed
                for obj in self.heap.memory(reached):
                    groups.setdefault(obj, set()).add(name)
        return _merged([g for g in groups.values() if len(g) > 1])

    def _reads_changed(self, facts: StepFacts, name: str) -> bool:
        """Whether a function or class inside a value reads an outer value that this step changes."""
        bound = facts.exit.get(name)
        if bound is None:
            return False
        held = self.heap.reach_at(bound.val.objs, facts.clock)
        return bool(self._read_inside(held, bound.val) and self._reach(facts, bound.val) & facts.mutated)

    def _reach(self, facts: StepFacts, val: Val) -> set[int]:
        """What a value holds when the step has ended; a function holds the outer values that it reads."""
        objs = self._objects(val)
        known: frozenset[str] = frozenset()
        while True:
            reached = self.heap.reach_at(objs, facts.clock)
            names = self._read_inside(reached, val)
            if names == known:
                return reached
            known = names
            objs.update(o for n in names if n in facts.exit for o in facts.exit[n].val.objs)

    def _read_inside(self, reached: Iterable[int], val: Val) -> frozenset[str]:
        """The outer names that the functions and classes read that a value is or holds."""
        inside = self._inside(reached, val)
        return frozenset().union(*(self._reads_of(made) for made in inside)) if inside else frozenset()

    def _inside(self, reached: Iterable[int], val: Val) -> dict[Def, None]:
        """The functions and classes that a value is or holds, and those of the instances that it holds."""
        inside = dict.fromkeys([*val.defs, *([val.cls] if val.cls else [])])
        for index in reached:
            for made in (self.heap.defined.get(index), self.heap.classes.get(index)):
                if made is not None:
                    inside[made] = None
        return inside

    def _stored_by_name(self, facts: StepFacts, val: Val) -> tuple[Def, ...]:
        """The functions inside a value, and those that they call, that are stored by their names alone."""
        reached = self._reach(facts, val)
        inside = self._inside(reached, val)
        for name in sorted(self._read_inside(reached, val)):
            inside.update(dict.fromkeys(facts.exit[name].val.defs if name in facts.exit else ()))
        return tuple(dict.fromkeys(f for made in inside for f in made.functions() if f.by_name))

    def _reads_of(self, made: Def) -> frozenset[str]:
        if made not in self.reads_of:
            self.reads_of[made] = self.outer_reads([made])
        return self.reads_of[made]

    # --- results ----------------------------------------------------------------------------------------------------
    def _outputs(self, index: int, facts: StepFacts, names: set[str]) -> None:
        flow = self.flows[index]
        for name in sorted(names, key=lambda n: _order(facts, n)):
            flow.outputs[name] = facts.reason(name)
            flow.output_values[name] = facts.exit[name].val
            if facts.exit[name].val.defs:
                flow.by_value.add(name)
        for name, val in flow.output_values.items():
            reached = self.heap.reach_at(val.objs, facts.clock)
            flow.carried_reads[name] = self._read_inside(reached, val)
            flow.by_name[name] = self._stored_by_name(facts, val)
            types = {self.heap.objs[o].type or "" for o in reached}
            flow.carries[name] = frozenset(t.removeprefix(DEFINITION) for t in types if t.startswith(DEFINITION))
        flow.maybe_unbound = frozenset(n for n in flow.outputs if not facts.exit[n].must)

    def _inputs(self, index: int) -> None:
        flow = self.flows[index]
        for name, place in self.wanted[index].items():
            source = next((f for f in reversed(self.flows[:index]) if name in f.outputs), None)
            if source is not None:
                why = f"{place} reads {name}" if place.cell >= 0 else f"{name} travels with a value that it is part of"
                flow.inputs[name] = Need(name, source.name, why)
                flow.input_values[name] = source.output_values[name]
            elif name in self.builders:
                self._from_shared(index, name, place, self.steps[index].clock + 1)

    def _bundles(self) -> None:
        future: set[int] = set()
        for index in range(len(self.steps) - 1, -1, -1):
            facts, flow = self.steps[index], self.flows[index]
            groups = []
            for names in self._sharing(facts, flow.outputs, future):
                if self._taken_together(index, names):
                    groups.append(names)
                    self._check_views(facts, names, future)
            flow.bundles = tuple(tuple(sorted(g)) for g in groups)
            flow.joined_at = {tuple(sorted(g)): self._joined_at(facts, g, future) for g in groups}
            future |= facts.mutated

    def _joined_at(self, facts: StepFacts, names: set[str], changed: set[int]) -> Place:
        """Where two of these names first had an object in common."""
        bound = {n: max((self.owner[b] for b in facts.exit[n].binds), default=0) for n in names}
        objs = {n: facts.exit[n].val.objs for n in names}
        held = (self.heap.objs[o] for o in self.heap.reach_at(frozenset().union(*objs.values()), facts.clock))
        clocks = {*bound.values(), *(since for obj in held for since in obj.parts.values() if since <= facts.clock)}
        for clock in sorted(clocks):
            there = [self.heap.memory(self.heap.reach_at(objs[n], clock) & changed) for n in names if bound[n] <= clock]
            if len(frozenset().union(*there)) < sum(map(len, there)):
                return self._place_in(self.statements[clock], names)
        return self._place_in(self.statements[max(bound.values())], names)

    @staticmethod
    def _place_in(statement: Statement, names: set[str]) -> Place:
        """The line of a statement that has to do with the names."""
        where = {**statement.changes, **statement.record.written}
        return next((where[n] for n in sorted(names) if n in where), Place(statement.cell, statement.first, ""))

    def _taken_together(self, index: int, names: set[str]) -> bool:
        source = self.flows[index].name
        for flow in self.flows[index + 1 :]:
            if len([n for n in names if n in flow.inputs and flow.inputs[n].source == source]) > 1:
                return True
        return False

    def _check_views(self, facts: StepFacts, names: set[str], changed: set[int]) -> None:
        """A bundle keeps references, but no shared memory: that is refused."""
        reached = {n: self._reach(facts, facts.exit[n].val) & changed for n in names}
        for name in sorted(names):
            others = set().union(*(r for n, r in reached.items() if n != name))
            if not reached[name] & others or self.heap.looked_into(reached[name]) & others:
                place = facts.must.get(name) or facts.changes.get(name) or Place(facts.statements[0].cell, 1, "")
                message = f"{name} shares memory with {', '.join(sorted(names - {name}))}, and a later step changes it"
                self.problems.append(("view-across-steps", message, place, name))


def _identified(record: Record) -> set[int]:
    """The objects that have to be the same for all who hold them: they change, or are told from their equals."""
    return {*record.mutated, *record.compared, *record.equalled}


def flow_cell(statements: Sequence[Statement], flow: StepFlow) -> int:
    """The first cell of a step."""
    return statements[flow.statements[0]].cell


def _order(facts: StepFacts, name: str) -> tuple[int, int, str]:
    """Outputs stand in the order in which the step binds them; what it only hands on comes last."""
    for table in (facts.must, facts.may, facts.changes):
        if name in table:
            return (table[name].cell, list(table).index(name), "")
    return (1 << 30, 0, name)


def _merged(groups: list[set[str]]) -> list[set[str]]:
    """Union of the groups that have a member in common."""
    merged: list[set[str]] = []
    for group in groups:
        apart = [m for m in merged if not m & group]
        merged = [*apart, group.union(*(m for m in merged if m & group))]
    return merged
