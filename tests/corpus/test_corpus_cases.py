"""Every handwritten notebook converts to a pipeline that prints the same, or is refused where that is right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import catalogue
import pytest
import quick

CASES = catalogue.everything()
LIBRARIES = (
    "numpy",
    "pandas",
    "sklearn",
    "matplotlib",
    "joblib",
    "pyarrow",
    "scipy",
    "xgboost",
    "seaborn",
    "lightgbm",
    "statsmodels",
)
HEAVY = ("tensorflow", "keras", "tf_keras", "torch")
"""Notebooks with these run in forks of a process that has not used them: of one that has they may hang."""


def imports_of(case: catalogue.Case, libraries: Sequence[str]) -> list[str]:
    """Which of the libraries the notebook imports."""
    source = "\n".join(text for _, text in case.cells)
    return [name for name in libraries if re.search(rf"^\s*(?:import|from) .*\b{name}\b", source, re.MULTILINE)]


OPEN: dict[str, str] = {}
"""Cases that are not as they should be, each with what is wrong; one that comes right fails until it is taken off."""


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    quick.warm()


def test_the_cases_are_well_formed() -> None:
    assert len(CASES) > 300
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.verdict for case in CASES} == set(catalogue.VERDICTS)
    assert all(len(case.cells) > 1 for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.filterwarnings("ignore")
def test_case(case: catalogue.Case, tmp_path: Path) -> None:
    for library in imports_of(case, LIBRARIES):
        pytest.importorskip(library)
    heavy = imports_of(case, HEAVY)
    if any(find_spec(library) is None for library in heavy):
        pytest.skip(f"not installed: one of {', '.join(heavy)}")
    if heavy:
        outcome = quick.compare_apart(case.cells, tmp_path, heavy, case.data)
    else:
        outcome = quick.compare(case.cells, tmp_path, case.data)
    if case.name in OPEN:
        assert outcome.kind not in case.allowed, "right now: take it off the list"
        return
    assert outcome.kind in case.allowed, f"{outcome.kind}: {outcome.detail}"


WITH_PARAMETERS = [case for case in CASES if quick.other_parameters(case.cells) and not imports_of(case, HEAVY)]


@pytest.mark.parametrize("case", WITH_PARAMETERS, ids=lambda case: case.name)
@pytest.mark.filterwarnings("ignore")
def test_case_with_other_parameters(case: catalogue.Case, tmp_path: Path) -> None:
    for library in imports_of(case, LIBRARIES):
        pytest.importorskip(library)
    outcome = quick.compare(case.cells, tmp_path, case.data, quick.other_parameters(case.cells))
    assert not outcome.wrong, f"{outcome.kind}: {outcome.detail}"
