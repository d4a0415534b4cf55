"""Jobs on Kubernetes: manifests by the published schemas, and runs on a cluster whose containers are processes here."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_cluster import FakeCluster, wait_until
from kube_schemas import schema_errors

from nb2pipe.codegen.jobs import katib_parameter, merged
from nb2pipe.convert import load
from nb2pipe.targets.kfp import Kfp

pytest.importorskip("kubeflow_trainer_api")
if shutil.which("openssl") is None:
    pytest.skip("the fake cluster needs openssl", allow_module_level=True)

RESOURCES = (
    '"gpu:nvidia-l4:1", "cpu:2", "memory:2Gi", "retries:2", "timeout:2h", "env:A=$(B)", "secret:store:key:TOKEN", '
    '"image:python:3.12"'
)
NOTEBOOK = """
# %% tags=["parameters"]
rate = 0.1  # tune: loguniform(1e-3, 1.0)
shape = "a\\\\b'"  # tune: choice("a\\\\b'", 'x"$(y) z%20')
# %% tags=["step:load"]
xs = sorted([4.0, 2.0, 3.0, 1.0])
# %% tags=["step:train", "workers:2"{tags}]
{train}
# %% tags=["step:evaluate", "objective:minimize:rmse"]
print("rmse = 0.0")
rmse = (fitted - 2.0) ** 2 + len(shape)
print(f"rmse = {{rmse}}")
"""
TORCH = """
import torch
from torch.utils.data import DataLoader
torch.manual_seed(0)
model = torch.nn.Linear(1, 1)
step = rate / 100  # an optimizer of torch would import for longer than all of this takes
data = DataLoader(torch.tensor(xs).reshape(-1, 1), batch_size=4)
for epoch in range(3):
    for batch in data:
        loss = ((model(batch) - 2 * batch) ** 2).mean()
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for weights in model.parameters():
                weights -= step * weights.grad
    rmse = loss.item()
