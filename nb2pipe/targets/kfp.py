"""The target `kfp`: compiles a project to the intermediate representation of Kubeflow Pipelines v2, by kfp itself."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nb2pipe.findings import Finding, errors, finding
from nb2pipe.pipeline.trial import NoTuning, shared_places, trial_slice
from nb2pipe.targets.base import CompileError, OnEvent, read_map
from nb2pipe.targets.submission import Submission, SubmitOptions

Unsupported = Callable[[Mapping[str, Any]], Iterable[Finding]]
"""What is said about a graph that a platform cannot run as it is."""

CHILD = Path(__file__).with_name("kfp_child.py")
LARGEST_ARGUMENT = 128 * 1024 - 1
"""Bytes of one argument of a command on Linux; a component's program is one."""


class Kfp:
    """Kubeflow Pipelines."""

    name = "kfp"

    def unsupported(self, graph: Mapping[str, Any]) -> tuple[Finding, ...]:
        """Errors for what a cluster could not do as the notebook does it, warnings for what is not done yet."""
        return tuple(_unsupported(graph))

    def compile(self, project: Path) -> Path:
        """Compiles the project's pipeline.py to pipeline.yaml."""
        return compile(project)

    def submit(self, project: Path, options: SubmitOptions, on_event: OnEvent) -> Submission:
        """See Platform."""
        from nb2pipe.targets.kfp_submit import submit

        return submit(project, options, on_event, lambda output: compile(project, None, output))

    def list_runs(self, options: SubmitOptions, limit: int, on_event: OnEvent) -> tuple[Submission, ...]:
        """See Platform."""
        from nb2pipe.targets.kfp_runs import listed

        return listed(options, limit, on_event)

    def show_run(self, run: str, options: SubmitOptions, on_event: OnEvent) -> Submission:
        """See Platform."""
        from nb2pipe.targets.kfp_runs import shown

        return shown(run, options, on_event)

    def cancel_run(self, run: str, options: SubmitOptions, on_event: OnEvent) -> Submission:
        """See Platform."""
        from nb2pipe.targets.kfp_runs import cancelled

        return cancelled(run, options, on_event)


def compile(project: Path, unsupported: Unsupported | None = None, output: Path | None = None) -> Path:
    """Compiles the project's pipeline.py, as it lies there, to pipeline.yaml beside it, or to `output`; returns that.

    `unsupported` says what the platform cannot do, where that is not a Kubernetes cluster. The same project gives the
    same bytes. Raises CompileError with what kfp said; the old file is then still there.
    """
    project = project.resolve()
    graph = read_map(project)["pipeline"]
    refused = errors((unsupported or _unsupported)(graph))
    if refused:
        raise CompileError(refused)
    target = output or project / "pipeline.yaml"
    part = target.parent / f".pipeline-{os.getpid()}.yaml"
    try:
        # A pipeline.py that a person edited may need more of kfp than the light way imports.
        child = _compiled("compile-light", project, part)
        child = child if child.returncode == 0 else _compiled("compile", project, part)
        if child.returncode:
            raise CompileError(
                [finding("compile-failed", f"kfp cannot compile pipeline.py: {last_words(child.stderr)}")]
            )
        too_large = tuple(_too_large(part.read_text(encoding="utf-8"), graph))
        if too_large:
            raise CompileError(too_large)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _compiled(way: str, project: Path, output: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHILD), way, str(project), str(output)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def last_words(log: str) -> str:
    """The last line of a traceback that says something, without colour."""
    lines = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", log).splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it ended without a message."


def _unsupported(graph: Mapping[str, Any]) -> Iterator[Finding]:
    yield from on_any_cluster(graph)
    for step in graph["steps"]:
        if step["framework"] and step.get("kubernetes"):
            message = f"Step {step['name']} trains in a job of its own, which settings for Kubernetes do not reach."
            hint = (
                "Give them to the other steps in [tool.nb2pipe.kubernetes.steps.NAME], and write this one's into jobs/."
            )
            yield finding("not-for-target", message, cell=step["cells"][0], name=step["name"], hint=hint)
        if step["framework"] == "xgboost" and (step["resources"]["accelerators"] or 0) > 1:
            # Kubeflow's runtime waits for one worker a GPU.
            message = f"Step {step['name']} asks for {step['resources']['accelerators']} GPUs for each worker."
            hint = "XGBoost trains on one GPU a worker: write `gpu:1`, and as many `workers:` as there are GPUs."
            yield finding("workers-unsound", message, cell=step["cells"][0], name=step["name"], hint=hint)


def on_any_cluster(graph: Mapping[str, Any]) -> Iterator[Finding]:
    """What no cluster can do where each step runs on a machine of its own, or is not done yet."""
    makers = {path: step["name"] for step in graph["steps"] for path in step["files_made"] if "://" not in path}
    for step in graph["steps"]:
        if step["workers"] and not step["framework"]:
            message = f"Step {step['name']} has workers:{step['workers']}, but is compiled to run in one process."
            yield finding("not-distributed", message, cell=step["cells"][0], name=step["name"])
        for path in step["files_fixed"]:
            if path in makers and makers[path] != step["name"]:
                message = f"Step {step['name']} reads {path}, which step {makers[path]} writes on another machine."
                yield finding("file-not-shared", message, cell=step["cells"][0], name=path)
    defaults = {row["name"]: row["text"] for row in graph["parameters"]}
    with contextlib.suppress(NoTuning):
        yield from shared_places(graph, trial_slice(graph).trial, defaults, one_machine=False)


def _too_large(text: str, graph: Mapping[str, Any]) -> Iterator[Finding]:
    if len(text) <= LARGEST_ARGUMENT:
        return
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    executors = next(iter(yaml.load_all(text, loader)))["deploymentSpec"]["executors"]
    for name, executor in executors.items():
        words = executor.get("container", {}).get("command", [])
        if any(len(word.encode()) > LARGEST_ARGUMENT for word in words):
            message = f"The code of {name.removeprefix('exec-')} is too large to travel in the pipeline."
            yield finding("code-too-large", message, name=name.removeprefix("exec-"))
