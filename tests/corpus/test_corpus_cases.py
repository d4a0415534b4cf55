"""Every handwritten notebook converts to a pipeline that prints the same, or is refused where that is right."""

from __future__ import annotations

import re
from pathlib import Path

import catalogue
import pytest
import quick

CASES = catalogue.everything()
LIBRARIES = ("numpy", "pandas", "sklearn", "matplotlib", "joblib", "pyarrow", "scipy", "xgboost")


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    quick.warm()


def test_the_cases_are_well_formed() -> None:
    assert len(CASES) > 300
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.verdict for case in CASES} == set(catalogue.VERDICTS)
    assert all(len(case.cells) > 1 for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: catalogue.Case, tmp_path: Path) -> None:
    source = "\n".join(text for _, text in case.cells)
    for library in LIBRARIES:
        if re.search(rf"^\s*(?:import|from) .*\b{library}\b", source, re.MULTILINE):
            pytest.importorskip(library)
    outcome = quick.compare(case.cells, tmp_path)
    assert outcome.kind in case.allowed, f"{outcome.kind}: {outcome.detail}"