fitted = float(model.weight.detach())
"""
KERAS = """
import numpy as np
from tensorflow import keras
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(np.array(xs), 2 * np.array(xs), epochs=2, batch_size=4, verbose=0)
fitted = float(model.get_weights()[0][0, 0]) * rate
"""
XGBOOST = """
import numpy as np
import xgboost as xgb
rows = xgb.DMatrix(np.array(xs).reshape(-1, 1), np.array(xs))
model = xgb.train({"eta": rate, "max_depth": 2}, rows, num_boost_round=2)
fitted = float(model.predict(rows)[0])
"""
FRAMEWORKS = {"torch": TORCH, "keras": KERAS, "xgboost": XGBOOST}


def convert(folder: Path, train: str = TORCH, tags: str = "", text: str = NOTEBOOK) -> Path:
    """A project for Kubeflow Pipelines; nothing of it is compiled."""
    path = folder / "spread.py"
    path.write_text(textwrap.dedent(text.format(train=train, tags=tags and f", {tags}")))
    project = load(path).project
    for name, content in project.files.items():
        (folder / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "out" / name).write_text(content)
    return folder / "out"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(tmp_path_factory.mktemp("spread"), tags='"metrics"')


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeCluster]:
    with FakeCluster(tmp_path / "cluster") as running:
        yield running


# --- manifests --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("tags", ["", RESOURCES])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_manifests_keep_to_the_published_schemas(tmp_path: Path, framework: str, tags: str) -> None:
    out = convert(tmp_path, FRAMEWORKS[framework], tags)
    for name in ("train", "tune"):
        assert schema_errors(yaml.safe_load((out / f"jobs/{name}.yaml").read_text())) == []


@pytest.mark.parametrize(
    ("framework", "change"),
    [
        ("torch", lambda spec: spec["trainer"].update(nodes=2)),
        ("torch", lambda spec: spec["trainer"].update(numNodes="2")),
        ("torch", lambda spec: spec.pop("runtimeRef")),
        ("keras", lambda spec: spec["runPolicy"].update(backofflimit=2)),
        ("keras", lambda spec: spec["tfReplicaSpecs"]["Chief"].update(replicas="1")),
    ],
)
def test_the_schemas_refuse_what_is_wrong(tmp_path: Path, framework: str, change: Any) -> None:
    manifest = yaml.safe_load((convert(tmp_path, FRAMEWORKS[framework]) / "jobs/train.yaml").read_text())
    change(manifest["spec"])
    assert schema_errors(manifest)


def containers(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "command" in node:
            yield node
        for value in node.values():
            yield from containers(value)
    elif isinstance(node, list):
        for value in node:
            yield from containers(value)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("job", ["train", "tune"])
def test_every_tag_arrives_in_the_job(tmp_path: Path, framework: str, job: str) -> None:
    text = (convert(tmp_path, FRAMEWORKS[framework], RESOURCES) / f"jobs/{job}.yaml").read_text()
    for container in containers(yaml.safe_load(text)):
        env = {row["name"]: row for row in container["env"]}
        assert container["image"] == "python:3.12"
        assert env["A"]["value"] == "$$(B)"
        assert env["TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "store", "key": "key"}}
        limits = (
            container.get("resources", {}).get("limits")
            or yaml.safe_load(text)["spec"]["trainer"]["resourcesPerNode"]["limits"]
        )
        assert limits == {"cpu": "2", "memory": "2Gi", "nvidia.com/gpu": "1"}
    assert "cloud.google.com/gke-accelerator: nvidia-l4" in text
    assert ("activeDeadlineSeconds: 7200" in text) == (job == "train")  # other steps of a trial have no limit
    assert "sidecar.istio.io/inject: 'false'" in text


def test_the_component_only_waits(tmp_path: Path) -> None:
    text = (convert(tmp_path, TORCH, RESOURCES) / "pipeline.py").read_text()
    assert "train_task.set_retry(2)" in text
    assert "train_task.set_cpu_limit" not in text
    assert "train_task.set_accelerator_limit" not in text
    assert "train_task.platform_config" not in text


@pytest.mark.parametrize(
    ("space", "wanted"),
    [
        ({"kind": "int", "low": 1, "high": 6}, {"min": "1", "max": "6", "distribution": "uniform"}),
        (
            {"kind": "loguniform", "low": 1e-5, "high": 1.0},
            {"min": "1e-05", "max": "1.0", "distribution": "logUniform"},
        ),
        ({"kind": "choice", "values": ["relu", "a b"]}, {"list": ["relu", "a b"]}),
        ({"kind": "choice", "values": [[64, 32], None, True]}, {"list": ["[64, 32]", "null", "true"]}),
        ({"kind": "choice", "values": ["it's", 'a"$(b)\\', "50%"]}, {"list": ["it%27s", "a%22%24(b)%5C", "50%25"]}),
    ],
)
def test_search_spaces_in_katibs_terms(space: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert katib_parameter("p", space)["feasibleSpace"] == wanted


def test_a_trial_gets_the_most_that_its_steps_ask_for() -> None:
    empty = {"accelerator": None, "image": None, "env": {}, "secrets": [], "accelerators": 0, "retries": None}
    rows = [("900m", "16Gi", 1), ("2", "900Mi", 3)]
    steps = [{"requirements": ["a"], "resources": {**empty, "cpu": c, "memory": m, "retries": r}} for c, m, r in rows]
    resources = merged(steps)["resources"]
    assert (resources["cpu"], resources["memory"], resources["retries"]) == ("2", "16Gi", 3)


@pytest.mark.parametrize(("gpus", "wanted"), [("gpu:2", ["workers-unsound"]), ("gpu:1", [])])
def test_xgboost_on_many_gpus_a_worker_is_refused(tmp_path: Path, gpus: str, wanted: list[str]) -> None:
    out = convert(tmp_path, XGBOOST, f'"{gpus}"')
    graph = json.loads((out / "nb2pipe.map.json").read_text())["pipeline"]
    assert [found.code for found in Kfp().unsupported(graph)] == wanted


def test_names_fit_what_clusters_take(tmp_path: Path) -> None:
    text = NOTEBOOK.replace("step:train", "step:" + "long_name_" * 6)
    out = convert(tmp_path, TORCH, text=text)
    for path in (out / "jobs").iterdir():
        name = yaml.safe_load(path.read_text())["metadata"]["generateName"]
        assert len(name) <= 32
        assert name.replace("-", "").islower()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_generated_code_is_as_ruff_wants_it(tmp_path: Path, framework: str) -> None:
    out = convert(tmp_path, FRAMEWORKS[framework])
    files = [str(path) for path in (*(out / "spread").glob("*.py"), out / "pipeline.py")]
    words = [sys.executable, "-m", "ruff"]
    lint = ["--isolated", "--select", "E,F,I,W,UP", "--line-length", "100"]
    result = subprocess.run([*words, "check", *lint, *files], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    result = subprocess.run([*words, "format", "--isolated", "--line-length", "100", "--check", *files], check=False)
    assert result.returncode == 0


# --- runs -------------------------------------------------------------------------------------------------------------
START = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from spread import launch
root, given = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
names = [p for p in root.rglob("*") if p.suffix in (".py", ".yaml") or p.name == "nb2pipe.map.json"]
files = {p.relative_to(root).as_posix(): p.read_text() for p in names}
call = given.pop("call")
given |= {"log_metric": print} if call == "run" else {}
print(json.dumps(getattr(launch, call)(*given.pop("args"), **given, files=files)))
"""


