"""Every handwritten notebook converts to a pipeline that prints the same, or is refused where that is right."""

from __future__ import annotations

import re
from pathlib import Path

import catalogue
import pytest
import quick

CASES = catalogue.everything()
LIBRARIES = ("numpy", "pandas", "sklearn", "matplotlib", "joblib", "pyarrow", "scipy", "xgboost")


OPEN = {
    "aliases: getattr hook mutates": "an object with __getattr__ cannot be stored",
    "aliases: object dict alias": "vars(x) is not kept one with x when both are stored",
    "files: numpy save without suffix": "np.save adds .npy to the path",
    "files: removed": "removing a file does not cross steps",
    "files: renamed": "renaming a file does not cross steps",
    "files: xml or configparser": "an object that writes files by a method of its own",
    "files: zip extract": "what an archive holds is not known",
    "hidden: contextvar": "refused only when the step runs",
    "hidden: counter iterator": "itertools.count could be stored",
    "hidden: del of the last reference": "__del__ runs in each process",
    "hidden: figure across steps": "a notebook's inline figures end with their cell; the plain baseline's do not",
    "hidden: gc and weakref": "refused only when the step runs",
    "hidden: id across": "id() differs from process to process",
    "hidden: inspect getsource": "the source of a function is on disk here",
    "hidden: class repr and module name": "__module__ is the generated package",
    "hidden: function qualname": "__module__ is the generated package",
    "hidden: pandas accessor registration": "an accessor registered in one step only fails in the next, with its line",
    "names: decorator with state": "refused; could travel as one value",
    "names: global in method": "refused; could travel as one value",
    "names: lru_cache info across": "a cache starts empty in each step",
    "names: lru_cache with print": "a cache starts empty in each step",
    "names: two closures share a cell": "refused; cloudpickle does not keep one cell for two functions",
    "realistic_tables: exploratory with skips": "plotting an unknown value in a skipped cell counts as changing it",
    "science: regex match object": "refused only when the step runs",
}
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
def test_case(case: catalogue.Case, tmp_path: Path) -> None:
    source = "\n".join(text for _, text in case.cells)
    for library in LIBRARIES:
        if re.search(rf"^\s*(?:import|from) .*\b{library}\b", source, re.MULTILINE):
            pytest.importorskip(library)
    outcome = quick.compare(case.cells, tmp_path)
    if case.name in OPEN:
        assert outcome.kind not in case.allowed, "right now: take it off the list"
        return
    assert outcome.kind in case.allowed, f"{outcome.kind}: {outcome.detail}"
