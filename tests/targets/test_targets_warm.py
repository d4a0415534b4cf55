"""Processes that are forks of one that has imported: they are like those that start afresh, and none is left."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nb2pipe.targets.process import Process, spawned
from nb2pipe.targets.warm import Fork, Parent, Warm, frameworks, import_statements

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks of a process with libraries are for Linux")

MODULE = """
import atexit, os, sys
atexit.register(print, "at exit")
words = sys.argv[1:]
print(__name__, words, os.getcwd(), os.environ.get("OWN"), os.environ["SET_BY_PACKAGE"], os.getpgid(0) == os.getpid())
print("decimal" in sys.modules, sys.stdin.read() == "", file=sys.stderr)
if words[0] == "exit":
    sys.exit(int(words[1]))
if words[0] == "says":
    sys.exit("what it says")
if words[0] == "raise":
    raise ValueError("broken")
if words[0] == "kill":
    os.kill(os.getpid(), 9)
if words[0] == "draw":
    import numpy
    print(numpy.random.rand())
if words[0] == "sleep":
    import time
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "__init__.py").write_text("import os\nos.environ['SET_BY_PACKAGE'] = 'kept'\n")
    (tmp_path / "own" / "task.py").write_text(MODULE)
    (tmp_path / "work").mkdir()
    return tmp_path


@contextlib.contextmanager
def parent(folder: Path, *statements: str) -> Iterator[Parent]:
    one = Parent(statements, environment(folder))
    try:
        yield one
    finally:
        one.close()


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1", **more}


def fork(one: Parent, folder: Path, *words: str) -> Process:
    process = one.fork("own.task", words, environment(folder, OWN="mine"), folder / "work")
    assert process is not None
    return process


def ended(process: Process) -> tuple[int, str, str]:
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        return process.wait(), process.stdout.read().decode(), process.stderr.read().decode()


WAYS = [("exit", "0"), ("exit", "3"), ("says", ""), ("raise", ""), ("kill", "")]


def test_a_fork_is_like_a_process_that_starts_afresh(folder: Path) -> None:
    with parent(folder, "import own", "import decimal", "import no_such_library") as one:
        for words in WAYS:
            forked = ended(fork(one, folder, *words))
            command = [sys.executable, "-m", "own.task", *words]
            afresh = ended(spawned(command, environment(folder, OWN="mine"), folder / "work"))
            assert forked[:2] == afresh[:2]
            assert forked[2].splitlines()[1:][-1:] == afresh[2].splitlines()[1:][-1:]
            assert (forked[2].splitlines()[0], afresh[2].splitlines()[0]) == ("True True", "False True")
            assert ("at exit" in forked[1]) == (words[0] != "kill")


def test_each_fork_draws_its_own_random_numbers(folder: Path) -> None:
    pytest.importorskip("numpy")
    with parent(folder, "import numpy") as one:
        assert len({ended(fork(one, folder, "draw"))[1] for _ in range(2)}) == 2


def test_forks_have_their_own_temporary_folder_and_leave_nothing_in_another(folder: Path, temporary: Path) -> None:
    step = row(folder, "import numpy")
    (folder / "own" / "task.py").write_text("import tempfile\nprint(tempfile.gettempdir())")
    (folder / "own" / "__init__.py").write_text("import tempfile\ntempfile.mkstemp()")
    command = [sys.executable, "-m", "own.task"]
    with Warm(folder, [step]) as warm:
        for name in ("first", "second"):
            (folder / name).mkdir()
            env = environment(folder, TMPDIR=str(folder / name))
            assert ended(warm.start(step, command, env, folder / "work"))[1].strip() == env["TMPDIR"]
        assert len(list(temporary.iterdir())) == 1
    assert list(temporary.iterdir()) == []


def test_what_still_runs_ends_with_the_parent(folder: Path) -> None:
    with parent(folder) as one:
        process = fork(one, folder, "sleep")
        assert process.poll() is None
    assert not Path(f"/proc/{process.pid}").exists()
    assert ended(process)[0] in (-signal.SIGTERM, -signal.SIGKILL)


def test_a_fork_can_be_ended_with_its_group(folder: Path) -> None:
    with parent(folder) as one:
        process = fork(one, folder, "sleep")
        os.killpg(process.pid, signal.SIGTERM)
        assert ended(process)[0] == -signal.SIGTERM


@pytest.mark.parametrize(
    "statement", ["import os; os._exit(0)", "import threading; threading.Timer(60, print).start()"]
)
def test_without_a_parent_there_is_no_fork(folder: Path, statement: str) -> None:
    with parent(folder, statement) as one:
        assert one.fork("own.task", ["exit", "0"], environment(folder), folder / "work") is None


