"""What every target shares: the protocol, the project as it lies on disk, events and results of a run."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from nb2pipe.findings import Finding, Nb2pipeError, finding
from nb2pipe.pipeline.values import bounded, bounds, parse_value, value_text
from nb2pipe.targets.submission import Submission, SubmitOptions

Status = Literal["succeeded", "cached", "failed", "skipped"]
EventKind = Literal["started", "log", "finished", "note"]


class ParameterError(Nb2pipeError):
    """A parameter of a run has an unknown name or a value that is not of its type: wrong usage."""


class ProjectError(Nb2pipeError):
    """The folder is not a project that nb2pipe generated, or its description is damaged."""


class CompileError(Nb2pipeError):
    """The pipeline cannot be compiled for the target."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run, to be shown live.

    `started` and `finished` (with `status` and `seconds`) frame a step; `log` is one line that it printed to `stream`;
    `note` is something the user should know. `text` has no line end.
    """

    kind: EventKind
    step: str | None
    text: str = ""
    stream: Literal["stdout", "stderr"] | None = None
    status: Status | None = None
    seconds: float | None = None


OnEvent = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class StepResult:
    """How a step ended: files with exactly what it printed, and the folders of its artifacts by name."""

    name: str
    status: Status
    seconds: float
    stdout: Path
    stderr: Path
    outputs: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed: the first failed step, with the notebook's cell (from 0) and line (from 1) where known."""

    step: str
    cell: int | None
    line: int | None
    message: str


@dataclass(frozen=True, slots=True)
class RunResult:
    """The outcome of a run on this machine; `seconds` is its wall time."""

    status: Literal["succeeded", "failed"]
    run_dir: Path
    seconds: float
    steps: tuple[StepResult, ...]
    metrics: Mapping[str, float]
    error: Failure | None = None

    def to_json(self) -> dict[str, Any]:
        """The document of `nb2pipe run --json`; metrics that JSON cannot hold (nan, inf) are null."""
        return {
            "status": self.status,
            "run_dir": str(self.run_dir),
            "seconds": round(self.seconds, 3),
            "steps": [_step_json(step) for step in self.steps],
            "metrics": {name: value if value - value == 0 else None for name, value in self.metrics.items()},
            "error": None
            if self.error is None
            else {
                "step": self.error.step,
                "cell": self.error.cell,
                "line": self.error.line,
                "message": self.error.message,
            },
        }


def _step_json(step: StepResult) -> dict[str, Any]:
    return {
        "name": step.name,
        "status": step.status,
        "seconds": round(step.seconds, 3),
        "stdout": str(step.stdout),
        "stderr": str(step.stderr),
        "outputs": {name: str(path) for name, path in step.outputs.items()},
    }


class Target(Protocol):
    """Where a pipeline runs: a class without arguments, found through the entry points `nb2pipe.targets`."""

    name: str

    def unsupported(self, graph: Mapping[str, Any]) -> tuple[Finding, ...]:
        """Error findings for what the pipeline asks for and this target cannot do: nothing is dropped in silence."""
        ...

    def compile(self, project: Path) -> Path:
        """Compiles the project for this target; returns the file. Raises CompileError."""
        ...


class Platform(Target, Protocol):
    """A target elsewhere, which pipelines are submitted to. Errors are SubmitError: what mends them is in them."""

    def submit(self, project: Path, options: SubmitOptions, on_event: OnEvent) -> Submission:
        """Checks everything, uploads input files and starts the compiled project, or sets its schedule; waits if asked.

        With `options.dry_run` nothing is sent. Raises SubmitError, ParameterError, CompileError, ProjectError.
        """
        ...

    def list_runs(self, options: SubmitOptions, limit: int, on_event: OnEvent) -> tuple[Submission, ...]:
        """The latest runs, the newest first, without their steps; of `options.experiment` only, where it is given."""
        ...

    def show_run(self, run: str, options: SubmitOptions, on_event: OnEvent) -> Submission:
        """The run of this id, with its steps."""
        ...

    def cancel_run(self, run: str, options: SubmitOptions, on_event: OnEvent) -> Submission:
        """Asks for the end of a run; gives it as it then stands. One that has ended stays as it is."""
        ...


