"""Steps with workers on this machine: who stores and prints, who is blamed, and that nobody is left running."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_project import MakeProject, Project, gives, measures, step, takes

from nb2pipe.codegen.render import render
from nb2pipe.notebook.model import Resources
from nb2pipe.targets import workers
from nb2pipe.targets.base import RunResult
from nb2pipe.targets.workers import free_ports, worker_environments

HELPERS = '''
"""A framework of nothing: its workers only know each other's place."""
import contextlib, os
from small import cluster

@contextlib.contextmanager
def group():
    print("in", end=" ")
    yield
    print("out")
'''

MakeWorkers = Callable[..., Project]


@pytest.fixture
def make_workers(make_project: MakeProject) -> MakeWorkers:
    """A project of the step `train`, which has workers, and of a step before and after it."""

    def make(source: str, *, workers: int = 2, **given: Any) -> Project:
        fields = {"cells": (3,), "workers": workers, "framework": "xgboost", "inputs": takes(x="first"), **gives("y")}
        project = make_project(
            {
                step("first", **gives("x")): "def first():\n    return 1\n",
                step("train", **{**fields, **given}): source,
                step("last", inputs=takes(y="train")): "def last(y):\n    print('last', y)\n",
            }
        )
        package = project.root / project.package
        (package / "xgboost_workers.py").write_text(HELPERS)
        (package / "cluster.py").write_text(render("package/cluster.py.j2"))
        return project

    return make


def texts(result: RunResult, name: str) -> dict[str, str]:
    """What the workers of a step printed, by the name of the file."""
    folder = next(step for step in result.steps if step.name == name).stdout.parent
    return {path.name: path.read_text() for path in sorted(folder.glob("std*"))}


COUNTS = """
import os
from small import cluster
def train(x):
    place = cluster.place()
    print(place.rank, place.size, sorted(os.listdir()), end=" ")
    open("made.txt", "w").write(str(place.rank))
    rank = place.rank
    return x + 10 * place.rank + place.size, {"rank": rank}
"""


@pytest.mark.parametrize(("asked", "size"), [(None, 2), (1, 1), (3, 3)])
def test_the_chief_alone_prints_stores_and_reports(make_workers: MakeWorkers, asked: int | None, size: int) -> None:
    project = make_workers(COUNTS, files_out=("made.txt",), **measures("rank"))
    result = project.run(workers=asked)
    assert (result.status, result.metrics) == ("succeeded", {"rank": 0})
    assert texts(result, "last")["stdout"] == f"last {1 + size}\n"
    printed = {f"stdout.worker{rank}" if rank else "stdout": f"in {rank} {size} [] out\n" for rank in range(size)}
    assert {name: text for name, text in texts(result, "train").items() if "stdout" in name} == printed
    assert [event.text for event in project.events if event.kind == "log" and event.step == "train"] == [
        f"in 0 {size} [] out"
    ]
    folder = result.run_dir / "steps" / "train"
    assert (folder / "results" / "files" / "0").read_text() == "0"
    assert sorted(path.name for path in folder.iterdir()) == ["results"]
    assert not list(folder.rglob("result.json.worker*"))


def test_how_many_workers_is_part_of_the_key(make_workers: MakeWorkers) -> None:
    project = make_workers(COUNTS, **measures("rank"))

    def statuses(**options: Any) -> str:
        return next(step.status for step in project.run(**options).steps if step.name == "train")

    assert [statuses(), statuses(), statuses(workers=1), statuses(workers=1), statuses()] == [
        "succeeded", "cached", "succeeded", "cached", "cached",
    ]  # fmt: skip


def test_workers_share_threads_seed_and_hashes(make_workers: MakeWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "PYTHONHASHSEED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "7")
    show = "os.environ['OMP_NUM_THREADS'], hash('a'), cluster.seed()"
    source = f"import os\nfrom small import cluster\ndef train(x):\n    print({show})\n    return 1\n"
    printed = texts(make_workers(source).run(), "train")
    assert printed["stdout"] == printed["stdout.worker1"]
    assert printed["stdout"].startswith(f"in {max(1, len(os.sched_getaffinity(0)) // 2)} ")


def test_what_the_step_or_the_user_sets_stays(make_workers: MakeWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    show = "[os.environ[name] for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'PYTHONHASHSEED')]"
    source = f"import os\ndef train(x):\n    print({show})\n    return 1\n"
    given = Resources(env=(("OMP_NUM_THREADS", "5"), ("PYTHONHASHSEED", "0")))
    printed = texts(make_workers(source, resources=given).run(), "train")
    assert printed["stdout"] == printed["stdout.worker1"] == "in ['5', '7', '0']\nout\n"


def test_one_process_is_told_nothing() -> None:
    assert worker_environments("torch", 1, 8) == [{}]


def test_each_framework_is_told_as_its_launcher_does() -> None:
    by_rank = worker_environments("torch", 2, 8)
    assert [(env["RANK"], env["WORLD_SIZE"], env["OMP_NUM_THREADS"]) for env in by_rank] == [
        ("0", "2", "4"),
        ("1", "2", "4"),
    ]
    configs = [json.loads(env["TF_CONFIG"]) for env in worker_environments("keras", 3, 8)]
    assert [config["task"] for config in configs] == [{"type": "worker", "index": rank} for rank in range(3)]
    assert len({host for config in configs for host in config["cluster"]["worker"]}) == 3


def test_free_ports_are_distinct_and_none_that_a_system_gives_to_others() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert max(ports) < 32768


def test_a_port_in_use_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr(workers, "NOT_GIVEN_OUT", range(port, port + 200))
        assert port not in free_ports(3)


FAILS = """
import time
from small import cluster
def train(x):
    if cluster.place().rank == 1:
        print("at worker 1")
        raise ValueError("bad row")
    {others}
    return 1
"""


@pytest.mark.parametrize("others", ["time.sleep(60)", 'time.sleep(0.2); raise ConnectionError("peer is gone")', "pass"])
def test_the_worker_that_failed_first_is_reported_and_ends_the_others(make_workers: MakeWorkers, others: str) -> None:
    started = time.monotonic()
    project = make_workers(FAILS.replace("{others}", others))
    result = project.run()
    assert time.monotonic() - started < 20
    error = result.error
    assert error is not None
    assert (error.step, error.cell, error.line, error.message) == ("train", 3, 6, "worker 1: ValueError: bad row")
    assert [step.status for step in result.steps] == ["succeeded", "failed", "skipped"]
    logged = [event.text for event in project.events if event.kind == "log" and event.step == "train"]
    assert "ValueError: bad row" in logged


def test_the_chief_can_be_the_one_to_blame(make_workers: MakeWorkers) -> None:
    source = FAILS.replace("rank == 1", "rank == 0").replace("{others}", 'time.sleep(0.2); raise OSError("gone")')
    error = make_workers(source).run().error
    assert error is not None
    assert (error.line, error.message) == (6, "ValueError: bad row")


def test_a_killed_worker_is_to_blame_not_those_that_miss_it(make_workers: MakeWorkers) -> None:
    source = """
        import os, signal, time
        from small import cluster
        def train(x):
            if cluster.place().rank == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.1)
            raise ConnectionError("peer is gone")
    """
    error = make_workers(source, workers=3).run().error
    assert error is not None
    assert (error.cell, error.message) == (None, "worker 2: ended by SIGKILL")


def test_a_worker_that_cannot_join_says_so(make_workers: MakeWorkers) -> None:
    project = make_workers(COUNTS)
    (project.root / "small" / "xgboost_workers.py").write_text("def group():\n    raise OSError('no route')\n")
    error = project.run().error
    assert error is not None
    assert "OSError: no route" in error.message


def test_a_time_limit_ends_all_workers(make_workers: MakeWorkers) -> None:
    source = "import time\ndef train(x):\n    time.sleep(60)\n"
    error = make_workers(source, resources=Resources(timeout=2)).run().error
    assert error is not None
    assert error.message == "timed out after 2 s"


TAKEN = """
import os
from pathlib import Path
def train(x):
    with open({marks!r}, "a") as file:
        file.write(os.environ["MASTER_PORT"] + "\\n")
    ports = Path({marks!r}).read_text().split()
    if len(set(ports)) < {enough}:
        raise OSError(98, "Address already in use")
    return 1
"""


@pytest.mark.parametrize(("enough", "status"), [(2, "succeeded"), (99, "failed")])
def test_workers_start_again_when_a_port_was_taken(
    make_workers: MakeWorkers, tmp_path: Path, enough: int, status: str
) -> None:
    marks = tmp_path / "marks"
    project = make_workers(TAKEN.format(marks=str(marks), enough=enough))
    assert project.run().status == status
    notes = [event.text for event in project.events if event.kind == "note" and event.step == "train"]
    expected = 1 if status == "succeeded" else 3
    assert notes == ["another process took a port of its workers; they start again"] * expected
    assert len(set(marks.read_text().split())) == expected + 1
    assert [e.kind for e in project.events if e.step == "train" and e.kind in ("started", "finished")] == [
        "started",
        "finished",
    ]


def test_a_failed_attempt_of_all_is_repeated(make_workers: MakeWorkers, tmp_path: Path) -> None:
    source = f"""
        from pathlib import Path
        from small import cluster
        def train(x):
            mark = Path({str(tmp_path / "mark")!r})
            if cluster.place().rank == 1 and not mark.exists():
                mark.touch()
                raise ValueError("once")
            return 5
    """
    project = make_workers(source, resources=Resources(retries=1))
    assert project.run().status == "succeeded"
    assert "failed; attempt 2 of 2" in [event.text for event in project.events]


DRIVER = """
import sys
from pathlib import Path
from nb2pipe.targets.local import run
try:
    run(Path(sys.argv[1]), {}, notebook_dir=Path(sys.argv[2]), runs_dir=Path(sys.argv[2]) / "runs")
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_an_interrupt_leaves_no_worker_running(make_workers: MakeWorkers, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    source = f"""
        import os, time
        def train(x):
            with open({str(pids)!r}, "a") as file:
                file.write(f"{{os.getpid()}}\\n")
            time.sleep(60)
    """
    project = make_workers(source, workers=3)
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", textwrap.dedent(DRIVER), str(project.root), str(project.notebook_dir)]
    driver = subprocess.Popen(command, cwd=root)
    limit = time.monotonic() + 30
    while time.monotonic() < limit and not (pids.exists() and len(pids.read_text().split()) == 3):
        time.sleep(0.02)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(timeout=20) == 130
    for pid in pids.read_text().split():
        state = Path(f"/proc/{pid}/stat")
        assert not state.exists() or state.read_text().split()[2] in ("Z", "X")
    assert list((project.notebook_dir / "runs").iterdir()) == []
