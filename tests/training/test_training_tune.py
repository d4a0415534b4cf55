"""Tuning on this machine: what a trial is, what runs how often, what is kept when it is interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from nb2pipe.convert import load
from nb2pipe.findings import Nb2pipeError
from nb2pipe.pipeline.trial import NoTuning, Slice, trial_slice

pytest.importorskip("optuna")

NOTEBOOK = """
# %% tags=["parameters"]
x = 1.0  # tune: uniform(-4.0, 4.0)
shift = 0.5
kind = "a"  # tune: choice("a", "b")

# %% tags=["step:load"]
rows = list(range(4))

# %% tags=["step:prepare"]
total = sum(rows)

# %% tags=["step:train"]
if kind == "b":
    raise ValueError("b is no kind")
model = (x - shift) ** 2 + total

# %% tags=["step:evaluate", "objective:minimize:loss"]
loss = model * 2

# %% tags=["step:report"]
print(loss)
"""


def notebook(tmp_path: Path, text: str = NOTEBOOK) -> Path:
    path = tmp_path / "study.py"
    path.write_text(textwrap.dedent(text))
    return path


def row(name: str, *, parameters: tuple[str, ...] = (), after: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "name": name,
        "parameters": parameters,
        "inputs": [{"source": s} for s in after],
        "files_in": [],
        "after": [],
    }


def graph(*steps: dict[str, Any], last: str = "score", searched: tuple[str, ...] = ("rate",)) -> dict[str, Any]:
    parameters = [{"name": n, "search": {"kind": "int"} if n in searched else None} for n in ("rate", "rows", "depth")]
    return {"parameters": parameters, "objective": {"step": last, "name": "rmse", "goal": "minimize"}, "steps": steps}


LOAD, FIT = row("load", parameters=("rows",)), row("fit", parameters=("rate",), after=("load",))
SCORE, SHOW = row("score", after=("fit", "load")), row("show", after=("score",))


@pytest.mark.parametrize(
    ("described", "wanted"),
    [
        (graph(LOAD, FIT, SCORE), Slice(("load",), ("fit", "score"), ("rate",))),
        (graph(LOAD, FIT, SCORE, SHOW), Slice(("load",), ("fit", "score"), ("rate",))),
        (graph(LOAD, FIT, SCORE, searched=("rate", "rows")), Slice((), ("load", "fit", "score"), ("rate", "rows"))),
        (
            graph(LOAD, FIT, SCORE, searched=("rate", "depth")),
            Slice(("load",), ("fit", "score"), ("rate",)),
        ),
        (graph(LOAD, FIT, SCORE, last="fit"), Slice(("load",), ("fit",), ("rate",))),
    ],
    ids=[
        "what comes before runs once",
        "what comes after is not run",
        "all",
        "a parameter that changes nothing",
        "first",
    ],
)
def test_the_dataflow_says_what_a_trial_is(described: dict[str, Any], wanted: Slice) -> None:
    assert trial_slice(described) == wanted


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        ({**graph(LOAD, FIT, SCORE), "objective": None}, "no cell has an objective tag"),
        (graph(LOAD, FIT, SCORE, searched=()), "no parameter has a search space"),
        (graph(LOAD, FIT, SCORE, searched=("depth",)), "none of depth changes rmse"),
    ],
)
def test_without_a_way_from_a_space_to_the_objective_nothing_is_tuned(described: dict[str, Any], reason: str) -> None:
    with pytest.raises(NoTuning, match=reason):
        trial_slice(described)


def test_each_step_runs_as_often_as_it_must(tmp_path: Path) -> None:
    tuned = load(notebook(tmp_path)).tune(trials=6, parallel=2)
    assert tuned.step_runs["load"] == tuned.step_runs["prepare"] == 1
    assert tuned.step_runs["train"] == 6
    assert tuned.step_runs["evaluate"] == len([t for t in tuned.trials if t.status == "completed"]) < 6
    assert tuned.step_runs["report"] == 0


def test_the_first_trial_has_the_notebooks_values_and_the_best_is_best(tmp_path: Path) -> None:
    tuned = load(notebook(tmp_path)).tune(trials=8)
    assert tuned.trials[0].parameters == {"x": 1.0, "kind": "a"}
    assert tuned.trials[0].objective == 2 * (0.25 + 6)
    for trial in tuned.trials:
        expected = 2 * ((trial.parameters["x"] - 0.5) ** 2 + 6)
        assert trial.objective == (pytest.approx(expected) if trial.status == "completed" else None)
    assert tuned.best is not None
    assert tuned.best.objective == min(t.objective for t in tuned.trials if t.objective is not None)


def test_a_failing_trial_is_recorded(tmp_path: Path) -> None:
    tuned = load(notebook(tmp_path)).tune(trials=8)
    for trial in tuned.trials:
        assert (trial.status == "failed") == (trial.parameters["kind"] == "b")
        assert trial.message == ("step train: ValueError: b is no kind" if trial.status == "failed" else "")
    assert {t.status for t in tuned.trials} == {"failed", "completed"}


def test_a_study_goes_on_and_another_begins_for_other_code(tmp_path: Path) -> None:
    path = notebook(tmp_path)
    first = load(path).tune(trials=3)
    more = load(path).tune(trials=5)
    assert more.trials[:3] == first.trials
    assert (len(more.trials), more.step_runs["load"]) == (5, 1)
    assert load(path).tune(trials=5).trials == more.trials
    assert len(load(path).tune({"shift": "1.5"}, trials=1).trials) == 1
    assert len(load(notebook(tmp_path, NOTEBOOK.replace("* 2", "* 3"))).tune(trials=1).trials) == 1
    assert len(load(notebook(tmp_path)).tune(trials=2, anew=True).trials) == 2


CHOICES = """
# %% tags=["parameters"]
units = [8, 4]  # tune: choice([8, 4], [2])
depth = 2  # tune: int(1, 3)
rate = 0.1  # tune: loguniform(1e-3, 1.0)
# %% tags=["step:train", "objective:maximize:score"]
assert type(units) is list and type(depth) is int and type(rate) is float
score = sum(units) * depth - rate
"""


def test_values_are_of_the_parameters_types(tmp_path: Path) -> None:
    tuned = load(notebook(tmp_path, CHOICES)).tune(trials=12)
    assert {t.status for t in tuned.trials} == {"completed"}
    assert {tuple(t.parameters["units"]) for t in tuned.trials} == {(8, 4), (2,)}
    assert all(1 <= t.parameters["depth"] <= 3 and 1e-3 <= t.parameters["rate"] <= 1 for t in tuned.trials)
    assert tuned.best is not None
    assert tuned.best.objective == max(t.objective for t in tuned.trials if t.objective is not None)
    result = load(tmp_path / "study.py").run(dict(word.split("=", 1) for word in tuned.best_words()))
    assert result.metrics["score"] == tuned.best.objective


NOT_A_NUMBER = """
# %% tags=["parameters"]
x = 1.0  # tune: uniform(0.0, 4.0)
# %% tags=["step:train", "objective:minimize:loss"]
loss = x * float("nan")
"""


def test_no_number_is_a_failed_trial(tmp_path: Path) -> None:
    tuned = load(notebook(tmp_path, NOT_A_NUMBER)).tune(trials=2)
    assert [t.status for t in tuned.trials] == ["failed", "failed"]
    assert tuned.best is None
    assert "not a finite number" in tuned.trials[0].message


REPORTED = """
# %% tags=["parameters"]
x = 1.0  # tune: uniform(0.0, 4.0)
# %% tags=["step:train", "objective:minimize:loss"]
import json, os, time
for epoch in range(10):
    if "TRIAL_REPORTS" in os.environ:
        with open(os.environ["TRIAL_REPORTS"], "a") as file:
            file.write(json.dumps({"step": epoch, "value": x}) + "\\n")
    time.sleep(0.05 if x > 2.0 else 0)