def row(folder: Path, code: str) -> dict[str, Any]:
    (folder / "own" / "steps").mkdir(exist_ok=True)
    (folder / "own" / "steps" / "step.py").write_text(code)
    return {"name": "step", "module": "own.steps.step", "code": ["own/steps/step.py"]}


CODE = """
from typing import TYPE_CHECKING
import numpy as np, pandas
import numpy as np
import helpers
from . import shared
from sklearn.svm import SVC
if TYPE_CHECKING:
    import torch
def load():
    import pyarrow.parquet
    import xgboost
"""


def test_only_libraries_are_imported_before_the_fork(folder: Path) -> None:
    step = row(folder, CODE)
    found = import_statements(folder, [step])["step"]
    assert found == (
        "import numpy as np, pandas",
        "import numpy as np",
        "from sklearn.svm import SVC",
        "import pyarrow.parquet",
    )
    assert import_statements(folder, [{**step, "code": [*step["code"], "own/gone.py", "own"]}])["step"] == found
    row(folder, "import torch\nimport helpers\n")
    assert import_statements(folder, [step])["step"] == ("import torch", "import torch._dynamo")


@pytest.mark.parametrize(("code", "forks"), [("import helpers", False), ("import numpy", True)])
def test_a_step_without_them_starts_afresh(folder: Path, code: str, forks: bool) -> None:
    step, command = row(folder, code), [sys.executable, "-m", "own.task", "exit", "0"]
    with Warm(folder, [step]) as warm:
        process = warm.start(step, command, environment(folder), folder / "work")
        assert isinstance(process, Fork) == forks
        assert ended(process)[0] == 0


def test_forks_that_must_be_alike_share_whole_frameworks_and_the_hash_seed(folder: Path) -> None:
    for name in ("torch/__init__.py", "torch/_dynamo.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("get_num_threads, told = lambda: 4, []\nset_num_threads = told.append\n")
    code = "import numpy\ndef step():\n    from torch.nn import functional\n"
    step, env = row(folder, code), environment(folder, PYTHONHASHSEED="7")
    assert frameworks(folder, [step])["step"] == ("import torch", "import torch._dynamo")
    (folder / "own" / "task.py").write_text(
        "import sys\ntorch = sys.modules.get('torch')\nprint(hash('a'), torch and torch.told, 'numpy' in sys.modules)"
    )
    command = [sys.executable, "-m", "own.task"]
    fresh = ended(spawned(command, env, folder / "work"))[1].split()
    with Warm(folder, [step], alike=True) as warm:
        for threads, told in (("4", "[]"), ("3", "[3]")):
            process = warm.start(step, command, {**env, "OMP_NUM_THREADS": threads}, folder / "work")
            assert isinstance(process, Fork)
            assert ended(process)[1].split() == [fresh[0], told, "False"]


def test_frameworks_that_no_line_of_the_notebook_names_are_not_imported(folder: Path) -> None:
    (folder / "own" / "artifacts.py").write_text("def load():\n    import keras\n    import torch\n")
    code = ["own/artifacts.py", "own/shared.py"]
    (folder / "own" / "shared.py").write_text("import torch")
    first, second = {"name": "first", "code": code}, {"name": "second", "code": code[:1]}
    torch = ("import torch", "import torch._dynamo")
    assert frameworks(folder, [first, second]) == {"first": torch, "second": torch}
    (folder / "own" / "shared.py").write_text("import numpy")
    assert frameworks(folder, [first, second]) == {"first": (), "second": ()}


def test_a_fork_reads_what_it_is_given(folder: Path) -> None:
    (folder / "own" / "task.py").write_text("print(input())")
    command = [sys.executable, "-m", "own.task"]
    for code in ("import numpy", "import helpers"):
        with Warm(folder, [row(folder, code)]) as warm, tempfile.TemporaryFile() as file:
            file.write(b"asked\n")
            file.seek(0)
            process = warm.process(command, environment(folder), folder / "work", file.fileno())
            assert isinstance(process, Fork) == (code == "import numpy")
            assert ended(process)[1] == "asked\n"


def test_nobody_is_left_when_whoever_waits_is_killed(folder: Path) -> None:
    script = folder / "waits.py"
    script.write_text(
        "import sys, os\nfrom pathlib import Path\nfrom nb2pipe.targets.warm import Parent\n"
        "one = Parent([], dict(os.environ))\n"
        "process = one.fork('own.task', ['sleep'], dict(os.environ), Path(sys.argv[1]) / 'work')\n"
        "print(process.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    env = environment(folder, PYTHONPATH=os.pathsep.join([str(folder), root]))
    _, out, _ = ended(spawned([sys.executable, str(script), str(folder)], env, folder))
    limit = time.monotonic() + 20
    while Path(f"/proc/{out.strip()}").exists() and time.monotonic() < limit:
        time.sleep(0.02)
    assert not Path(f"/proc/{out.strip()}").exists()
