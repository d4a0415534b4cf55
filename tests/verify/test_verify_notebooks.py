"""`nb2pipe verify` from end to end: what is equal, what differs and where, what fails, what is not proved."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import doors
import pandas as pd
import pytest

from nb2pipe.codegen.project import Project
from nb2pipe.convert import Conversion
from nb2pipe.findings import Refused
from nb2pipe.targets.base import ParameterError
from nb2pipe.verify.model import Verification

Cells = Sequence[tuple[str, str]]


def written(folder: Path, cells: Cells) -> Path:
    """The notebook of (tags, source) in a folder of its own."""
    home = folder / "home"
    home.mkdir()
    (home / "data.csv").write_text("a;b\n1;2\n3;4\n")
    path = home / "book.ipynb"
    path.write_text(json.dumps(doors.notebook([(source, tags.split()) for tags, source in cells])))
    return path


class Broken(Conversion):
    """A conversion whose project has texts replaced: what a wrong converter would generate."""

    edits: Sequence[tuple[str, str, str]] = ()

    @cached_property
    def project(self) -> Project:
        project = Conversion(self.path).project
        files = dict(project.files)
        for name, old, new in self.edits:
            assert old in files[name], files[name]
            files[name] = files[name].replace(old, new)
        return replace(project, files=files)


def verified(folder: Path, cells: Cells, *edits: tuple[str, str, str], **options: Any) -> Verification:
    conversion = Broken(written(folder, cells))
    conversion.edits = edits
    return conversion.verify(options.pop("parameters", None), **options)


def rows(found: Verification) -> dict[str, str]:
    return {f"{one.step}.{one.name}": one.verdict for one in (*found.main.compared, *found.main.stdout)}


LINEAR = [
    ("parameters", "k = 4\nscale = 0.5  # how much"),
    ("step:load", "text = open('data.csv').read()\nxs = [int(c) for c in text if c.isdigit()]\nprint(len(xs))"),
    ("step:grow", "for i in range(k):\n    xs.append(i * scale)"),
    ("", "total = sum(xs)\nprint('total', total)"),
    ("step:end metrics", "score = total / 2\nprint(score)"),
]


def test_equal(tmp_path: Path) -> None:
    found = verified(tmp_path, LINEAR)
    assert found.verdict == "equal", found.to_json()
    assert rows(found) == {
        "load.xs": "equal",
        "grow.total": "equal",
        "end.metrics": "equal",
        **dict.fromkeys(["load.stdout", "grow.stdout", "end.stdout"], "equal"),
    }
    document = found.to_json()
    assert (document["first_difference"], document["not_proved"], document["error"]) == (None, [], None)


LEAVES = (
    "import tempfile\nleft = tempfile.mkstemp()[1] != ''\n"
    "folder = tempfile.gettempdir()\nopen(f'{folder}/mine', 'w').write('left')"
)


@pytest.mark.parametrize(
    ("cell", "verdict"), [("print(left, folder, open(f'{folder}/mine').read())", "equal"), ("1 / 0", "failed")]
)
def test_nothing_is_left_in_the_temporary_folder(cell: str, verdict: str, temporary: Path, tmp_path: Path) -> None:
    cells = [("step:one", f"{LEAVES}\n{cell}"), ("step:two", "print(left, folder)")]
    assert verified(tmp_path, cells).verdict == verdict
    assert list(temporary.iterdir()) == []


def test_nothing_beside_the_notebook_is_changed(tmp_path: Path) -> None:
    path = written(
        tmp_path, [("step:a", "open('data.csv', 'a').write('5;6\\n')"), ("", "x = 1"), ("step:b", "print(x)")]
    )
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    Conversion(path).verify()
    assert {p.name: p.read_bytes() for p in path.parent.iterdir() if p.name != ".nb2pipe"} == before


@pytest.mark.parametrize(
    ("edits", "step", "name", "cell", "line", "words"),
    [
        (
            [("grow", "xs.append(i * scale)", "xs.append(i)")],
            "grow",
            "total",
            3,
            1,
            "float 13.0 in the notebook, int 16 in",
        ),
        ([("load", "print(len(xs))", "print(0)")], "load", "stdout", 1, None, "'4' in the notebook, '0' in"),
        ([("grow", "print('total', total)", "pass")], "grow", "stdout", 3, None, "nothing more in the pipeline"),
        ([("end", "total / 2", "total / 2 + 1e-6")], "end", "metrics", 4, 1, "metrics['score']"),
        ([("load", "xs = [int(c)", "xs = [float(c)")], "load", "xs", 1, 2, "xs[0]: int 1 in the notebook, float 1.0"),
    ],
)
def test_the_first_difference_has_its_place(
    edits: Any, step: str, name: str, cell: int, line: int | None, words: str, tmp_path: Path
) -> None:
    found = verified(tmp_path, LINEAR, *((f"book/steps/{s}.py", old, new) for s, old, new in edits))
    assert found.verdict == "different", found.to_json()
    first = found.to_json()["first_difference"]
    assert [first[key] for key in ("step", "name", "cell", "line")] == [step, name, cell, line]
    assert words in first["detail"]


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (("book/steps/grow.py", "total = sum(xs)", "total = sum(ys)"), ["pipeline", "grow", 3, 1]),
        (("book/steps/end.py", "score = ", "score += "), ["pipeline", "end", 4, 1]),
    ],
)
def test_a_failing_pipeline(edit: tuple[str, str, str], where: list[Any], tmp_path: Path) -> None:
    found = verified(tmp_path, LINEAR, edit)
    assert found.verdict == "failed"
    error = found.to_json()["error"]
    assert [error[key] for key in ("where", "step", "cell", "line")] == where


@pytest.mark.parametrize(
    ("source", "words"),
    [("y = 1\ny = 1 / 0", "ZeroDivisionError"), ("import os\nos._exit(3)", "exit status 3"), ("input()", "input")],
)
def test_a_failing_notebook(source: str, words: str, tmp_path: Path) -> None:
    found = verified(tmp_path, [("step:a", "x = [1]"), ("step:b", f"print(x)\n{source}")])
    assert found.verdict == "failed"
    error = found.to_json()["error"]
    assert error["where"] == "notebook"
    assert error["cell"] in (0, 1)
    assert words in error["message"]
    if words == "ZeroDivisionError":
        assert (error["step"], error["cell"], error["line"]) == ("b", 1, 3)


def test_parameters_reach_both(tmp_path: Path) -> None:
    found = verified(tmp_path, LINEAR, parameters={"k": "5", "scale": "2"})
    assert found.verdict == "equal", found.to_json()
    assert rows(found)["end.stdout"] == "equal"


def test_wrong_parameters(tmp_path: Path) -> None:
    path = written(tmp_path, LINEAR)
    with pytest.raises(ParameterError):
        Conversion(path).verify({"kk": "5"})


def test_what_does_not_convert_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, [("step:a", "x = 1"), ("step:b", "print(y)")])
    with pytest.raises(Refused):
        Conversion(path).verify()


REPLAY = ("book/steps/grow.py", "total = sum(xs)", "total = 13.0")


@pytest.mark.parametrize(
    ("vary", "edits", "verdict"), [(False, [REPLAY], "equal"), (True, [REPLAY], "different"), (True, [], "equal")]
)
def test_varied_parameters_unmask_stored_values(vary: bool, edits: Any, verdict: str, tmp_path: Path) -> None:
    found = verified(tmp_path, LINEAR, *edits, vary=vary)
    assert found.verdict == verdict, found.to_json()
    assert [one.parameters for one in found.varied] == ([{"k": 5, "scale": 0.25}] if vary else [])


UNSTEADY = [
    ("step:a", "import os\nx = os.urandom(4).hex()\ny = sum([1])\nprint(x)"),
    ("step:b", "print(y, len(x))"),
]


@pytest.mark.parametrize(("repeat", "verdict"), [(1, "different"), (2, "equal")])
def test_what_the_notebook_does_not_reproduce(repeat: int, verdict: str, tmp_path: Path) -> None:
    found = verified(tmp_path, UNSTEADY, repeat=repeat)
    assert found.verdict == verdict, found.to_json()
    expected = "not proved" if repeat > 1 else "different"
    assert rows(found) == {"a.x": expected, "a.stdout": expected, "a.y": "equal", "b.stdout": "equal"}
    assert {one["name"] for one in found.to_json()["not_proved"]} == ({"x", "stdout"} if repeat > 1 else set())


@pytest.mark.parametrize(
    "cells",
    [
        [("step:a", "%%time\nx = [1]\nprint('a')"), ("step:b", "%time x.append(2)\nprint(x)")],
        [("step:a", "%%capture\nx = [1]\nprint('a')"), ("step:b", "%timeit -n1 -r1 sum(x)\nprint(x)")],
        [("step:a", "%pip install -q pandas\nx = [1]"), ("step:b", "!echo hello\nprint(x)")],
        [("step:a", "x = {'b', 'a', 'c'}\nprint(x)"), ("step:b", "print(x)")],
        [("step:a", "x = [1]\nx"), ("step:b", "from IPython.display import display\ndisplay(x)")],
        [("step:a", "x = [1]\ny = x"), ("step:b", "y.append(2)\nprint(x, x is y)"), ("step:c", "print(x, y)")],
        [("step:a", "import asyncio\nawait asyncio.sleep(0)\nx = 1"), ("step:b", "print(x)")],
        [
            ("step:a", "x = [1]"),
            ("skip", "print(1)"),
            ("step:b", "x.append(2)"),
            ("step:a", "y = 1"),
            ("step:c", "print(x, y)"),
        ],
        [("step:a", "print('no line end', end='')\nx = 1"), ("step:b", "print(x)")],
        [("step:a", "x = []\nfor i in range(2000): print(i); x.append(i)"), ("step:b", "print(sum(x))")],
        [("step:a", "with open('out.txt', 'w') as f: f.write('0.1')\n"), ("step:b", "print(open('out.txt').read())")],
        [("step:a", "import random\nrandom.seed(1)\nx = random.random()"), ("step:b", "print(x)")],
        [
            ("step:a", "class A:\n    def __init__(self): self.k = [1]\na = A()"),
            ("step:b", "a.k.append(2)\nprint(a.k)"),
        ],
        [
            ("step:a", "k = sum([2])\ndef f(x): return x * k"),
            ("step:b", "g = f\nh = [f]"),
            ("step:c", "print(g(2), h[0](3))"),
        ],
    ],
    ids=lambda cells: cells[0][1][:20],
)
def test_equal_notebooks(cells: Cells, tmp_path: Path) -> None:
    found = verified(tmp_path, cells)
    assert found.verdict == "equal", found.to_json()
    assert found.main.not_proved == ()


def test_files_between_steps_are_compared(tmp_path: Path) -> None:
    cells = [
        ("step:a", "with open('out.txt', 'w') as f:\n    f.write('line 1\\nline 2\\n')"),
        ("step:b", "print(len(open('out.txt').read()))"),
    ]
    found = verified(tmp_path, cells, ("book/steps/a.py", "line 2", "line 3"))
    assert found.verdict == "different"
    assert rows(found) == {"a.out.txt": "different", "a.stdout": "equal", "b.stdout": "equal"}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import shutil

    folder = tmp_path_factory.mktemp("samples")
    for source in doors.SAMPLES.iterdir():
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("golden", ".nb2pipe"))
    return folder


@pytest.mark.parametrize("name", sorted(p.name for p in doors.SAMPLES.iterdir() if p.is_dir()))
def test_samples_are_equal(name: str, samples: Path) -> None:
    if name in ("baby_weight", "taxi_fare_beam") and int(pd.__version__.split(".")[0]) > 2:
        pytest.skip("in a Jupyter kernel Beam imports its data frames, which it cannot beside pandas 3")
    done = doors.nb2pipe("verify", f"{name}.ipynb", "--json", cwd=samples / name)
    document = json.loads(done.stdout)
    assert (done.returncode, document["verdict"], document["not_proved"]) == (0, "equal", []), document
    assert all(row["verdict"] in ("equal", "close") for row in [*document["compared"], *document["stdout"]])
    with_workers = [(row["workers"], row["verdict"]) for row in document.get("workers", ())]
    assert bool(with_workers) == ('"workers:2"' in (doors.SAMPLES / name / f"{name}.ipynb").read_text("utf-8"))
    assert set(with_workers) <= {(2, "equal"), (2, "close")}


def test_command_says_what_differs(tmp_path: Path) -> None:
    path = written(tmp_path, UNSTEADY)
    done = doors.nb2pipe("verify", path.name, cwd=path.parent)
    assert done.returncode == 1
    assert "first difference: x of step a at cell 0 line 2" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("different in ")


def test_the_outcome_becomes_a_test_of_the_project(tmp_path: Path) -> None:
    path = written(tmp_path, LINEAR)
    conversion = Conversion(path)
    project = conversion.convert().project
    done = doors.nb2pipe("verify", path.name, "--write-test", "-q", cwd=path.parent)
    assert done.returncode == 0, done.stderr
    assert own_tests(project).returncode == 0
    step = project / "book" / "steps" / "grow.py"
    step.write_text(step.read_text().replace("xs.append(i * scale)", "xs.append(i)"))
    failed = own_tests(project)
    assert failed.returncode == 1
    assert "test_step_gives_what_the_notebook_gave[grow]" in failed.stdout


def own_tests(project: Path) -> subprocess.CompletedProcess[str]:
    """The outcome of the project's own tests."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    return subprocess.run(command, cwd=project, env=doors.environment(), capture_output=True, text=True, timeout=120)


