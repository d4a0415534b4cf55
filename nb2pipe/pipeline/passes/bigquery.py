"""What a run may say of BigQuery: parameters of the pipeline beside the notebook's own."""

from __future__ import annotations

import re
from dataclasses import replace

from nb2pipe.notebook.model import Parameter
from nb2pipe.pipeline.graph import unique
from nb2pipe.pipeline.model import Pipeline, Step

ASKS = re.compile(r"(google[-_.]cloud[-_.]bigquery|pandas[-_.]gbq)(?![\w-])")
"""What a step requires that asks BigQuery."""

OPTIONS: tuple[tuple[str, str | int, str], ...] = (
    ("project", "", "the Google Cloud project of BigQuery's clients that are given none"),
    ("rows", 0, "for development: how many rows of a result are read, 0 is all"),
)


def bigquery_parameters(pipeline: Pipeline) -> Pipeline:
    """The pipeline with `bigquery_project` and `bigquery_rows` for the steps that ask BigQuery."""
    asking = [step for step in pipeline.steps if _asks(step)]
    if not asking:
        return pipeline
    names = [parameter.name for parameter in pipeline.parameters]
    made = {
        option: Parameter(
            name=unique(f"bigquery_{option}", names),
            type=type(default).__name__,
            default=default,
            source=repr(default),
            cell=asking[0].cells[0],
            line=1,
            help=meaning,
        )
        for option, default, meaning in OPTIONS
    }
    options = tuple((option, parameter.name) for option, parameter in made.items())
    steps = tuple(replace(step, bigquery=options) if _asks(step) else step for step in pipeline.steps)
    return replace(pipeline, steps=steps, parameters=(*pipeline.parameters, *made.values()))


def _asks(step: Step) -> bool:
    return any(ASKS.match(requirement.spec) for requirement in step.requirements)
