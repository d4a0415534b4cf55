"""What tuning optimises: the number of an objective is a metric of its step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nb2pipe.dataflow.model import Flow, Statement, StepFlow
from nb2pipe.findings import Finding, finding
from nb2pipe.notebook.model import Objective
from nb2pipe.pipeline.model import Metric


def objective_metrics(flow: Flow, step: StepFlow, numbers: Sequence[Metric]) -> tuple[Metric, ...]:
    """`numbers` with the step's objectives among them."""
    labels = {metric.label for metric in numbers}
    own = [o for o in flow.layout.objectives if o.cell in step.cells and o.name not in labels]
    return (*numbers, *(Metric(o.name, o.name, o.cell, 1) for o in own))


def objective_findings(flow: Flow) -> Iterator[Finding]:
    """Objectives that cannot be: a second one, one that its cell does not compute, one that changes afterwards."""
    for objective in flow.layout.objectives[1:]:
        message = f"{objective.name} is a second objective: tuning optimises one number."
        yield finding("bad-objective", message, cell=objective.cell, name=objective.name)
    for objective in flow.layout.objectives:
        reason = _wrong(flow, objective)
        if reason:
            message = f"The objective {objective.name} {reason}."
            yield finding("bad-objective", message, cell=objective.cell, name=objective.name)


def _wrong(flow: Flow, objective: Objective) -> str:
    """What is wrong with an objective, "" if nothing is."""
    step = flow.layout.step_of.get(objective.cell)
    if step is None:
        return "is not computed in a step"
    writers = [s for s in flow.statements if s.step == step and objective.name in s.writes]
    inside = [s for s in writers if s.cell == objective.cell]
    if not inside:
        return f"is not assigned in cell {objective.cell}"
    return _changed_later(inside[-1], writers)


def _changed_later(computed: Statement, writers: Sequence[Statement]) -> str:
    later = [s for s in writers if s.index > computed.index and s.cell != computed.cell]
    return f"is assigned again in cell {later[0].cell} line {later[0].first}" if later else ""
