"""How the tests knock at nb2pipe and at the notebook itself: child processes, and notebooks made of lists of cells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"


def installed() -> bool:
    """Whether nb2pipe is installed (editable counts), not only importable because the checkout is on the path."""
    try:
        distribution("nb2pipe")
    except PackageNotFoundError:
        return False
    return True


def environment() -> dict[str, str]:
    """The environment of child processes: byte code is kept (imports are slow without), plots need no screen."""
    kept = {k: v for k, v in os.environ.items() if k not in {"PYTHONDONTWRITEBYTECODE", "NB2PIPE_REGEN"}}
    if not installed():
        kept["PYTHONPATH"] = joined(ROOT, kept.get("PYTHONPATH"))
    return {**kept, "PATH": joined(Path(sys.executable).parent, kept.get("PATH")), "MPLBACKEND": "Agg", "NO_COLOR": "1"}


def joined(first: Path, rest: str | None) -> str:
    return os.pathsep.join(filter(None, (str(first), rest)))


def nb2pipe(*arguments: object, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """`nb2pipe ARGUMENTS` in a child process."""
    command = [sys.executable, "-m", "nb2pipe", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout, check=False
    )


def nb2pipe_json(*arguments: object, cwd: Path) -> dict[str, Any]:
    """The JSON document of a command that must succeed."""
    done = nb2pipe(*arguments, "--json", cwd=cwd)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def notebook(cells: Sequence[tuple[str, Sequence[str]]]) -> dict[str, Any]:
    """A notebook (nbformat 4.5, as JSON) of code cells given as (source, tags)."""
    return {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{index}",
                "metadata": {"tags": list(tags)},
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
            for index, (source, tags) in enumerate(cells)
        ],
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


@dataclass(frozen=True)
class Baseline:
    """What each step of the notebook printed when it ran from top to bottom in one process.

    `printed` is the text of standard output; `shown` has the results of `display(...)` as well.
    """

    printed: Mapping[str, str]
    shown: Mapping[str, str]


def baseline(cells: Sequence[tuple[str, str]], kernel: str, folder: Path, scratch: Path) -> Baseline:
    """Run (step, code) cells in `folder` with `kernel` "python" or "ipython"; fails when a cell does."""
    request, result = scratch / "request.json", scratch / "result.json"
    request.write_text(json.dumps({"kernel": kernel, "cells": [{"step": s, "code": c} for s, c in cells]}))
    script = Path(__file__).with_name("run_cells.py")
    env = {**environment(), "IPYTHONDIR": str(scratch / "ipython")}
    subprocess.run(
        [sys.executable, script, request, result],
        cwd=folder,
        env=env,
        check=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    told = json.loads(result.read_text())
    assert told["error"] is None, told["error"]
    return Baseline(told["steps"], told["shown"])


def step_stdout(run: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """What each step of a pipeline printed, from the JSON document of `nb2pipe run`."""
    return {step["name"]: (folder / step["stdout"]).read_text() for step in run["steps"]}
