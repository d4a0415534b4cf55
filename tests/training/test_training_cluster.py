"""cluster.py of a generated project: which worker a process is, by every launcher's environment."""

from __future__ import annotations

import json
import re
import types
from typing import Any

import pytest

from nb2pipe.codegen.render import render


def cluster_module() -> Any:
    module = types.ModuleType("cluster")
    exec(compile(render("package/cluster.py.j2"), "cluster.py", "exec", dont_inherit=True), module.__dict__)
    return module


CLUSTER = cluster_module()
VARIABLES = (
    "RANK WORLD_SIZE MASTER_ADDR MASTER_PORT LOCAL_RANK PET_NNODES PET_NODE_RANK PET_NPROC_PER_NODE PET_MASTER_ADDR "
    "PET_MASTER_PORT TF_CONFIG CLUSTER_SPEC DMLC_NUM_WORKER DMLC_TASK_ID DMLC_TRACKER_URI DMLC_TRACKER_PORT JOB_SEED "
    "CLOUD_ML_JOB_ID TORCHELASTIC_RUN_ID"
).split()


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def torchrun(rank: object, size: object) -> dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "m", "MASTER_PORT": "29500"}


def train_job(rank: int, nodes: str) -> dict[str, str]:
    where = {"PET_MASTER_ADDR": "job-node-0-0.job", "PET_MASTER_PORT": "29400"}
    return {"PET_NNODES": nodes, "PET_NODE_RANK": str(rank), "PET_NPROC_PER_NODE": "auto", **where}


def tf_config(kind: str, index: object, **cluster: list[str]) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def cluster_spec(kind: str, index: int, **pools: list[str]) -> dict[str, str]:
    task = {"type": kind, "index": index, "trial": "3"}
    return {"CLUSTER_SPEC": json.dumps({"cluster": pools, "environment": "cloud", "task": task, "open_ports": [3333]})}


def dmlc(rank: int, size: int) -> dict[str, str]:
    return {
        "DMLC_TRACKER_URI": "t",
        "DMLC_TRACKER_PORT": "29600",
        "DMLC_TASK_ID": str(rank),
        "DMLC_NUM_WORKER": str(size),
    }


WORKERS = {"worker": ["w0:1", "w1:1"]}
CHIEF = {"chief": ["c:1"], "worker": ["w0:1", "w1:1"]}
PS = {**CHIEF, "ps": ["p:1"], "evaluator": ["e:1"]}
POOLS = {"workerpool0": ["a:2222"], "workerpool1": ["b:2222", "c:2222"], "workerpool2": ["r:2222"]}
ALONE = (0, 1, "127.0.0.1:0")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ALONE),
        (torchrun(0, 2), (0, 2, "m:29500")),
        (torchrun(1, 2), (1, 2, "m:29500")),
        (torchrun(0, 1), ALONE),
        ({"RANK": "1"}, ALONE),
        ({**torchrun("", ""), **tf_config("worker", 1, **WORKERS)}, (1, 2, "w0:1")),
        (train_job(1, "2"), (1, 2, "job-node-0-0.job:29400")),
        (train_job(3, "4:8"), (3, 4, "job-node-0-0.job:29400")),
        (train_job(0, "1"), ALONE),
        ({**train_job(1, "2"), **torchrun(3, 4)}, (3, 4, "m:29500")),
        (tf_config("worker", 0, **WORKERS), (0, 2, "w0:1")),
        (tf_config("worker", "1", **WORKERS), (1, 2, "w0:1")),
        (tf_config("chief", 0, **CHIEF), (0, 3, "c:1")),
        (tf_config("worker", 0, **CHIEF), (1, 3, "c:1")),
        (tf_config("worker", 1, **PS), (2, 3, "c:1")),
        (tf_config("master", 0, master=["m:1"], worker=["w:1"]), (0, 2, "m:1")),
        (tf_config("chief", 0, chief=["c:1"]), ALONE),
        (tf_config("", 0), ALONE),
        ({"TF_CONFIG": '{"cluster": {}}'}, ALONE),
        ({"TF_CONFIG": "{}"}, ALONE),
        (cluster_spec("workerpool0", 0, **POOLS), (0, 3, "a:2222")),
        (cluster_spec("workerpool1", 1, **POOLS), (2, 3, "a:2222")),
        (cluster_spec("workerpool0", 0, workerpool0=["a:2222"]), ALONE),
        (dmlc(0, 2), (0, 2, "t:29600")),
        (dmlc(1, 2), (1, 2, "t:29600")),
    ],
)
def test_place(environment: dict[str, str], expected: tuple[int, int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert tuple(CLUSTER.place()) == expected
    assert CLUSTER.is_chief() == (expected[0] == 0)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE does not describe a worker: KeyError('RANK')"),
        (torchrun(2, 2), "there is no worker 2 of 2"),
        (torchrun(-1, 2), "there is no worker -1 of 2"),
        (torchrun("x", 2), "WORLD_SIZE does not describe a worker"),
        (tf_config("evaluator", 0, **PS), "a evaluator does not train"),
        (tf_config("ps", 0, **PS), "a ps does not train"),
        (tf_config("worker", 2, **WORKERS), "there is no worker 2"),
        ({"TF_CONFIG": "no json"}, "TF_CONFIG does not describe a worker"),
        ({"TF_CONFIG": "[1]"}, "TF_CONFIG does not describe a worker"),
        ({"TF_CONFIG": json.dumps({"cluster": WORKERS})}, "TF_CONFIG does not describe a worker"),
        (cluster_spec("workerpool2", 0, **POOLS), "a workerpool2 does not train"),
        ({"DMLC_NUM_WORKER": "2"}, "DMLC_NUM_WORKER does not describe a worker"),
    ],
)
def test_what_contradicts_itself_is_no_lone_process(
    environment: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that took itself for the only one would store its own result over the chief's."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError, match=re.escape(message)):
        CLUSTER.place()


def seed_of(environment: dict[str, str]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return int(CLUSTER.seed())


def test_workers_of_one_job_have_one_seed_and_another_job_another() -> None:
    one = seed_of(torchrun(0, 2))
    assert one == seed_of(torchrun(1, 2))
    assert 0 <= one < 2**31
    others = [{"JOB_SEED": "run-2"}, {"CLOUD_ML_JOB_ID": "7"}, {"MASTER_PORT": "29501"}]
    assert len({one, *(seed_of({**torchrun(0, 2), **more}) for more in others)}) == 4
