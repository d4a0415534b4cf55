"""Projects made by hand: their steps are written in the tests, task.py and pipeline.py come from the templates."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from nb2pipe.codegen.render import render
from nb2pipe.notebook.model import Parameter, Resources
from nb2pipe.pipeline.model import Artifact, Input, InputFile, Metric, Output, Pipeline, Requirement, Shared, Step
from nb2pipe.pipeline.scaffold import scaffold

ARTIFACTS = '''
"""A stand-in for the generated artifacts.py."""
import pickle
from pathlib import Path


def save(path, values, *, kind="Artifact", unbound=()):
    folder = Path(path)
    folder.mkdir(parents=True)
    (folder / "values.pickle").write_bytes(pickle.dumps(dict(values)))
    return {}


def load(path):
    return pickle.loads((Path(path) / "values.pickle").read_bytes())
'''


def step(name: str, **given: Any) -> Step:
    """A step of function form without anything, but for what is given."""
    empty = Step(
        name=name, cells=(0,), title="", form="function", form_reason="", prelude=(), imports=(), extra_imports=(),
        shared=(), definitions=(), setup=(), body=(), inputs=(), outputs=(), artifacts=(), parameters=(), copies=(),
        metrics=(), metrics_output="", maybe_unbound=(), is_async=False, files_in=(), files_out=(), after=(),
        requirements=(), resources=Resources(),
    )  # fmt: skip
    return replace(empty, **given)


def gives(*names: str, kind: str = "Artifact") -> dict[str, Any]:
    """The fields of a step that gives each name in an artifact of its own."""
    return {
        "outputs": tuple(Output(name, name, "", "") for name in names),
        "artifacts": tuple(Artifact(name, (name,), kind) for name in names),  # type: ignore[arg-type]
    }


def takes(**sources: str) -> tuple[Input, ...]:
    """Inputs by name, each from its step."""
    return tuple(Input(name, source, name, "", "") for name, source in sources.items())


def measures(*labels: str) -> dict[str, Any]:
    """The fields of a step with these metrics."""
    return {"metrics": tuple(Metric(label, label, 0, 1) for label in labels), "metrics_output": "metrics"}


def parameter(name: str, kind: str, default: Any, help: str = "") -> Parameter:
    """A parameter of the pipeline."""
    return Parameter(name, kind, default, repr(default), 0, 1, None, help)


@dataclass
class Project:
    """A project on disk with its folders for a run."""

    root: Path
    package: str
    events: list[Any]

    @property
    def notebook_dir(self) -> Path:
        return self.root.parent / "notebook"

    def run(self, parameters: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Runs the project on this machine."""
        from nb2pipe.targets.local import run

        folders = {"notebook_dir": self.notebook_dir, "runs_dir": self.notebook_dir / ".nb2pipe" / "runs"}
        return run(self.root, parameters or {}, on_event=self.events.append, **{**folders, **options})

    def edit(self, step: str, source: str) -> None:
        """Writes the source of a step anew."""
        (self.root / self.package / "steps" / f"{step}.py").write_text(textwrap.dedent(source))


MakeProject = Callable[..., Project]


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    def make(steps: Mapping[Step, str], *, name: str = "small", python: str = "3.11", **given: Any) -> Project:
        fields: dict[str, Any] = {
            "name": name, "notebook": f"{name}.ipynb", "title": "", "parameters": (), "steps": tuple(steps),
            "shared": Shared(), "input_files": (), "objectives": (), "dropped": (), "findings": (), "python": python,
            "base_image": "python:3.11-slim", "image": None, "cell_ids": (),
        }  # fmt: skip
        pipeline = Pipeline(**{**fields, **given})
        root, values = tmp_path / name, scaffold(pipeline, name)
        package = root / name
        (package / "steps").mkdir(parents=True)
        (tmp_path / "notebook").mkdir(exist_ok=True)
        for file in (package / "__init__.py", package / "shared.py", package / "steps" / "__init__.py"):
            file.write_text("")
        (package / "artifacts.py").write_text(ARTIFACTS)
        (package / "task.py").write_text(render("package/task.py.j2", **values))
        (root / "pipeline.py").write_text(render("project/pipeline.py.j2", **values))
        rows: dict[str, Any] = {}
        for item, source in steps.items():
            text = textwrap.dedent(source).lstrip("\n")
            (package / "steps" / f"{item.name}.py").write_text(text)
            rows[f"{name}/steps/{item.name}.py"] = [[1, text.count("\n"), item.cells[0], 1, 0]]
        described = {"version": 1, "files": rows, "cells": [], "pipeline": values["graph"]}
        (root / "nb2pipe.map.json").write_text(json.dumps(described))
        return Project(root, name, [])

    return make


FARES = (InputFile("data/fares.csv"),)


@pytest.fixture
def fares(make_project: MakeProject) -> Project:
    """load -> (train, count) -> report, with files, metrics and a parameter of every type."""
    project = make_project(
        {
            step("load", cells=(1,), parameters=("rows", "scale"), files_in=FARES, **gives("fares")): """
                from pathlib import Path
                def load(rows, scale):
                    lines = Path("data/fares.csv").read_text().split()
                    print("read", len(lines))
                    return [float(line) * scale for line in lines[:rows]]
            """,
            step(
                "train",
                cells=(3,),
                form="module",
                inputs=takes(fares="load"),
                parameters=("options",),
                files_out=("out/model.txt",),
                requirements=(Requirement("pytest", ""),),
                **gives("model", kind="Model"),
                **measures("mean", "rows"),
            ): """
                from pathlib import Path
                class Model:
                    def __init__(self, mean):
                        self.mean = mean
                model = {"mean": sum(fares) / len(fares), "options": options}
                Path("out").mkdir()
                Path("out/model.txt").write_text(str(model["mean"]))
                metrics = {"mean": model["mean"], "rows": len(fares)}
            """,
            step(
                "count",
                cells=(4,),
                inputs=takes(fares="load"),
                parameters=("names", "label", "verbose", "limit"),
                is_async=True,
                **gives("n", "kinds", kind="Dataset"),
                **measures("rows"),
            ): """
                async def count(fares, names, label, verbose, limit):
                    print(type(names[0]).__name__, label, verbose, limit)
                    return len(fares), [type(x).__name__ for x in (names[0], label, verbose, limit)], {"rows": 0.5}
            """,
            step(
                "report",
                cells=(6, 7),
                inputs=takes(model="train", n="count", kinds="count"),
                files_in=(InputFile("out/model.txt", "train"),),
                after=("count",),
            ): """
                from pathlib import Path
                def report(model, n, kinds):
                    print(model["mean"], Path("out/model.txt").read_text(), n, kinds, model["options"])
            """,
        },
        name="fares",
        parameters=(
            parameter("rows", "int", 3, "how many rows"),
            parameter("scale", "float", 1.0, "100 % is 1"),
            parameter("options", "dict", {"a": 1, "b": [1.5, None], "c": "x'\"{{y}}"}),
            parameter("names", "list", [1, 2.0, "three"]),
            parameter("label", "str", "it's"),
            parameter("verbose", "bool", False),
            parameter("limit", "None", None),
        ),
        input_files=("data/fares.csv",),
    )
    (project.notebook_dir / "data").mkdir()
    (project.notebook_dir / "data" / "fares.csv").write_text("1.5\n2.5\n3.5\n4.5\n")
    return project
