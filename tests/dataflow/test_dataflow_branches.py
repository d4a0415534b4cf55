"""Steps that share nothing but what they only read do not wait for each other; those that change it do."""

from __future__ import annotations

import json
from pathlib import Path

import doors
import pytest

import nb2pipe

FRAME = "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2], 'b': [3, 4]})"
ARRAYS = "import numpy as np\nX = np.arange(8.0).reshape(4, 2)\ny = np.arange(4)"
RIDGE = "from sklearn.linear_model import Ridge\n"
GETTER = (
    "log = []\nclass A:\n    def __init__(self):\n        self.v = 1\n"
    "    @property\n    def w(self):\n        return {}\na = A()"
)


def waits(folder: Path, start: str, left: str, right: str) -> bool:
    """Whether the step `right` waits for the step `left`, directly or not."""
    notebook = folder / "branches.ipynb"
    cells = [(start, ["step:start"]), (left, ["step:left"]), (right, ["step:right"])]
    notebook.write_text(json.dumps(doors.notebook(cells)))
    checked = nb2pipe.load(notebook).check()
    assert [f for f in checked["findings"] if f["severity"] == "error"] == []
    step = next(s for s in checked["steps"] if s["name"] == "right")
    return "left" in {*(i["from"] for i in step["inputs"]), *step["after"]}


@pytest.mark.parametrize(
    ("start", "left", "right"),
    [
        (FRAME, "one = df.groupby('a').sum()\nprint(one)", "print(df.describe())"),
        (FRAME, "one = df.copy()\none['c'] = 1", "two = df.drop(columns='a')\nprint(two)"),
        (FRAME, "one = df[df.a > 1]\none = one.assign(c=2)", "print(df.to_dict(), len(df))"),
        (ARRAYS, RIDGE + "m = Ridge().fit(X, y)", RIDGE + "n = Ridge(2.0).fit(X, y)\nprint(n.coef_)"),
        (ARRAYS, "total = sum(x.sum() for x in X)", "means = [float(v) for v in X.mean(axis=0)]\nprint(means)"),
        ("rows = [[1], [2]]", "one = [r[0] for r in rows]", "two = sorted(rows, key=len)\nprint(two)"),
        ("def f(xs, n=0):\n    return [x + n for x in xs]\nrows = [1]", "a = f(rows)", "print(f(rows, n=2))"),
        ("rows = [1]", "print(rows is None)", "rows.append(2)\nprint(rows)"),
        (GETTER.format("self.v"), "x = a.w", "print(a.w, a.v)"),
    ],
)
def test_branches_that_only_read_stay_parallel(tmp_path: Path, start: str, left: str, right: str) -> None:
    assert not waits(tmp_path, start, left, right)


@pytest.mark.parametrize(
    ("start", "left", "right"),
    [
        (FRAME, "df['c'] = 1", "print(df.describe())"),
        (ARRAYS, "X += 1", RIDGE + "n = Ridge(2.0).fit(X, y)\nprint(n.coef_)"),
        ("rows = [[1], [2]]", "for r in rows:\n    r.append(3)", "two = sorted(rows, key=len)\nprint(two)"),
        ("def f(xs, n=0):\n    xs.append(n)\n    return xs\nrows = [1]", "a = f(rows)", "print(f(rows, n=2))"),
        (GETTER.format("log.append(1)"), "x = a.w", "print(log)"),
    ],
)
def test_a_branch_that_changes_what_the_other_reads_comes_first(
    tmp_path: Path, start: str, left: str, right: str
) -> None:
    assert waits(tmp_path, start, left, right)


@pytest.mark.parametrize(
    ("table", "carried"),
    [
        ("TABLE = {'a': ['x'], 'b': ['y']}", False),
        ("class Key: pass\nTABLE = {Key(): 1}", True),
    ],
)
def test_only_keys_that_equal_nothing_but_themselves_have_to_stay_the_same(
    tmp_path: Path, table: str, carried: bool
) -> None:
    look = "def look(rows):\n    return [rows.get(key) for key in TABLE]"
    cells = [
        (f"{table}\n{look}", ["shared"]),
        ("kept = [*TABLE, *TABLE.values()]", ["step:keep"]),
        ("print(look(dict.fromkeys(map(str, kept))), len(kept))", ["step:show"]),
    ]
    notebook = tmp_path / "keys.ipynb"
    notebook.write_text(json.dumps(doors.notebook(cells)))
    names = {i["name"] for step in nb2pipe.load(notebook).check()["steps"] for i in step["inputs"]}
    assert ("TABLE" in names) == carried
