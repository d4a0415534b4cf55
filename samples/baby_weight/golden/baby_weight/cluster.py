"""Which of the workers of a distributed step this process is, by what its launcher says.

Launchers say it in environment variables: torchrun and PyTorchJob, Kubeflow's TrainJob,
TensorFlow's TF_CONFIG, Vertex AI's CLUSTER_SPEC, XGBoost's DMLC_*. Without any of them the process
is alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

Environment = Mapping[str, str]


class Place(NamedTuple):
    """One worker among `size`, counted from 0; they meet at `address` ("host:port") of worker 0."""

    rank: int
    size: int
    address: str


ALONE = Place(0, 1, "127.0.0.1:0")


def place() -> Place:
    """The place of this process. Raises RuntimeError where the environment contradicts itself."""
    for variable, read in LAUNCHERS.items():
        if os.environ.get(variable):
            try:
                found = read(os.environ)
            except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
                raise RuntimeError(f"{variable} does not describe a worker: {error!r}") from error
            if not 0 <= found.rank < found.size:
                raise RuntimeError(f"{variable}: there is no worker {found.rank} of {found.size}")
            return found if found.size > 1 else ALONE
    return ALONE


def is_chief() -> bool:
    """Whether this is worker 0: the one that prints, stores and reports."""
    return place().rank == 0


def seed() -> int:
    """A number for random generators: the same on all workers of a job, another in another job."""
    names = ("JOB_SEED", "CLOUD_ML_JOB_ID", "TORCHELASTIC_RUN_ID")
    known = [place().address, *(os.environ.get(name, "") for name in names)]
    return int.from_bytes(hashlib.sha256("\n".join(known).encode()).digest()[:4], "big") >> 1


def _torchrun(env: Environment) -> Place:
    """torchrun and PyTorchJob: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT."""
    return Place(
        int(env["RANK"]), int(env["WORLD_SIZE"]), f"{env['MASTER_ADDR']}:{env['MASTER_PORT']}"
    )


def _train_job(env: Environment) -> Place:
    """A TrainJob whose command is not torchrun: one worker a node, PET_NNODES is "2" or "2:4"."""
    address = f"{env['PET_MASTER_ADDR']}:{env['PET_MASTER_PORT']}"
    return Place(int(env["PET_NODE_RANK"]), int(env["PET_NNODES"].partition(":")[0]), address)


def _tensorflow(env: Environment) -> Place:
    """TF_CONFIG: the chief, where there is one, comes before the workers; others do not train."""
    return _in_groups(json.loads(env["TF_CONFIG"]), ("chief", "master", "worker"))


def _vertex(env: Environment) -> Place:
    """Vertex AI's CLUSTER_SPEC: the chief's pool, then the workers' pool; others do not train."""
    return _in_groups(json.loads(env["CLUSTER_SPEC"]), ("workerpool0", "workerpool1"))


def _in_groups(described: dict[str, dict[str, object]], groups: tuple[str, ...]) -> Place:
    cluster, task = described.get("cluster") or {}, described.get("task") or {}
    trains = {group: hosts for group in groups if isinstance(hosts := cluster.get(group), list)}
    if not trains:
        return ALONE
    kind, index = str(task["type"]), int(str(task["index"]))
    if kind not in trains:
        raise ValueError(f"a {kind} does not train")
    hosts = [str(host) for group in trains.values() for host in group]
    if not 0 <= index < len(trains[kind]):
        raise ValueError(f"there is no {kind} {index}")
    before = list(trains)[: list(trains).index(kind)]
    return Place(sum(len(trains[group]) for group in before) + index, len(hosts), hosts[0])


def _dmlc(env: Environment) -> Place:
    """XGBoost's and dmlc's launchers: the tracker runs on worker 0."""
    address = f"{env['DMLC_TRACKER_URI']}:{env['DMLC_TRACKER_PORT']}"
    return Place(int(env["DMLC_TASK_ID"]), int(env["DMLC_NUM_WORKER"]), address)


# By the variable that gives a launcher away; torchrun started by another one has the last word.
LAUNCHERS: dict[str, Callable[[Environment], Place]] = {
    "WORLD_SIZE": _torchrun,
    "PET_NNODES": _train_job,
    "TF_CONFIG": _tensorflow,
    "CLUSTER_SPEC": _vertex,
    "DMLC_NUM_WORKER": _dmlc,
}
