"""From the flow to the IR: `build(flow, options, storage)`."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Protocol

from nb2pipe.dataflow.events import Place
from nb2pipe.dataflow.flow import guarded_modules, imported_modules, module_names
from nb2pipe.dataflow.model import Flow, Statement, StepFlow
from nb2pipe.dataflow.modules import imported, root_of
from nb2pipe.dataflow.special import library_base
from nb2pipe.dataflow.values import Val
from nb2pipe.findings import Finding, finding
from nb2pipe.notebook.model import Notebook, StepTags
from nb2pipe.options import Options
from nb2pipe.pipeline.carried import carried_findings
from nb2pipe.pipeline.figures import closed, closing
from nb2pipe.pipeline.forms import shown, shown_elsewhere, unbound, why_module
from nb2pipe.pipeline.fragments import alone_on_its_lines, remaining, statement_fragment
from nb2pipe.pipeline.kubernetes import by_step
from nb2pipe.pipeline.model import (
    Artifact,
    ArtifactKind,
    Dropped,
    Fragment,
    Input,
    InputFile,
    Metric,
    ModuleFile,
    Output,
    Pipeline,
    Requirement,
    Shared,
    Step,
)
from nb2pipe.pipeline.objectives import objective_findings, objective_metrics
from nb2pipe.pipeline.outside import fetched, never_stale, outside, uncached, unimported
from nb2pipe.pipeline.passes import PASSES
from nb2pipe.pipeline.placement import Placement, Placer
from nb2pipe.pipeline.requirements import Beside, normalized, requirements
from nb2pipe.pipeline.rewrites import import_edits, main_guard_edits, metrics
from nb2pipe.pipeline.values import value_text


class Storage(Protocol):
    """What is known of how values are stored (see nb2pipe.artifacts)."""

    def kind_of(self, type_name: str | None) -> ArtifactKind:
        """The kind of artifact for a static type."""
        ...

    def requirements(self, type_name: str | None) -> tuple[str, ...]:
        """The distributions that storing such a value needs."""
        ...


def build(flow: Flow, options: Options, storage: Storage) -> Pipeline:
    """The pipeline of an analysed notebook, with the findings of all stages so far."""
    builder = _Builder(flow, options, storage)
    steps = tuple(builder.step(s) for s in flow.steps)
    kubernetes, wrong = by_step(options.kubernetes, [step.name for step in steps])
    findings = [*flow.findings, *builder.findings, *objective_findings(flow), *wrong]
    major_minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    pipeline = Pipeline(
        name=pipeline_name(flow.notebook, options),
        notebook=Path(flow.notebook.path).name,
        title=_title(flow.notebook),
        parameters=tuple(p for p in flow.parameters),
        steps=steps,
        shared=builder.shared(),
        input_files=tuple(dict.fromkeys(p for s in flow.steps for p, source in s.files_in if source is None)),
        objectives=flow.layout.objectives,
        dropped=_dropped(flow),
        findings=tuple(dict.fromkeys(findings)),
        python=major_minor,
        base_image=options.base_image or f"python:{major_minor}-slim-bookworm",
        image=options.image,
        cell_ids=tuple(c.id for c in flow.notebook.cells),
        modules=tuple(ModuleFile(path, text) for path, text in sorted(flow.modules.items())),
        trials=options.trials,
        kubernetes=kubernetes,
    )
    for run in PASSES:
        pipeline = run(pipeline)
    return pipeline


def pipeline_name(notebook: Notebook, options: Options) -> str:
    """The pipeline's name as a Python identifier: the option's, else the notebook file's."""
    text = options.name or Path(notebook.path).stem
    name = re.sub(r"\W+", "_", text).strip("_").lower() or "pipeline"
    return f"pipeline_{name}" if name[0].isdigit() else name


def _title(notebook: Notebook) -> str:
    for cell in notebook.cells:
        if cell.kind == "markdown":
            heading = re.search(r"^#\s+(.+?)\s*#*$", cell.source, re.MULTILINE)
            if heading:
                return heading[1]
    return ""


def _dropped(flow: Flow) -> tuple[Dropped, ...]:
    reasons = {"skip": "tagged skip"}
    return tuple(
        Dropped(c.index, reasons[role])
        for c, role in zip(flow.notebook.cells, flow.layout.roles, strict=True)
        if role in reasons and c.kind == "code"
    )


