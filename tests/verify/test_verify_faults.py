"""The proof is itself tested: faults that change results are caught. benchmarks/faults.py tries more of them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmarks import faults
from nb2pipe.verify.check import steady_hashes

STEP = '''"""A step."""

from typing import Any


def grow(xs: list, k: int = 2) -> tuple[list, float]:
    """Run the step."""
    for x in range(k):
        xs.append(x)
    random.shuffle(xs)
    total = sum(xs)
    return xs, total
'''


def test_every_kind_of_fault_is_made() -> None:
    files = {"p/steps/grow.py": STEP, "p/steps/__init__.py": "x = 1", "p/task.py": "y = 2"}
    made = list(faults.faults(files, "p", {"p/steps/grow.py": ["out.csv"]}))
    assert {fault.kind for fault in made} == set(faults.KINDS)
    assert {fault.file for fault in made} == {"p/steps/grow.py"}
    assert {fault.kind for fault in made if fault.what == "out.csv"} == {"drop an output", "stale version"}
    plain = ast.unparse(ast.parse(STEP)) + "\n"
    assert [fault for fault in made if fault.text == plain] == []
    assert len({fault.text for fault in made}) == len(made)
    undrawn = faults.faults({"p/steps/grow.py": STEP.replace("random.shuffle(xs)", "xs.sort()")}, "p", {})
    assert "reseed" not in {fault.kind for fault in undrawn}
    for fault in made:
        compile(fault.text, fault.file, "exec")


@pytest.mark.parametrize("name", ["method_append", "df_loc", "rng_object", "alias_across_steps", "late_binding"])
def test_faults_are_caught(name: str, tmp_path: Path) -> None:
    [path] = (path for path in faults.written_cases(tmp_path, name) if path.stem == name)
    with steady_hashes():
        done = faults.trials(path, tmp_path / "yard", 1)
    assert [trial for trial in done if trial.missed or trial.verdict == "false alarm"] == []
    assert sum(bool(trial.showed) for trial in done) >= 2


@pytest.mark.parametrize(("name", "kind"), [("draws", "reseed"), ("files", "stale version")])
def test_faults_of_files_and_generators_are_caught(name: str, kind: str, tmp_path: Path) -> None:
    [path] = faults.own_notebooks(tmp_path, name)
    with steady_hashes():
        done = faults.trials(path, tmp_path / "yard", 5, kinds=[kind])
    assert [trial for trial in done if trial.missed or trial.verdict == "false alarm"] == []
    assert {trial.kind for trial in done if trial.showed} == {kind}


@pytest.mark.parametrize(
    ("showed", "verdict", "missed"),
    [("a printed", "equal", True), ("a printed", "failed", False), ("", "equal", False)],
)
def test_missed(showed: str, verdict: str, missed: bool) -> None:
    trial = faults.Trial("n", "reseed", "f", "w", showed, verdict, "")
    assert trial.missed is missed
    assert ("missed: n" in faults.table([trial])) is missed
