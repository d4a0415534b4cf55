"""Hand-built pieces of the IR for the tests of codegen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from nb2pipe.notebook.model import Parameter, Resources
from nb2pipe.pipeline.model import (
    Artifact,
    Fragment,
    Input,
    InputFile,
    Metric,
    Output,
    Pipeline,
    Requirement,
    Shared,
    Step,
)

EMPTY = Step(
    name="train",
    cells=(),
    title="",
    form="function",
    form_reason="",
    prelude=(),
    imports=(),
    extra_imports=(),
    shared=(),
    definitions=(),
    setup=(),
    body=(),
    inputs=(),
    outputs=(),
    artifacts=(),
    parameters=(),
    copies=(),
    metrics=(),
    metrics_output="",
    maybe_unbound=(),
    is_async=False,
    files_in=(),
    files_out=(),
    after=(),
    requirements=(),
    resources=Resources(),
)


def step(**fields: Any) -> Step:
    """A step with nothing in it but `fields`."""
    return replace(EMPTY, **fields)


def fragment(cell: int, text: str, line: int = 1, raw: Iterable[int] = (), names: Iterable[str] = ()) -> Fragment:
    """The lines of `text` as a fragment of `cell`."""
    return Fragment(cell, line, tuple(text.split("\n")), frozenset(raw), (), tuple(names))


def parameter(name: str, kind: str, source: str, default: Any, text: str = "") -> Parameter:
    """A parameter of cell 1."""
    return Parameter(name, kind, default, source, 1, 1, None, text)


def pipeline(*steps: Step, **fields: Any) -> Pipeline:
    """A pipeline of `steps`."""
    values: dict[str, Any] = {
        "name": "taxi_fare",
        "notebook": "taxi_fare.ipynb",
        "title": "Taxi fares",
        "parameters": (),
        "shared": Shared(),
        "input_files": (),
        "objectives": (),
        "dropped": (),
        "findings": (),
        "python": "3.11",
        "base_image": "python:3.11-slim",
        "image": None,
        "cell_ids": (),
    }
    return Pipeline(steps=steps, **(values | fields))


def taxi() -> Pipeline:
    """Three steps: load (a file), train (a parameter, a shared function, metrics), report (a script)."""
    load = step(
        name="load",
        cells=(3,),
        title="Load the fares",
        imports=(fragment(0, "import csv"),),
        body=(fragment(3, 'with open("fares.csv") as file:\n    rows = [float(row[0]) for row in csv.reader(file)]'),),
        outputs=(Output("rows", "rows", "builtins.list", "read by train"),),
        artifacts=(Artifact("rows", ("rows",)),),
        files_in=(InputFile("fares.csv"),),
        requirements=(Requirement("cloudpickle==3.1.2", "storing"),),
    )
    train = step(
        name="train",
        cells=(5, 6),
        title="Train",
        shared=("mean",),
        body=(fragment(5, "# the best guess is the mean\nmodel = mean(rows) * factor\n"), fragment(6, "error = 0.5")),
        inputs=(Input("rows", "load", "rows", "builtins.list", ""),),
        outputs=(Output("model", "model", "builtins.float", ""),),
        artifacts=(Artifact("model", ("model",), "Model"), Artifact("metrics", ("metrics",), "Metrics")),
        parameters=("factor",),
        metrics=(Metric("error", "error", 6, 1),),
        metrics_output="metrics",
    )
    report = step(
        name="report",
        cells=(8,),
        form="module",
        body=(fragment(8, "global_text = f'model {model}'\nprint(global_text)"),),
        inputs=(Input("model", "train", "model", "builtins.float", ""),),
        after=("load",),
    )
    mean = fragment(2, "def mean(values):\n    return sum(values) / len(values)", names=["mean"])
    return pipeline(
        load,
        train,
        report,
        shared=Shared(definitions=(mean,)),
        parameters=(parameter("factor", "float", "1e0", 1.0, "what | to multiply by"),),
        input_files=("fares.csv",),
    )
