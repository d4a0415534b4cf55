"""`[tool.nb2pipe.kubernetes]`: compared with what kfp-kubernetes itself writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import doors
import pytest
import yaml
from google.protobuf import json_format

import nb2pipe
from nb2pipe.findings import Nb2pipeError
from nb2pipe.pipeline.kubernetes import by_step, executor_config
from nb2pipe.targets.kfp import Kfp

SETTINGS = {
    "node_selector": {"cloud.example.com/pool": "big"},
    "tolerations": [{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoExecute", "seconds": 30}],
    "volumes": [{"claim": "data", "mount": "/data", "path": "in/side"}],
    "image_pull_secrets": ["registry"],
}


def test_settings_are_what_kfp_kubernetes_writes() -> None:
    from kfp import dsl, kubernetes
    from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig

    def nothing() -> None:
        pass

    nothing.__annotations__.clear()  # kfp reads them, and these are text here
    component, tasks = dsl.component(nothing, base_image="python:3.11-slim"), []

    @dsl.pipeline
    def whole():  # type: ignore[no-untyped-def]  # kfp reads annotations
        task = component()
        kubernetes.add_node_selector(task, "cloud.example.com/pool", "big")
        kubernetes.add_toleration(task, "gpu", "Equal", "yes", "NoExecute", 30)
        kubernetes.mount_pvc(task, "data", "/data", sub_path="in/side")
        kubernetes.set_image_pull_secrets(task, ["registry"])
        tasks.append(task)

    [task] = tasks
    wanted = json_format.ParseDict(task.platform_config["kubernetes"], KubernetesExecutorConfig())
    assert json_format.ParseDict(executor_config(SETTINGS), KubernetesExecutorConfig()) == wanted


def test_a_step_s_own_settings_come_first() -> None:
    own = {"steps": {"b": {"node-selector": {"pool": "gpu"}}}, "node_selector": {"pool": "cpu"}}
    found, wrong = by_step(own, ["a", "b"])
    assert wrong == []
    assert found == {"a": {"node_selector": {"pool": "cpu"}}, "b": {"node_selector": {"pool": "gpu"}}}


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"node_selectors": {}}, "unknown-option"),
        ({"node_selector": {"pool": 1}}, "bad-option"),
        ({"tolerations": [{"effect": "Never", "key": "a"}]}, "bad-option"),
        ({"tolerations": [{"effect": "NoSchedule"}]}, "bad-option"),
        ({"volumes": [{"claim": "data", "mount": "data"}]}, "bad-option"),
        ({"volumes": [{"claim": "data", "mount": "/data", "path": "../up"}]}, "bad-option"),
        ({"volumes": [{"claim": "Data!", "mount": "/data"}]}, "bad-option"),
        ({"image_pull_secrets": "registry"}, "bad-option"),
        ({"steps": {"c": {}}}, "unknown-option"),
        ({"steps": 1}, "unknown-option"),
    ],
    ids=str,
)
def test_wrong_settings_are_said_and_left_out(settings: dict[str, Any], code: str) -> None:
    found, wrong = by_step(settings, ["a", "b"])
    assert [one.code for one in wrong] == [code]
    assert found == {}


def notebook_in(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(text)
    path = folder / "small.ipynb"
    path.write_text(json.dumps(doors.notebook([("x = [1]", ["step:a"]), ("print(x)", ["step:b"])])))
    return path


def test_settings_arrive_in_the_compiled_pipeline_or_are_refused(tmp_path: Path) -> None:
    path = notebook_in(tmp_path, '[tool.nb2pipe.kubernetes.steps.b]\nvolumes = [{claim = "data", mount = "/data"}]\n')
    done = nb2pipe.load(path).convert()
    _, platform = yaml.safe_load_all((done.project / "pipeline.yaml").read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors == {"exec-b": executor_config({"volumes": [{"claim": "data", "mount": "/data"}]})}
    with pytest.raises(Nb2pipeError) as caught:
        nb2pipe.load(path, target="vertex").convert()
    assert [one.code for one in caught.value.findings] == ["not-on-vertex"]


EVERYTHING = """
[tool.nb2pipe.kubernetes.steps.b]
node_selector = {"cloud.example.com/pool" = "big"}
tolerations = [{key = "gpu", operator = "Equal", value = "yes", effect = "NoExecute", seconds = 30}]
volumes = [{claim = "data", mount = "/data", path = "in/side"}]
image_pull_secrets = ["registry"]
"""


def test_each_need_arrives_as_kfp_kubernetes_writes_it(tmp_path: Path) -> None:
    """What is compiled from tags and settings is what the calls of the SDK compile to."""
    from kfp import compiler, dsl, kubernetes

    def nothing() -> None:
        pass

    nothing.__annotations__.clear()  # kfp reads them, and these are text here
    component = dsl.component(nothing, base_image="python:3.11-slim")

    @dsl.pipeline(name="wanted")
    def wanted():  # type: ignore[no-untyped-def]  # kfp reads annotations
        task = component()
        kubernetes.add_node_selector(task, "cloud.example.com/pool", "big")
        kubernetes.add_toleration(task, "gpu", "Equal", "yes", "NoExecute", 30)
        kubernetes.mount_pvc(task, "data", "/data", sub_path="in/side")
        kubernetes.set_image_pull_secrets(task, ["registry"])
        kubernetes.use_secret_as_env(task, "db", {"password": "DB_PASSWORD"})
        kubernetes.use_secret_as_env(task, "db", {"user": "DB_USER"})
        kubernetes.set_timeout(task, 7200)
        task.set_env_variable("MODE", "fast")

    path = notebook_in(tmp_path, EVERYTHING)
    tags = ["step:b", "secret:db:password:DB_PASSWORD", "secret:db:user:DB_USER", "timeout:2h", "env:MODE=fast"]
    path.write_text(json.dumps(doors.notebook([("x = [1]", ["step:a"]), ("print(x)", tags)])))
    project = nb2pipe.load(path).convert().project
    compiler.Compiler().compile(wanted, str(tmp_path / "wanted.yaml"))
    ours, theirs = compiled(project / "pipeline.yaml"), compiled(tmp_path / "wanted.yaml")
    assert ours["exec-b"] == theirs["exec-nothing"]
    assert ours["exec-b"][0] == [{"name": "MODE", "value": "fast"}]
    assert ours["exec-a"] == ([], None)
    for name in ("nodeSelector", "tolerations", "pvcMount", "imagePullSecret", "secretAsEnv", "activeDeadlineSeconds"):
        assert name in ours["exec-b"][1]


def compiled(path: Path) -> dict[str, Any]:
    """Of each executor of a pipeline its environment, and its settings for Kubernetes by the published proto."""
    from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig

    spec, *platform = yaml.safe_load_all(path.read_text())
    settings = platform[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    read = {
        name: json_format.MessageToDict(json_format.ParseDict(one, KubernetesExecutorConfig()))
        for name, one in settings.items()
    }
    executors = spec["deploymentSpec"]["executors"]
    return {name: (one["container"].get("env", []), read.get(name)) for name, one in executors.items()}


def test_settings_do_not_reach_a_job_and_are_not_dropped(tmp_path: Path) -> None:
    path = notebook_in(tmp_path, '[tool.nb2pipe.kubernetes]\nnode_selector = {pool = "gpu"}\n')
    graph = json.loads(nb2pipe.load(path).project.files["nb2pipe.map.json"])["pipeline"]
    assert Kfp().unsupported(graph) == ()
    graph["steps"][1]["framework"] = "torch"
    assert [(one.code, one.name) for one in Kfp().unsupported(graph)] == [("not-for-target", "b")]
