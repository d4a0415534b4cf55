"""The analysis: a notebook's cells in, what every step takes and gives out. `analyse` is the only way in."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from nb2pipe.dataflow.caches import cache_problem
from nb2pipe.dataflow.events import ModuleFacts, Place
from nb2pipe.dataflow.files import file_flow
from nb2pipe.dataflow.forward import Forward, statements_of
from nb2pipe.dataflow.hidden import (
    channel_findings,
    external_order,
    file_times,
    moved_files,
    outside_data,
    prepares_files,
    seeded_too_early,
    set_ups,
    setup_copies,
)
from nb2pipe.dataflow.kinds import changed_modules, kind
from nb2pipe.dataflow.machine import IPYTHON_HISTORY, Bound
from nb2pipe.dataflow.model import Flow, Statement, StepFlow
from nb2pipe.dataflow.modules import accepted, module_facts, own_modules, root_of
from nb2pipe.dataflow.numbered import numbered_names
from nb2pipe.dataflow.resolve import Resolver, step_facts
from nb2pipe.dataflow.restores import settled
from nb2pipe.dataflow.scopes import bound_names
from nb2pipe.dataflow.settle import Settlement
from nb2pipe.dataflow.stored import stored_findings
from nb2pipe.dataflow.tables import Tables
from nb2pipe.findings import Finding, finding
from nb2pipe.notebook.model import Layout, Notebook, Parameter, PyCell
from nb2pipe.options import Options


def analyse(
    notebook: Notebook,
    layout: Layout,
    cells: Sequence[PyCell],
    parameters: Sequence[Parameter],
    options: Options,
) -> Flow:
    """Work out the dataflow of a notebook. `cells` are the code cells that parse; nothing is run."""
    statements = statements_of(cells, layout)
    by_cell = {c.cell.index: c for c in cells}
    order = [s.name for s in layout.steps]
    here = Path(notebook.path).resolve().parent
    modules = own_modules(statements, by_cell, here)
    facts = module_facts(modules.texts, Tables(options.effects))
    forward, spans = _forward(statements, by_cell, parameters, options, facts)
    findings = _names(statements, cells, layout)
    tangled: list[Finding] = []
    if not _contiguous(statements):
        statements, order, tangled = _untangled(statements, by_cell, parameters, options, forward, order)
        forward, spans = _forward(statements, by_cell, parameters, options, facts)
    _classify(statements, forward)
    resolver = _resolved(statements, order, spans, _declared(statements, parameters), forward)
    flows = resolver.flows
    across = [finding(c, m, cell=p.cell, line=p.line, name=n) for c, m, p, n in resolver.problems]
    _finish(flows, statements, layout)
    files = accepted(modules, statements)
    across += _hidden(flows, statements, here, files)
    across += stored_findings(flows, statements, forward)
    written = {s.index for path in files for s in modules.writers.get(path, ())}
    across += _shared_code([s for s in statements if s.index not in written], resolver, flows)
    findings += tangled or across  # what holds for another order of cells is not true of the notebook
    findings += [f for s in statements for f in s.record.findings]
    return Flow(
        notebook,
        layout,
        by_cell,
        tuple(parameters),
        tuple(statements),
        tuple(flows),
        _unique(findings),
        forward.shared.future_annotations,
        files,
    )


def _forward(
    statements: Sequence[Statement],
    by_cell: dict[int, PyCell],
    parameters: Iterable[Parameter],
    options: Options,
    modules: Mapping[str, ModuleFacts],
) -> tuple[Forward, dict[str, Span]]:
    """Run the forward pass; what every name is when each step begins, and when it has ended."""
    forward = Forward(by_cell, Tables(options.effects, old_keras=_old_keras(by_cell.values())), parameters)
    forward.shared.modules = modules
    entries: dict[str, Names] = {}
    exits: dict[str, Names] = {}
    last = {s.step: i for i, s in enumerate(statements) if s.step is not None}
    for index, statement in enumerate(statements):
        statement.index = index
        statement.writes, statement.changes, statement.deletes = {}, {}, set()
        if statement.step is not None and statement.step not in entries:
            entries[statement.step] = dict(forward.frame.env)
        forward.run([statement])
        if statement.step is not None and last[statement.step] == index:
            exits[statement.step] = dict(forward.frame.env)
    for step in exits:
        own = [s for s in statements if s.step == step]
        for statement in own:
            settled(statement.record, [(s.cell, s.node) for s in own])
    return forward, {name: (entries[name], exits[name]) for name in exits}


def _resolved(
    statements: Sequence[Statement],
    order: Sequence[str],
    spans: Mapping[str, Span],
    parameters: Mapping[str, int],
    forward: Forward,
) -> Resolver:
    """Resolve what steps take and give; shared statements settle in steps until the others may be repeated."""
    owner = {number: index for (index, _), number in forward.shared.binds.items()}
    candidates = set_ups(statements)
    settlement = Settlement(statements, {s.index for s, _ in candidates}, parameters)
    while True:
        steps = [step_facts(n, [s for s in statements if s.step == n], *spans[n], owner) for n in order if n in spans]
        resolver = Resolver(statements, steps, owner, forward.heap, parameters, forward.outer_reads)
        for index, facts in enumerate(steps):
            for setup in sorted(setup_copies(candidates, facts.statements)):
                resolver.need(index, statements[setup])
        resolver.resolve()
        wanted, problems = settlement.unsound(resolver)
        if not settlement.add(wanted):
            resolver.problems += problems
            return resolver


def _old_keras(cells: Iterable[PyCell]) -> bool:
    """Whether the notebook asks TensorFlow for Keras 2."""
    return any("TF_USE_LEGACY_KERAS" in cell.text for cell in cells)


def _contiguous(statements: Sequence[Statement]) -> bool:
    seen: list[str] = []
    for statement in statements:
        if statement.step is not None and (not seen or seen[-1] != statement.step):
            if statement.step in seen:
                return False
            seen.append(statement.step)
    return True


def _untangled(
    statements: list[Statement],
    by_cell: dict[int, PyCell],
    parameters: Sequence[Parameter],
    options: Options,
    forward: Forward,
    order: list[str],
) -> tuple[list[Statement], list[str], list[Finding]]:
    """Bring the cells of each step together, if every read then sees the same versions as in the notebook."""
    before = _seen(statements, forward)
    keys = {id(s): i for i, s in enumerate(statements)}
    order, problem = _step_order(statements, forward, order)
    position = {name: i for i, name in enumerate(order)}
    moved = sorted(statements, key=lambda s: (position[s.step] if s.step else -1, keys[id(s)]))
    moved = _with_shared_in_place(statements, moved)
    if problem is None:
        again, _ = _forward(moved, by_cell, parameters, options, forward.shared.modules)
        problem = _first_difference(before, _seen(moved, again))
    return moved, order, [problem] if problem is not None else []


def _with_shared_in_place(statements: list[Statement], moved: list[Statement]) -> list[Statement]:
    """Shared statements stay before the first statement of a step that follows them in the notebook."""
    shared = [s for s in statements if s.step is None]
    rank = {id(s): i for i, s in enumerate(statements)}
    result: list[Statement] = []
    for statement in (s for s in moved if s.step is not None):
        while shared and rank[id(shared[0])] < rank[id(statement)]:
            result.append(shared.pop(0))
        result.append(statement)
    return result + shared


Names = dict[str, Bound]
Span = tuple[Names, Names]
Version = tuple[frozenset[tuple[int, int]], tuple[tuple[int, int], ...]]


def _seen(statements: Sequence[Statement], forward: Forward) -> dict[tuple[int, int], dict[str, Version]]:
    """For each statement (by cell and line) the version of every name that it reads."""
    owner = {number: index for (index, _), number in forward.shared.binds.items()}
    place = {s.index: (s.cell, s.first) for s in statements}
    return {
        (s.cell, s.first): {
            name: (frozenset(place[owner[b]] for b in binds), tuple(place[c] for c in changed))
            for name, (binds, changed) in s.versions.items()
        }
        for s in statements
    }


def _step_order(
    statements: Sequence[Statement], forward: Forward, order: list[str]
) -> tuple[list[str], Finding | None]:
    """An order of the steps in which each comes after those whose values it reads."""
    owner = {number: index for (index, _), number in forward.shared.binds.items()}
    needs: dict[str, dict[str, tuple[str, Statement]]] = {name: {} for name in order}
    for statement in statements:
        if statement.step is None:
            continue
        for name, (binds, changed) in statement.versions.items():
            for index in [*(owner[b] for b in binds), *changed]:
                source = statements[index].step
                if source is not None and source != statement.step:
                    needs[statement.step].setdefault(source, (name, statement))
    sorted_: list[str] = []
    while len(sorted_) < len(order):
        ready = [n for n in order if n not in sorted_ and set(needs[n]) <= set(sorted_)]
        if not ready:
            left = [n for n in order if n not in sorted_]
            return [*sorted_, *left], _interleaved(needs, left)
        sorted_.append(ready[0])
    return sorted_, None


def _interleaved(needs: Mapping[str, Mapping[str, tuple[str, Statement]]], left: Collection[str]) -> Finding:
    """Say which steps need each other in a circle, and what each needs of the next."""
    circle = [next(iter(left))]
    while circle[-1] not in circle[:-1]:
        circle.append(next(source for source in needs[circle[-1]] if source in left))
    circle = circle[circle.index(circle[-1]) :]
    reasons, places = [], []
    for step, source in pairwise(circle):
        name, statement = needs[step][source]
        reasons.append(f"step {step} needs {name} from step {source} (cell {statement.cell} line {statement.first})")
        places.append(statement)
    last = max(places, key=lambda s: (s.cell, s.first))
    message = f"the cells of steps wait for each other: {', and '.join(reasons)}"
    return finding("interleaved-steps", message, cell=last.cell, line=last.first)


def _first_difference(
    before: dict[tuple[int, int], dict[str, Version]], after: dict[tuple[int, int], dict[str, Version]]
) -> Finding | None:
    for (cell, line), names in before.items():
        for name in {**names, **after[cell, line]}:
            if after[cell, line].get(name) != names.get(name):
                message = f"cell {cell} line {line} would read another value of {name} if its step ran in one piece"
                return finding("interleaved-steps", message, cell=cell, line=line, name=name)
    return None


def _classify(statements: Sequence[Statement], forward: Forward) -> None:
    """The kind of every statement, and what its functions read when they are called."""
    changed = changed_modules(statements)
    for statement in statements:
        statement.kind = kind(statement, changed)
        if statement.kind == "definition":
            found = forward.body_facts(statement)
            statement.frees, statement.writes_globals = found
    for statement in statements:
        if statement.kind == "definition" or statement.step is None:
            statement.cache = cache_problem(statement, forward, statements)


def _declared(statements: Sequence[Statement], parameters: Iterable[Parameter]) -> dict[str, int]:
    """The statement that declares each parameter."""
    declared = {(p.cell, p.name) for p in parameters}
    return {n: s.index for s in statements for n in s.record.written if (s.cell, n) in declared}


def _finish(flows: Sequence[StepFlow], statements: Sequence[Statement], layout: Layout) -> None:
    """What the tags and the order of the notebook add to each step."""
    tags = {t.name: t for t in layout.steps}
    outside = external_order([(f.name, [statements[i] for i in f.statements]) for f in flows])
    for flow in flows:
        own = [statements[i] for i in flow.statements]
        flow.cells = tags[flow.name].cells
        flow.after = tuple(dict.fromkeys([*tags[flow.name].after, *filter(None, [outside.get(flow.name)])]))
        repeated = [statements[i] for i in sorted({*flow.copies, *flow.setup})]
        flow.uses_display = any("display" in s.record.reads for s in [*repeated, *own])
        for statement in [*repeated, *own]:
            flow.modules.update(imported_modules(statement))
        flow.outside = outside_data(own)
    for flow in flows:
        flow.parameters = tuple(sorted(flow.parameters))


def imported_modules(statement: Statement) -> dict[str, Place]:
    """The modules that a statement imports, functions inside it included, with the place of each."""
    found: dict[str, Place] = {}
    for node in statement.nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            place = Place(statement.cell, node.lineno, ast.unparse(node))
            names = module_names(node)
            found.update(dict.fromkeys(filter(None, names), place))
    return found


_NAMESPACES = ("google", "google.cloud")
"""Packages that many distributions share: what is imported from them is a module of its own."""


def module_names(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules that an import statement names, dotted; none for a relative one."""
    if isinstance(node, ast.Import):
        return [a.name for a in node.names]
    if node.module in _NAMESPACES:
        return [f"{node.module}.{a.name}" for a in node.names]
    return [node.module or ""] if not node.level else []


