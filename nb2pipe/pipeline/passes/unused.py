"""Parameters that no step uses."""

from __future__ import annotations

from dataclasses import replace

from nb2pipe.findings import finding
from nb2pipe.pipeline.model import Pipeline


def unused_parameters(pipeline: Pipeline) -> Pipeline:
    """The pipeline with a finding for each parameter that no step uses."""
    used = {name for step in pipeline.steps for name in step.parameters}
    message = "no step uses this parameter"
    found = [
        finding("unused-parameter", message, cell=p.cell, line=p.line, name=p.name)
        for p in pipeline.parameters
        if p.name not in used
    ]
    return replace(pipeline, findings=(*pipeline.findings, *found))
