"""The target `local`: runs a project on this machine, each step in a process and a working folder of its own."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nb2pipe.findings import Finding
from nb2pipe.pipeline.graph import sources_of, with_paths
from nb2pipe.targets.base import Event, Failure, OnEvent, RunResult, Status, StepResult, parameter_texts, read_map
from nb2pipe.targets.cache import Cache, code_digest, content_digest, digest_below, key_of, tree_digests
from nb2pipe.targets.process import Child, Children, OnLine, Process, Stream, spawned, temporary_files
from nb2pipe.targets.workers import (
    Crew,
    child_name,
    read_result,
    step_environment,
    suffix_of,
    worker_environments,
)

Json = Mapping[str, Any]
NOT_HERE = {"cpu": "CPU", "memory": "memory", "accelerator": "accelerator", "image": "image"}
"""Resources that a run on this machine does not reserve; the user is told."""

LOG_IN = " Log in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS."
WAYS_OUT = {"DefaultCredentialsError:": LOG_IN, "RefreshError:": LOG_IN}
"""What mends an error that steps know nothing of, by its kind."""

PORT_ATTEMPTS = 3
"""How often workers start again because a port was taken."""


class Local:
    """This machine: there is nothing to compile, and nothing that a step may ask for stops it from running."""

    name = "local"

    def unsupported(self, graph: Json) -> tuple[Finding, ...]:
        """Nothing: what cannot be reserved on this machine is told when the step runs."""
        return ()

    def compile(self, project: Path) -> Path:
        """The project is run as it is; returns its description."""
        read_map(project)
        return project / "nb2pipe.map.json"


class Stopped(Exception):
    """A run was ended from outside: its `Part` said so."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a pipeline, to be run alone.

    Only `steps` run; what they need of others is taken from the run in `given`, its folder. Every step gets `env`.
    The run ends as soon as `stopped`, which is asked several times a second, says so. `start` starts the processes of
    a step.
    """

    steps: frozenset[str]
    given: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    stopped: Callable[[], bool] = lambda: False
    start: Callable[[Json, Sequence[str], Mapping[str, str], Path], Process] = lambda step, *how: spawned(*how)


def run(
    project: Path,
    parameters: Mapping[str, Any],
    *,
    part: Part | None = None,
    workers: int | None = None,
    jobs: int | None = None,
    cache: bool = True,
    notebook_dir: Path,
    runs_dir: Path,
    cache_dir: Path | None = None,
    on_event: OnEvent = lambda event: None,
) -> RunResult:
    """Runs every step of the project; independent ones in parallel, up to `jobs` at a time (default: the cores).

    Input files are read from `notebook_dir`. The run's logs and artifacts stay in a new folder below `runs_dir`; steps
    computed before are taken from `cache_dir` (default: `.nb2pipe/cache` in `notebook_dir`) unless `cache` is False.
    `workers` is how many processes a step that has workers gets, unless given as many as it has. A failing step ends
    what depends on it, nothing else. `part` is all of the pipeline unless given. The steps have one folder for
    temporary files, which is gone in the end. Raises ParameterError before anything runs, ProjectError for a folder
    that is no project, and, with every child ended and nothing left, KeyboardInterrupt on Ctrl-C or SIGTERM and Stopped
    when `part` says so.
    """
    graph = read_map(project)["pipeline"]
    texts = parameter_texts(graph, parameters)
    graph = with_workers(with_paths(graph, texts), workers)
    tell_python(graph, on_event)
    store = Cache((cache_dir or notebook_dir / ".nb2pipe" / "cache").resolve()) if cache else None
    if store:
        store.sweep()
    run_dir = new_run_dir(runs_dir.resolve())
    part = part or Part(frozenset(step["name"] for step in graph["steps"]))
    with sigterm_interrupts(), temporary_files() as temporary:
        part = replace(part, env={**temporary, **part.env})
        job = _Run(graph, texts, project.resolve(), notebook_dir.resolve(), run_dir, store, on_event, part)
        try:
            return job.run(max(1, jobs or available_cores()))
        except BaseException:
            job.children.end_all()
            shutil.rmtree(run_dir, ignore_errors=True)
            raise


def with_workers(graph: Json, workers: int | None) -> dict[str, Any]:
    """The graph with so many workers for each step that has workers."""
    steps = [{**step, "workers": workers or step["workers"]} if step["framework"] else step for step in graph["steps"]]
    return {**graph, "steps": steps}


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def new_run_dir(runs_dir: Path) -> Path:
    """A new folder below `runs_dir`, named by the time."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1, 10_000):
        path = runs_dir / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"no free name for a run in {runs_dir}")


