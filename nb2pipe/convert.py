"""The walk: from a notebook to a running pipeline, top to bottom, each line one call. The first part is pure.

notebook = read(path) -> flow = analyse(notebook) -> pipeline = build(flow) -> project = generate(pipeline)
-> project is written -> target.compile -> run
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nb2pipe import options as options_
from nb2pipe.documents import Json, finding_json, parameter_json, plain_steps, step_documents
from nb2pipe.findings import Finding, Nb2pipeError, Refused, errors, finding
from nb2pipe.notebook.model import Cell, Layout, Notebook, Parameter, PyCell
from nb2pipe.notebook.order import order_findings
from nb2pipe.notebook.parameters import parameters as parameters_of
from nb2pipe.notebook.read import read
from nb2pipe.notebook.secrets import secret_findings
from nb2pipe.notebook.surface import surface
from nb2pipe.notebook.tags import ROLES
from nb2pipe.notebook.tags import layout as layout_of
from nb2pipe.notebook.vocabulary import read_tag

if TYPE_CHECKING:
    from nb2pipe.codegen.project import Project
    from nb2pipe.codegen.write import WriteResult
    from nb2pipe.dataflow.model import Flow
    from nb2pipe.pipeline.model import Pipeline
    from nb2pipe.review.serve import Server
    from nb2pipe.suggest.model import Suggestion
    from nb2pipe.targets.base import OnEvent, RunResult
    from nb2pipe.targets.records import Command
    from nb2pipe.targets.submission import Submission, SubmitOptions
    from nb2pipe.targets.tune import OnTrial, Tuned
    from nb2pipe.verify import Verification


@dataclass(frozen=True, slots=True)
class Converted:
    """What `convert` did: the project's folder, the compiled pipeline in it, and what was said."""

    project: Path
    pipeline: Path | None
    written: WriteResult
    findings: tuple[Finding, ...]

    def to_json(self) -> Json:
        """The document of `nb2pipe convert --json`."""
        files = sorted({*self.written.written, *self.written.unchanged, *self.written.merged, *self.written.kept})
        return {
            "project": str(self.project),
            "files": files,
            "pipeline": str(self.pipeline) if self.pipeline else None,
            "findings": [finding_json(f) for f in self.findings],
        }


