"""Tuning on this machine: Optuna proposes parameters, each trial runs its slice of the pipeline in processes.

What comes before the slice runs once, and all trials take it from there. A study lies in a folder of its own and goes
on where it was left.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nb2pipe.findings import Nb2pipeError, finding
from nb2pipe.pipeline.trial import Slice, shared_places, trial_slice
from nb2pipe.pipeline.values import value_text
from nb2pipe.targets.base import Event, OnEvent, RunResult, parameter_texts, read_map
from nb2pipe.targets.cache import content_digest
from nb2pipe.targets.local import Part, Stopped, available_cores, run, sigterm_interrupts
from nb2pipe.targets.warm import Warm
from nb2pipe.targets.workers import THREADS, read_result

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial as OptunaTrial

Json = Mapping[str, Any]
TrialStatus = Literal["completed", "pruned", "failed"]
SEED = 0
"""Of the sampler: the same study proposes the same parameters, as far as trials do not overtake each other."""

STARTUP_TRIALS = 5
"""Trials that must have ended before one is pruned."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial that ended. `objective` is None unless it completed; `message` says why it failed."""

    number: int
    parameters: Mapping[str, Any]
    objective: float | None
    status: TrialStatus
    seconds: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class Tuned:
    """The outcome of a tuning. `step_runs` says how often each step ran for this study; `folder` holds the study."""

    objective: str
    direction: Literal["minimize", "maximize"]
    trials: tuple[Trial, ...]
    step_runs: Mapping[str, int]
    folder: Path
    types: Mapping[str, str]
    plots: tuple[Path, ...] = ()

    @property
    def best(self) -> Trial | None:
        """The completed trial with the best objective, the earliest of equals."""
        done = [t for t in self.trials if t.objective is not None]
        sign = 1 if self.direction == "minimize" else -1
        return min(done, key=lambda t: (sign * (t.objective or 0.0), t.number), default=None)

    def best_words(self) -> list[str]:
        """What `-p` of `nb2pipe run` takes to set the best parameters."""
        chosen = self.best.parameters if self.best else {}
        return [f"{name}={value_text(self.types[name], value)}" for name, value in chosen.items()]

    def to_json(self) -> dict[str, Any]:
        """The document of `nb2pipe tune --json`."""
        best = self.best
        return {
            "status": "succeeded" if best else "failed",
            "objective": self.objective,
            "direction": self.direction,
            "trials": [_trial_json(trial) for trial in self.trials],
            "best": None if best is None else {k: v for k, v in _trial_json(best).items() if k in _BEST},
            "step_runs": dict(self.step_runs),
            "study": str(self.folder / STUDY),
            "plots": [str(path) for path in self.plots],
        }


_BEST = ("number", "parameters", "objective")
STUDY = "study.log"


def _trial_json(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "parameters": dict(trial.parameters),
        "objective": trial.objective,
        "status": trial.status,
        "seconds": round(trial.seconds, 3),
        **({"message": trial.message} if trial.message else {}),
    }


OnTrial = Callable[[Trial], None]


class TuneError(Nb2pipeError):
    """Tuning could not begin: what comes before the trials failed, or Optuna is not installed."""


def tune(
    project: Path,
    *,
    trials: int,
    parallel: int,
    parameters: Mapping[str, Any] | None = None,
    notebook_dir: Path,
    studies_dir: Path,
    anew: bool = False,
    prune: bool = True,
    on_trial: OnTrial = lambda trial: None,
    on_event: OnEvent = lambda event: None,
) -> Tuned:
    """Tunes the project until its study has `trials` ended trials, up to `parallel` at a time.

    `parameters` are fixed for all trials. The study is the one below `studies_dir` for this code, these parameters and
    spaces: one that was left goes on, unless `anew`. A failing trial is recorded. Raises NoTuning, ParameterError,
    TuneError, and KeyboardInterrupt with every child ended; the trials that ended are kept.
    """
    _require_optuna()
    graph = read_map(project)["pipeline"]
    fixed = parameter_texts(graph, parameters or {})
    cut = trial_slice(graph)
    if parallel > 1 and (shared := shared_places(graph, cut.trial, fixed, one_machine=True)):
        raise TuneError(shared)
    folder = studies_dir.resolve() / f"{graph['name']}-{_digest(project, graph, cut, fixed)}"
    if anew:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    project, home = project.resolve(), notebook_dir.resolve()
    trial_steps = [step for step in graph["steps"] if step["name"] in cut.trial]
    with sigterm_interrupts(), Warm(project, trial_steps) as warm:
        tuning = _Tuning(project, home, graph, cut, fixed, folder, parallel, prune, on_event, warm)
        tuning.run(trials, on_trial)
    return tuning.result()


