"""Where a notebook is stopped for a moment: after which cell which values, metrics and files are stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from nb2pipe.pipeline.graph import filled, graph

if TYPE_CHECKING:
    from pathlib import Path

    from nb2pipe.codegen.project import Project
    from nb2pipe.dataflow.model import Flow, Statement, StepFlow
    from nb2pipe.notebook.model import Layout, Notebook, PyCell
    from nb2pipe.pipeline.model import Metric, Pipeline, Step

BoundaryKind = Literal["values", "metrics", "file"]


class Subject(Protocol):
    """What verification needs of a conversion."""

    @property
    def path(self) -> Path: ...
    @property
    def notebook(self) -> Notebook: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def cells(self) -> Sequence[PyCell]: ...
    @property
    def flow(self) -> Flow: ...
    @property
    def pipeline(self) -> Pipeline: ...
    @property
    def project(self) -> Project: ...


@dataclass(frozen=True, slots=True)
class Boundary:
    """What a step hands over under one name of its results: the names of an artifact, its metrics, or a file.

    It is stored after `cell` of the notebook; `names` are the artifact's names, or the file's path. `labels` give the
    expressions of metrics. `number` is unique in the pipeline.
    """

    number: int
    step: str
    cell: int
    kind: BoundaryKind
    artifact: str
    names: tuple[str, ...]
    labels: Mapping[str, str]

    @property
    def file(self) -> str:
        """The name of the file in which the notebook's values are stored."""
        return f"{self.number}.file" if self.kind == "file" else f"{self.number}.pickle"


def boundaries(subject: Subject) -> tuple[Boundary, ...]:
    """Everything that crosses steps, in the notebook's order."""
    flows = {flow.name: flow for flow in subject.flow.steps}
    found: list[Boundary] = []
    rows = graph(subject.pipeline, subject.project.package)["steps"]
    for step, row in zip(subject.pipeline.steps, rows, strict=True):
        for kind, artifact, names, labels in _given(row, step.metrics):
            cell = _moment(step, flows[step.name], subject, names if kind == "values" else ())
            found.append(Boundary(len(found), step.name, cell, kind, artifact, names, labels))
    return tuple(sorted(found, key=lambda boundary: (boundary.cell, boundary.number)))


def _given(
    step: Mapping[str, Any], expressions: Sequence[Metric]
) -> Iterator[tuple[BoundaryKind, str, tuple[str, ...], dict[str, str]]]:
    for row in step["outputs"]:
        metrics = row["kind"] == "Metrics"
        labels = {m.label: m.expression for m in expressions} if metrics else {}
        yield "metrics" if metrics else "values", row["artifact"], tuple(row["names"]), labels
    for path in step["files_out"]:
        yield "file", path, (path,), {}


def _moment(step: Step, flow: StepFlow, subject: Subject, names: Iterable[str]) -> int:
    """The cell after which the step's values are what it hands over.

    That is its last cell, unless cells of other steps stand between its own: they may change the value before the last
    one comes, so the last cell that binds or changes one of the names counts.
    """
    last = max(step.cells)
    others = [c for c, owner in subject.layout.step_of.items() if min(step.cells) < c < last and owner != step.name]
    touching = [s.cell for s in own_statements(subject.flow, flow) if touches(s, names)]
    return max(touching) if others and touching else last


def own_statements(flow: Flow, step: StepFlow) -> list[Statement]:
    """The statements of the step's own cells, in notebook order."""
    return [flow.statements[index] for index in step.statements]


def touches(statement: Statement, names: Iterable[str]) -> bool:
    """Whether the statement binds or changes one of the names."""
    return any(name in statement.writes or name in statement.changes for name in names)


def last_change(subject: Subject, step: str, names: Iterable[str]) -> tuple[int | None, int | None]:
    """(cell, line) where the step last binds or changes one of the names; its last cell when that is not known."""
    wanted = tuple(names)
    flow = next(one for one in subject.flow.steps if one.name == step)
    for statement in reversed(own_statements(subject.flow, flow)):
        if touches(statement, wanted):
            places = [statement.changes[name].line for name in wanted if name in statement.changes]
            return statement.cell, max(places, default=statement.first)
    return (max(flow.cells), None) if flow.cells else (None, None)


def request(found: Sequence[Boundary], folder: Path, texts: Mapping[str, str]) -> dict[str, Any]:
    """What the probe is asked for after a cell; `texts` are the parameters in the names of files."""
    return {
        "values": [{"file": str(folder / b.file), "names": b.names} for b in found if b.kind == "values"],
        "metrics": [
            {"file": str(folder / b.file), "name": b.names[0], "labels": dict(b.labels)}
            for b in found
            if b.kind == "metrics"
        ],
        "files": [{"file": str(folder / b.file), "path": filled(b.names[0], texts)} for b in found if b.kind == "file"],
    }
