"""`nb2pipe run --engine kfp`: runs the compiled pipeline under kfp's own local runner, for the same result document."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from nb2pipe.pipeline.graph import filled
from nb2pipe.pipeline.kfp_view import kfp_view
from nb2pipe.targets.base import (
    Event,
    Failure,
    OnEvent,
    RunResult,
    Status,
    StepResult,
    parameter_texts,
    read_map,
)
from nb2pipe.targets.kfp import CHILD, compile, last_words
from nb2pipe.targets.local import merged_metrics, new_run_dir, notes_on, sigterm_interrupts, tell_python
from nb2pipe.targets.process import Child, Children, Stream, temporary_files
from nb2pipe.targets.sending import argument
from nb2pipe.targets.workers import read_result

Json = Mapping[str, Any]


def run_kfp(
    project: Path,
    parameters: Mapping[str, Any],
    *,
    notebook_dir: Path,
    runs_dir: Path,
    on_event: OnEvent = lambda event: None,
) -> RunResult:
    """Compiles the project and runs it under `kfp.local.SubprocessRunner`, one step after another, without a cache.

    Nothing is installed: the steps use this environment. Raises as `nb2pipe.targets.local.run` does, and CompileError.
    """
    project = project.resolve()
    graph = read_map(project)["pipeline"]
    texts = parameter_texts(graph, parameters)
    pipeline, run_dir = compile(project), new_run_dir(runs_dir.resolve())
    settings = {
        "project": str(project),
        "pipeline": str(pipeline),
        "root": str(run_dir / "artifacts"),
        "arguments": _arguments(graph, texts, notebook_dir.resolve()),
    }
    (run_dir / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    _tell(graph, on_event)
    started, children = time.monotonic(), Children()
    env = {**os.environ, "STEP_REPORTS": str(run_dir / "steps"), "PYTHONUNBUFFERED": "1"}
    followed = _Follower([step["name"] for step in graph["steps"]], run_dir / "steps", on_event)
    with sigterm_interrupts(), temporary_files() as temporary:  # kfp leaves the programs of components there
        try:
            command = [sys.executable, str(CHILD), "run", str(run_dir / "settings.json")]
            children.add("kfp", Child(command, {**env, **temporary}, run_dir, run_dir, followed.on_line, None))
            [(_, _, status)] = children.wait()
        except BaseException:
            children.end_all()
            shutil.rmtree(run_dir, ignore_errors=True)
            raise
    followed.look()
    steps = [_step(step, run_dir / "steps" / step["name"]) for step in graph["steps"]]
    return _result(steps, run_dir, time.monotonic() - started, status)


def _tell(graph: Json, on_event: OnEvent) -> None:
    tell_python(graph, on_event)
    for step in graph["steps"]:
        limit = ["kfp keeps no time limits on this machine"] if step["resources"]["timeout"] else []
        alone = ["runs here with one worker"] if step["workers"] else []
        for note in notes_on(step) + limit + alone:
            on_event(Event("note", step["name"], note))


def _arguments(graph: Json, texts: Mapping[str, str], notebook_dir: Path) -> dict[str, Any]:
    """The pipeline's arguments: numbers and truth values as such, everything else as text, files by full path."""
    view = kfp_view(dict(graph))
    arguments = {row["argument"]: argument(row, texts[row["name"]]) for row in view["parameters"]}
    arguments |= {name: str(notebook_dir / filled(path, texts)) for path, name in view["files"].items()}
    # A run computes what the notebook computes: parameters are tuned by `nb2pipe tune`.
    return arguments | ({"trials": 0} if view["tuning"] else {})


class _Follower:
    """Shows what the steps print, from the files that they print to, whenever kfp itself logs something."""

    def __init__(self, steps: list[str], folder: Path, on_event: OnEvent) -> None:
        self._steps, self._folder, self._on_event = steps, folder, on_event
        self._shown: dict[Path, int] = {}
        self._done: set[str] = set()

    def on_line(self, stream: Stream, line: str) -> None:
        """Something was logged: looks at the steps' files."""
        self.look()

    def look(self) -> None:
        """Shows what is new."""
        for step in self._steps:
            folder = self._folder / step
            if step in self._done or not folder.is_dir():
                continue
            if folder / "stdout" not in self._shown:
                self._on_event(Event("started", step))
            result = read_result(folder)
            self._show(step, folder / "stdout", "stdout", bool(result))
            self._show(step, folder / "stderr", "stderr", bool(result))
            if result:
                self._done.add(step)
                status: Status = "failed" if result.get("error") else "succeeded"
                self._on_event(Event("finished", step, status=status, seconds=result["seconds"]))

    def _show(self, step: str, path: Path, stream: Stream, whole: bool) -> None:
        data = path.read_bytes()[self._shown.get(path, 0) :] if path.exists() else b""
        end = len(data) if whole else data.rfind(b"\n") + 1
        self._shown[path] = self._shown.get(path, 0) + end
        text = data[:end].decode("utf-8", "replace")
        for line in text.removesuffix("\n").split("\n") if text else ():
            self._on_event(Event("log", step, line, stream))


@dataclass(frozen=True)
class _Ended:
    result: StepResult
    metrics: Mapping[str, float]
    failure: Failure | None


def _step(step: Json, folder: Path) -> _Ended:
    """How the step ended, from the report that its task.py wrote; without one it never started."""
    report = read_result(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for stream in ("stdout", "stderr"):
        (folder / stream).touch()
    error = report.get("error")
    status: Status = "failed" if error else "succeeded" if report else "skipped"
    outputs = {name: Path(path) for name, path in report.get("outputs", {}).items()}
    seconds = report.get("seconds", 0.0)
    result = StepResult(step["name"], status, seconds, folder / "stdout", folder / "stderr", outputs)
    failure = Failure(step["name"], error["cell"], error["line"], error["message"]) if error else None
    return _Ended(result, report.get("metrics") or {}, failure)


def _result(ended: list[_Ended], run_dir: Path, seconds: float, status: int) -> RunResult:
    failure = next((step.failure for step in ended if step.failure), None)
    if status and failure is None:
        ended, failure = _outside_the_code(ended, run_dir)
    metrics = merged_metrics({step.result.name: step.metrics for step in ended})
    state: Literal["failed", "succeeded"] = "failed" if failure else "succeeded"
    return RunResult(state, run_dir, seconds, tuple(step.result for step in ended), metrics, failure)


def _outside_the_code(ended: list[_Ended], run_dir: Path) -> tuple[list[_Ended], Failure]:
    """kfp failed, but no step's code did: what failed is the first step that did not succeed, in its component."""
    index = next((i for i, step in enumerate(ended) if step.result.status != "succeeded"), len(ended) - 1)
    log = (run_dir / "stderr").read_text(encoding="utf-8", errors="replace")
    step = replace(ended[index], result=replace(ended[index].result, status="failed"))
    return [*ended[:index], step, *ended[index + 1 :]], Failure(step.result.name, None, None, last_words(log))
