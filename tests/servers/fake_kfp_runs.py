"""What a run on the stand-in of Kubeflow Pipelines does: kfp's own local runner executes it, or a test says it."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import kfp_server_api
import yaml
from fake_kfp import Run

from nb2pipe.targets.kfp import CHILD


def scripted(looks: Sequence[Mapping[str, str]], logs: Mapping[str, str] | None = None) -> Callable[[Run], None]:
    """A run that at each look goes on by one row: states of tasks by name, and "run" for that of the run."""

    def start(run: Run) -> None:
        rest, states = list(looks), {}
        run.logs = {f"{task}-pod": text for task, text in (logs or {}).items()}

        def look(run: Run) -> None:
            row = dict(rest.pop(0)) if rest else {}
            run.message.state = row.pop("run", "RUNNING")
            states.update(row)
            _tell(run, states, {})

        run.look = look

    return start


def executed(folder: Path, fetch: Callable[[str], Path]) -> Callable[[Run], None]:
    """A run that is executed in `folder` by kfp.local, with this Python's packages; `fetch` gives the file at a URI."""

    def start(run: Run) -> None:
        home = folder / run.message.run_id
        (home / "tmp").mkdir(parents=True)
        (home / "pipeline.yaml").write_text(yaml.safe_dump(run.document.get("pipeline_spec", run.document)))
        given = run.message.runtime_config.parameters or {}
        arguments = {k: str(fetch(v)) if isinstance(v, str) and "://" in v else v for k, v in given.items()}
        settings = {
            "project": str(home), "pipeline": str(home / "pipeline.yaml"), "root": str(home / "artifacts"),
            "arguments": arguments,
        }  # fmt: skip
        (home / "settings.json").write_text(json.dumps(settings))
        env = {**os.environ, "STEP_REPORTS": str(home / "steps"), "TMPDIR": str(home / "tmp")}
        with (home / "log").open("wb") as log:
            command = [sys.executable, str(CHILD), "run", str(home / "settings.json")]
            child = subprocess.Popen(command, cwd=home, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        run.look = lambda run: _look(run, child, home)

    return start


def _look(run: Run, child: subprocess.Popen[bytes], home: Path) -> None:
    """Brings the run to where the processes are."""
    if run.stopped.is_set():
        child.kill()
    status = child.poll()
    states, seconds = {}, {}
    for name in run.spec.root.dag.tasks:
        place = home / "steps" / run.spec.root.dag.tasks[name].task_info.name
        result = place / "result.json"
        if result.is_file():
            report = json.loads(result.read_text())
            states[name], seconds[name] = ("FAILED" if report.get("error") else "SUCCEEDED"), report["seconds"]
            run.logs[f"{name}-pod"] = (place / "stdout").read_text() + (place / "stderr").read_text()
        elif place.is_dir():
            states[name] = "RUNNING"
    run.message.state = "RUNNING" if status is None else "FAILED" if status else "SUCCEEDED"
    _tell(run, states, seconds)


def _tell(run: Run, states: Mapping[str, str], seconds: Mapping[str, float]) -> None:
    """Writes the tasks into the run as the API server does: a task, and under it the pod that executes it."""
    start = dt.datetime.now(dt.timezone.utc)
    details: list[Any] = []
    for name, state in states.items():
        ended = {"end_time": start + dt.timedelta(seconds=seconds.get(name, 1.0))} if state != "RUNNING" else {}
        child = kfp_server_api.PipelineTaskDetailChildTask(task_id=f"{name}-executor")
        common = {"run_id": run.message.run_id, "state": state, "start_time": start, **ended}
        detail = kfp_server_api.V2beta1PipelineTaskDetail
        details.append(detail(task_id=name, display_name=name, child_tasks=[child], **common))
        details.append(
            detail(task_id=f"{name}-driver", display_name=f"{name}-driver", pod_name=f"{name}-driver", **common)
        )
        details.append(detail(task_id=f"{name}-executor", display_name="executor", pod_name=f"{name}-pod", **common))
    run.message.run_details.task_details = details