def merged_metrics(by_step: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The metrics of all steps by label; a label that several steps use becomes `step.label`."""
    labels = [label for metrics in by_step.values() for label in metrics]
    return {
        label if labels.count(label) == 1 else f"{step}.{label}": value
        for step, metrics in by_step.items()
        for label, value in metrics.items()
    }


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """While it lasts SIGTERM is taken as Ctrl-C, so that both end the children the same way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass
class _State:
    """How far a step is. `files` are the digests of its results, known only when results are cached."""

    step: Json
    folder: Path
    status: Status | None = None
    key: str | None = None
    started: float = 0.0
    seconds: float = 0.0
    attempts: int = 0
    crew: Crew | None = None
    ports_taken: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None

    @property
    def name(self) -> str:
        return str(self.step["name"])

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def retries(self) -> int:
        return int(self.step["resources"]["retries"] or 0)


@dataclass
class _Run:
    graph: Json
    texts: Mapping[str, str]
    project: Path
    notebook_dir: Path
    run_dir: Path
    cache: Cache | None
    on_event: OnEvent
    part: Part
    states: dict[str, _State] = field(default_factory=dict)
    children: Children = field(default_factory=Children)

    def run(self, jobs: int) -> RunResult:
        started = time.monotonic()
        for step in self.graph["steps"]:
            if step["name"] in self.part.steps:
                self.states[step["name"]] = _State(step, self.run_dir / "steps" / step["name"])
            elif self.part.given:
                self.states[step["name"]] = self._given(
                    _State(step, self.part.given / "steps" / step["name"], "cached")
                )
        self._start_ready(jobs)
        while len(self.children):
            for name, child, status in self.children.wait(self.part.stopped):
                self._ended(self.states[name.partition(".")[0]], child, status)
            if self.part.stopped():
                raise Stopped
            self._start_ready(jobs)
        return self._result(time.monotonic() - started)

    def _given(self, state: _State) -> _State:
        """The state of a step that an earlier run did."""
        if self.cache is not None and state.results.is_dir():
            state.files = tree_digests(state.results)
        return state

    def _start_ready(self, jobs: int) -> None:
        """Starts every step whose sources are done, in the notebook's order; one that is cached is done at once."""
        for state in self.states.values():
            if state.status is not None or state.started:
                continue
            sources = [self.states[name].status for name in sources_of(state.step)]
            if any(status in ("failed", "skipped") for status in sources):
                self._skip(state)
            elif None not in sources and not self._from_cache(state) and len(self.children) < jobs:
                self._start(state)

    def _skip(self, state: _State) -> None:
        state.status = "skipped"
        state.results.mkdir(parents=True, exist_ok=True)
        for stream in ("stdout", "stderr"):
            (state.results / stream).touch()
        self.on_event(Event("finished", state.name, status="skipped", seconds=0.0))

    def _from_cache(self, state: _State) -> bool:
        """Takes the step's results from the cache if they are there."""
        if self.cache is None or state.step["resources"]["cache"] is False or state.key is not None:
            return False
        started = time.monotonic()
        state.key = key_of(self._ingredients(state.step))
        files = self.cache.fetch(state.key, state.results)
        if files is None:
            return False
        self.on_event(Event("started", state.name))
        for stream in ("stdout", "stderr"):
            self._replay(state, stream)
        state.files, state.metrics = files, read_result(state.results).get("metrics", {})
        self._finish(state, "cached", time.monotonic() - started)
        return True

    def _replay(self, state: _State, stream: Stream, suffix: str = "") -> None:
        text = (state.results / f"{stream}{suffix}").read_bytes().decode("utf-8", "replace")
        for line in text.removesuffix("\n").split("\n") if text else ():
            self._log(state.name, stream, line)

    def _log(self, step: str, stream: Stream, line: str) -> None:
        self.on_event(Event("log", step, line, stream))

    def _ingredients(self, step: Json) -> dict[str, Any]:
        """Everything that the step's results depend on."""
        row = {name: step[name] for name in ("form", "async", "outputs", "returns", "maybe_unbound", "metrics_output")}
        kinds = {parameter["name"]: parameter["type"] for parameter in self.graph["parameters"]}
        return {
            "step": row,
            "code": {name: self._code_digest(name) for name in (*step["code"], *self._modules())},
            "inputs": {row["key"]: [row["names"], self._output_digest(row)] for row in step["inputs"]},
            "parameters": {name: [kinds[name], self.texts[name]] for name in step["parameters"]},
            "files": {row["path"]: self._file_digest(row) for row in step["files_in"]},
            "files_out": step["files_out"],
            "requirements": {spec: installed_version(spec) for spec in step["requirements"]},
            "python": platform.python_version(),
            "env": step["resources"]["env"],
            "workers": step["workers"],
        }

    def _modules(self) -> list[str]:
        """Python files of the project outside its package, which any step may import."""
        others = {self.graph["package"], "tests", "jobs", "pipeline.py"}
        tops = [path for path in self.project.iterdir() if path.name not in others and not path.name.startswith(".")]
        files = [file for path in tops for file in (path.rglob("*.py") if path.is_dir() else [path])]
        return sorted(file.relative_to(self.project).as_posix() for file in files if file.suffix == ".py")

    def _code_digest(self, name: str) -> str:
        path = self.project / name
        if path.suffix != ".py":
            return content_digest(path)
        # The table in task.py describes all steps; what it says of this one is among the ingredients already.
        without = frozenset({"STEPS"}) if path.name == "task.py" else frozenset[str]()
        return code_digest(path.read_text(encoding="utf-8"), without)

    def _output_digest(self, row: Json) -> str:
        return digest_below(self.states[row["source"]].files, f"outputs/{row['artifact']}")

    def _file_digest(self, row: Json) -> str:
        if row["source"] is None:
            return content_digest(self.notebook_dir / row["path"])
        maker = self.states[row["source"]]
        return digest_below(maker.files, f"files/{maker.step['files_out'].index(row['path'])}")

    def _start(self, state: _State) -> None:
        """Starts the step's process in empty folders, also when an earlier attempt left something."""
        shutil.rmtree(state.folder, ignore_errors=True)
        state.results.mkdir(parents=True)
        if not state.attempts and not state.ports_taken:
            self.on_event(Event("started", state.name))
            for note in [*notes_on(state.step), *map(_missing_note, self._missing_files(state.step))]:
                self.on_event(Event("note", state.name, note))
        state.started = state.started or time.monotonic()
        state.attempts += 1
        self._start_workers(state)

    def _start_workers(self, state: _State) -> None:
        """Starts the step's processes; what others than the chief print goes to their files only."""
        step, state.crew = state.step, Crew(state.results)
        env = step_environment(self.project, {**self.part.env, **step["resources"]["env"]})
        command, show = self._command(state), functools.partial(self._log, state.name)
        places = worker_environments(step["framework"], workers_of(step), available_cores())
        start, timeout = functools.partial(self.part.start, step), step["resources"]["timeout"]
        for rank, place in enumerate(places):
            told: OnLine = _unheard if rank else show
            how = (command, {**place, **env}, state.folder)
            child = Child(*how, state.results, told, timeout, suffix_of(rank), start)
            state.crew.children.append(child)
            self.children.add(child_name(state.name, rank), child)

    def _missing_files(self, step: Json) -> list[Json]:
        return [r for r in step["files_in"] if r["source"] is None and not (self.notebook_dir / r["path"]).exists()]

    def _command(self, state: _State) -> list[str]:
        step, results = state.step, state.results
        missing = self._missing_files(step)
        reserved = {"help", "input", "output", "file_in", "file_out", "workdir", "result"}
        words = [f"--{'parameter_' * (name in reserved)}{name}={self.texts[name]}" for name in step["parameters"]]
        words += [f"--input={row['key']}={self._output_path(row['source'], row['artifact'])}" for row in step["inputs"]]
        words += [f"--output={row['artifact']}={results / 'outputs' / row['artifact']}" for row in step["outputs"]]
        words += [f"--file-in={row['path']}={self._file_path(row)}" for row in step["files_in"] if row not in missing]
        words += [f"--file-out={path}={results / 'files' / str(i)}" for i, path in enumerate(step["files_out"])]
        words += [f"--workdir={state.folder / 'work'}", f"--result={results / 'result.json'}"]
        return [sys.executable, "-m", f"{self.graph['package']}.task", state.name, *words]

    def _output_path(self, step: str, artifact: str) -> Path:
        return self.states[step].results / "outputs" / artifact

    def _file_path(self, row: Json) -> Path:
        if row["source"] is None:
            return self.notebook_dir / str(row["path"])
        maker = self.states[row["source"]]
        number: int = maker.step["files_out"].index(row["path"])
        return maker.results / "files" / str(number)

    def _ended(self, state: _State, child: Child, status: int) -> None:
        crew = state.crew
        assert crew is not None
        crew.ended(child, status)
        if not crew.done:
            return
        rank = crew.telling()
        if crew.statuses[rank] == 0 and not crew.children[rank].timed_out and read_result(state.results):
            self._succeeded(state)
        elif crew.port_was_taken() and state.ports_taken < PORT_ATTEMPTS:
            state.ports_taken += 1
            state.attempts -= 1
            self.on_event(Event("note", state.name, "another process took a port of its workers; they start again"))
            self._start(state)
        elif state.attempts <= state.retries:
            text = f"failed; attempt {state.attempts + 1} of {state.retries + 1}"
            self.on_event(Event("note", state.name, text))
            self._start(state)
        else:
            self._show_worker(state, rank)
            state.failure = _failure(state, crew, rank)
            self._finish(state, "failed", time.monotonic() - state.started)

    def _succeeded(self, state: _State) -> None:
        state.metrics = read_result(state.results).get("metrics", {})
        for place in (*state.folder.glob("work*"), *state.results.glob("result.json.worker*")):
            shutil.rmtree(place, ignore_errors=True) if place.is_dir() else place.unlink()
        self._keep(state)
        self._finish(state, "succeeded", time.monotonic() - state.started)

    def _show_worker(self, state: _State, rank: int) -> None:
        """What a failed worker said, for all to see; the chief's words were shown already."""
        if rank:
            self._replay(state, "stderr", suffix_of(rank))

    def _keep(self, state: _State) -> None:
        if self.cache is None:
            return
        state.files = tree_digests(state.results)
        if state.key is None:
            return
        try:
            self.cache.store(state.key, state.results, state.files)
        except OSError as error:
            self.on_event(Event("note", state.name, f"the result cannot be kept for later runs: {error}"))

    def _finish(self, state: _State, status: Status, seconds: float) -> None:
        state.status, state.seconds = status, seconds
        text = state.failure.message if state.failure else ""
        self.on_event(Event("finished", state.name, text, status=status, seconds=seconds))

    def _result(self, seconds: float) -> RunResult:
        states = [state for name, state in self.states.items() if name in self.part.steps]
        failures = [state.failure for state in states if state.failure]
        return RunResult(
            "failed" if failures else "succeeded",
            self.run_dir,
            seconds,
            tuple(_step_result(state) for state in states),
            merged_metrics({state.name: state.metrics for state in states}),
            failures[0] if failures else None,
        )


def notes_on(step: Json) -> list[str]:
    """What the user should know about running `step` on this machine: what is not reserved here, secrets not set."""
    resources = step["resources"]
    wanted = [f"{what} {resources[key]}" for key, what in NOT_HERE.items() if resources[key]]
    notes = [f"asks for {', '.join(wanted)}; this machine is used as it is"] if wanted else []
    if step["runner"]:
        notes.append("runs its Beam pipelines here, on the DirectRunner")
    unset = [secret for secret in resources["secrets"] if secret["env"] not in os.environ]
    return notes + [
        f"needs the secret {secret['name']}: set the environment variable {secret['env']} to use it here"
        for secret in unset
    ]


def _missing_note(row: Json) -> str:
    return f"the input file {row['path']} does not exist"


def tell_python(graph: Json, on_event: OnEvent) -> None:
    """Notes that the pipeline was made for another version of Python."""
    here = ".".join(platform.python_version_tuple()[:2])
    wanted = ".".join(str(graph["python"]).split(".")[:2])
    if wanted != here:
        on_event(Event("note", None, f"the pipeline was made for Python {wanted}; this is {here}"))


def installed_version(spec: str) -> str | None:
    """The installed version of the distribution that a requirement names; None when it is not installed."""
    from importlib.metadata import PackageNotFoundError, version
    from re import match

    name = match(r"[\w.-]+", spec)
    try:
        return version(name[0]) if name else None
    except PackageNotFoundError:
        return None


def workers_of(step: Json) -> int:
    """In how many processes a step runs."""
    return step["workers"] or 1 if step["framework"] else 1


def _unheard(stream: Stream, line: str) -> None:
    """Takes a line that nobody is shown."""


def _failure(state: _State, crew: Crew, rank: int) -> Failure:
    """Why the step failed: how the worker `rank` ended."""
    who = f"worker {rank}: " if rank else ""
    error, status = read_result(state.results, rank).get("error"), crew.statuses[rank]
    if crew.children[rank].timed_out:
        return Failure(state.name, None, None, f"timed out after {state.step['resources']['timeout']} s")
    if error:
        way_out = next((hint for kind, hint in WAYS_OUT.items() if kind in error["message"]), "")
        return Failure(state.name, error["cell"], error["line"], who + error["message"] + way_out)
    if status < 0:
        return Failure(state.name, None, None, f"{who}ended by {signal.Signals(-status).name}")
    early = "" if status else ", before its code had come to its end"
    return Failure(state.name, None, None, f"{who}exit status {status}{early}")


def _step_result(state: _State) -> StepResult:
    assert state.status is not None
    outputs = {row["artifact"]: state.results / "outputs" / row["artifact"] for row in state.step["outputs"]}
    kept = {name: path for name, path in outputs.items() if path.exists()}
    stdout, stderr = state.results / "stdout", state.results / "stderr"
    return StepResult(state.name, state.status, state.seconds, stdout, stderr, kept)