def test_a_test_needs_a_project(tmp_path: Path) -> None:
    path = written(tmp_path, LINEAR)
    done = doors.nb2pipe("verify", path.name, "--write-test", cwd=path.parent)
    assert (done.returncode, "not-a-project" in done.stderr) == (1, True)
    assert doors.nb2pipe("verify", path.name, "--write-test", "-p", "k=1", cwd=path.parent).returncode == 2


@pytest.mark.parametrize(
    ("display", "verdict"),
    [
        ("display([1])", "equal"),
        ("display([1], 'x')", "close"),
        ("import matplotlib.pyplot as p; p.plot([1]); p.show()", "equal"),
    ],
)
def test_displayed_values(display: str, verdict: str, tmp_path: Path) -> None:
    found = verified(tmp_path, [("step:a", f"x = sum([1])\n{display}\nprint('a')"), ("step:b", "print(x)")])
    assert rows(found) == {"a.x": "equal", "a.stdout": verdict, "b.stdout": "equal"}


def test_a_missing_display_is_a_difference(tmp_path: Path) -> None:
    cells = [("step:a", "x = sum([1])\ndisplay(x)"), ("step:b", "print(x)")]
    found = verified(tmp_path, cells, ("book/steps/a.py", "    display(x)", "    pass"))
    assert rows(found)["a.stdout"] == "different"


def test_a_parameter_that_only_the_pipeline_has_is_refused(tmp_path: Path) -> None:
    query = "from google.cloud import bigquery\nrows = bigquery.Client().query('SELECT 1').to_dataframe()"
    with pytest.raises(ParameterError, match="bigquery_rows is a parameter of the pipeline alone"):
        verified(tmp_path, [("step:load", query)], parameters={"bigquery_rows": 1})
