"""What the commands say, as JSON documents: the fields that other programs rely on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nb2pipe.findings import Finding
    from nb2pipe.notebook.model import Layout, Parameter
    from nb2pipe.pipeline.model import Pipeline

Json = dict[str, Any]


def finding_json(found: Finding) -> Json:
    """A finding as in DESIGN's JSON."""
    return {
        "code": found.code,
        "severity": found.severity,
        "cell": found.cell,
        "line": found.line,
        "name": found.name,
        "message": found.message,
        "hint": found.hint,
    }


def parameter_json(parameter: Parameter) -> Json:
    """A parameter as in DESIGN's JSON."""
    search: Json | None = None
    if parameter.search is not None:
        kind = parameter.search.kind
        search = {"kind": kind, "low": parameter.search.low, "high": parameter.search.high}
        if kind == "choice":
            search = {"kind": kind, "values": list(parameter.search.values)}
    return {
        "name": parameter.name,
        "type": parameter.type,
        "default": parameter.default,
        "search": search,
        "help": parameter.help,
    }


def step_documents(pipeline: Pipeline) -> list[Json]:
    """The steps as in DESIGN's JSON."""
    return [
        {
            "name": step.name,
            "cells": list(step.cells),
            "inputs": [{"name": i.name, "from": i.source, "why": i.why, "type": i.type} for i in step.inputs],
            "outputs": [{"name": o.name, "why": o.why, "type": o.type} for o in step.outputs],
            "parameters": list(step.parameters),
            "shared": list(step.copies),
            "files_in": [f.path for f in step.files_in],
            "files_out": list(step.files_out),
            "after": list(step.after),
            "requirements": [r.spec for r in step.requirements],
            "form": step.form,
            "form_reason": step.form_reason,
        }
        for step in pipeline.steps
    ]


def plain_steps(layout: Layout) -> list[Json]:
    """The steps of a notebook whose dataflow is not known, as in DESIGN's JSON."""
    empty: Iterable[str] = (
        "inputs",
        "outputs",
        "parameters",
        "shared",
        "files_in",
        "files_out",
        "after",
        "requirements",
    )
    return [{"name": s.name, "cells": list(s.cells), **{key: [] for key in empty}} for s in layout.steps]
