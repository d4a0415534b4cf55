"""The dataflow cases of tests/cases: what each step takes and gives, and that each step alone prints what it should."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import doors
import pytest

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "cases" / "dataflow.json").read_text())
RUN = [case for case in CASES if case["verdict"] == "ok"]
REFUSED = [case for case in CASES if case["verdict"] == "diverges"]
JSON_KEYS = {"inputs": "inputs", "outputs": "outputs", "copies": "shared"}


def cases(chosen: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", chosen, ids=[case["name"] for case in chosen])


def written(case: dict[str, Any], folder: Path) -> Path:
    """The case as a notebook file in `folder`."""
    for package in case["requires"]:
        pytest.importorskip(package)
    if case["min_python"] and sys.version_info < tuple(map(int, case["min_python"].split("."))):
        pytest.skip(f"needs Python {case['min_python']}")
    path = folder / f"{case['name']}.ipynb"
    path.write_text(json.dumps(doors.notebook([(cell["code"], [f"step:{cell['step']}"]) for cell in case["cells"]])))
    return path


def checked(path: Path) -> dict[str, Any]:
    import nb2pipe

    document: dict[str, Any] = nb2pipe.load(path).check()
    return document


def names(step: dict[str, Any], key: str) -> set[str]:
    return {entry if isinstance(entry, str) else entry["name"] for entry in step[key]}


def wrong_sets(expected: dict[str, Any], step: dict[str, Any]) -> list[str]:
    """What is missing and what is too much in a step's inputs, outputs and copies."""
    wrong = []
    for kind, key in JSON_KEYS.items():
        required, got = set(expected[kind]), names(step, key)
        allowed = required | set(expected["either"]) | set(expected[f"may_{kind}"])
        wrong += [f"{step['name']}: {kind} lacks {name}" for name in sorted(required - got)]
        wrong += [f"{step['name']}: {kind} has {name} too much" for name in sorted(got - allowed)]
    return wrong


def errors(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [finding for finding in document["findings"] if finding["severity"] == "error"]


def test_every_case_has_a_test() -> None:
    assert len(CASES) >= 97
    assert {case["verdict"] for case in CASES} <= {"ok", "diverges", "static"}
    assert len({case["name"] for case in CASES}) == len(CASES)


EXPECTED = {
    "inputs": ["x"],
    "outputs": ["y"],
    "copies": [],
    "either": ["k"],
    "may_inputs": ["m"],
    "may_outputs": [],
    "may_copies": [],
}


@pytest.mark.parametrize(
    ("inputs", "outputs", "copies", "wrong"),
    [
        (["x"], ["y"], [], []),
        (["x", "k", "m"], ["y"], [], []),
        (["x"], ["y"], ["k"], []),
        ([], ["y"], [], ["s: inputs lacks x"]),
        (["x"], ["y", "m"], [], ["s: outputs has m too much"]),
        (["x", "z"], [], [], ["s: inputs has z too much", "s: outputs lacks y"]),
        (["x"], ["y"], ["f"], ["s: copies has f too much"]),
    ],
)
def test_wrong_sets(inputs: list[str], outputs: list[str], copies: list[str], wrong: list[str]) -> None:
    got = {"inputs": [{"name": n} for n in inputs], "outputs": [{"name": n} for n in outputs]}
    assert wrong_sets(EXPECTED, {"name": "s", **got, "shared": copies}) == wrong


@cases([case for case in CASES if case["verdict"] != "diverges"])
def test_sets(case: dict[str, Any], tmp_path: Path) -> None:
    document = checked(written(case, tmp_path))
    assert errors(document) == []
    steps = {step["name"]: step for step in document["steps"]}
    assert list(steps) == list(dict.fromkeys(cell["step"] for cell in case["cells"]))
    assert [line for name, step in steps.items() for line in wrong_sets(case["expected"][name], step)] == []


@cases(RUN)
def test_each_step_alone_prints_what_the_notebook_printed(case: dict[str, Any], tmp_path: Path) -> None:
    notebook_folder, pipeline_folder, scratch = (tmp_path / name for name in ("notebook", "pipeline", "scratch"))
    for folder in (notebook_folder, pipeline_folder, scratch):
        folder.mkdir()
    cells = [(cell["step"], cell["code"]) for cell in case["cells"]]
    expected = doors.baseline(cells, case["kernel"], notebook_folder, scratch)
    path = written(case, pipeline_folder)
    run = doors.nb2pipe_json("run", path.name, "--jobs", "1", "--no-cache", cwd=pipeline_folder)
    assert run["status"] == "succeeded"
    # Whether `display` of a value that has only text goes to standard output is left open.
    assert doors.step_stdout(run, pipeline_folder) in (expected.printed, expected.shown)


@cases(REFUSED)
def test_what_cannot_be_right_is_refused(case: dict[str, Any], tmp_path: Path) -> None:
    found = errors(checked(written(case, tmp_path)))
    assert found, f"converted, but {case['why']}"
    if case["diagnostics"]:
        assert {finding["code"] for finding in found} & set(case["diagnostics"])


@cases(REFUSED[:2])
def test_refusal_leaves_nothing_behind(case: dict[str, Any], tmp_path: Path) -> None:
    path = written(case, tmp_path)
    done = doors.nb2pipe("convert", path.name, "-o", "out", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
