"""From a notebook to a run: converted, uploaded, submitted by the command, executed, and equal to a run here."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import doors
import pytest
from click.testing import CliRunner, Result
from fake_kfp import FakeKfp
from fake_kfp_runs import executed
from fake_s3 import FakeS3

import nb2pipe
from nb2pipe.cli import cli
from nb2pipe.targets import submission

TRAIN = """if scale < 0:
    raise ValueError("scale is negative")
mean = sum(rows) * scale / len(rows)"""
CELLS = [
    ("scale = 2.0", ["parameters"]),
    ("import csv\nwith open('data.csv') as file:\n    rows = [float(r[0]) for r in csv.reader(file)]", ["step:load"]),
    (TRAIN, ["step:train", "metrics"]),
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import kfp

    patience = functools.partial(submission.Patience, first=0.01, poll=0.05)
    monkeypatch.setattr(submission, "Patience", patience)
    for name in ("KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT", "KFP_TOKEN", "KFP_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "none.json"))


def nb2pipe_here(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def notebook_in(folder: Path) -> Path:
    (folder / "data.csv").write_text("1.5\n2.5\n3.5\n")
    path = folder / "means.ipynb"
    path.write_text(json.dumps(doors.notebook(CELLS)))
    return path


def test_a_submitted_notebook_computes_what_a_run_here_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = notebook_in(tmp_path)
    store = FakeS3("mlpipeline", tmp_path / "store")
    server = FakeKfp(executed(tmp_path / "cluster", store.file))
    with store.running(), server.running():
        for name, value in store.environment().items():
            monkeypatch.setenv(name, value)
        words = ("--host", server.url, "--bucket", "minio://mlpipeline/v2", "--wait", "--json", "-q")
        good = nb2pipe_here("submit", notebook, "-p", "scale=3", *words)
        project = tmp_path / "means"
        bad = nb2pipe_here("submit", project, "-p", "scale=-1", *words)
        shown = nb2pipe_here("runs", "list", "--target", "kfp", "--host", server.url, "--json")
    assert good.exit_code == 0, good.stderr
    document = json.loads(good.stdout)
    assert (document["state"], [one["state"] for one in document["steps"]]) == ("succeeded", ["succeeded"] * 2)
    there = metrics(tmp_path / "cluster" / document["id"])
    assert there == nb2pipe.load(notebook).run({"scale": 3.0}).metrics == {"mean": 7.5}
    assert [request.split(" ")[0] for request in store.requests] == ["HEAD", "PUT", "HEAD"]

    assert bad.exit_code == 1
    error = json.loads(bad.stdout)["error"]
    assert error == {"step": "train", "cell": 2, "line": 2, "message": "ValueError: scale is negative"}
    assert [run["state"] for run in json.loads(shown.stdout)["runs"]] == ["failed", "succeeded"]


def metrics(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for result in (run / "steps").glob("*/result.json"):
        found |= json.loads(result.read_text())["metrics"]
    return found


def test_a_dry_run_prints_the_request_and_needs_no_network(tmp_path: Path) -> None:
    notebook = notebook_in(tmp_path)
    done = nb2pipe_here("submit", notebook, "--dry-run", "--bucket", "gs://bucket/root", "--token", "s3cret", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["state"] == "dry-run"
    assert [one["what"] for one in document["request"]] == [
        "upload",
        "POST /apis/v2beta1/experiments, unless there is one of this name",
        "POST /apis/v2beta1/runs",
    ]
    assert "s3cret" not in done.output
    assert (tmp_path / "means" / "pipeline.yaml").is_file()

    file = tmp_path / "means" / "pipeline.py"
    file.write_text(file.read_text().replace("def means", "def other_means"))
    (tmp_path / "means" / "pipeline.yaml").unlink()
    again = nb2pipe_here("submit", tmp_path / "means", "--dry-run", "--bucket", "gs://bucket", "--json")
    assert (again.exit_code, json.loads(again.stdout)["findings"][0]["code"]) == (1, "stale-pipeline")


def test_a_notebook_with_errors_is_not_submitted(tmp_path: Path) -> None:
    path = tmp_path / "bad.ipynb"
    path.write_text(json.dumps(doors.notebook([("print(nothing)", ["step:a"])])))
    done = nb2pipe_here("submit", path, "--dry-run")
    assert done.exit_code == 1
    assert "undefined-name" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--schedule", "0 6 * * *", "--wait"),
        ("-p", "scale"),
        ("--input", "data.csv"),
        ("-p", "scale=x", "--bucket", "gs://bucket"),
        ("-p", "other=1", "--bucket", "gs://bucket"),
    ],
    ids=" ".join,
)
def test_wrong_usage(tmp_path: Path, words: tuple[str, ...], compiled: Path) -> None:
    shutil.copytree(compiled, tmp_path / "here")
    done = nb2pipe_here("submit", tmp_path / "here" / "means", "--dry-run", *words)
    assert done.exit_code == 2, done.output


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled")
    nb2pipe.load(notebook_in(folder)).convert()
    return folder
