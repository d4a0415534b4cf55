"""XGBoost on several workers: what the notebook prints, or refused; what is changed for it, and what is not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import doors
import pytest
from xgboost_trainings import EQUAL, HEAD

from nb2pipe.convert import Conversion, load

TOLERANCE = 1e-5
"""How far apart numbers may be, relative to 1 or to themselves."""


def notebook(folder: Path, code: str, tags: str = '"step:train", "workers:2"', head: str = HEAD) -> Conversion:
    path = folder / "trees.py"
    path.write_text(f"# %% tags=[{tags}]\n{head}{code}", encoding="utf-8")
    return load(path)


def changed(folder: Path, code: str) -> list[str]:
    """The lines of the step, and of shared.py, that name xgboost_workers, without their indent."""
    pipeline = notebook(
        folder, code, head="import numpy as np, xgboost as xgb\nX, y = np.ones((9, 2)), np.ones(9)\n"
    ).pipeline
    step = pipeline.steps[0]
    parts = (step.definitions, step.setup, step.body)
    lines = [line.strip() for part in parts for fragment in part for line in fragment.lines]
    return [line for line in lines if "xgboost_workers" in line]


TRAINER = """
class Trainer:
    def __init__(self):
        self.net = xgb.XGBRegressor()
    def go(self):
        return self.net.fit(X, y)