class Conversion:
    """One notebook on its way. Every stage is worked out when it is first asked for, and only once."""

    def __init__(
        self, path: str | Path, overrides: Mapping[str, Any] | None = None, notebook: Notebook | None = None
    ) -> None:
        self.path = Path(path)
        self.overrides = overrides
        self.notebook: Notebook = read(path) if notebook is None else notebook
        self.options, self._option_findings = options_.load(str(path), self.notebook.metadata, overrides or {})

    @cached_property
    def layout(self) -> Layout:
        """Which cell is for what."""
        return layout_of(self.notebook, self.options)

    @cached_property
    def cells(self) -> tuple[PyCell, ...]:
        """The code cells as plain Python."""
        return surface(self.notebook, self.layout)

    @cached_property
    def declared(self) -> tuple[tuple[Parameter, ...], tuple[Finding, ...]]:
        """The parameters, and what is wrong with them."""
        return parameters_of(self.cells, self.layout)

    @cached_property
    def early_findings(self) -> tuple[Finding, ...]:
        """What is said before the dataflow is looked at."""
        own = [*self._option_findings, *self.notebook.findings, *self.layout.findings, *self.declared[1]]
        own += secret_findings(self.notebook, self.layout)
        own += order_findings(self.notebook, self.layout)
        return tuple(dict.fromkeys([*own, *(f for c in self.cells for f in c.findings)]))

    @cached_property
    def flow(self) -> Flow:
        """The dataflow. Only for a notebook whose cells parse."""
        from nb2pipe.dataflow.flow import analyse

        with collector_paused():
            return analyse(self.notebook, self.layout, self.cells, self.declared[0], self.options)

    @cached_property
    def pipeline(self) -> Pipeline:
        """The IR with all findings. Raises Refused where the dataflow cannot even be looked at."""
        from nb2pipe import artifacts
        from nb2pipe.pipeline.build import build

        if not self._parses():
            raise Refused(self.early_findings)
        with collector_paused():
            return _trained(build(self.flow, self.options, artifacts))

    @property
    def parsed(self) -> Pipeline | None:
        """The IR, or None where the dataflow cannot even be looked at."""
        return self.pipeline if self._parses() else None

    def _parses(self) -> bool:
        blocking = ("syntax-error", "too-deep", "no-steps")
        return not any(f.code in blocking and f.severity == "error" for f in self.early_findings)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Everything there is to say about the notebook, in its order."""
        later = self.pipeline.findings if self._parses() else ()
        return tuple(sorted(dict.fromkeys([*self.early_findings, *later]), key=_in_order))

    @cached_property
    def project(self) -> Project:
        """The generated project in memory. Raises Refused when there are errors."""
        return self._generated(self.options.target)

    def _generated(self, target: str) -> Project:
        from nb2pipe.codegen.project import generate, sample_data
        from nb2pipe.pipeline.lift import lifted

        if errors(self.findings):
            raise Refused(self.findings)
        folder = self.path.resolve().parent
        with collector_paused():
            return generate(
                lifted(self.pipeline),
                self.notebook,
                data=sample_data(self.pipeline, folder),
                platform="vertex" if target == "vertex" else "kfp",
            )

    # --- commands ---------------------------------------------------------------------------------------------------
    def check(self) -> Json:
        """The document of `nb2pipe check --json`."""
        pipeline = self.parsed
        return {
            "notebook": str(self.path),
            "pipeline": pipeline.name if pipeline else self.path.stem,
            "parameters": [parameter_json(p) for p in self.declared[0]],
            "steps": step_documents(pipeline) if pipeline else plain_steps(self.layout),
            "findings": [finding_json(f) for f in self.findings],
        }

    def tags(self) -> Json:
        """The document of `nb2pipe tag --json`: the tags there are."""
        return {
            "cells": [self._cell_tags(c.index) for c in self.notebook.cells if c.kind == "code"],
            "steps": [{"name": s.name, "cells": list(s.cells)} for s in self.layout.steps],
            "findings": [finding_json(f) for f in self.layout.findings],
        }

    def labelled(self, labels: Mapping[int, str]) -> Conversion:
        """A conversion of the same notebook whose cells have these tags too (words between spaces); of the roles, a
        cell's own tag stays."""
        cells = tuple(with_label(c, labels.get(c.index, "")) for c in self.notebook.cells)
        return type(self)(self.path, self.overrides, replace(self.notebook, cells=cells))

    def unlabelled(self) -> Conversion:
        """A conversion of the same notebook without what its cells' tags say of roles and steps."""
        from nb2pipe.suggest.suggest import bare

        cells = tuple(bare(c) for c in self.notebook.cells)
        return type(self)(self.path, self.overrides, replace(self.notebook, cells=cells))

    @cached_property
    def suggestion(self) -> Suggestion:
        """Tags that make the notebook a pipeline, with the reason for each."""
        from nb2pipe.suggest.suggest import suggest

        return suggest(self.notebook, self.cells, self.labelled)

    @cached_property
    def wants_tags(self) -> bool:
        """Whether tags are missing: no cell is in a step, or there are errors and cells without a tag."""
        if not self.layout.steps:
            return True
        open_cells = [c for c in self.notebook.cells if c.kind == "code" and c.source.strip() and not has_role(c)]
        return bool(open_cells) and bool(errors(self.findings)) and not errors(self.layout.findings)

    @cached_property
    def new_tags(self) -> Mapping[int, tuple[str, ...]]:
        """The suggested tags that are not there yet, by cell."""
        from nb2pipe.suggest.suggest import tags

        return tags(self.notebook, self.suggestion.labels, self.suggestion.extra, every=self.options.strict)

    def suggested_tags(self) -> Json:
        """The document of `nb2pipe tag --json` with the suggestion: the tags that there would be."""
        added = {c: " ".join(t) for c, t in self.new_tags.items()}
        after = self.labelled(added)
        document = after.tags()
        for cell in document["cells"]:
            cell["why"] = self.suggestion.why.get(cell["cell"], cell["why"])
        return {
            **document,
            "arrows": [{"from": a, "to": b, "names": list(n)} for (a, b), n in self.suggestion.arrows.items()],
            "findings": [finding_json(f) for f in self.suggestion.findings],
        }

    def _cell_tags(self, index: int) -> Json:
        cell, role = self.notebook.cells[index], self.layout.roles[index]
        step = self.layout.step_of.get(index)
        why = "tagged" if cell.tags else f"follows the cells of step {step}" if step else _WHY[role]
        return {"cell": index, "tags": [t.text for t in cell.tags], "step": step, "role": role, "why": why}

    def convert(self, out: str | Path | None = None, target: str | None = None) -> Converted:
        """Write the project and compile its pipeline. Raises Refused, WriteError or CompileError; then nothing is
        written."""
        from nb2pipe.codegen.write import write
        from nb2pipe.targets.base import load_target

        wanted = target or self.options.target
        place = load_target(wanted)
        project = self.project if wanted == self.options.target else self._generated(wanted)
        folder = Path(out) if out is not None else self.folder
        written = write(project, folder, finish=lambda staged: [place.compile(staged)])
        compiled = folder / "pipeline.yaml"
        return Converted(folder, compiled if compiled.is_file() else None, written, (*self.findings, *written.findings))

    @property
    def folder(self) -> Path:
        """Where the project goes when nothing else is said: beside the notebook, named like the pipeline."""
        return self.path.parent / self.pipeline.name

    def stale(self, out: str | Path | None = None) -> tuple[Finding, ...]:
        """What of the project on disk a conversion would change (`convert --check`)."""
        from nb2pipe.codegen.write import check

        return check(self.project, Path(out) if out is not None else self.folder)

    def run(
        self,
        parameters: Mapping[str, Any] | None = None,
        *,
        jobs: int | None = None,
        cache: bool = True,
        engine: str = "process",
        workers: int | None = None,
        on_event: OnEvent = lambda event: None,
    ) -> RunResult:
        """Run the pipeline on this machine; the project is generated in the notebook's `.nb2pipe` folder.

        `workers` is how many workers the steps that have some get; their tags say it unless given.
        """
        home = self.path.resolve().parent
        options: Json = {"jobs": jobs, "cache": cache, "engine": engine, "workers": workers, "on_event": on_event}
        return run_project(self._written(home), home, parameters, **options)

    def _keep(self, command: Command, parameters: Mapping[str, Any] | None, document: Json) -> None:
        """Keep an outcome in the notebook's `.nb2pipe`, for the review page."""
        from nb2pipe.codegen.project import notebook_digest
        from nb2pipe.targets.records import Record, keep

        record = Record(notebook_digest(self.notebook), parameters or {}, document, 0)
        keep(self.path.resolve().parent, command, self.pipeline.name, record)

    def tune(
        self,
        parameters: Mapping[str, Any] | None = None,
        *,
        trials: int | None = None,
        parallel: int = 1,
        anew: bool = False,
        prune: bool = True,
        on_trial: OnTrial = lambda trial: None,
        on_event: OnEvent = lambda event: None,
    ) -> Tuned:
        """Tune the parameters that have a search space, on this machine; the study goes into `.nb2pipe`."""
        from nb2pipe.targets.tune import tune

        home = self.path.resolve().parent
        tuned = tune(
            self._written(home),
            trials=trials or self.options.trials,
            parallel=parallel,
            parameters=parameters,
            notebook_dir=home,
            studies_dir=home / ".nb2pipe" / "studies",
            anew=anew,
            prune=prune,
            on_trial=on_trial,
            on_event=on_event,
        )
        self._keep("tune", parameters, tuned.to_json())
        return tuned

    def submit(
        self,
        target: str | None = None,
        options: SubmitOptions | None = None,
        *,
        out: str | Path | None = None,
        on_event: OnEvent = lambda event: None,
    ) -> Submission:
        """Convert, and submit what was converted; input files are looked for beside the notebook.

        Raises Refused for a notebook with errors or edits in conflict, and what `Platform.submit` raises.
        """
        wanted = target or self.options.target
        converted = self.convert(out, wanted)
        if converted.written.conflicts:
            raise Refused(converted.written.findings)
        return submit_project(converted.project, self.path.resolve().parent, wanted, options, on_event=on_event)

    def _written(self, home: Path) -> Path:
        """The project as a run needs it, in the `.nb2pipe` folder of `home`."""
        from nb2pipe.codegen.write import write

        project = home / ".nb2pipe" / "projects" / self.project.name
        write(self.project, project, overwrite=True)
        return project

    def verify(
        self,
        parameters: Mapping[str, Any] | None = None,
        *,
        vary: bool = False,
        repeat: int = 1,
        test_in: Path | None = None,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> Verification:
        """Run the notebook and the pipeline and compare them at every step boundary. Changes nothing beside the
        notebook but the outcome that it keeps in `.nb2pipe`; when they are equal, a test of that is written into the
        project `test_in`. Raises Refused when the notebook does not convert."""
        from nb2pipe.targets.base import read_map
        from nb2pipe.verify import verify, write_test

        if test_in is not None:
            read_map(test_in)
        found = verify(self, parameters, vary=vary, repeat=repeat, describe=test_in is not None, on_note=on_note)
        self._keep("verify", parameters, found.to_json())
        if test_in is not None and found.verdict == "equal":
            write_test(found.expected, test_in)
        return found

    def review(self, out: str | Path, *, project: str | Path | None = None) -> Path:
        """Write the review page to the file `out` and return it, also for a notebook that is refused. `project` is
        the folder with the generated project (default: where `convert` puts it). Raises WriteError if `out` is another
        file than a review page, or cannot be written."""
        from nb2pipe.review.page import review_page
        from nb2pipe.review.writing import write_page

        return write_page(review_page(self, self._project_on_disk(project)), Path(out))

    def _project_on_disk(self, project: str | Path | None = None) -> Path | None:
        """The folder of the generated project, as it is after writes that were killed in their last moves."""
        from nb2pipe.codegen.write import recover

        folder = Path(project) if project is not None else self.folder if self._parses() else None
        if folder is not None:
            recover(folder)
        return folder


def live_review(notebook: Path, project: Path | None = None, port: int = 0) -> Server:
    """A server, not yet running, of a review page that follows `notebook`. Raises WriteError for a port in use."""
    from nb2pipe.review.page import failed_page, review_page
    from nb2pipe.review.serve import serve
    from nb2pipe.review.writing import watched

    def make(version: str) -> str:
        try:
            conversion = Conversion(notebook)
            return review_page(conversion, conversion._project_on_disk(project), live=version)
        except Nb2pipeError as error:  # half written, or no notebook: the next save is another chance
            return failed_page(notebook, error.findings, live=version)

    return serve(make, lambda: watched(notebook, project), port)


def notebook_and_project(path: Path) -> tuple[Path, Path | None]:
    """A notebook, and its project if that was named instead. Raises ProjectError when a project's notebook is lost."""
    from nb2pipe.targets.base import ProjectError, read_map

    if not path.is_dir():
        return path, None
    name = str(read_map(path)["notebook"]["path"])
    folder = path.resolve()
    places = [folder.parent, folder, *([folder.parents[2]] if folder.parent.name == "projects" else [])]
    for place in places:
        if (place / name).is_file() and Path(name).name == name:
            return place / name, path
    message = f"The notebook {name!r} of the project {path} is neither beside it nor in it."
    raise ProjectError([finding("unreadable-file", message, hint="Name the notebook, or put it beside the project.")])


def run_project(
    project: Path,
    home: Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    jobs: int | None = None,
    cache: bool = True,
    engine: str = "process",
    workers: int | None = None,
    on_event: OnEvent = lambda event: None,
) -> RunResult:
    """Run a generated project; input files are looked for in `home`, which also gets `.nb2pipe/runs`, and the outcome
    for the review page."""
    from nb2pipe.targets.base import read_map
    from nb2pipe.targets.records import Record, keep

    options: Json = {"jobs": jobs, "cache": cache, "workers": workers, "on_event": on_event}
    result = _ran(project, home, parameters or {}, engine, options)
    described = read_map(project)
    record = Record(described["notebook"]["sha256"], parameters or {}, result.to_json(), 0)
    keep(home, "run", str(described["pipeline"]["name"]), record)
    return result


def _ran(project: Path, home: Path, given: Mapping[str, Any], engine: str, options: Json) -> RunResult:
    folders: Json = {"notebook_dir": home, "runs_dir": home / ".nb2pipe" / "runs"}
    if engine == "kfp":
        from nb2pipe.targets.kfp_local import run_kfp

        return run_kfp(project, given, on_event=options["on_event"], **folders)
    from nb2pipe.targets.local import run

    return run(project, given, **options, **folders)


def submit_project(
    project: Path,
    home: Path,
    target: str,
    options: SubmitOptions | None = None,
    *,
    on_event: OnEvent = lambda event: None,
) -> Submission:
    """Submit a project as it was compiled; its input files are looked for in `home`. Raises as Platform.submit."""
    from nb2pipe.targets.base import load_platform
    from nb2pipe.targets.submission import SubmitOptions

    found = load_platform(target).submit(project, replace(options or SubmitOptions(), home=home), on_event)
    tell_logs(found, project, on_event)
    return found


def tell_logs(found: Submission, folder: Path, on_event: OnEvent) -> None:
    """Tells what the failed steps of a run printed, in the notebook's cells and lines. `folder` is the project, or one
    where projects are."""
    from nb2pipe.review.explain import explain, project_at, projects_near
    from nb2pipe.targets.base import Event

    logs = {step.name: step.log for step in found.steps if step.log}
    own = project_at(folder) if logs else None
    projects = [own] if own else projects_near(folder) if logs else []
    for name, log in logs.items():
        for line in explain(log, projects).text.splitlines():
            on_event(Event("log", name, line, "stderr"))


def home_of(project: Path) -> Path:
    """Where the input files of a project lie: in its own folder, else beside it, where the notebook was."""
    from nb2pipe.targets.base import read_map

    files = read_map(project)["pipeline"].get("input_files", [])
    here = project.resolve()
    return here if files and all((here / file).exists() for file in files) else here.parent


@contextmanager
def collector_paused() -> Iterator[None]:
    """While it lasts Python looks for no garbage: of the millions of objects of a long notebook nearly all stay."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()  # into the oldest generation, without a look at each
        if before:
            gc.enable()


def _trained(pipeline: Pipeline) -> Pipeline:
    """The pipeline with its trainings spread over workers and reporting to trials, and its Beam pipelines placed.

    For most notebooks what rewrites them is not even imported.
    """
    if pipeline.objectives or any(step.workers for step in pipeline.steps):
        from nb2pipe.training import distributed, reporting

        pipeline = reporting(distributed(pipeline))
    if any(step.runner or any("beam" in r.spec for r in step.requirements) for step in pipeline.steps):
        from nb2pipe.beam import beamed

        pipeline = beamed(pipeline)
    return pipeline


def has_role(cell: Cell) -> bool:
    """Whether the cell's tags say what it is for."""
    return any(t.kind in ROLES for t in cell.tags)


def with_label(cell: Cell, label: str) -> Cell:
    """The cell with tags added; of a role (step, shared, ...) only if it has none."""
    fixed = has_role(cell)
    new = [t for t in map(read_tag, label.split()) if not (fixed and t.kind in ROLES)]
    return replace(cell, tags=(*cell.tags, *new)) if new else cell


def load(path: str | Path, **overrides: Any) -> Conversion:
    """Read a notebook. Raises NotebookError for what is no notebook; all else is said by `check`."""
    return Conversion(path, overrides)


_WHY: Mapping[str, str] = {
    "setup": "before the first step: shared",
    "shared": "shared",
    "skip": "skipped",
    "parameters": "parameters",
    "step": "step",
    "text": "text",
}


def _in_order(found: Finding) -> tuple[int, int, int]:
    grave = {"error": 0, "warning": 1, "note": 2}[found.severity]
    return (found.cell if found.cell is not None else -1, found.line or 0, grave)
