"""The child process of the target `kfp`: the only place that imports kfp. Run as a script, not imported.

python kfp_child.py compile|compile-light PROJECT OUTPUT
python kfp_child.py run SETTINGS
"""

from __future__ import annotations

import json
import os
import re
import runpy
import sys
import warnings
from pathlib import Path
from typing import Any


def main(words: list[str]) -> None:
    """Compiles PROJECT/pipeline.py to the file OUTPUT, or runs a compiled pipeline as the file SETTINGS says."""
    warnings.simplefilter("ignore")  # kfp's do not concern the user
    if words[0] == "run":
        run_pipeline(json.loads(Path(words[1]).read_text(encoding="utf-8")))
        return
    sys.path[0] = words[1]  # this folder holds a kfp.py
    if words[0] == "compile-light":
        import_kfp_without_clients()
    compile_project(Path(words[1]), Path(words[2]))


def compile_project(project: Path, output: Path) -> None:
    """Compiles the pipeline that the project's pipeline.py defines, as a person may have edited it."""
    from kfp import compiler

    compiler.Compiler().compile(the_pipeline(runpy.run_path(str(project / "pipeline.py"))), str(output))


def import_kfp_without_clients() -> None:
    """Imports kfp as its containers do, by its own switch: without the clients of Kubernetes and of the API server.

    They take most of the time of `import kfp`, and no compilation needs them.
    """
    os.environ["_KFP_RUNTIME"] = "true"
    import kfp  # noqa: F401

    del os.environ["_KFP_RUNTIME"]


def the_pipeline(namespace: dict[str, Any]) -> Any:
    """What `pipeline` names, or the only pipeline there is."""
    from kfp.dsl.graph_component import GraphComponent

    found = [value for value in namespace.values() if isinstance(value, GraphComponent)]
    if namespace.get("pipeline") in found:
        return namespace["pipeline"]
    if len(found) != 1:
        raise SystemExit(f"pipeline.py defines {len(found)} pipelines; name the one to compile `pipeline`")
    return found[0]


def run_pipeline(settings: dict[str, Any]) -> None:
    """Runs a compiled pipeline under kfp's own local runner, in this Python's environment; nothing is installed."""
    sys.path[0] = settings["project"]
    import yaml
    from kfp import components, local

    documents = list(yaml.load_all(Path(settings["pipeline"]).read_text(encoding="utf-8"), yaml.SafeLoader))
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        without_pip(executor.get("container", {}))
    text = yaml.dump_all(documents[:1])  # settings for Kubernetes mean nothing here
    text = re.sub(r"\{\{\$\.pipeline_google_cloud_\w+}}", "", text)  # kfp fails at what only Vertex AI knows
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=settings["root"], raise_on_error=True)
    components.load_component_from_text(text)(**settings["arguments"])


def without_pip(container: dict[str, Any]) -> None:
    """Takes the command that installs packages off a component: what runs here uses what is installed here."""
    command = container.get("command", [])
    if command[:2] == ["sh", "-c"] and "pip install" in command[2]:
        container["command"] = command[3:]


if __name__ == "__main__":
    main(sys.argv[1:])