Trainer().go()
"""


# --- the rewrite -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("b = xgb.train({}, d, 3)", ["b = xgboost_workers.spread(xgb.train)({}, d, 3)"]),
        ("from xgboost import train as t\nt({}, d)", ["xgboost_workers.spread(t)({}, d)"]),
        ("m = xgb.XGBRegressor()\nm.fit(X, y)", ["xgboost_workers.spread(m.fit)(X, y)"]),
        ("m = xgb.XGBRegressor().fit(X, y)", ["m = xgboost_workers.spread(xgb.XGBRegressor().fit)(X, y)"]),
        (
            "def make():\n    return xgb.XGBClassifier()\ndef learn(clf):\n    clf.fit(X, y)\nlearn(make())",
            ["xgboost_workers.spread(clf.fit)(X, y)"],
        ),
        (
            TRAINER,
            ["return xgboost_workers.spread(self.net.fit)(X, y)"],
        ),
        (
            "ms = [xgb.XGBRegressor(max_depth=k) for k in (1, 2)]\nfitted = [m.fit(X, y) for m in ms]",
            ["fitted = [xgboost_workers.spread(m.fit)(X, y) for m in ms]"],
        ),
        (
            "from sklearn.model_selection import cross_val_score as cv\ncv(xgb.XGBRegressor(), X, y)",
            ["xgboost_workers.spread(cv)(xgb.XGBRegressor(), X, y)"],
        ),
        (
            "from sklearn.preprocessing import StandardScaler\ns = StandardScaler().fit(X)\nxgb.train({}, s)",
            ["xgboost_workers.spread(xgb.train)({}, s)"],
        ),
        ("é = 1; xgb.train({}, X)", ["é = 1; xgboost_workers.spread(xgb.train)({}, X)"]),
    ],
)
def test_rewrite(code: str, expected: list[str], tmp_path: Path) -> None:
    assert changed(tmp_path, code) == expected


def test_without_workers_nothing_is_changed(tmp_path: Path) -> None:
    files = notebook(tmp_path, EQUAL["callbacks"], '"step:train"').project.files
    assert not any("workers" in path or "xgboost_workers" in text for path, text in files.items())


def test_every_change_has_its_reason(tmp_path: Path) -> None:
    step = notebook(tmp_path, "xgb.train({}, xgb.DMatrix(X, label=y))").pipeline.steps[0]
    reasons = [reason for f in step.body for i, reason in f.changes if "xgboost_workers" in f.lines[i]]
    assert reasons
    assert all("workers" in reason or "worker" in reason for reason in reasons)


REPORTING = """# %% tags=["parameters"]
depth = 3  # tune: int(1, 5)
# %% tags=["step:train", "workers:2"]
import numpy as np, xgboost as xgb
X, y = np.ones((9, 2)), np.ones(9)
{training}
# %% tags=["objective:minimize:loss"]
loss = float(depth)
"""


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        (
            "d = xgb.DMatrix(X, label=y)\nxgb.train({}, d, evals=[(d, 'd')])",
            "xgboost_workers.spread(xgb.train)({}, d, evals=[(d, 'd')], callbacks=trial_reports.xgboost_callbacks())",
        ),
        (
            "m = xgb.XGBRegressor()\nm.fit(X, y, eval_set=[(X, y)])",
            "with trial_reports.xgboost_reports(m):\n        xgboost_workers.spread(m.fit)(X, y, eval_set=[(X, y)])",
        ),
    ],
)
def test_a_trial_with_workers_is_told_how_it_goes(training: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "trees.py").write_text(REPORTING.replace("{training}", training), encoding="utf-8")
    assert expected in load(tmp_path / "trees.py").project.files["trees/steps/train.py"]


# --- what is refused, and what is not --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("code", "found", "line", "words"),
    [
        ("p = {'tree_method': 'exact'}\nxgb.train(p, X)", "workers-unsound", 3, "tree_method='exact'"),
        ("p = {}\np['booster'] = 'gblinear'\nxgb.train(p, X)", "workers-unsound", 4, "booster='gblinear'"),
        (
            "m = xgb.XGBRegressor(\n    objective='reg:absoluteerror')\nm.fit(X, y)",
            "workers-unsound",
            4,
            "order of all",
        ),
        ("m = xgb.XGBRegressor(enable_categorical=True)\nm.fit(X, y)", "workers-unsound", 3, "categor"),
        ("m = xgb.XGBRegressor(subsample=0.8)\nm.fit(X, y)", "workers-differ", 3, "draws its own rows"),
        ("s = 1 / 2\nm = xgb.XGBRegressor(subsample=s)\nm.fit(X, y)", "workers-differ", 4, "draws its own rows"),
        ("m = xgb.XGBRFRegressor()\nm.fit(X, y)", "workers-differ", 3, "80 %"),
        ("m = xgb.XGBRegressor()\nm.fit(X, y)\nm.save_model('/models/m.json')", "workers-unsound", 5, "/models/m.json"),
        ("b = xgb.Booster({}, [X])\nb.update(X, 1)", "workers-no-framework", None, "trains with none"),
        ("xgb.cv({}, X)", "workers-no-framework", None, "trains with none"),
        ("xgb.train({'subsample': 1.0, 'tree_method': 'hist'}, X)", None, None, ""),
        ("m = xgb.XGBRFRegressor(subsample=1)\nm.fit(X, y)", None, None, ""),
        ("m = xgb.XGBRegressor(enable_categorical=False)\nm.fit(X, y)\nm.save_model('m.json')", None, None, ""),
        ("m = xgb.XGBRegressor(objective='reg:pseudohubererror', colsample_bytree=0.5)\nm.fit(X, y)", None, None, ""),
    ],
)
def test_findings(code: str, found: str | None, line: int | None, words: str, tmp_path: Path) -> None:
    conversion = notebook(
        tmp_path, code, head="import numpy as np, xgboost as xgb\nX, y = np.ones((9, 2)), np.ones(9)\n"
    )
    about = [f for f in conversion.findings if f.code.startswith("workers-")]
    assert [f.code for f in about] == ([found] if found else [])
    if found:
        assert (about[0].cell, about[0].line) == (0, line)
        assert words in about[0].message
        assert about[0].hint


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import lightgbm\nm = lightgbm.LGBMRegressor()\nm.fit([[1.0]], [1.0])", "LightGBM"),
        ("from sklearn.linear_model import Ridge\nm = Ridge()\nm.fit([[1.0]], [1.0])", "n_jobs"),
        ("x = sum(range(9))", "cpu:"),
    ],
)
def test_what_is_not_spread_has_a_way_out(code: str, words: str, tmp_path: Path) -> None:
    (found,) = [f for f in notebook(tmp_path, code, head="").findings if f.code.startswith("workers-")]
    assert found.code == "workers-no-framework"
    assert words in found.hint


# --- run for real ----------------------------------------------------------------------------------------------------
def all_of_them() -> str:
    """One step with every training, each in a function of its own: workers start once."""
    parts = []
    for name, code in EQUAL.items():
        body = "\n".join("    " + line for line in code.strip().split("\n"))
        parts.append(f"def {name}():\n    rng = np.random.default_rng(1)\n{body}\n")
    names = ", ".join(EQUAL)
    return "\n".join([*parts, f"for case in ({names}):", "    print('#', case.__name__)", "    case()", ""])


@cache
def printed(workers: int, folder: Path) -> dict[str, str]:
    """What each training prints with so many workers; 0 is the notebook."""
    pytest.importorskip("xgboost")
    source = folder / "trees.py"
    if not source.exists():
        notebook(folder, all_of_them())
    if workers:
        run = doors.nb2pipe_json("run", source, "--workers", workers, "--no-cache", cwd=folder)
        assert run["status"] == "succeeded", run["error"]
        text = Path(run["steps"][0]["stdout"]).read_text("utf-8")
    else:
        done = subprocess.run([sys.executable, source], cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        text = done.stdout
    parts = re.split(r"^# (\w+)\n", text, flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trainings")


@pytest.mark.xdist_group("xgboost_trainings")
@pytest.mark.parametrize("name", EQUAL)
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_print_what_the_notebook_prints(name: str, workers: int, folder: Path) -> None:
    expected, found = printed(0, folder)[name], printed(workers, folder)[name]
    if workers == 1:
        assert found == expected
        return
    assert re.sub(NUMBER, "#", found) == re.sub(NUMBER, "#", expected)
    for one, other in zip(re.findall(NUMBER, expected), re.findall(NUMBER, found), strict=True):
        assert float(other) == pytest.approx(float(one), rel=TOLERANCE, abs=TOLERANCE)


NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"

DIFFERENT_DATA = """
import os
rows = np.arange(700) if os.environ["RANK"] == "0" else np.arange(700)[::-1]
xgb.train({}, xgb.DMatrix(X[rows], label=y), 2)
"""

FAILS_ON_ONE = """
import os
class Fail(xgb.callback.TrainingCallback):
    def after_iteration(self, model, epoch, log):
        if os.environ["RANK"] == "1" and epoch == 2:
            raise ValueError("from worker 1")
        return False
