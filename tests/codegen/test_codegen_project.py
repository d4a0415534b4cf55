"""The whole generated project: it runs, it is tidy, and hostile text stays text in it."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from build_ir import fragment, parameter, pipeline, step, taxi

from nb2pipe.codegen.project import (
    MAP_FILE,
    SAMPLE_LIMIT,
    Project,
    generate,
    headings,
    notebook_digest,
    package_name,
    sample_data,
)
from nb2pipe.codegen.sourcemap import lookup
from nb2pipe.codegen.write import write
from nb2pipe.notebook.model import Cell, Notebook
from nb2pipe.pipeline.model import Artifact, Input, InputFile, Output, Pipeline, Requirement

DATA = {"fares.csv": b"1.0\n2.0\n"}


def notebook(*cells: tuple[str, str]) -> Notebook:
    made = (Cell(i, f"id{i}", kind, source) for i, (kind, source) in enumerate(cells))  # type: ignore[arg-type]
    return Notebook("taxi_fare.ipynb", tuple(made), {})


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)


def written(made: Project, folder: Path) -> Path:
    write(made, folder / "out")
    return folder / "out"


def test_the_files_of_a_project() -> None:
    made = generate(taxi(), data=DATA)
    assert list(made.files) == [
        ".dockerignore",
        ".gitignore",
        "Dockerfile",
        "README.md",
        MAP_FILE,
        "pipeline.py",
        "pyproject.toml",
        "requirements.txt",
        "taxi_fare/__init__.py",
        "taxi_fare/artifacts.py",
        "taxi_fare/shared.py",
        "taxi_fare/steps/__init__.py",
        "taxi_fare/steps/load.py",
        "taxi_fare/steps/report.py",
        "taxi_fare/steps/train.py",
        "taxi_fare/task.py",
        "tests/conftest.py",
        "tests/test_steps.py",
    ]
    assert made.data == {"tests/data/fares.csv": DATA["fares.csv"]}
    assert not any(text.endswith("\n\n") or not text.endswith("\n") for text in made.files.values())


def test_shared_py_only_when_it_is_used() -> None:
    made = generate(pipeline(step(body=(fragment(1, "x = 1"),))))
    assert "taxi_fare/shared.py" not in made.files


def test_the_same_bytes_whatever_the_hash_seed() -> None:
    code = (
        "import hashlib, sys; sys.path.insert(0, 'tests/support')\n"
        "from build_ir import taxi; from nb2pipe.codegen.project import generate\n"
        "print(hashlib.sha256(repr(generate(taxi())).encode()).hexdigest())"
    )
    root = Path(__file__).parents[2]
    digests = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=root, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1


def test_its_tests_pass_and_run_every_step(tmp_path: Path) -> None:
    done = run(written(generate(taxi(), data=DATA), tmp_path), "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "6 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("break_it", "outcome"),
    [
        ("fails", "failed"),
        ("no output", "failed"),
        ("no data", "skipped"),
    ],
)
def test_its_tests_see_what_is_wrong(break_it: str, outcome: str, tmp_path: Path) -> None:
    made = taxi()
    train = made.steps[1]
    if break_it == "fails":
        train = replace(train, body=(fragment(5, "model = 1 / 0"), train.body[1]))
    if break_it == "no output":
        train = replace(train, body=(fragment(5, "model = (i for i in ())"), train.body[1]))
    made = replace(made, steps=(made.steps[0], train, made.steps[2]))
    root = written(generate(made, data={} if break_it == "no data" else DATA), tmp_path)
    done = run(root, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert re.search(rf"[1-9] {outcome}", done.stdout), done.stdout
    assert (done.returncode == 0) == (outcome == "skipped")


def test_its_task_runs_a_step_and_names_the_cell_of_a_failure(tmp_path: Path) -> None:
    made = taxi()
    bad = replace(made.steps[0], files_in=(), body=(fragment(3, "rows = []\n\nrows[0]", line=2),))
    root = written(generate(replace(made, steps=(bad, *made.steps[1:]))), tmp_path)
    done = run(root, "-m", "taxi_fare.task", "load", "--output", f"rows={tmp_path}/rows")
    assert done.returncode == 1
    assert "cell 3 line 4" in done.stderr


@pytest.mark.skipif(shutil.which("ruff") is None and not Path(sys.executable).with_name("ruff").exists(), reason="ruff")
def test_it_is_tidy(tmp_path: Path) -> None:
    root = written(generate(taxi(), data=DATA), tmp_path)
    ours = ["tests", "taxi_fare/steps/load.py", "taxi_fare/steps/train.py", "taxi_fare/shared.py", "pipeline.py"]
    done = run(root, "-m", "ruff", "check", "--no-cache", *ours)
    assert done.returncode == 0, done.stdout
    done = run(root, "-m", "ruff", "format", "--no-cache", "--diff", "tests", *ours[1:4])
    assert done.returncode == 0, done.stdout


def test_only_headers_the_readme_and_the_map_name_nb2pipe() -> None:
    for path, text in generate(taxi()).files.items():
        lines = [line for line in text.splitlines() if "nb2pipe" in line and "Generated by nb2pipe from" not in line]
        if path not in ("README.md", MAP_FILE, ".gitignore"):
            assert all(MAP_FILE in line for line in lines), (path, lines)
        assert "import nb2pipe" not in text


def test_the_map_finds_every_line_of_every_cell() -> None:
    made = generate(taxi())
    source_map = json.loads(made.files[MAP_FILE])
    step_lines = made.files["taxi_fare/steps/train.py"].split("\n")
    number = step_lines.index("    model = mean(rows) * factor") + 1
    assert lookup(source_map, "taxi_fare/steps/train.py", number) == (5, 2)
    assert lookup(source_map, "taxi_fare/steps/train.py", 1) is None
    assert lookup(source_map, "taxi_fare/steps/train.py", len(step_lines)) is None
    assert lookup(source_map, "taxi_fare/task.py", 5) is None
    assert set(source_map) == {"version", "platform", "notebook", "files", "cells", "pipeline"}
    assert [s["name"] for s in source_map["pipeline"]["steps"]] == ["load", "train", "report"]


def test_headings_mark_the_cells_below_them() -> None:
    made = notebook(
        ("markdown", "# Fares\ntext\n## *Load* `it`  ##"),
        ("code", "a = 1"),
        ("code", "b = 2"),
        ("markdown", "only text"),
        ("code", "c = 3"),
        ("markdown", "# Train"),
        ("markdown", "text"),
        ("code", "d = 4"),
    )
    assert headings(made) == {1: "Load it", 7: "Train"}
    assert headings(None) == {}


def test_the_digest_is_of_what_matters() -> None:
    one = notebook(("code", "a = 1"))
    assert notebook_digest(one) == notebook_digest(replace(one, metadata={"kernelspec": {}}))
    assert notebook_digest(one) != notebook_digest(notebook(("code", "a = 2")))


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("taxi_fare", "taxi_fare"),
        ("pandas", "pandas_pipeline"),
        ("json", "json_pipeline"),
        ("tests", "tests_pipeline"),
        ("pipeline", "pipeline_pipeline"),
    ],
)
def test_the_package_hides_no_module(name: str, package: str) -> None:
    made = pipeline(step(imports=(fragment(0, "import pandas.api as pd"),)), name=name)
    assert package_name(made) == package
    assert f"{package}/task.py" in generate(made).files


HOSTILE = '"""\n\\ {{ 7*7 }} {% raw %} `$(id)` | </b> \u2028 \x00 \' "; import os #'


