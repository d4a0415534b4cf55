"""Runs the step `train` of generated projects as one worker: python torch_worker.py FOLDER RESULT [PORTS RANK SIZE].

RESULT becomes a JSON object: for each project what the step printed, why it failed, and how many forward passes were
divided among workers; without PORTS also what the notebook itself prints.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import tempfile
import traceback
import types
from itertools import zip_longest
from pathlib import Path
from typing import Any


def main(folder: str, result: str, ports: str = "", rank: str = "0", size: str = "1") -> None:
    found: dict[str, Any] = {}
    for project, port in zip_longest(sorted(Path(folder).iterdir()), filter(None, ports.split(","))):
        if port:
            os.environ |= {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        found[project.name] = trained(project)
        if not port:
            notebook = Path(folder).parent / "notebooks" / project.name / f"{project.name}.py"
            found[project.name]["notebook"] = printed(notebook.read_text("utf-8"))
    Path(result).write_text(json.dumps(found), encoding="utf-8")


def trained(project: Path) -> dict[str, Any]:
    """What the step of `project` does in this process."""
    sys.path.insert(0, str(project))
    out, error, divided = io.StringIO(), "", 0
    try:
        task = importlib.import_module(f"{project.name}.task")
        workers = importlib.import_module(f"{project.name}.torch_workers")
        divide = workers._computed

        def counted(*args: Any) -> Any:
            nonlocal divided
            divided += 1
            return divide(*args)

        workers._computed = counted
        with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(out):
            task.run("train", workdir=place)
    except Exception:
        error = traceback.format_exc()
    finally:
        sys.path.remove(str(project))
    return {"printed": out.getvalue(), "error": error, "divided": divided}


def printed(code: str) -> str:
    """What the notebook prints in one process."""
    out = io.StringIO()
    module = types.ModuleType("__main__")
    with contextlib.redirect_stdout(out):
        exec(compile(code, "notebook", "exec", dont_inherit=True), module.__dict__)
    return out.getvalue()


if __name__ == "__main__":
    main(*sys.argv[1:])
