"""`nb2pipe verify` of steps with workers: first as with one worker, then all of them against one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import doors
import numpy as np
import pytest

from nb2pipe.verify.compare.arrays import compare_values
from nb2pipe.verify.compare.numbers import compare_floats, loosened
from nb2pipe.verify.workers import TOLERANCE

HEAD = """# %% tags=["shared"]
import os
import numpy as np
import xgboost as xgb
# %% tags=["step:load"]
rng = np.random.default_rng(0)
X = rng.normal(size=(400, 4))
y = X[:, 0] + X[:, 1] * X[:, 2]
"""

TRAIN = """
# %% tags=["step:{name}", "workers:2"]
{name} = xgb.XGBRegressor(n_estimators=4{settings})
{name}.fit(X, y)
{more}
"""
USE = """
# %% tags=["step:use"]
print(len(alike.predict(X)), len(drawn.predict(X)), score, size)
"""


def train(name: str, settings: str = "", more: str = "print('trained')") -> str:
    return TRAIN.format(name=name, settings=settings, more=more)


def verified(folder: Path, *steps: str) -> dict[str, Any]:
    pytest.importorskip("xgboost")
    (folder / "trees.py").write_text("".join([HEAD, *steps]), encoding="utf-8")
    done = doors.nb2pipe("verify", "trees.py", "--json", cwd=folder)
    document: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if document["verdict"] == "equal" else 1)
    return document


def test_many_workers_are_compared_with_one(tmp_path: Path) -> None:
    """What is alike, what was said to depend on them, and what does without being said; samples are equal in all."""
    alike = train("alike", more="score = float(alike.score(X, y))")
    sized = train("sized", more="size = int(os.environ.get('WORLD_SIZE', '1'))")
    document = verified(tmp_path, alike, train("drawn", settings=", subsample=0.5"), sized, USE)
    assert document["verdict"] == "different"
    assert {row["verdict"] for row in document["compared"]} == {"equal"}
    rows = {row["name"]: row for row in document["workers"]}
    assert {(name, row["step"], row["workers"]) for name, row in rows.items()} == {
        ("alike", "alike", 2),
        ("score", "alike", 2),
        ("drawn", "drawn", 2),
        ("size", "sized", 2),
    }
    assert {rows["alike"]["verdict"], rows["score"]["verdict"]} <= {"equal", "close"}
    assert rows["drawn"]["verdict"] == "not proved"
    assert "each worker draws its own rows" in rows["drawn"]["detail"]
    assert (rows["size"]["verdict"], rows["size"]["detail"]) == ("different", "size: 1 with one worker, 2 with 2")


def test_a_step_that_fails_with_workers_only(tmp_path: Path) -> None:
    document = verified(tmp_path, train("lonely", more="assert 'WORLD_SIZE' not in os.environ, 'alone only'"))
    assert document["verdict"] == "failed"
    (row,) = document["workers"]
    assert (row["name"], row["verdict"]) == ("", "failed")
    assert row["detail"].startswith("cell 2 line 3: ")
    assert row["detail"].endswith("AssertionError: alone only")


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        ([1.0, 2.0], [1.0, 2.001], "close"),
        ([1e-9, 2.0], [-1e-9, 2.0], "close"),
        ([1.0, 2.0], [1.0, 2.1], "different"),
        ([1.0, np.nan], [1.0, 2.0], "different"),
        ([np.inf, 1.0], [np.inf, 1.0001], "close"),
    ],
)
def test_floats_of_many_workers_may_be_apart(one: list[float], other: list[float], verdict: str) -> None:
    with loosened(TOLERANCE):
        assert compare_values(np.array(one), np.array(other), "x").verdict == verdict
    assert compare_values(np.array(one), np.array(other), "x").verdict == "different"


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [(1.0, 1.0005, "close"), (1e-8, -1e-8, "close"), (1.0, 1.01, "different"), (1.0, float("inf"), "different")],
)
def test_single_floats_too(one: float, other: float, verdict: str) -> None:
    with loosened(TOLERANCE):
        assert compare_floats(one, other, "x").verdict == verdict
    assert compare_floats(one, other, "x").verdict == "different"


def test_whole_numbers_may_not() -> None:
    with loosened(TOLERANCE):
        assert compare_values(np.array([1000000]), np.array([1000001]), "x").verdict == "different"
