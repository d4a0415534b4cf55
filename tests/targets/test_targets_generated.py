"""A project as codegen writes it, with its real artifacts.py, run by both engines and by its own tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_project import measures, parameter, step

from nb2pipe.codegen.project import generate
from nb2pipe.codegen.write import write
from nb2pipe.notebook.model import Resources
from nb2pipe.pipeline.model import Artifact, Fragment, Input, InputFile, Output, Pipeline, Shared
from nb2pipe.targets.kfp_local import run_kfp
from nb2pipe.targets.local import run


def lines(cell: int, text: str, *names: str) -> tuple[Fragment, ...]:
    return (Fragment(cell, 1, tuple(text.split("\n")), names=names),)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    load = step(
        "load",
        cells=(3,),
        imports=lines(0, "import csv"),
        body=lines(
            3,
            'with open("fares.csv") as file:\n    rows = [float(r[0]) * scale for r in csv.reader(file)]\nalias = rows',
        ),
        outputs=(Output("rows", "rows", "builtins.list", ""), Output("alias", "rows", "", "")),
        artifacts=(Artifact("rows", ("rows", "alias"), "Dataset"),),
        parameters=("scale",),
        files_in=(InputFile("fares.csv"),),
        resources=Resources(cpu="1"),
    )
    train = step(
        "train",
        cells=(5,),
        shared=("Mean",),
        body=lines(5, "model = Mean(rows)\nassert rows is alias\nprint(model.value)\nerror = abs(model.value - 2)"),
        inputs=(Input("rows", "load", "rows", "builtins.list", ""), Input("alias", "load", "rows", "", "")),
        outputs=(Output("model", "model", "", ""),),
        artifacts=(Artifact("model", ("model",), "Model"),),
        **measures("error"),
    )
    late = step(
        "late",
        form="module",
        form_reason="x may stay unbound",
        cells=(6,),
        body=lines(6, "import helpers\nif model.value < 0:\n    x = 1\nprint(helpers.word, layers)"),
        inputs=(Input("model", "train", "model", "", ""),),
        outputs=(Output("x", "x", "", ""),),
        artifacts=(Artifact("x", ("x",)),),
        maybe_unbound=("x",),
        parameters=("layers",),
    )
    shared = lines(2, "class Mean:\n    def __init__(self, rows):\n        self.value = sum(rows) / len(rows)", "Mean")
    pipeline = Pipeline(
        name="taxi", notebook="taxi.ipynb", title="Taxi fares", steps=(load, train, late),
        parameters=(parameter("scale", "float", 1.0), parameter("layers", "list", [1, 2.0])),
        shared=Shared(definitions=shared), input_files=("fares.csv",), objectives=(), dropped=(), findings=(),
        python="3.11", base_image="python:3.11-slim", image=None, cell_ids=(),
    )  # fmt: skip
    (tmp_path / "fares.csv").write_text("1\n2\n3\n")
    generated = generate(pipeline, data={"fares.csv": b"1\n2\n3\n"}, extra={"helpers.py": "word = 'help'\n"})
    write(generated, tmp_path / "taxi")
    return tmp_path / "taxi"


def test_both_engines_give_the_same(project: Path) -> None:
    folders: dict[str, Any] = {"notebook_dir": project.parent, "runs_dir": project.parent / "runs"}
    here = run(project, {"scale": "2"}, **folders)
    there = run_kfp(project, {"scale": "2"}, **folders)
    for result in (here, there):
        assert (result.status, result.error, dict(result.metrics)) == ("succeeded", None, {"error": 2.0})
        assert [item.stdout.read_text() for item in result.steps] == ["", "4.0\n", "help [1, 2.0]\n"]
        assert [sorted(item.outputs) for item in result.steps] == [["rows"], ["metrics", "model"], ["x"]]
    again = run(project, {"scale": "2"}, **folders)
    assert [item.status for item in again.steps] == ["cached"] * 3


def test_its_own_tests_pass(project: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_scaffold_is_clean(project: Path) -> None:
    files = ["pipeline.py", "taxi/task.py", "taxi/artifacts.py"]
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "100", "--extend-select", "E501,I"]
    done = subprocess.run([*command, *files], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