def start(cluster: FakeCluster, project: Path, **given: Any) -> subprocess.Popen[str]:
    """What the component of a pipeline does."""
    (cluster.folder / "call.json").write_text(json.dumps(given))
    words = [sys.executable, "-c", START, str(project), "call.json"]
    env, pipe = cluster.environment(), subprocess.PIPE
    return subprocess.Popen(words, env=env, stdout=pipe, stderr=pipe, text=True, cwd=cluster.folder)


def store(project: Path, folder: Path, values: dict[str, Any]) -> dict[str, str]:
    """Artifacts of these values, as a step before would leave them."""
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from spread import artifacts\n"
        "for name, value in json.loads(sys.argv[3]).items():\n"
        "    artifacts.save(f'{sys.argv[2]}/{name}', {name: value}, kind='Artifact')\n"
    )
    words = [sys.executable, "-c", code, str(project), str(folder), json.dumps(values)]
    subprocess.run(words, check=True)
    return {name: str(folder / name) for name in values}


def train_call(project: Path, folder: Path, xs: list[Any] | None = None) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    inputs = store(project, folder, {"xs": xs or [1.0, 2.0, 3.0, 4.0]})
    outputs = {name: f"/gone/{name}" for name in ("fitted", "metrics")}
    uris = {path: f"file://{folder}/{name}" for name, path in outputs.items()}
    uris[inputs["xs"]] = f"file://{inputs['xs']}"
    return {"call": "run", "args": ["train", {"rate": 0.1}, inputs, outputs], "uris": uris}


