"""Runs a compiled pipeline with kfp's own local runner: `python run_ir.py SETTINGS`. Nothing is installed.

SETTINGS is a JSON file: the pipeline's IR in `spec`, its `arguments`, and the folder `root` for what it makes.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any


def main() -> None:
    warnings.simplefilter("ignore")
    settings = json.loads(Path(sys.argv[1]).read_text())
    from kfp import components, local

    for executor in settings["spec"]["deploymentSpec"]["executors"].values():
        without_pip(executor.get("container", {}))
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=settings["root"], raise_on_error=True)
    components.load_component_from_text(json.dumps(settings["spec"]))(**settings["arguments"])


def without_pip(container: dict[str, Any]) -> None:
    """Takes the command that installs packages off: what runs here uses what is installed here."""
    command = container.get("command", [])
    if command[:2] == ["sh", "-c"] and "pip install" in command[2]:
        container["command"] = command[3:]


if __name__ == "__main__":
    main()