xgb.train({}, xgb.DMatrix(X, label=y), 5, callbacks=[Fail()])
"""


@pytest.mark.parametrize(
    ("code", "line", "message"),
    [
        (DIFFERENT_DATA, 4, "the workers do not have the same training data"),
        (FAILS_ON_ONE, 6, "worker 1: ValueError: from worker 1"),
    ],
)
def test_a_training_that_cannot_go_on_ends_all_workers(code: str, line: int, message: str, tmp_path: Path) -> None:
    pytest.importorskip("xgboost")
    notebook(tmp_path, code)
    done = doors.nb2pipe("run", "trees.py", "--json", cwd=tmp_path, timeout=120)
    error: dict[str, Any] = json.loads(done.stdout)["error"]
    assert done.returncode == 1
    assert message in error["message"]
    assert (error["cell"], error["line"]) == (0, line + HEAD.count("\n"))


@pytest.mark.parametrize("place", ["work", "not/there/yet/work"])
def test_a_step_with_workers_makes_the_folder_that_it_works_in(place: str, tmp_path: Path) -> None:
    pytest.importorskip("xgboost")
    code = "xgb.train({}, xgb.DMatrix(X, label=y), 1).save_model('model.json')"
    notebook(tmp_path, code).convert(tmp_path / "trees")
    words = [sys.executable, "-m", "trees.task", "train", f"--workdir={place}"]
    done = subprocess.run(words, cwd=tmp_path / "trees", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "trees" / place / "model.json").is_file()