loss = x
"""


def test_a_hopeless_trial_ends_early(tmp_path: Path) -> None:
    path = notebook(tmp_path, REPORTED)
    tuned = load(path).tune(trials=10)
    pruned = [t for t in tuned.trials if t.status == "pruned"]
    assert pruned
    assert all(t.parameters["x"] > 1 for t in pruned)
    assert not [t for t in load(path).tune(trials=10, anew=True, prune=False).trials if t.status == "pruned"]


def command(path: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "nb2pipe", "tune", str(path), *words]


SLOW = NOTEBOOK.replace("total = sum(rows)", "total = sum(rows)\nprint('prepared')").replace(
    "loss = model * 2", "import time\ntime.sleep(1.0)\nloss = model * 2"
)


@pytest.mark.parametrize(("was", "space"), [("-4.0, 4.0", "2.0, 4.0"), ('choice("a", "b")', 'choice("c", "d")')])
def test_a_default_outside_of_its_space_is_not_tried(tmp_path: Path, was: str, space: str) -> None:
    tuned = load(notebook(tmp_path, NOTEBOOK.replace(was, space))).tune(trials=1)
    assert tuned.trials[0].status == "completed"
    tried = tuned.trials[0].parameters
    assert tried["x"] >= 2 or tried["kind"] in ("c", "d")


FILES = NOTEBOOK.replace("loss = model * 2", 'open(PLACE, "w").write(str(model))\nloss = float(open(PLACE).read()) * 2')


def test_trials_do_not_share_a_place(tmp_path: Path) -> None:
    """A relative path is in each trial's own folder; any other would be written by all that run at the same time."""
    text = FILES.replace('kind = "a"  # tune: choice("a", "b")', 'kind = "a"')
    absolute = load(notebook(tmp_path, text.replace("PLACE", repr(str(tmp_path / "loss.txt")))))
    with pytest.raises(Nb2pipeError) as refused:
        absolute.tune(trials=2, parallel=2)
    assert [(f.code, f.cell) for f in refused.value.findings] == [("trials-share-files", 5)]
    alone = absolute.tune(trials=2)
    relative = load(notebook(tmp_path, text.replace("PLACE", '"loss.txt"'))).tune(trials=4, parallel=2)
    for tuned in (alone, relative):
        for trial in tuned.trials:
            assert trial.objective == pytest.approx(((trial.parameters["x"] - 0.5) ** 2 + 6) * 2)
    url = load(notebook(tmp_path, text.replace("PLACE", '"gs://bucket/loss.txt"')))
    with pytest.raises(Nb2pipeError) as refused:
        url.convert(tmp_path / "project")
    assert "trials-share-files" in [f.code for f in refused.value.findings]
    assert not (tmp_path / "project").exists()