def guarded_modules(statement: Statement) -> set[str]:
    """The modules that a statement imports only if they are there: inside `try` with a handler for ImportError."""
    found: set[str] = set()
    for node in statement.nodes:
        if isinstance(node, ast.Try) and any(_catches_import_error(h) for h in node.handlers):
            inner = Statement(0, statement.cell, "step", None, ast.Module(node.body, []), 1, 1)  # type: ignore[arg-type]
            found |= set(imported_modules(inner))
    return found


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    names = {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)} if handler.type else {"ImportError"}
    return bool(names & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def _hidden(
    flows: Sequence[StepFlow], statements: Sequence[Statement], here: Path, modules: Mapping[str, str]
) -> list[Finding]:
    shared = [s for s in statements if s.step is None]
    steps = [(f.name, [statements[i] for i in f.statements]) for f in flows]
    found = channel_findings(shared, steps) + seeded_too_early(statements) + moved_files(statements)
    found += file_flow(flows, statements, here, {root_of(path) for path in modules})
    return found + file_times(flows, statements) + numbered_names(flows, statements)


def _names(statements: Sequence[Statement], cells: Sequence[PyCell], layout: Layout) -> list[Finding]:
    """Names that nothing binds."""
    skipped = _skipped_names(cells, layout)
    statements = [s for s in statements if s.role != "skip"]
    stars = any(s.record.stars for s in statements)
    bound = {n: s for s in statements for n in s.writes}
    found: list[Finding] = []
    for statement in statements:
        for name, (place, perhaps) in statement.record.undefined.items():
            problem = _undefined(name, place, perhaps, skipped, stars, bound.get(name))
            if problem is not None:
                found.append(problem)
    return found


def _undefined(
    name: str, place: Place, perhaps: bool, skipped: dict[str, int], stars: bool, later: Statement | None
) -> Finding | None:
    if name in IPYTHON_HISTORY or (name[:1] == "_" and name.lstrip("_i").isdigit()):
        return finding(
            "ipython-history",
            f"{place} uses `{name}`, which is a notebook's history",
            cell=place.cell,
            line=place.line,
            name=name,
        )
    if name in skipped:
        message = f"{place} needs {name}, which only the skipped cell {skipped[name]} defines"
        return finding("skipped-definition", message, cell=place.cell, line=place.line, name=name)
    if stars:
        return None
    message = f"{place} reads {name}, which no cell before it defines"
    if later is not None:
        message += f" (cell {later.cell} line {later.first} defines it later)"
    found = finding("undefined-name", message, cell=place.cell, line=place.line, name=name)
    return replace(found, severity="warning") if perhaps else found


def _skipped_names(cells: Sequence[PyCell], layout: Layout) -> dict[str, int]:
    found: dict[str, int] = {}
    for cell in cells:
        if layout.roles[cell.cell.index] == "skip":
            try:
                tree = ast.parse(cell.text)
            except (SyntaxError, ValueError):
                continue
            found.update(dict.fromkeys(bound_names(tree), cell.cell.index))
    return found


def _shared_code(statements: Sequence[Statement], resolver: Resolver, flows: Sequence[StepFlow]) -> list[Finding]:
    """Shared cells import, define, set constants and set up; what computes, reads or draws there is refused."""
    found: list[Finding] = []
    used = {i for f in flows for i in f.copies}
    for statement in statements:
        if statement.role in ("step", "skip"):
            continue
        place = Place(statement.cell, statement.first, "")
        record = statement.record
        files = record.files and not prepares_files(statement, statements)
        if files or any(c.use == "draw" or c.channel == "external" for c in record.channels):
            message = "shared code reads or writes files, draws random numbers or talks to the outside"
            found.append(finding("shared-computes", message, cell=place.cell, line=place.line))
        elif resolver.kinds[statement.index] == "show" and statement.index not in used:
            message = "this shows something in the notebook only; it is in no step"
            found.append(finding("shared-show", message, cell=place.cell, line=place.line))
        elif record.unknown_calls and statement.index in used and resolver.kinds[statement.index] == "data":
            message = "each step that needs this makes it anew, by a call of which nothing is known"
            found.append(finding("shared-recomputed", message, cell=place.cell, line=place.line))
    return found


def _unique(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(dict.fromkeys(findings))
