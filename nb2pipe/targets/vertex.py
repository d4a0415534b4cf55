"""The target `vertex`: compiles a project for Vertex AI Pipelines, which runs what kfp compiles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nb2pipe.findings import Finding, finding
from nb2pipe.pipeline.machines import lacking
from nb2pipe.targets.kfp import compile as compile_with_kfp
from nb2pipe.targets.kfp import on_any_cluster

Json = Mapping[str, Any]


class Vertex:
    """Vertex AI Pipelines."""

    name = "vertex"

    def unsupported(self, graph: Json) -> tuple[Finding, ...]:
        """Errors for what Vertex AI could not do as the notebook does it, warnings for what is not done yet."""
        return tuple(_unsupported(graph))

    def compile(self, project: Path) -> Path:
        """Compiles the project's pipeline.py to pipeline.yaml. Raises CompileError."""
        return compile_with_kfp(project, self.unsupported)


def _unsupported(graph: Json) -> Iterator[Finding]:
    yield from on_any_cluster(graph)
    for step in graph["steps"]:
        for what in _refused(step):
            message = f"Step {step['name']} asks for {what}."
            yield finding("not-on-vertex", message, cell=step["cells"][0], name=step["name"])


def _refused(step: Json) -> Iterator[str]:
    """In words, what of the step's resources does not arrive on Vertex AI."""
    resources = step["resources"]
    yield from lacking(resources)
    for secret in resources["secrets"]:
        if not re.fullmatch("[A-Za-z0-9_-]{1,255}", secret["name"]):
            yield f"the secret {secret['name']}, a name that Secret Manager does not allow"
    if resources["timeout"] and not step["framework"]:
        yield "a time limit, which only a step with many workers can have there"