def test_workers_train_and_the_chief_stores(cluster: FakeCluster, project: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    cluster.faults = ["drop", 500, "deaf", None, 429, 503, "drop"]
    out, error = (child := start(cluster, project, **train_call(project, tmp_path / "data"))).communicate(timeout=120)
    assert child.returncode == 0, error
    assert (tmp_path / "data" / "fitted").exists()
    [manifest] = cluster.created
    assert {env["PET_NODE_RANK"] for env in cluster.environments} == {"0", "1"}
    assert f"TrainJob {manifest['metadata']['name']} in namespace team-a" in out
    assert manifest["metadata"]["ownerReferences"][0]["name"] == "component"
    assert re.search(r"^fitted \d", out, re.MULTILINE)
    assert cluster.deleted == []
    assert "torch==" in (cluster.folder / "pip").read_text()


@pytest.mark.parametrize("restarts", [False, True], ids=["the job fails", "the runtime starts it again and again"])
def test_a_failing_worker_is_told_with_its_cell_and_line(tmp_path: Path, project: Path, restarts: bool) -> None:
    pytest.importorskip("torch")
    with FakeCluster(tmp_path / "cluster", restarts=restarts) as cluster:
        child = start(cluster, project, **train_call(project, tmp_path / "data", ["a", "b", "c", "d"]))
        _, error = child.communicate(timeout=120)
        assert child.returncode == 1
        assert "failed: step train failed at cell 3 line 7: data = DataLoader(" in error
        assert "--- spread-train-" in error  # the logs
        assert cluster.deleted or not restarts


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ([403], "cannot be created: fault 403"),
        (["drop"] * 20, "cannot be created: the cluster does not answer"),
        ([None, 401], "cannot be watched: fault 401"),
        ([None, *[500] * 20], "cannot be watched: fault 500"),
    ],
    ids=["forbidden", "not there", "no longer allowed", "broken"],
)
def test_a_cluster_that_refuses(
    tmp_path: Path, project: Path, fault: list[Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeCluster(tmp_path / "cluster", runs=False) as cluster:
        cluster.faults = list(fault)
        child = start(cluster, project, **train_call(project, tmp_path / "data"))
        _, error = child.communicate(timeout=60)
        assert child.returncode == 1
        assert said in error
        assert cluster.jobs == {}


def test_a_job_that_someone_deletes(tmp_path: Path, project: Path) -> None:
    with FakeCluster(tmp_path / "cluster", runs=False) as cluster:
        child = start(cluster, project, **train_call(project, tmp_path / "data"))
        wait_until(lambda: cluster.jobs)
        cluster.delete(next(iter(cluster.jobs)))
        _, error = child.communicate(timeout=60)
        assert child.returncode == 1
        assert "was deleted before it ended" in error


def test_a_pipeline_that_is_cancelled_takes_its_job_along(tmp_path: Path, project: Path) -> None:
    with FakeCluster(tmp_path / "cluster", runs=False) as cluster:
        child = start(cluster, project, **train_call(project, tmp_path / "data"))
        wait_until(lambda: cluster.jobs)
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=60)
        assert child.returncode == 128 + signal.SIGTERM
        assert cluster.jobs == {}


def test_a_job_that_takes_too_long(tmp_path: Path) -> None:
    out = convert(tmp_path, TORCH, '"timeout:1s"')
    with FakeCluster(tmp_path / "cluster", runs=False) as cluster:
        child = start(cluster, out, **train_call(out, tmp_path / "data"))
        _, error = child.communicate(timeout=60)
        assert child.returncode == 1
        assert "took longer than 1 s and was deleted" in error
        assert cluster.jobs == {}


def tune_call(project: Path, folder: Path, trials: int, xs: list[Any] | None = None) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    given = store(project, folder, {"xs": xs or [1.0, 2.0, 3.0, 4.0]})
    parameters = {"rate": 0.1, "shape": "a\\b'"}
    return {"call": "tune", "args": [trials, 2], "parameters": parameters, "given": given, "uris": given}


def test_katib_tunes_with_real_trials(cluster: FakeCluster, project: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out, error = (child := start(cluster, project, **tune_call(project, tmp_path / "data", 3))).communicate(timeout=180)
    assert child.returncode == 0, error + "".join(p.log for group in cluster.pods.values() for p in group)
    [manifest] = cluster.created
    assert manifest["spec"]["maxTrialCount"] == 3
    assert [(len(t["metrics"]), t["code"]) for t in cluster.trials] == [(4, 0)] * 3  # three epochs and the end
    best = min(cluster.trials, key=lambda trial: float(trial["metrics"][-1]))
    rate, shape = json.loads(out.splitlines()[-1])
    assert rate == float(best["values"]["rate"])
    assert shape in ("a\\b'", 'x"$(y) z%20')
    assert len({trial["values"]["shape"] for trial in cluster.trials}) == 2


def test_a_tuning_without_a_trial_that_completes(cluster: FakeCluster, project: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    child = start(cluster, project, **tune_call(project, tmp_path / "data", 2, ["a"]))
    _, error = child.communicate(timeout=120)
    assert child.returncode == 1
    assert "ended without a trial that completed: step train failed at cell 3 line 7: data = DataLoader(" in error


def test_without_trials_the_parameters_stay(cluster: FakeCluster, project: Path, tmp_path: Path) -> None:
    out, _ = start(cluster, project, **tune_call(project, tmp_path / "data", 0)).communicate(timeout=60)
    assert json.loads(out) == [0.1, "a\\b'"]
    assert cluster.requests == []


# --- what runs in a container -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("framework", "variable"), [("keras", "TF_CONFIG"), ("xgboost", "DMLC_TASK_ID")])
def test_other_frameworks_train(tmp_path: Path, framework: str, variable: str) -> None:
    pytest.importorskip({"keras": "tensorflow"}.get(framework, framework))
    out = convert(tmp_path, FRAMEWORKS[framework], '"metrics"')
    with FakeCluster(tmp_path / "cluster") as cluster:
        child = start(cluster, out, **train_call(out, tmp_path / "data"))
        _, error = child.communicate(timeout=240)
        assert child.returncode == 0, error
        assert len({env[variable] for env in cluster.environments}) == 2
        assert (tmp_path / "data" / "fitted").exists()


def test_what_is_too_large_for_a_variable_is_said(project: Path, tmp_path: Path) -> None:
    with FakeCluster(tmp_path / "cluster", runs=False) as cluster:
        call = train_call(project, tmp_path / "data")
        call["args"][1] |= {f"rate{number}": "1" * 100 for number in range(2000)}
        _, error = (child := start(cluster, project, **call)).communicate(timeout=60)
        assert child.returncode == 1
        assert "the job is too large for a variable" in error.replace("$JOB", "the job")
        assert cluster.created == []


# --- the compiled pipeline --------------------------------------------------------------------------------------------
PLAIN = """
# %% tags=["parameters"]
x = 3.0  # tune: uniform(-4.0, 4.0)
# %% tags=["step:load"]
xs = sorted([2.0, 1.0])
# %% tags=["step:train"{tags}]
{train}
# %% tags=["step:evaluate", "objective:minimize:loss", "metrics"]
loss = fitted + xs[1]
# %% tags=["step:report"]
print("x is", x)
"""


def run_compiled(project: Path, folder: Path, env: dict[str, str], trials: int) -> subprocess.CompletedProcess[str]:
    """Runs a compiled pipeline under kfp's own runner."""
    from nb2pipe.targets.kfp import CHILD

    settings = {
        "project": str(project),
        "pipeline": str(project / "pipeline.yaml"),
        "root": str(folder / "artifacts"),
        "arguments": {"trials": trials},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    words = [sys.executable, str(CHILD), "run", str(folder / "settings.json")]
    return subprocess.run(words, env=env, cwd=folder, capture_output=True, text=True, timeout=240, check=False)


def compiled(folder: Path, train: str, tags: str = "") -> Path:
    path = folder / "spread.py"
    path.write_text(textwrap.dedent(PLAIN.format(train=train, tags=tags)))
    load(path).convert(folder / "out", target="kfp")
    return folder / "out"


def test_the_compiled_pipeline_tunes_and_trains_on_the_cluster(cluster: FakeCluster, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = compiled(tmp_path, TORCH.replace("rate / 100", "0.01") + "fitted = (x - 0.5) ** 2\n", ', "workers:2"')
    result = run_compiled(out, tmp_path, cluster.environment(), 2)
    assert result.returncode == 0, result.stdout + result.stderr
    assert [manifest["kind"] for manifest in cluster.created] == ["Experiment", "TrainJob"]
    best = min(cluster.trials, key=lambda trial: float(trial["metrics"][-1]))["values"]["x"]
    assert f"x is {best}" in result.stdout + result.stderr


def test_without_a_cluster_the_component_tunes_itself(tmp_path: Path) -> None:
    out = compiled(tmp_path, "fitted = (x - 0.5) ** 2\n")
    # A notebook's pod on a cluster is no pipeline.
    result = run_compiled(out, tmp_path, {**os.environ, "KUBERNETES_SERVICE_HOST": "127.0.0.1"}, 3)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "x is 3.0" not in result.stdout
    assert "x is " in result.stdout


def test_jobs_are_deterministic_and_keep_what_people_edit(tmp_path: Path) -> None:
    train = TORCH.replace("rate / 100", "0.01") + "fitted = x\n"
    out = compiled(tmp_path, train, ', "workers:2"')
    before = {path.name: path.read_text() for path in (out / "jobs").iterdir()}
    edited = out / "jobs/train.yaml"
    edited.write_text(edited.read_text().replace("name: torch-distributed", "name: our-runtime"))
    compiled(tmp_path, train, ', "workers:3"')
    assert "name: our-runtime" in edited.read_text()
    assert "numNodes: 3" in edited.read_text()
    compiled(tmp_path, train, ', "workers:2"')
    edited.write_text(edited.read_text().replace("name: our-runtime", "name: torch-distributed"))
    assert {path.name: path.read_text() for path in (out / "jobs").iterdir()} == before