def hostile() -> Pipeline:
    made = step(
        name="train",
        title=HOSTILE,
        cells=(1,),
        body=(fragment(1, "x = '{{ 7*7 }}'"),),
        parameters=("p",),
        requirements=(Requirement("pkg==1", HOSTILE),),
        files_in=(InputFile("data/a'b\"c.csv"),),
        outputs=(Output("x", "x", "", HOSTILE),),
        artifacts=(Artifact("x", ("x",)),),
    )
    user = step(name="use", body=(fragment(2, "print(x)"),), inputs=(Input("x", "train", "x", "", HOSTILE),))
    return pipeline(
        made,
        user,
        title=HOSTILE,
        notebook=HOSTILE,
        parameters=(parameter("p", "str", "'...'", HOSTILE, HOSTILE),),
        input_files=("data/a'b\"c.csv",),
    )


def test_hostile_text_stays_text() -> None:
    made = generate(hostile())
    for path, text in made.files.items():
        assert "49" not in text.replace("7*7", ""), path
        if path.endswith(".py"):
            calls = {ast.unparse(n) for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Import)}
            assert not (path.endswith("steps/train.py") and calls), path
    assert made.files["Dockerfile"].count("\nRUN ") == 2
    try:
        import tomllib
    except ImportError:
        return
    assert tomllib.loads(made.files["pyproject.toml"])["project"]["name"] == "taxi-fare"


def test_requirements_are_the_union_with_the_steps_that_need_them() -> None:
    steps = [
        step(name="a", requirements=(Requirement("pandas==2", ""), Requirement("Zlib==1", ""))),
        step(name="b", requirements=(Requirement("pandas==2", ""), Requirement("numpy==1", ""))),
    ]
    lines = generate(pipeline(*steps)).files["requirements.txt"].splitlines()
    assert lines[1:] == ["numpy==1  # b", "pandas==2  # a, b", "Zlib==1  # a"]


def test_sample_data_is_what_is_small_and_inside(tmp_path: Path) -> None:
    (tmp_path / "nb/data").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "nb/small").write_bytes(b"s")
    (tmp_path / "nb/data/x.csv").write_bytes(b"d")
    (tmp_path / "nb/big").write_bytes(b"b" * (SAMPLE_LIMIT + 1))
    (tmp_path / "nb/données (1).csv").write_bytes(b"u")
    (tmp_path / "nb/what?").write_bytes(b"u")
    names = ("small", "data", "data/x.csv", "big", "../secret", "nowhere", "données (1).csv", "what?")
    made = pipeline(input_files=names)
    assert sample_data(made, tmp_path / "nb") == {"small": b"s", "data/x.csv": b"d", "données (1).csv": b"u"}


def test_extra_files_are_in_the_project() -> None:
    made = generate(taxi(), extra={"helpers.py": "x = 1\n", "jobs/train.yaml": "kind: TrainJob\n"})
    assert made.files["helpers.py"] == "x = 1\n"
    assert made.files["jobs/train.yaml"] == "kind: TrainJob\n"
    assert "COPY helpers.py ./helpers.py\n" in made.files["Dockerfile"]
    assert "jobs" not in made.files["Dockerfile"]


def test_a_step_whose_function_would_hide_a_name_is_a_script(tmp_path: Path) -> None:
    made = taxi()
    train = replace(
        made.steps[1], body=(fragment(5, "mean = mean(rows)\nmodel = mean * factor"), fragment(6, "error = 1"))
    )
    made = generate(replace(made, steps=(made.steps[0], train, made.steps[2])), data=DATA)
    assert "def train" not in made.files["taxi_fare/steps/train.py"]
    done = run(written(made, tmp_path), "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "5 passed" in done.stdout, done.stdout


def test_a_step_that_is_no_python_is_our_error() -> None:
    with pytest.raises(SyntaxError):
        generate(pipeline(step(body=(fragment(1, "x = ("),))))