class _Builder:
    """Assembles steps and shared.py from the flow and the placement."""

    def __init__(self, flow: Flow, options: Options, storage: Storage) -> None:
        self.flow = flow
        self.options = options
        self.storage = storage
        self.placer = Placer(flow)
        self.placement: Placement = self.placer.place()
        self.tags = {t.name: t for t in flow.layout.steps}
        self.findings: list[Finding] = carried_findings(self.placer)
        own = {root_of(path): path.partition("/")[0] for path in flow.modules}
        self.beside = Beside(Path(flow.notebook.path).resolve().parent, own)
        self.inside = _inside(flow.modules)
        self.bundled = self._bundled()
        self.unbound = unbound(flow)
        self.shown = shown(flow)
        self.findings += shown_elsewhere(flow, self.placement, self.shown)
        self.needs: dict[str, tuple[Requirement, ...]] = {}
        self.futures = {s.index for s in flow.statements if s.kind == "future"}
        self.shared_imports = {s.index for s in flow.statements if s.step is None and s.kind == "import"}
        given = {(p.cell, p.name) for p in flow.parameters}
        self.declared = {s.index for s in flow.statements if any((s.cell, n) in given for n in s.writes)}
        self.asked = [(s, f"cell {i} line {n}: pip install") for i, c in flow.cells.items() for s, n in c.requirements]
        self.imported: dict[int, dict[str, Place]] = {}
        self.distributions = {s.name: self._distributions(s) for s in flow.steps} if self.asked else {}

    def _bundled(self) -> dict[tuple[str, str], str]:
        """The artifact that each output (step, name) is in."""
        found: dict[tuple[str, str], str] = {}
        for step in self.flow.steps:
            for name in step.outputs:
                found[step.name, name] = name
            for bundle in step.bundles:
                found.update({(step.name, n): "_and_".join(bundle) for n in bundle})
        return found

    # --- fragments --------------------------------------------------------------------------------------------------
    def _fragments(self, indexes: Iterable[int], edits: dict[tuple[int, int], tuple[str, str]]) -> tuple[Fragment, ...]:
        return tuple(self._fragment(self.flow.statements[i], edits) for i in sorted(indexes))

    def _fragment(self, statement: Statement, edits: dict[tuple[int, int], tuple[str, str]]) -> Fragment:
        cell = self.flow.cells[statement.cell]
        alone = alone_on_its_lines(statement, self.placer.neighbours[statement.cell])
        return statement_fragment(cell, statement, edits, alone=alone)

    def _body(self, step: StepFlow, edits: dict[tuple[int, int], tuple[str, str]]) -> tuple[Fragment, ...]:
        moved = self.placement.shared | self.placement.top[step.name] | self.placement.imports[step.name]
        taken: dict[int, list[tuple[int, int]]] = {}
        for index in step.statements:
            if index in moved:
                fragment = self._fragment(self.flow.statements[index], edits)
                taken.setdefault(fragment.cell, []).append((fragment.line, fragment.line + len(fragment.lines) - 1))
        cells = {c: remaining(self.flow.cells[c], taken.get(c, ()), edits) for c in step.cells if c in self.flow.cells}
        for index in self._settled(step, moved):
            cells.setdefault(self.flow.statements[index].cell, []).append(
                self._fragment(self.flow.statements[index], edits)
            )
        return tuple(f for _, fragments in sorted(cells.items()) for f in fragments)

    def _from_shared_cells(self, step: StepFlow) -> tuple[str, ...]:
        """The names that shared code makes in this step, repeated or settled."""
        settled = {n for i in self._settled(step, set()) for n in self.flow.statements[i].writes}
        return tuple(sorted(settled.union(*step.copies.values())))

    def _settled(self, step: StepFlow, moved: set[int]) -> list[int]:
        """The statements of shared cells that run in this step's body; parameters are given instead."""
        here = [i for i in step.statements if i not in moved and i not in self.declared]
        return [i for i in here if self.flow.statements[i].cell not in step.cells]

    # --- steps --------------------------------------------------------------------------------------------------------
    def step(self, step: StepFlow) -> Step:
        """The IR of one step."""
        placement, name = self.placement, step.name
        tags: StepTags = self.tags[name]
        reason = why_module(self.flow, step, placement, self.unbound, self.shown)
        numbers, edits = metrics(self.flow, step)
        numbers = objective_metrics(self.flow, step, numbers)
        inside = [self.flow.statements[i] for i in {*step.statements, *placement.setup[name], *placement.top[name]}]
        if not reason:
            edits |= main_guard_edits(self.flow, inside)
        body = closed(self._body(step, edits), closing(self.flow, step))
        waits = any(isinstance(n, _AWAITS) for s in inside for n in s.nodes) and any(_awaits(s.node) for s in inside)
        if waits and reason:
            message = f"step {name} needs a module ({reason}), where `await` cannot stand at the top"
            self.findings.append(finding("await-in-module", message, cell=step.cells[0], line=1))
        imports = self.placer.mentioned_imports(step, placement)
        imports |= self.futures
        edits |= self._import_edits(step, imports)
        self.needs[name] = self._requirements(step)
        beyond = outside(step, self.flow.parameters)
        self.findings += uncached(name, tags.resources, beyond)
        return Step(
            name=name,
            cells=step.cells,
            title="",
            form="module" if reason else "function",
            form_reason=reason,
            prelude=self._prelude(step, edits),
            imports=self._fragments(imports, edits),
            extra_imports=self._extra_imports(step),
            shared=tuple(sorted(placement.from_shared[name])),
            definitions=self._fragments(placement.top[name], edits),
            setup=self._fragments(placement.setup[name], edits),
            body=body,
            inputs=self._inputs(step),
            outputs=self._outputs(step),
            artifacts=self._artifacts(step, numbers),
            parameters=step.parameters,
            copies=self._from_shared_cells(step),
            metrics=numbers,
            metrics_output=_unused("metrics", [*step.outputs, *step.inputs, *self.placer.local[name]])
            if numbers
            else "",
            maybe_unbound=tuple(sorted(step.maybe_unbound)),
            is_async=waits and not reason,
            files_in=tuple(InputFile(path, source) for path, source in step.files_in),
            files_out=step.files_out,
            folders=step.folders,
            fetches=fetched(step, self.flow.parameters),
            after=step.after,
            requirements=self.needs[name],
            resources=never_stale(tags.resources, beyond),
            workers=tags.workers,
            runner=tags.runner,
        )

    def _import_edits(self, step: StepFlow, imports: set[int]) -> dict[tuple[int, int], tuple[str, str]]:
        """Imports at the top of the step's file bind only what they mean there."""
        used = self.placer.mentioned(step, self.placement)
        taken = {*step.inputs, *step.parameters}
        placed = imports | self.placement.setup[step.name]
        return import_edits([self.flow.statements[i] for i in sorted(placed)], used, taken)

    def _prelude(self, step: StepFlow, edits: dict[tuple[int, int], tuple[str, str]]) -> tuple[Fragment, ...]:
        """Set-up of the environment with the imports that it needs."""
        early = self.placement.prelude[step.name]
        return self._fragments(early | self._imports_for(early, self.placement.imports[step.name]), edits)

    def _imports_for(self, early: set[int], own: AbstractSet[int] = frozenset()) -> set[int]:
        """The imports that the set-up of the environment needs, which comes before all others."""
        wanted = {n for i in early for n in self.flow.statements[i].record.reads}
        return {i for i in own | self.shared_imports if set(self.flow.statements[i].writes) & wanted}

    def _extra_imports(self, step: StepFlow) -> tuple[str, ...]:
        """Imports that no cell has: what rewritten magics use, and `display`."""
        cells = {self.flow.statements[i].cell for i in {*step.statements, *step.copies, *step.setup}}
        found = [line for c in sorted(cells) for line in self.flow.cells[c].imports]
        found += closing(self.flow, step).imports
        if step.uses_display:
            found.append("from IPython.display import display")
        return tuple(dict.fromkeys(found))

    # --- values -------------------------------------------------------------------------------------------------------
    def _inputs(self, step: StepFlow) -> tuple[Input, ...]:
        return tuple(
            Input(n.name, n.source, self.bundled[n.source, n.name], type_name(step.input_values[n.name]), n.why)
            for n in step.inputs.values()
        )

    def _outputs(self, step: StepFlow) -> tuple[Output, ...]:
        return tuple(
            Output(name, self.bundled[step.name, name], type_name(val), why, stored_type(val))
            for name, why, val in ((name, why, step.output_values[name]) for name, why in step.outputs.items())
        )

    def _artifacts(self, step: StepFlow, numbers: Sequence[Metric]) -> tuple[Artifact, ...]:
        groups: dict[str, list[str]] = {}
        for name in step.outputs:
            groups.setdefault(self.bundled[step.name, name], []).append(name)
        return tuple(Artifact(artifact, tuple(names), self._kind(step, names)) for artifact, names in groups.items())

    def _kind(self, step: StepFlow, names: Sequence[str]) -> ArtifactKind:
        if len(names) > 1:
            return "Artifact"
        return self.storage.kind_of(stored_type(step.output_values[names[0]]) or None)

    # --- requirements -------------------------------------------------------------------------------------------------
    def _requirements(self, step: StepFlow) -> tuple[Requirement, ...]:
        """What the step's code imports, what its pip lines ask for, and what its inputs and outputs need."""
        places = {m: (p.cell, p.line) for m, p in self._modules(step).items()}
        asked = [(spec, "asked for in the options") for spec in self.options.requirements]
        resolved = requirements(places, self.options.packages, [*self._asked_for(step), *asked], self.beside)
        self.findings += self._unguarded(step, resolved.findings)
        found = {r.spec: r for r in resolved.requirements}
        named = {normalized(spec) for spec in found}
        for requirement in self._unimported(step, places):
            if normalized(requirement.spec) not in named:
                found.setdefault(requirement.spec, requirement)
        for need in step.inputs.values():
            for requirement in self._input_requirements(step, need.name, need.source):
                found.setdefault(requirement.spec, requirement)
        for name, val in [*step.input_values.items(), *step.output_values.items()]:
            why = f"storing {name}"
            for requirement in self._storage_requirements(stored_type(val) or None, why):
                found.setdefault(requirement.spec, requirement)
        return tuple(sorted(found.values(), key=lambda r: r.spec.casefold()))

    def _unimported(self, step: StepFlow, modules: Iterable[str]) -> Iterator[Requirement]:
        """What the step needs although nothing imports it, as it is installed here."""
        values = {p.name: value_text(p.type, p.default) for p in self.flow.parameters}
        files = [path for path, _ in step.files_in] + list(step.files_out)
        code = [line for c in step.cells if c in self.flow.cells for line in self.flow.cells[c].lines]
        for need in unimported(modules, files, code, values):
            yield from requirements({}, {}, [(_pinned(need.spec), need.why)]).requirements

    def _placed(self, step: StepFlow) -> set[int]:
        """The statements whose code is in the files that the step needs."""
        placement = self.placement
        here = self.placer.mentioned_imports(step, placement) | set(step.statements) | placement.top[step.name]
        here |= placement.setup[step.name] | placement.prelude[step.name]
        if placement.from_shared[step.name]:
            here |= placement.shared | placement.shared_imports
        return here

    def _modules(self, step: StepFlow) -> dict[str, Place]:
        """The modules that the step's files import."""
        found: dict[str, Place] = {}
        for index in sorted(self._placed(step)):
            if index not in self.imported:
                self.imported[index] = imported_modules(self.flow.statements[index])
            found.update(self.imported[index])
        found |= self._through_own(found)
        for line in self._extra_imports(step):
            for node in ast.parse(line).body:
                names = module_names(node) if isinstance(node, (ast.Import, ast.ImportFrom)) else []
                found.update({n: Place(step.cells[0], 1, line) for n in names})
        return found

    def _through_own(self, found: Mapping[str, Place]) -> dict[str, Place]:
        """What the notebook's own modules import, at the place that imports the module."""
        more: dict[str, Place] = {}
        todo = list(found.items())
        while todo:
            module, place = todo.pop()
            for inner in self.inside.get(module.partition(".")[0], ()):
                if inner not in found and inner not in more:
                    more[inner] = place
                    todo.append((inner, place))
        return more

    def _unguarded(self, step: StepFlow, found: Iterable[Finding]) -> list[Finding]:
        """An import that is tried and may fail is no error when it is not installed."""
        found = list(found)
        if not any(f.code == "unknown-import" for f in found):
            return found
        guarded = {m for i in self._placed(step) for m in guarded_modules(self.flow.statements[i])}
        return [replace(f, severity="warning") if f.name in guarded else f for f in found]

    def _distributions(self, step: StepFlow) -> set[str]:
        """What a step's imports need, by name."""
        places = {m: (p.cell, p.line) for m, p in self._modules(step).items()}
        found = requirements(places, self.options.packages, (), self.beside).requirements
        return {normalized(r.spec) for r in found}

    def _asked_for(self, step: StepFlow) -> list[tuple[str, str]]:
        """Of the notebook's pip lines those that name what the step imports, and those that no import explains."""
        explained = set().union(*self.distributions.values()) if self.distributions else set()
        own = self.distributions.get(step.name, set())
        return [(s, why) for s, why in self.asked if normalized(s) in own or normalized(s) not in explained]

    def _storage_requirements(self, type_: str | None, why: str) -> list[Requirement]:
        modules = dict.fromkeys(self.storage.requirements(type_), (0, 0))
        resolved = requirements({}, {}, [(_pinned(d), why) for d in modules])
        return list(resolved.requirements)

    def _input_requirements(self, step: StepFlow, name: str, source: str) -> tuple[Requirement, ...]:
        """Loading a value of unknown type may need whatever its step imports."""
        type_ = stored_type(step.input_values[name])
        if type_ and (type_.startswith("builtins.") or self.storage.kind_of(type_) == "Dataset"):
            return ()
        return self.needs.get(source, ())

    # --- shared.py ----------------------------------------------------------------------------------------------------
    def shared(self) -> Shared:
        """shared.py."""
        placement = self.placement
        if not placement.shared:
            return Shared()
        inside = [self.flow.statements[i] for i in sorted(placement.shared)]
        edits = main_guard_edits(self.flow, inside)
        used = {n for s in inside for n in self.placer.needs(s)}
        edits |= import_edits([self.flow.statements[i] for i in sorted(placement.shared_imports)], used, set())
        cells = {self.flow.statements[i].cell for i in placement.shared}
        extra = [line for c in sorted(cells) for line in self.flow.cells[c].imports]
        if any("display" in self.placer.needs(self.flow.statements[i]) for i in placement.shared):
            extra.append("from IPython.display import display")
        early = set().union(*placement.prelude.values())
        imports = placement.shared_imports | {s.index for s in self.flow.statements if s.kind == "future"}
        return Shared(
            prelude=self._fragments(early | self._imports_for(early), edits),
            imports=self._fragments(imports, edits),
            extra_imports=tuple(dict.fromkeys(extra)),
            definitions=self._fragments(placement.shared, edits),
        )


