"""Runs all steps of a generated project in one process, once for each set of parameters: imports are paid for once.

    runs = step_runs.of(notebook, [{}, {"rows": 2}])

gives for each set what each step printed, or the error it ended with, by its name. Steps hand nothing over.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nb2pipe


@dataclass(frozen=True)
class Ran:
    """What a step printed on its two streams, and the error that it ended with ("" for none)."""

    printed: str
    said: str
    error: str


def of(notebook: Path, given: Sequence[dict[str, Any]]) -> list[dict[str, Ran]]:
    """What became of the steps for each set of parameters."""
    project = notebook.parent / "project"
    for name, text in nb2pipe.load(notebook).project.files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    command = [sys.executable, __file__, notebook.stem]
    done = subprocess.run(command, input=json.dumps(list(given)), cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [{step: Ran(**ran) for step, ran in run.items()} for run in json.loads(done.stdout)]


def _run(task: Any, step: str, given: dict[str, Any]) -> dict[str, str]:
    printed, said, error = io.StringIO(), io.StringIO(), ""
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        try:
            task.run(step, {name: value for name, value in given.items() if name in task.STEPS[step]["parameters"]})
        except task.StepError as failed:
            error = str(failed.__cause__ or failed)
    return {"printed": printed.getvalue().strip(), "said": said.getvalue(), "error": error}


if __name__ == "__main__":
    sys.path[0] = ""
    module = __import__(f"{sys.argv[1]}.task", fromlist=["run"])
    print(json.dumps([{step: _run(module, step, one) for step in module.STEPS} for one in json.load(sys.stdin)]))