def _require_optuna() -> None:
    from importlib.util import find_spec

    if find_spec("optuna") is None:
        raise TuneError(
            [finding("missing-extra", "Tuning needs optuna.", hint="Install it: pip install 'nb2pipe[tune]'.")]
        )


def _digest(project: Path, graph: Json, cut: Slice, fixed: Mapping[str, str]) -> str:
    """What a study is about: the code of its steps, the spaces, the objective, and the parameters that stay."""
    steps = [step for step in graph["steps"] if step["name"] in (*cut.before, *cut.trial)]
    spaces = {p["name"]: p["search"] for p in graph["parameters"] if p["name"] in cut.tuned}
    files = sorted({path for step in steps for path in step["code"]})
    about = {
        "steps": steps,
        "code": {path: content_digest(project / path) for path in files if (project / path).exists()},
        "spaces": spaces,
        "objective": graph["objective"],
        "fixed": {name: text for name, text in fixed.items() if name not in cut.tuned},
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:8]


@dataclass
class _Tuning:
    """A study in progress. Trials run in threads, each with the processes of its steps."""

    project: Path
    notebook_dir: Path
    graph: Json
    cut: Slice
    fixed: Mapping[str, str]
    folder: Path
    parallel: int
    prune: bool
    on_event: OnEvent
    warm: Warm
    interrupted: threading.Event = field(default_factory=threading.Event)

    def run(self, wanted: int, on_trial: OnTrial) -> None:
        study, before = self.study, self.before()
        self._give_up_lost(study)
        missing = wanted - len(_ended(study))
        with ThreadPoolExecutor(self.parallel) as pool, _stopping(self.interrupted):
            running: set[Future[Trial]] = set()
            while missing > 0 or running:
                while missing > 0 and len(running) < self.parallel:
                    running.add(pool.submit(self._trial, study.ask(self._distributions()), before))
                    missing -= 1
                done, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    on_trial(future.result())

    @property
    def study(self) -> Study:
        """The study in the folder, made with the notebook's own values as its first trial."""
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(self.folder / STUDY)))
        fresh = not storage.get_all_studies()
        objective = self.graph["objective"]
        study = optuna.create_study(
            storage=storage, study_name=self.graph["name"], direction=objective["goal"], load_if_exists=True
        )
        # A study that goes on must not draw again what it drew at first.
        study.sampler = optuna.samplers.TPESampler(seed=SEED + len(study.trials), constant_liar=self.parallel > 1)
        study.pruner = optuna.pruners.MedianPruner(STARTUP_TRIALS) if self.prune else optuna.pruners.NopPruner()
        if fresh:
            self._enqueue_defaults(study)
        return study

    def _enqueue_defaults(self, study: Study) -> None:
        """The notebook's own values are tried first, if they lie in the spaces."""
        defaults = {row["name"]: _encoded(row, row["default"]) for row in self._tuned()}
        with contextlib.suppress(ValueError):  # of choices that do not have it
            if all(d._contains(d.to_internal_repr(defaults[name])) for name, d in self._distributions().items()):
                study.enqueue_trial(defaults)

    def _give_up_lost(self, study: Study) -> None:
        """Trials that were running when the study was left: they failed, and their parameters are tried again."""
        from optuna.trial import TrialState

        for lost in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(lost.number, state=TrialState.FAIL)
            study.enqueue_trial(lost.params)

    def _tuned(self) -> list[Json]:
        return [row for row in self.graph["parameters"] if row["name"] in self.cut.tuned]

    def _distributions(self) -> dict[str, Any]:
        return {row["name"]: distribution(row["search"]) for row in self._tuned()}

    # --- what runs ----------------------------------------------------------------------------------------------------
    def before(self) -> Path | None:
        """The folder of the run of what comes before the trials: made once in the life of a study."""
        if not self.cut.before:
            return None
        note, started = self._before_note, list[str]()
        if note.is_file():
            return Path(json.loads(note.read_text(encoding="utf-8"))["run_dir"])
        result = self._run(Part(frozenset(self.cut.before)), self.fixed, "before", started)
        if result.error is not None:
            failed = f"Step {result.error.step}, which comes before the trials, failed: {result.error.message}"
            cell, line = result.error.cell, result.error.line
            raise TuneError([finding("tuning-failed", failed, cell=cell, line=line, name=result.error.step)])
        note.write_text(json.dumps({"run_dir": str(result.run_dir), "started": started}), encoding="utf-8")
        return result.run_dir

    @property
    def _before_note(self) -> Path:
        return self.folder / "before.json"

    def _run(self, part: Part, values: Mapping[str, Any], name: str, started: list[str]) -> RunResult:
        """Runs a part of the pipeline below the folder `name`; the steps that were started are added to `started`."""

        def noted(event: Event) -> None:
            if event.kind == "started" and event.step is not None:
                started.append(event.step)
            self.on_event(event)

        return run(
            self.project,
            values,
            part=part,
            cache=False,
            jobs=max(1, available_cores() // self.parallel),
            notebook_dir=self.notebook_dir,
            runs_dir=self.folder / name,
            on_event=noted,
        )

    def _trial(self, trial: OptunaTrial, before: Path | None) -> Trial:
        """Runs one trial and tells the study about it."""
        from optuna.trial import TrialState

        began, started = time.monotonic(), list[str]()
        chosen = {row["name"]: _decoded(row, trial.params[row["name"]]) for row in self._tuned()}
        reports = _Reports(self.folder / "trials" / f"{trial.number:04}" / "reports", trial, self.interrupted)
        env = self._env(reports.path)
        part = Part(frozenset(self.cut.trial), before, env, reports.stopped, self.warm.start)
        status, value, message = self._outcome(part, {**self.fixed, **chosen}, reports, started)
        if self.interrupted.is_set():
            raise KeyboardInterrupt
        seconds = time.monotonic() - began
        trial.set_user_attr("started", started)
        trial.set_user_attr("seconds", seconds)
        trial.set_user_attr("message", message)
        states = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        trial.study.tell(trial.number, value, states[status])
        return Trial(trial.number, chosen, value, status, seconds, message)

    def _env(self, reports: Path) -> dict[str, str]:
        """What a trial's steps get: where to report, and their share of the cores."""
        share = str(max(1, available_cores() // self.parallel))
        threads = {name: os.environ.get(name, share) for name in THREADS}
        return {"TRIAL_REPORTS": str(reports), **(threads if self.parallel > 1 else {})}

    def _outcome(
        self, part: Part, values: Mapping[str, Any], reports: _Reports, started: list[str]
    ) -> tuple[TrialStatus, float | None, str]:
        try:
            result = self._run(part, values, f"trials/{reports.path.parent.name}", started)
        except Stopped:
            return "pruned", None, ""
        if result.error is not None:
            return "failed", None, f"step {result.error.step}: {result.error.message}"
        objective = self.graph["objective"]
        metrics = read_result(result.run_dir / "steps" / objective["step"] / "results").get("metrics", {})
        value = metrics.get(objective["name"])
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            return "failed", None, f"{objective['name']} is {value!r}, not a finite number"
        return "completed", float(value), ""

    # --- what came of it ----------------------------------------------------------------------------------------------
    def result(self) -> Tuned:
        """Everything that the study holds, with its plots."""
        study = self.study
        trials = tuple(self._ended_trial(trial) for trial in _ended(study))
        goal: Literal["minimize", "maximize"] = self.graph["objective"]["goal"]
        types = {row["name"]: row["type"] for row in self.graph["parameters"]}
        plots = _plots(self.folder, study)
        name = self.graph["objective"]["name"]
        tuned = Tuned(name, goal, trials, self._step_runs(study), self.folder, types, plots)
        (self.folder / "tuning.json").write_text(json.dumps(tuned.to_json(), indent=2) + "\n", encoding="utf-8")
        return tuned

    def _ended_trial(self, trial: FrozenTrial) -> Trial:
        names: Mapping[str, TrialStatus] = {"COMPLETE": "completed", "PRUNED": "pruned", "FAIL": "failed"}
        chosen = {
            row["name"]: _decoded(row, trial.params[row["name"]])
            for row in self._tuned()
            if row["name"] in trial.params
        }
        status = names[trial.state.name]
        value = trial.value if status == "completed" else None
        attrs = trial.user_attrs
        return Trial(trial.number, chosen, value, status, attrs["seconds"], attrs["message"])

    def _step_runs(self, study: Study) -> dict[str, int]:
        """How often each step was started for this study."""
        started = [name for trial in _ended(study) for name in trial.user_attrs["started"]]
        if self._before_note.is_file():
            started += json.loads(self._before_note.read_text(encoding="utf-8"))["started"]
        return {step["name"]: started.count(step["name"]) for step in self.graph["steps"]}


@contextmanager
def _stopping(interrupted: threading.Event) -> Iterator[None]:
    """Tells the trials' threads when the main one is interrupted, so that they end their children."""
    try:
        yield
    except BaseException:
        interrupted.set()
        raise


@dataclass
class _Reports:
    """The values that a trial reports while it trains: lines of `{"step", "value"}` in a file."""

    path: Path
    trial: OptunaTrial
    interrupted: threading.Event
    taken: int = 0
    pruned: bool = False

    def stopped(self) -> bool:
        """Whether the trial is to end now: it is worse than others were at this point, or all is to end."""
        if not self.pruned:
            self.pruned = any(self._is_hopeless(line) for line in self._new_lines())
        return self.pruned or self.interrupted.is_set()

    def _new_lines(self) -> list[str]:
        try:
            with self.path.open(encoding="utf-8") as file:
                file.seek(self.taken)
                text = file.read()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind("\n") + 1]
        self.taken += len(whole.encode())
        return whole.splitlines()

    def _is_hopeless(self, line: str) -> bool:
        report = json.loads(line)
        if not math.isfinite(report["value"]):
            return False
        self.trial.report(report["value"], report["step"])
        return self.trial.should_prune()


def _ended(study: Study) -> list[FrozenTrial]:
    """The trials that came to their end; one that was lost with its process has no time."""
    return [t for t in study.get_trials(deepcopy=False) if t.state.is_finished() and "seconds" in t.user_attrs]


# --- search spaces ----------------------------------------------------------------------------------------------------
def distribution(search: Json) -> Any:
    """The Optuna distribution of a search space; choices that Optuna cannot hold are passed as JSON."""
    from optuna import distributions as known

    if search["kind"] == "choice":
        return known.CategoricalDistribution([_plain(value) for value in search["values"]])
    kind = known.IntDistribution if search["kind"] in ("int", "logint") else known.FloatDistribution
    return kind(search["low"], search["high"], log=search["kind"].startswith("log"))


def _plain(value: Any) -> Any:
    """A choice as Optuna holds it: scalars as they are, lists and dicts as JSON."""
    return json.dumps(value) if isinstance(value, (list, tuple, dict)) else value


def _encoded(row: Json, value: Any) -> Any:
    return _plain(value) if row["search"]["kind"] == "choice" else value


def _decoded(row: Json, value: Any) -> Any:
    """The value of a choice that was passed as JSON."""
    for choice in row["search"].get("values") or ():
        if _plain(choice) == value and isinstance(choice, (list, tuple, dict)):
            return list(choice) if isinstance(choice, tuple) else choice
    return value


# --- plots ------------------------------------------------------------------------------------------------------------
def _plots(folder: Path, study: Study) -> tuple[Path, ...]:
    """history.png and, with enough completed trials of several parameters, importance.png; none without matplotlib."""
    from importlib.util import find_spec

    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if find_spec("matplotlib") is None or not done:
        return ()
    made = [_history(folder / "history.png", done, str(study.direction.name).lower())]
    shares = _importance(study, done)
    if shares:
        made.append(_bars(folder / "importance.png", shares))
    return tuple(made)


def _importance(study: Study, done: list[FrozenTrial]) -> dict[str, float]:
    """Each parameter's share in the spread of the objective (PED-ANOVA, Watanabe et al. 2023)."""
    import warnings

    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    if len(done) < 4 or len({trial.value for trial in done}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()))


def _history(path: Path, done: list[FrozenTrial], goal: str) -> Path:
    from itertools import accumulate

    from matplotlib.figure import Figure

    numbers = [trial.number for trial in done]
    values = [trial.value for trial in done if trial.value is not None]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(numbers, values, "o", label="trial")
    axes.step(numbers, list(accumulate(values, min if goal == "minimize" else max)), where="post", label="best so far")
    axes.set(xlabel="trial", ylabel="objective")
    axes.legend()
    figure.savefig(path)
    return path


def _bars(path: Path, shares: Mapping[str, float]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1 + 0.5 * len(shares)), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(shares)[::-1], list(shares.values())[::-1])
    axes.set(xlabel="share in the spread of the objective")
    figure.savefig(path)
    return path
