"""The processes of a step on this machine: one, or its workers, each told its place as a launcher would tell it."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from nb2pipe.targets.process import GRACE, Child

LAST_WORDS = 1.0
"""Seconds that workers have to say how they failed after the first of them failed."""

PORT_TAKEN = re.compile(r"address already in use|EADDRINUSE|errno: ?98|could not start grpc server", re.IGNORECASE)

LAUNCHER_VARIABLES = (
    "RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK MASTER_ADDR MASTER_PORT PET_NNODES PET_NODE_RANK "
    "PET_NPROC_PER_NODE PET_MASTER_ADDR PET_MASTER_PORT TF_CONFIG CLUSTER_SPEC DMLC_NUM_WORKER DMLC_TASK_ID "
    "DMLC_TRACKER_URI DMLC_TRACKER_PORT JOB_SEED"
).split()
"""What launchers of distributed processes set: a step on this machine sees only what is set here."""

NOT_GIVEN_OUT = range(10000, 32768)
"""Ports below those of Linux (`ip_local_port_range`) and of RFC 6335 (from 49152: macOS, Windows) for any use."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


def step_environment(project: Path, more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a step's processes: that of this process without what launchers set, and `more`."""
    path = os.pathsep.join(filter(None, [str(project), os.environ.get("PYTHONPATH")]))
    here = {name: value for name, value in os.environ.items() if name not in LAUNCHER_VARIABLES}
    if here.get("PYTHONHASHSEED") == "random":  # the same as unset, but workers need one in common
        del here["PYTHONHASHSEED"]
    env = {**here, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **more}
    env.setdefault("PYTHONIOENCODING", "utf-8")
    env.pop("STEP_REPORTS", None)
    return env


def worker_environments(framework: str, count: int, cores: int) -> list[dict[str, str]]:
    """What tells each of `count` workers its place; `cores` are shared out, unless the environment shares them.

    One process is told nothing. The ports were free a moment ago.
    """
    if count == 1:
        return [{}]
    common = {
        "JOB_SEED": secrets.token_hex(8),
        "PYTHONHASHSEED": str(secrets.randbelow(2**32)),
        "TF_NUM_INTEROP_THREADS": "1",
        **dict.fromkeys(THREADS, str(max(1, cores // count))),
    }
    places = PLACES.get(framework, _by_rank)
    return [{**common, **own} for own in places(free_ports(count))]


def _by_rank(ports: Sequence[int]) -> list[dict[str, str]]:
    """As torchrun tells it; all ranks are on this machine."""
    size = str(len(ports))
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(ports[0]), "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    return [{**where, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(len(ports))]


def _by_tf_config(ports: Sequence[int]) -> list[dict[str, str]]:
    """As TensorFlow wants it: worker 0 is the chief."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    tasks = [{"type": "worker", "index": rank} for rank in range(len(ports))]
    return [{"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})} for task in tasks]


PLACES: Mapping[str, Callable[[Sequence[int]], list[dict[str, str]]]] = {"keras": _by_tf_config}
"""How the workers of a framework are told their place, where it is not by rank."""


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nothing listens to at this moment, no two alike.

    None is of those that systems give to connections and servers that ask for any port: one of these could be taken
    before its worker listens, and the other workers would wait at a stranger's door.
    """
    with ExitStack() as held:
        bound = _bound(held, secrets.SystemRandom().sample(NOT_GIVEN_OUT, len(NOT_GIVEN_OUT)))
        return list(islice(bound, count))


def _bound(held: ExitStack, ports: Iterable[int]) -> Iterator[int]:
    """Those of `ports` that could be bound; they stay so while `held` does."""
    for port in ports:
        one = held.enter_context(socket.socket())
        with suppress(OSError):
            one.bind(("127.0.0.1", port))
            yield port


def suffix_of(rank: int) -> str:
    """What the files of a worker have after their names; those of the chief nothing."""
    return f".worker{rank}" if rank else ""


def child_name(step: str, rank: int) -> str:
    """The name of a worker's process among the children of a run."""
    return f"{step}{suffix_of(rank)}"


def read_result(results: Path, rank: int = 0) -> Mapping[str, Any]:
    """The report that a worker's task.py left in `results`; empty when there is none."""
    try:
        result: Mapping[str, Any] = json.loads((results / f"result.json{suffix_of(rank)}").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return result


@dataclass
class Crew:
    """The processes of one attempt at a step, by rank, with the exit status of those that ended."""

    results: Path
    children: list[Child] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    ended_by_us: set[int] = field(default_factory=set)

    @property
    def done(self) -> bool:
        """Whether all of them ended."""
        return len(self.statuses) == len(self.children)

    def ended(self, child: Child, status: int) -> None:
        """Notes that a process ended; when it failed the others are ended too."""
        self.statuses[self.children.index(child)] = status
        if self._failed(child, status) and len(self.statuses) == 1:
            self._end_others()

    def telling(self) -> int:
        """The worker whose end is the step's: the one that failed first, the chief where none failed."""
        failed = [rank for rank, status in self.statuses.items() if self._failed(self.children[rank], status)]
        return min(failed, key=self._blame, default=0)

    def port_was_taken(self) -> bool:
        """Whether they failed because another process took a port before they did."""
        reports = [str(read_result(self.results, rank).get("error") or "") for rank in self.statuses]
        return any(self.statuses.values()) and any(map(PORT_TAKEN.search, reports))

    def _failed(self, child: Child, status: int) -> bool:
        return status != 0 or child.timed_out

    def _end_others(self) -> None:
        """Ends those that still run, after a moment in which they may end themselves and say why."""
        self._wait(LAST_WORDS)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for rank in self._running():
                self.ended_by_us.add(rank)
                self.children[rank].end(number)
            self._wait(GRACE)

    def _wait(self, seconds: float) -> None:
        limit = time.monotonic() + seconds
        while self._running() and time.monotonic() < limit:
            time.sleep(0.02)

    def _running(self) -> list[int]:
        return [rank for rank, child in enumerate(self.children) if child.process.poll() is None]

    def _blame(self, rank: int) -> tuple[int, float]:
        """Smaller for the one that failed by itself: the others fail because it is gone, or were ended by us.

        SIGABRT is how native code ends a worker whose peer vanished; other signals come from outside.
        """
        child, status = self.children[rank], self.statuses[rank]
        error = read_result(self.results, rank).get("error")
        if child.timed_out or (status < 0 and status != -signal.SIGABRT and rank not in self.ended_by_us):
            return (0, 0.0)
        if error:
            return (1, float(error.get("at", 0.0)))
        return (3 if rank in self.ended_by_us else 2, 0.0)