BUILT_IN = {
    "local": "nb2pipe.targets.local:Local",
    "kfp": "nb2pipe.targets.kfp:Kfp",
    "vertex": "nb2pipe.targets.vertex:Vertex",
}
"""Our own targets, written as entry points are."""


def load_target(name: str) -> Target:
    """The target registered as `name`. Raises Nb2pipeError with the known names for an unknown one."""
    from importlib.metadata import EntryPoint, entry_points

    group = "nb2pipe.targets"
    built_in = [EntryPoint(known, value, group) for known, value in BUILT_IN.items()]
    found = {entry.name: entry for entry in (*built_in, *entry_points(group=group))}
    if name not in found:
        known = ", ".join(sorted(found))
        raise Nb2pipeError([finding("unknown-target", f"There is no target {name!r}; there are: {known}.", name=name)])
    target: Target = found[name].load()()
    return target


def load_platform(name: str) -> Platform:
    """The target registered as `name`, if pipelines can be submitted to it. Raises Nb2pipeError."""
    target: Any = load_target(name)
    if not hasattr(target, "submit"):
        message = f"Nothing can be submitted to the target {name!r}."
        raise Nb2pipeError([finding("not-a-platform", message, name=name)])
    platform: Platform = target
    return platform


def read_map(project: Path) -> dict[str, Any]:
    """The project's `nb2pipe.map.json`. Raises ProjectError when it is missing, damaged or of another version."""
    path = project / "nb2pipe.map.json"
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        graph = described["pipeline"]
        version, _ = described["version"], (graph["package"], graph["steps"], graph["parameters"])
    except FileNotFoundError:
        raise _no_project(project, f"{project} is not a generated project: it has no nb2pipe.map.json.") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise _no_project(project, f"{path} is damaged.") from None
    if version != 1:
        raise _no_project(project, f"{path} is of version {version}; this nb2pipe reads version 1.")
    return dict(described)


def _no_project(project: Path, message: str) -> ProjectError:
    return ProjectError([finding("not-a-project", message, name=str(project))])


LONGEST_TEXT = 100_000
"""Bytes of a parameter's value; one argument of a command holds 128 KiB."""


def parameter_texts(graph: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, str]:
    """Every parameter of the pipeline as text: the given values, checked by name and type, and the other defaults.

    Raises ParameterError with one finding for each wrong one.
    """
    declared = {parameter["name"]: parameter for parameter in graph["parameters"]}
    texts = {name: str(parameter["text"]) for name, parameter in declared.items()}
    wrong = []
    for name, value in given.items():
        if name not in declared:
            wrong.append(_unknown_parameter(name, list(declared)))
            continue
        kind = declared[name]["type"]
        try:
            parsed = parse_value(kind, value)
            texts[name] = _passable(value_text(kind, parsed))
        except (ValueError, TypeError, OverflowError):
            message = f"Parameter {name} is a {kind}; {value!r:.200} is not one that can be passed."
            wrong.append(finding("parameter-type", message, name=name))
            continue
        try:
            bounded(parsed, **bounds(declared[name]))
        except ValueError as error:
            message = f"Parameter {name}: {error}. It is {declared[name]['help']}."
            wrong.append(finding("parameter-bounds", message, name=name))
    if wrong:
        raise ParameterError(wrong)
    return texts


def _passable(text: str) -> str:
    """`text`, if it may stand in a command; raises ValueError."""
    if "\0" in text or len(text.encode()) > LONGEST_TEXT:
        raise ValueError("not for a command")
    return text


def _unknown_parameter(name: str, known: list[str]) -> Finding:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(known) or 'none'}."
    return finding("unknown-parameter", f"The pipeline has no parameter {name!r}.", name=name, hint=hint)