def test_trials_do_not_share_a_place_that_a_parameter_names(tmp_path: Path) -> None:
    """The parameter's value counts: the notebook's own, and what the tuning is given for it."""
    text = FILES.replace('kind = "a"  # tune: choice("a", "b")', 'kind = "a"\nOUTDIR = "OUT"')
    text = text.replace('PLACE, "w"', 'PLACE, "x"').replace("PLACE", 'OUTDIR + "/loss.txt"')  # "x": not there yet
    outside = tmp_path / "outside"
    outside.mkdir()
    absolute = load(notebook(tmp_path, text.replace('"OUT"', repr(str(outside)))))
    with pytest.raises(Nb2pipeError) as refused:
        absolute.tune(trials=2, parallel=2)
    found = [(f.code, f.cell, f.name) for f in refused.value.findings]
    assert found == [("trials-share-files", 5, f"{outside}/loss.txt")]
    assert not list(outside.iterdir())
    tuned = absolute.tune(trials=2, parallel=2, parameters={"OUTDIR": "."})
    assert [t.status for t in tuned.trials] == ["completed"] * 2
    assert not list(outside.iterdir())
    assert [t.status for t in absolute.tune(trials=2).trials] == ["completed", "failed"]  # they share it
    with pytest.raises(Nb2pipeError) as refused:
        load(notebook(tmp_path, text.replace('"OUT"', '"gs://bucket"'))).convert(tmp_path / "project")
    assert "trials-share-files" in [f.code for f in refused.value.findings]


def test_a_killed_tuning_resumes_and_leaves_no_process(tmp_path: Path) -> None:
    path = notebook(tmp_path, SLOW)
    words = command(path, "--trials", "4", "--parallel", "2")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        first = child.stderr.readline()
        assert first.startswith("trial")
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=20) == 130
    assert not running_below(tmp_path)
    done = subprocess.run(command(path, "--trials", "4", "--json"), capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    assert len(document["trials"]) == 4
    assert document["step_runs"]["load"] == 1
    assert first.split()[1] in [str(t["number"]) for t in document["trials"]]


def running_below(folder: Path) -> list[str]:
    """The processes that work below a folder."""
    time.sleep(0.2)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_the_command_and_its_document(tmp_path: Path) -> None:
    path = notebook(tmp_path)
    done = subprocess.run(command(path, "--trials", "4", "--json"), capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    assert {"status", "trials", "best", "direction", "step_runs", "study"} <= set(document)
    assert set(document["trials"][0]) == {"number", "parameters", "objective", "status", "seconds"}
    assert set(document["best"]) == {"number", "parameters", "objective"}
    assert Path(document["study"]).is_file()
    assert all(Path(plot).stat().st_size > 1000 for plot in document["plots"])
    spoken = subprocess.run(command(path, "--trials", "4"), capture_output=True, text=True, check=True)
    assert "run the pipeline with the best parameters: nb2pipe run" in spoken.stdout


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (NOTEBOOK.replace("objective:minimize:loss", "metrics"), "no-tuning"),
        (NOTEBOOK.replace("objective:minimize:loss", "objective:minimize:los"), "bad-objective"),
        (NOTEBOOK.replace('"step:report"', '"step:report", "objective:minimize:total"'), "bad-objective"),
        (NOTEBOOK.replace('# %% tags=["step:report"]', '# %%\nloss = 0\n\n# %% tags=["step:report"]'), "bad-objective"),
        (NOTEBOOK.replace("rows = list(range(4))", "rows = list(range(4 // 0))"), "tuning-failed"),
    ],
    ids=["no objective", "not computed", "two", "assigned later", "the steps before fail"],
)
def test_what_cannot_be_tuned_is_said(tmp_path: Path, text: str, code: str) -> None:
    done = subprocess.run(
        command(notebook(tmp_path, text), "--trials", "2"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"error[{code}]" in done.stderr
