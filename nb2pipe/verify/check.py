"""Notebook against pipeline: both are run, and everything that crosses steps is compared."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from nb2pipe.codegen.write import write
from nb2pipe.findings import finding
from nb2pipe.pipeline.graph import graph
from nb2pipe.pipeline.values import parse_value
from nb2pipe.targets.base import ParameterError, RunResult, StepResult, parameter_texts, read_map
from nb2pipe.targets.local import Part, run, sigterm_interrupts
from nb2pipe.targets.process import Process
from nb2pipe.targets.warm import Warm
from nb2pipe.targets.workers import step_environment
from nb2pipe.verify.boundaries import Boundary, Subject, boundaries, last_change
from nb2pipe.verify.compare.outcome import Outcome, close
from nb2pipe.verify.judge import Judge
from nb2pipe.verify.kernel import require
from nb2pipe.verify.model import Compared, Comparisons, Failed, Verification
from nb2pipe.verify.record import Recorded, Recorder
from nb2pipe.verify.text import compare_text
from nb2pipe.verify.vary import varied
from nb2pipe.verify.workers import Spread, Trained, spread
from nb2pipe.verify.writing import Expected

DONE = ("succeeded", "cached")
WAYS_OUT = {
    "type object 'DataFrame' has no attribute 'first'": (
        ". In a Jupyter kernel every Beam pipeline imports Beam's data frames, which need pandas 2: "
        "run `pip install 'pandas<3'` where the notebook runs; its steps also run beside pandas 3"
    )
}
"""What mends an error of a library in a kernel, by what the error says."""

OnNote = Callable[[str], None]


def verify(
    subject: Subject,
    parameters: Mapping[str, Any] | None = None,
    *,
    vary: bool = False,
    repeat: int = 1,
    describe: bool = False,
    on_note: OnNote = lambda text: None,
) -> Verification:
    """Run the notebook and its pipeline with `parameters` and compare them at every step boundary.

    `vary` also compares them with other values of the parameters; `repeat` > 1 runs the notebook so many times, and
    what it does not reproduce itself is "not proved" instead of different. `describe` fills `expected`. The pipeline
    runs with one worker for each step; when that is equal, steps that have workers are compared with all of them. The
    notebook's folder is not changed. Raises ParameterError for unknown or wrong parameters, Refused where the notebook
    does not convert, Nb2pipeError when a package is missing that running notebooks needs.
    """
    require()
    started = time.monotonic()
    described = graph(subject.pipeline, subject.project.package)
    texts = parameter_texts(described, parameters or {})
    _refuse_options(subject, parameters or {})
    kinds = {p["name"]: p["type"] for p in described["parameters"]}
    given = {name: parse_value(kinds[name], texts[name]) for name in parameters or {}}
    with tempfile.TemporaryDirectory(prefix="nb2pipe-verify-") as folder, steady_hashes(), sigterm_interrupts():
        bench = Bench(subject, Path(folder))
        try:
            main = bench.compared(given, repeat, on_note)
            expected = bench.expected(main) if describe and main.verdict == "equal" else {}
            workers = tuple(bench.spread(given, on_note)) if main.verdict == "equal" else ()
            others = tuple(bench.varied(given, on_note)) if vary and main.verdict == "equal" else ()
        finally:
            bench.close()
    return Verification(main, others, time.monotonic() - started, expected, workers)


def _refuse_options(subject: Subject, parameters: Mapping[str, Any]) -> None:
    """Raises ParameterError for parameters that only the pipeline has: the notebook would run without them."""
    options = [p.name for p in subject.pipeline.parameters if p.option and p.name in parameters]
    if options:
        message = f"{options[0]} is a parameter of the pipeline alone: the notebook cannot run with it."
        hint = "Leave it out: notebook and pipeline are compared as the notebook says."
        raise ParameterError([finding("unknown-parameter", message, name=options[0], hint=hint)])


@contextmanager
def steady_hashes() -> Iterator[None]:
    """While it lasts child processes hash texts alike, so that the order of sets is no difference by itself."""
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "0" if before in (None, "random") else str(before)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before


class Bench:
    """The place of a verification: the project (generated in `folder` unless given), and the process that compares.

    Notebook and steps are told the same by their environment, such as the folder for temporary files. `warm`, which
    somebody else closes, starts processes of the same place as `project`.
    """

    def __init__(self, subject: Subject, folder: Path, project: Path | None = None, warm: Warm | None = None) -> None:
        self.subject, self.folder = subject, folder
        self.project = project or folder / "project"
        # Both run at the same time: threads that wait for work leave the cores to the other.
        self._env = {"OMP_WAIT_POLICY": "passive", "TMPDIR": str(folder / "temporary")}
        (folder / "temporary").mkdir(parents=True)
        if project is None:
            write(subject.project, self.project)
        self._boundaries = boundaries(subject)
        self._sources = {cell.index: cell.source for cell in subject.notebook.cells}
        self._count = 0
        self._ran: RunResult | None = None
        self._steps = read_map(self.project)["pipeline"]["steps"]
        self._open = ExitStack()
        self._warm = warm or self._open.enter_context(Warm(self.project, self._steps, alike=True))
        modules = sorted({name for step in subject.flow.steps for name in step.modules})
        beside = subject.path.resolve().parent
        self._judge = Judge([self.project, beside], subject.project.package, modules, self._started)

    def _started(self, command: Sequence[str], cwd: Path, stdin: int) -> Process:
        """The process that compares."""
        return self._warm.process(command, step_environment(self.project, self._env), cwd, stdin)

    def close(self) -> None:
        """End the process that compares, and that which others are forks of."""
        self._judge.close()
        self._open.close()

    def compared(self, given: Mapping[str, Any], repeat: int, on_note: OnNote) -> Comparisons:
        """Both run at the same time, then compared; with `repeat` the notebook is run again."""
        recorder = self._recorder(given)
        thread = threading.Thread(target=recorder.run, daemon=True)
        try:
            on_note("running the notebook and the pipeline")
            thread.start()
            ran = self._ran = self.run_pipeline(given)
            thread.join()
        finally:
            recorder.kill()
            if thread.ident is not None:
                thread.join()
        found = self.comparisons(recorder.recorded, ran, given)
        again = []
        for number in range(2, repeat + 1):
            on_note(f"running the notebook, {number} of {repeat}")
            again.append(self.record(given, str(number)))
        return self._reproduced(found, recorder.recorded, again)

    def record(self, given: Mapping[str, Any], hash_seed: str | None = None) -> Recorded:
        """One run of the notebook."""
        return self._recorder(given, hash_seed).run()

    def _recorder(self, given: Mapping[str, Any], hash_seed: str | None = None) -> Recorder:
        self._count += 1
        seed = {"PYTHONHASHSEED": hash_seed} if hash_seed else {}
        env = {**os.environ, **self._env, **dict(self.subject.pipeline.env), **seed}
        return Recorder(self.subject, given, self.folder / f"notebook-{self._count}", env)

    def run_pipeline(self, given: Mapping[str, Any]) -> RunResult:
        """One run of the pipeline, every step with one worker; nothing comes from a cache."""
        folders: dict[str, Any] = {"notebook_dir": self._home, "runs_dir": self.folder / "runs"}
        return run(self.project, given, part=self.part, workers=1, cache=False, **folders)

    @property
    def part(self) -> Part:
        """All steps, as forks where they can be."""
        names = frozenset(step["name"] for step in self._steps)
        return Part(names, env=self._env, start=self._warm.start)

    def spread(self, given: Mapping[str, Any], on_note: OnNote) -> Iterator[Spread]:
        """The steps that have workers, run with them, against the last run."""
        described = graph(self.subject.pipeline, self.subject.project.package)
        if self._ran is None or not any(step["framework"] for step in described["steps"]):
            return
        on_note("running the steps that have workers with all of them")
        trained = Trained(self.project, described, given, self._ran, self._home, self.part)
        yield from spread(trained, self.subject.pipeline.findings, self._judge)

    @property
    def _home(self) -> Path:
        return self.subject.path.resolve().parent

    def comparisons(self, recorded: Recorded, ran: RunResult, given: Mapping[str, Any]) -> Comparisons:
        """What both handed over and printed, as far as both came."""
        steps = {step.name: step for step in ran.steps}
        done = [b for b in recorded.reached if steps[b.step].status in DONE]
        compared = [one for boundary in done for one in self._boundary(boundary, recorded, steps[boundary.step])]
        stdout = [self._printed(step, recorded) for step in ran.steps if self._has_printed(step, recorded)]
        return Comparisons(given, tuple(compared), tuple(stdout), self._failed(recorded, ran))

    def expected(self, found: Comparisons) -> Expected:
        """What a test keeps of the values that were proved in the last run."""
        proved = {(one.step, one.name) for one in found.compared if one.verdict in ("equal", "close")}
        results = {step.name: step.stdout.parent for step in self._ran.steps} if self._ran else {}
        kept: dict[str, dict[str, Mapping[str, Any]]] = {}
        for boundary in self._boundaries:
            names = [name for name in boundary.names if (boundary.step, name) in proved]
            if names and boundary.kind != "file":
                place = results[boundary.step] / "outputs" / boundary.artifact
                kept.setdefault(boundary.step, {})[boundary.artifact] = self._judge.describe(names, place)
        return kept

    def _boundary(self, boundary: Boundary, recorded: Recorded, step: StepResult) -> Iterator[Compared]:
        mine = recorded.path(boundary)
        if boundary.kind == "file":
            paths = [b.artifact for b in self._boundaries if b.step == boundary.step and b.kind == "file"]
            other = step.stdout.parent / "files" / str(paths.index(boundary.artifact))
            yield self._placed(boundary, boundary.artifact, self._judge.compare_files(boundary.artifact, mine, other))
            return
        failed = recorded.failed(boundary)
        for name, why in failed.items():
            yield self._placed(boundary, name, {"type": "", "verdict": "not proved", "detail": f"{name}: {why}"})
        names = [name for name in boundary.names if name not in failed]
        rows = self._judge.compare(names, mine, step.stdout.parent / "outputs" / boundary.artifact) if names else {}
        for name, row in rows.items():
            yield self._placed(boundary, name, row)

    def _placed(self, boundary: Boundary, name: str, row: Mapping[str, str]) -> Compared:
        names = [*boundary.labels.values()] if boundary.kind == "metrics" else [name]
        cell, line = last_change(self.subject, boundary.step, names)
        return Compared(boundary.step, name, row["type"], row["verdict"], row["detail"], cell, line)  # type: ignore[arg-type]

    def _cells(self, step: str) -> Sequence[int]:
        return next(one.cells for one in self.subject.pipeline.steps if one.name == step)

    def _has_printed(self, step: StepResult, recorded: Recorded) -> bool:
        """Whether the step was run to its end on both sides."""
        failed = recorded.error[0] if recorded.error else None
        cells = self._cells(step.name)
        return step.status in DONE and all(c in recorded.runs and c != failed for c in cells)

    def _printed(self, step: StepResult, recorded: Recorded) -> Compared:
        cells = self._cells(step.name)
        pipeline = step.stdout.read_text(encoding="utf-8", errors="replace")
        package = self.subject.project.package
        printed = [recorded.runs[cell].shown for cell in cells]
        found, lines = compare_text("".join(printed), pipeline, package)
        if found.verdict == "different" and not any("display(" in self._sources[cell] for cell in cells):
            # What libraries show by themselves (widgets, pages) they may show in a notebook only.
            printed = [recorded.runs[cell].printed for cell in cells]
            found, lines = compare_text("".join(printed), pipeline, package)
        elif found.verdict == "different":
            found = _in_another_layout("".join(printed), pipeline, package) or found
        cell = _cell_of_line(cells, printed, lines) if found.verdict == "different" else max(cells)
        return Compared(step.name, "stdout", "text", found.verdict, found.detail, cell)

    def _failed(self, recorded: Recorded, ran: RunResult) -> Failed | None:
        if recorded.error is not None:
            cell, error = recorded.error
            step = self.subject.layout.step_of.get(cell) if cell is not None else None
            way_out = next((hint for text, hint in WAYS_OUT.items() if text in error.message), "")
            return Failed("notebook", step, cell, error.line, error.message + way_out)
        if len(recorded.reached) < len(self._boundaries):
            return Failed("notebook", None, None, None, "it was not run to its end")
        if ran.error is not None:
            return Failed("pipeline", ran.error.step, ran.error.cell, ran.error.line, ran.error.message)
        return None

    def _reproduced(self, found: Comparisons, first: Recorded, again: Sequence[Recorded]) -> Comparisons:
        """The comparisons with "not proved" for differences that runs of the notebook have among themselves."""
        compared = [self._value_reproduced(one, first, again) for one in found.compared]
        stdout = [self._text_reproduced(one, first, again) for one in found.stdout]
        return replace(found, compared=tuple(compared), stdout=tuple(stdout))

    def _value_reproduced(self, one: Compared, first: Recorded, again: Sequence[Recorded]) -> Compared:
        if one.verdict != "different":
            return one
        boundary = next(b for b in self._boundaries if b.step == one.step and one.name in b.names)
        for other in again:
            paths = first.path(boundary), other.path(boundary)
            is_file = boundary.kind == "file"
            row = (
                self._judge.compare_files(one.name, *paths)
                if is_file
                else self._judge.compare([one.name], *paths)[one.name]
            )
            if row["verdict"] == "different":
                return _not_reproduced(one)
        return one

    def _text_reproduced(self, one: Compared, first: Recorded, again: Sequence[Recorded]) -> Compared:
        cells = self._cells(one.step)
        mine = "".join(first.runs[cell].printed for cell in cells)
        others = ["".join(other.runs[cell].printed for cell in cells if cell in other.runs) for other in again]
        package = self.subject.project.package
        apart = any(compare_text(mine, other, package)[0].verdict == "different" for other in others)
        return _not_reproduced(one) if apart and one.verdict == "different" else one

    def varied(self, given: Mapping[str, Any], on_note: OnNote) -> Iterator[Comparisons]:
        """All parameters varied together; one by one where the notebook itself fails with that."""
        other = varied(self.subject.pipeline.parameters, given)
        if not other:
            return
        on_note(f"varied: {other}")
        together = self.compared({**given, **other}, 1, on_note)
        if together.failed is None or together.failed.where == "pipeline" or len(other) == 1:
            yield together
            return
        for name, value in other.items():
            on_note(f"varied: {name} = {value!r}")
            yield self.compared({**given, name: value}, 1, on_note)


def _cell_of_line(cells: Sequence[int], printed: Sequence[str], line: int) -> int:
    """The cell that printed the line with this number (from 0) of a step's text."""
    for cell, text in zip(cells, printed, strict=True):
        line -= text.count("\n")
        if line < 0:
            return cell
    return max(cells)


def _in_another_layout(notebook: str, pipeline: str, package: str) -> Outcome | None:
    """A notebook shows each object that `display` is given on lines of its own, texts in quotes; a script does not."""
    words = [" ".join(text.replace("'", "").split()) for text in (notebook, pipeline)]
    same = compare_text(words[0], words[1], package)[0].verdict != "different"
    return close("the same but for the layout of what is displayed") if same else None


def _not_reproduced(one: Compared) -> Compared:
    return replace(one, verdict="not proved", detail=f"the notebook itself does not reproduce it; {one.detail}")
