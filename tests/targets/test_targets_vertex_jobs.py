"""Jobs on Vertex AI, by the generated code and Google's own client, against a strict server that runs the workers."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from doors import environment, notebook

from nb2pipe.convert import Conversion

pytest.importorskip("google.cloud.aiplatform_v1")
pytest.importorskip("hypertune")
pytest.importorskip("xgboost")
fake_vertex = pytest.importorskip("fake_vertex")

PARAMETERS = """
eta = 0.3  # tune: loguniform(0.01, 0.9)
depth = 3  # tune: choice(2, 3, 4)
booster = 'gbtree'  # tune: choice('gbtree', 'dart')
rounds = 6  # tune: int(4, 8)
broken = -1
"""
DATA = """
import numpy as np
rows = np.random.default_rng(0).normal(size=(400, 3))
target = rows @ np.array([1.0, 2.0, 3.0])
"""
TRAIN = """
import xgboost as xgb
if rounds == broken or broken == 0:
    raise ValueError('broken on purpose')
options = {'eta': eta, 'max_depth': depth, 'booster': booster, 'nthread': 1}
table = xgb.DMatrix(rows, label=target)
model = xgb.train(options, table, num_boost_round=rounds, evals=[(table, 'train')])
"""
SCORE = "rmse = float(np.sqrt(np.mean((model.predict(xgb.DMatrix(rows)) - target) ** 2)))"
CELLS = [
    (PARAMETERS.strip(), ["parameters"]),
    (DATA.strip(), ["step:data"]),
    (TRAIN.strip(), ["step:train", "workers:2"]),
    (SCORE, ["step:score", "metrics", "objective:minimize:rmse"]),
]
TUNED = {"eta": 0.3, "depth": 3, "booster": "gbtree", "rounds": 6}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated project."""
    folder = tmp_path_factory.mktemp("vertex")
    (folder / "boosted.ipynb").write_text(json.dumps(notebook(CELLS)))
    Conversion(folder / "boosted.ipynb", {"target": "vertex"}).convert(folder / "boosted")
    return folder / "boosted"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with fake_vertex.FakeVertex(tmp_path).running() as server:
        for name, value in {**server.environment(), "JOB_POLL_SECONDS": "0.1"}.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def jobs(project: Path, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The generated jobs.py; its buckets are folders of this machine."""
    monkeypatch.syspath_prepend(str(project))
    for name in [name for name in sys.modules if name.partition(".")[0] == "boosted"]:
        monkeypatch.delitem(sys.modules, name)
    module = importlib.import_module("boosted.jobs")
    monkeypatch.setattr(module, "BUCKETS", str(tmp_path / "gcs"))
    return module


@pytest.fixture
def uris(jobs: ModuleType, tmp_path: Path) -> dict[str, str]:
    """The URI of each artifact; what the first step makes is there."""
    task = importlib.import_module("boosted.task")
    names = {"rows": "gs://bucket/rows", "target": "gs://bucket/target"}
    task.run("data", outputs={name: jobs.mounted(uri) for name, uri in names.items()})
    return {**names, "model": "gs://bucket/model"}


WHERE = {"project": "test-project", "location": "us-central1", "root": "gs://bucket/root"}


def files(project: Path) -> dict[str, str]:
    """What a component embeds."""
    paths = [*project.glob("boosted/**/*.py"), *project.glob("jobs/*.yaml"), project / "nb2pipe.map.json"]
    return {path.relative_to(project).as_posix(): path.read_text() for path in paths}


@pytest.fixture
def train(jobs: ModuleType, project: Path, uris: dict[str, str]) -> Callable[..., dict[str, float]]:
    def train(**given: Any) -> dict[str, float]:
        launch = importlib.import_module("boosted.launch")
        logged: dict[str, float] = {}
        launch.run(
            "train",
            {**TUNED, "broken": -1, **given},
            {name: name for name in ("rows", "target")},
            {"model": "model"},
            uris=uris,
            where=WHERE,
            log_metric=logged.__setitem__,
            files=files(project),
        )
        return logged

    return train


def alone(project: Path, uris: dict[str, str], jobs: ModuleType, place: Path) -> Any:
    """The model that the step gives with one worker."""
    task, artifacts = importlib.import_module("boosted.task"), importlib.import_module("boosted.artifacts")
    inputs = {name: jobs.mounted(uris[name]) for name in ("rows", "target")}
    task.run("train", {**TUNED, "broken": -1}, inputs, {"model": str(place)})
    return artifacts.load(str(place))["model"]


def test_two_workers_train_what_one_trains(
    train: Any, server: Any, jobs: ModuleType, uris: dict[str, str], project: Path, tmp_path: Path
) -> None:
    assert train() == {}
    [job] = server.jobs.values()
    assert [pool.replica_count for pool in job.message.job_spec.worker_pool_specs] == [1, 1]
    assert job.message.labels["pipeline"] == "boosted"
    assert job.message.job_spec.base_output_directory.output_uri_prefix.startswith("gs://bucket/root/jobs/train-")
    model = importlib.import_module("boosted.artifacts").load(jobs.mounted(uris["model"]))["model"]
    one = alone(project, uris, jobs, tmp_path / "one")
    import numpy as np
    import xgboost

    rows = xgboost.DMatrix(np.random.default_rng(1).normal(size=(50, 3)))
    np.testing.assert_allclose(model.predict(rows), one.predict(rows), rtol=1e-5, atol=1e-5)
    assert model.num_boosted_rounds() == one.num_boosted_rounds() == 6


def test_a_failing_worker_says_its_cell_and_line(train: Any, jobs: ModuleType) -> None:
    with pytest.raises(jobs.JobError, match=r"failed: step train failed at cell 2 line 3: raise ValueError"):
        train(broken=6)


@pytest.mark.parametrize(
    ("fault", "creates"),
    [
        (("POST", 503), 2),
        (("POST", 429), 2),
        (("POST", "lost"), 1),
        (("GET", 503), 1),
        (("GET", "lost"), 1),
    ],
)
def test_what_passes_is_tried_again_and_no_job_is_made_twice(
    train: Any, server: Any, fault: tuple[str, int | str], creates: int
) -> None:
    method, what = fault
    server.faults.append(fake_vertex.Fault(f"{method} /v1/", what))
    assert train() == {}
    assert len(server.jobs) == 1
    assert sum(request.endswith("/customJobs") for request in server.requests if "POST" in request) == creates


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda job: job["jobSpec"].update(serviceAcount="x"), "serviceAcount"),
        (lambda job: job["jobSpec"]["workerPoolSpecs"][0].update(replicaCount=2), "the first pool has one replica"),
        (lambda job: job["jobSpec"]["workerPoolSpecs"][0]["machineSpec"].update(machineType="big"), "big"),
    ],
)
def test_a_job_file_that_was_edited_badly_is_refused_with_the_reason(
    train: Any, jobs: ModuleType, project: Path, damage: Any, says: str, server: Any
) -> None:
    import yaml

    path = project / "jobs" / "train.yaml"
    before = path.read_text()
    described = yaml.safe_load(before)
    damage(described)
    path.write_text(yaml.safe_dump(described))
    try:
        with pytest.raises(jobs.JobError, match=says):
            train()
    finally:
        path.write_text(before)
    assert not server.jobs


def test_credentials_that_are_not_known_are_said(
    train: Any, jobs: ModuleType, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, _ = fake_vertex.service_account(tmp_path / "other.json")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(other))
    with pytest.raises(jobs.JobError, match="cannot be created: no valid credentials"):
        train()


def test_a_job_that_is_cancelled_elsewhere_ends_the_step(train: Any, jobs: ModuleType, server: Any) -> None:
    def cancel() -> None:
        while not server.jobs:
            time.sleep(0.05)
        next(iter(server.jobs.values())).stopped.set()

    threading.Thread(target=cancel, daemon=True).start()
    with pytest.raises(jobs.JobError, match="was cancelled"):
        train(rounds=20_000)


def test_the_job_is_cancelled_with_the_pipeline(
    project: Path, uris: dict[str, str], server: Any, jobs: ModuleType, tmp_path: Path
) -> None:
    script = (
        "import json, sys\nfrom boosted import jobs\n"
        "given = json.loads(sys.argv[1])\njobs.BUCKETS = given.pop('buckets')\n"
        "jobs.train('train', *given.pop('paths'), **given)\n"
    )
    parameters = {**TUNED, "broken": -1, "rounds": 20_000}
    paths = [parameters, {"rows": "rows", "target": "target"}, {"model": "model"}, {}, {}]
    given = {"buckets": jobs.BUCKETS, "paths": paths, "uris": uris, "files": files(project), "where": WHERE}
    env = {**environment(), **server.environment(), "JOB_POLL_SECONDS": "0.1"}
    env["PYTHONPATH"] = str(project)
    command = [sys.executable, "-c", script, json.dumps(given)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert re.match(r"https://console\.cloud\.google\.com/\S+/training/\d+", child.stdout.readline())
        time.sleep(0.3)
        child.terminate()
        assert child.wait(30) == 128 + 15
    [job] = server.jobs.values()
    with job.changed:
        assert job.changed.wait_for(lambda: job.message.state.name == "JOB_STATE_CANCELLED", 30)


def test_trials_run_and_the_best_parameters_come_back_with_their_types(
    jobs: ModuleType, project: Path, uris: dict[str, str], server: Any
) -> None:
    launch = importlib.import_module("boosted.launch")
    given = {name: name for name in ("rows", "target")}
    parameters = {**TUNED, "broken": -1}
    options: dict[str, Any] = {"uris": uris, "where": WHERE, "files": files(project)}
    best = launch.tune(4, 2, parameters=parameters, given=given, **options)
    found = dict(zip(launch.SPACES, best, strict=True))
    [job] = server.jobs.values()
    assert [trial.state.name for trial in job.message.trials] == ["SUCCEEDED"] * 4
    values = {trial.id: trial.final_measurement.metrics[0].value for trial in job.message.trials}
    steps = {trial.id: trial.final_measurement.step_count for trial in job.message.trials}
    assert steps == {trial.id: trial.parameters[3].value + 1 for trial in job.message.trials}  # each round, and the end
    winner = min(job.message.trials, key=lambda trial: values[trial.id])
    assert found == {row.parameter_id: row.value for row in winner.parameters}
    kinds = {name: type(value) for name, value in TUNED.items()}
    assert {name: type(value) for name, value in found.items()} == kinds
    same = launch.tune(0, 2, parameters=parameters, given=given, **options)
    assert same == tuple(TUNED[name] for name in launch.SPACES)
    assert len(server.jobs) == 1


@pytest.mark.parametrize(("broken", "failed"), [(8, 2), (-2, 0)])
def test_a_trial_that_fails_is_left_out(
    jobs: ModuleType, project: Path, uris: dict[str, str], server: Any, broken: int, failed: int
) -> None:
    options: dict[str, Any] = {"uris": uris, "where": WHERE, "files": files(project)}
    best = jobs.search(4, 2, {**TUNED, "broken": broken}, {"rows": "", "target": ""}, **_by_key(options, uris))
    assert best["rounds"] != broken
    [job] = server.jobs.values()
    states = [(trial.parameters[3].value, trial.state.name) for trial in job.message.trials]
    assert [value for value, state in states if state == "INFEASIBLE"] == [broken] * failed


def test_when_all_trials_fail_the_step_says_why(
    jobs: ModuleType, project: Path, uris: dict[str, str], server: Any
) -> None:
    options: dict[str, Any] = {"uris": uris, "where": WHERE, "files": files(project)}
    with pytest.raises(jobs.JobError, match=r"failed: step train failed at cell 2 line 3: raise ValueError"):
        jobs.search(2, 2, {**TUNED, "broken": 0}, {"rows": "", "target": ""}, **_by_key(options, uris))


def _by_key(options: dict[str, Any], uris: dict[str, str]) -> dict[str, Any]:
    return {**options, "uris": {name: uris[name] for name in ("rows", "target")}}


def test_without_vertex_the_same_is_done_here(project: Path, uris: dict[str, str], server: Any, tmp_path: Path) -> None:
    launch = importlib.import_module("boosted.launch")
    jobs = importlib.import_module("boosted.jobs")
    where = {"project": "", "location": "", "root": ""}
    inputs = {name: jobs.mounted(uris[name]) for name in ("rows", "target")}
    launch.run("train", {**TUNED, "broken": -1}, inputs, {"model": str(tmp_path / "m")}, uris={}, where=where)
    assert (tmp_path / "m").exists()
    assert not server.jobs
    assert os.environ["JOB_POLL_SECONDS"] == "0.1"


def test_a_project_that_vertex_does_not_name_is_an_error(project: Path) -> None:
    jobs = importlib.import_module("boosted.jobs")
    with pytest.raises(jobs.JobError, match="in which project"):
        jobs.available({"project": "{{$.pipeline_google_cloud_project_id}}", "location": "x", "root": "y"})
