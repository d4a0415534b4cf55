"""The target `vertex`: compiles a project for Vertex AI Pipelines, which runs what kfp compiles, and submits it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from nb2pipe.findings import Finding, finding
from nb2pipe.pipeline.machines import lacking
from nb2pipe.targets.base import OnEvent, read_map
from nb2pipe.targets.kfp import compile as compile_with_kfp
from nb2pipe.targets.kfp import on_any_cluster
from nb2pipe.targets.submission import Submission, SubmitOptions

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

    def submit(self, project: Path, options: SubmitOptions, on_event: OnEvent) -> Submission:
        """See Platform: a PipelineJob, or with `options.schedule` the schedule of that name, made or changed."""
        from nb2pipe.targets.sending import fresh_pipeline
        from nb2pipe.targets.storage import staged, uncached
        from nb2pipe.targets.vertex_request import checked, planned, requests
        from nb2pipe.targets.vertex_runs import started

        checked(options)
        project = project.resolve()
        graph = read_map(project)["pipeline"]
        spec = fresh_pipeline(project, partial(compile_with_kfp, project, self.unsupported), self.name)["spec"]
        files = staged(graph, options)
        options = uncached(options, files)
        plan = planned(graph, spec, options, files.uris)
        if options.dry_run:
            return Submission(self.name, "dry-run", plan.name, request=requests(plan, files))
        return started(plan, files, options, on_event)

    def list_runs(self, options: SubmitOptions, limit: int, on_event: OnEvent) -> tuple[Submission, ...]:
        """See Platform."""
        from nb2pipe.targets.vertex_runs import latest

        return latest(options, limit, on_event)

    def show_run(self, run: str, options: SubmitOptions, on_event: OnEvent) -> Submission:
        """See Platform."""
        from nb2pipe.targets.vertex_runs import shown

        return shown(run, options, on_event)

    def cancel_run(self, run: str, options: SubmitOptions, on_event: OnEvent) -> Submission:
        """See Platform."""
        from nb2pipe.targets.vertex_runs import cancelled

        return cancelled(run, options, on_event)


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
    if step.get("kubernetes"):
        yield f"{', '.join(step['kubernetes'])} of Kubernetes"
    if resources["timeout"] and not step["framework"]:
        yield "a time limit, which only a step with many workers can have there"