@cache
def _pinned(distribution: str) -> str:
    from importlib import metadata

    try:
        return f"{distribution}=={metadata.version(distribution).partition('+')[0]}"
    except metadata.PackageNotFoundError:
        return distribution


def _inside(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """What each of the notebook's own modules imports, by its name."""
    found: dict[str, set[str]] = {}
    for path, text in modules.items():
        found.setdefault(root_of(path), set()).update(imported(ast.walk(ast.parse(text))))
    return found


def type_name(val: Val) -> str:
    """The qualified type of a value for an annotation; "" when it is not known."""
    if val.cls is not None:
        return val.cls.name
    if val.type is None or val.type in ("function", "class") or val.type.startswith("notebook."):
        return "typing.Callable" if val.type == "function" else ""
    if val.type in ("builtins.iterator", "builtins.file", "builtins.NoneType") or "._" in val.type:
        return ""  # a private name is one that only the tables have
    return val.type.removeprefix("uncopied.")


def stored_type(val: Val) -> str:
    """The qualified type that says how a value is stored; "" when it is not known."""
    return (library_base(val.cls) if val.cls is not None else None) or type_name(val)


def _unused(name: str, taken: Iterable[str]) -> str:
    used = set(taken)
    while name in used:
        name = f"step_{name}"
    return name


_AWAITS = (ast.Await, ast.AsyncFor, ast.AsyncWith, ast.comprehension)


def _awaits(node: ast.AST) -> bool:
    """Whether a statement awaits at the top level, outside of functions."""
    if isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith)):
        return True
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
        return False
    if isinstance(node, ast.comprehension) and node.is_async:
        return True
    return any(_awaits(child) for child in ast.iter_child_nodes(node))
