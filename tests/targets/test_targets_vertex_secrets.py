"""Secrets on Vertex AI: read from Secret Manager by the step's own process, and nowhere else to be found."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from doors import notebook

from nb2pipe.convert import Conversion
from nb2pipe.findings import Nb2pipeError

fake_vertex = pytest.importorskip("fake_vertex")

CELLS = [
    (
        "import os\nrows = [len(os.environ['TOKEN'])]",
        ["step:load", "secret:api:latest:TOKEN", "secret:db:user:DB_USER"],
    ),
    ("print(rows)", ["step:show"]),
]
VALUE = "s3cr3t-value"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "keeper.ipynb").write_text(json.dumps(notebook(CELLS)))
    Conversion(folder / "keeper.ipynb", {"target": "vertex"}).convert(folder / "keeper")
    return folder / "keeper"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with fake_vertex.FakeVertex(tmp_path).running() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        for name in ("TOKEN", "DB_USER"):
            monkeypatch.setenv(name, "")  # so that it is taken back
        server.google.secrets = {"api": [b"old", VALUE.encode()], "db": [b'{"user": "ada", "n": 1}']}
        yield server


@pytest.fixture
def secrets(project: Path, server: Any, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The generated secret_manager.py."""
    monkeypatch.syspath_prepend(str(project))
    for name in [name for name in sys.modules if name.partition(".")[0] == "keeper"]:
        monkeypatch.delitem(sys.modules, name)
    module = importlib.import_module("keeper.secret_manager")
    monkeypatch.setattr(module, "PAUSE", 0.01)
    return module


def test_a_whole_secret_and_a_field_of_one_arrive(secrets: ModuleType, server: Any) -> None:
    secrets.put_secrets("test-project", "load")
    assert (os.environ["TOKEN"], os.environ["DB_USER"]) == (VALUE, "ada")


def test_a_step_without_secrets_and_a_run_elsewhere_ask_for_none(secrets: ModuleType, server: Any) -> None:
    secrets.put_secrets("test-project", "show")
    secrets.put_secrets("", "load")
    assert not server.requests
    assert os.environ["TOKEN"] == ""


@pytest.mark.parametrize("fault", [429, 503, 401, "cut", "lost"])
def test_what_passes_is_asked_again(secrets: ModuleType, server: Any, fault: int | str) -> None:
    server.faults.append(fake_vertex.Fault("/secrets/api", fault))
    secrets.put_secrets("test-project", "load")
    assert os.environ["TOKEN"] == VALUE


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (None, r"says 404 Not Found.*gcloud secrets create db --project test-project"),
        (b"", "no JSON object|not the text"),
        (b"plain hidden", "not the text"),
        (b"\xffhidden", "not the text"),
        (b'["hidden"]', "no JSON object with a text 'user'"),
        (b'{"user": ["hidden"]}', "no JSON object with a text 'user'"),
        (b'{"user": "hidden\\u0000"}', "no variable"),
    ],
)
def test_a_secret_that_cannot_be_used_is_said_without_its_value(
    secrets: ModuleType, server: Any, payload: bytes | None, says: str
) -> None:
    server.google.secrets.pop("db")
    server.google.secrets |= {"db": [payload]} if payload is not None else {}
    task = importlib.import_module("keeper.task")
    with pytest.raises(task.StepError, match=says) as raised:
        secrets.put_secrets("test-project", "load")
    assert "hidden" not in f"{raised.value!r} {raised.value.__cause__!r}"


def test_a_server_that_never_answers_is_said(secrets: ModuleType, server: Any) -> None:
    server.faults += [fake_vertex.Fault("/secrets/api", 503) for _ in range(secrets.ATTEMPTS)]
    task = importlib.import_module("keeper.task")
    with pytest.raises(task.StepError, match="says 503"):
        secrets.put_secrets("test-project", "load")


def test_a_secret_that_may_not_be_read_says_which_role_is_wanted(secrets: ModuleType, server: Any) -> None:
    server.google.denied = {"api"}
    task = importlib.import_module("keeper.task")
    with pytest.raises(task.StepError, match=r"403 Forbidden.*add-iam-policy-binding api .*secretAccessor"):
        secrets.put_secrets("test-project", "load")


def test_a_project_that_vertex_does_not_name_is_an_error(secrets: ModuleType, server: Any) -> None:
    task = importlib.import_module("keeper.task")
    with pytest.raises(task.StepError, match="in which project"):
        secrets.put_secrets("{{$.pipeline_google_cloud_project_id}}", "load")


def test_only_the_step_that_asks_gets_the_code_and_the_package(project: Path) -> None:
    import yaml

    [document] = yaml.safe_load_all((project / "pipeline.yaml").read_text())
    executors = document["deploymentSpec"]["executors"]
    commands = {name: " ".join(row["container"]["command"]) for name, row in executors.items()}
    for text in ("google-auth[requests]", "keeper/secret_manager.py"):
        assert text in commands["exec-load"]
        assert text not in commands["exec-show"]
    assert "env" not in executors["exec-load"]["container"]
    given = document["root"]["dag"]["tasks"]["load"]["inputs"]["parameters"]
    assert given == {"project": {"runtimeValue": {"constant": "{{$.pipeline_google_cloud_project_id}}"}}}


def test_workers_and_trials_read_secrets_themselves(tmp_path: Path) -> None:
    train = "import xgboost as xgb\nrmse = 0.0\nmodel = xgb.train({'eta': eta}, xgb.DMatrix([[1.0]], label=[1.0]))"
    tags = ["step:train", "workers:2", "secret:api:latest:TOKEN", "objective:minimize:rmse", "metrics"]
    cells = [("eta = 0.3  # tune: loguniform(0.01, 0.9)", ["parameters"]), (train, tags)]
    (tmp_path / "n.ipynb").write_text(json.dumps(notebook(cells)))
    project = Conversion(tmp_path / "n.ipynb", {"target": "vertex"}).project
    assert 'work["project"] = where["project"]' in project.files["n/jobs.py"]
    assert "secret_manager.put_secrets(job" in project.files["n/remote.py"]
    assert all("google-auth[requests]" in project.files[f"jobs/{name}.yaml"] for name in ("train", "tune"))
    kubernetes = Conversion(tmp_path / "n.ipynb").project
    assert "n/secret_manager.py" not in kubernetes.files
    assert "secret_manager" not in kubernetes.files["n/remote.py"]


def test_a_name_that_secret_manager_does_not_allow_is_refused(tmp_path: Path) -> None:
    (tmp_path / "n.ipynb").write_text(json.dumps(notebook([("x = 1", ["step:a", "secret:my.keys:token:TOKEN"])])))
    with pytest.raises(Nb2pipeError, match=r"my\.keys") as refused:
        Conversion(tmp_path / "n.ipynb", {"target": "vertex"}).convert()
    assert [found.code for found in refused.value.findings] == ["not-on-vertex"]
