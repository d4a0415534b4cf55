"""Processes that start at once: forks of one that has imported what their step needs.

Importing TensorFlow takes seconds, which every trial of a tuning would spend again for each of its processes. What is
imported before the fork are libraries that do nothing when they are imported but define things, never the notebook's
own code; a process of a step is still one of its own.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import RawIOBase
from itertools import chain
from pathlib import Path
from typing import IO, Any

from nb2pipe.targets.process import Process, spawned, temporary_files
from nb2pipe.targets.workers import LAUNCHER_VARIABLES, THREADS

Json = Mapping[str, Any]
CHILD = Path(__file__).with_name("warm_child.py")

WARMED = frozenset(
    "cloudpickle joblib keras lightgbm matplotlib numpy pandas pyarrow scipy seaborn sklearn tensorflow tf_keras torch "
    "torchvision xgboost".split()
)
"""Libraries that may be imported before a fork: they start nothing that a fork would lack."""

STORED = frozenset("cloudpickle numpy pandas pyarrow".split())
"""Of them those that artifacts are loaded with: functions of the project import them when it comes to that."""

FRAMEWORKS = frozenset("keras tensorflow tf_keras torch".split())
"""Of them those that take seconds and are one whole: a step that imports one sees the same of it, forked or fresh."""

LATER: Mapping[str, str] = {"torch": "import torch._dynamo"}
"""What a library imports itself when it is first used: the first optimizer of torch takes longer than torch."""

LATE = frozenset(
    "PYTHONHASHSEED TMPDIR TRIAL_REPORTS TF_NUM_INTEROP_THREADS TF_NUM_INTRAOP_THREADS".split() + LAUNCHER_VARIABLES
)
"""Variables that no import looks at: forks of one process may differ in them."""


class Warm:
    """What starts the processes of a project's `steps`. A context: in the end all that it started is gone.

    What is imported for one of the steps is imported for all of them, as in the notebook. With `alike` a step notices
    nothing of that, as a proof needs it: only whole frameworks are imported, and the hash seed is the one asked for.
    """

    def __init__(self, project: Path, steps: Sequence[Json], *, alike: bool = False) -> None:
        self._imports = (frameworks if alike else import_statements)(project, steps)
        packages = [f"import {step['module'].split('.')[0]}" for step in steps]  # they may set what libraries look at
        self._statements = [*dict.fromkeys(chain(packages, *self._imports.values()))]
        self._late = (LATE | frozenset(THREADS)) - {"PYTHONHASHSEED"} if alike else LATE
        self._parents: dict[Any, Parent] = {}
        self._lock = threading.Lock()
        self._open = contextlib.ExitStack()
        self._temporary: Mapping[str, str] = {}

    def __enter__(self) -> Warm:
        self._temporary = self._open.enter_context(temporary_files())
        return self

    def __exit__(self, *error: object) -> None:
        for parent in self._parents.values():
            parent.close()
        self._open.close()

    def start(self, step: Json, command: Sequence[str], env: Mapping[str, str], cwd: Path) -> Process:
        """Starts `command`, which is `PYTHON -m MODULE WORDS...`, for a step of the project.

        Where a fork is not to be had the command is started afresh.
        """
        return self.process(command, env, cwd) if self._imports.get(step["name"]) else spawned(command, env, cwd)

    def process(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path, stdin: int = subprocess.DEVNULL
    ) -> Process:
        """Starts a command of that form which has the libraries of all steps. It reads from `stdin`, an open file."""
        if not any(self._imports.values()) or sys.platform != "linux":
            return spawned(command, env, cwd, stdin)
        early = {name: value for name, value in env.items() if name not in self._late}
        key = tuple(sorted(early.items()))
        with self._lock:
            if key not in self._parents:
                threads = {name: env[name] for name in THREADS if name in env}  # a fork may be told another number
                self._parents[key] = Parent(self._statements, {**early, **threads, **self._temporary})
            parent = self._parents[key]
        own = {name: value for name, value in env.items() if name != "PYTHONHASHSEED" or name in early}
        return parent.fork(command[2], command[3:], own, cwd, stdin) or spawned(command, env, cwd, stdin)


Imports = Mapping[str, Sequence[str]]
"""For each step by name the statements that may be run before a fork."""


def import_statements(project: Path, steps: Sequence[Json]) -> Imports:
    """The imports of the steps' files, as far as they may be done before a fork."""
    return {step["name"]: _imported(_trees(project, step["code"])) for step in steps}


def _imported(trees: Iterable[ast.Module]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(statement for tree in trees for statement in _warmed(tree)))
    return (*found, *(more for name, more in LATER.items() if f"import {name}" in found))


def frameworks(project: Path, steps: Sequence[Json]) -> Imports:
    """The imports of the whole frameworks that the steps' files name anywhere.

    What no line of the notebook names is not needed: formats of artifacts, for one, name all that could be stored.
    """
    named = {step["name"]: _named(_trees(project, step["code"])) for step in steps}
    own = {path for step in steps for path in step["code"] if re.search(r"/shared\.py$|/steps/", path)}
    needed = _named(_trees(project, sorted(own)))
    found = {name: sorted(roots & needed) for name, roots in named.items()}
    return {
        name: (*(f"import {root}" for root in roots), *(LATER[root] for root in roots if root in LATER))
        for name, roots in found.items()
    }


def _trees(project: Path, code: Sequence[str]) -> list[ast.Module]:
    paths = [project / name for name in code if name.endswith(".py")]
    return [ast.parse(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]


def _named(trees: Iterable[ast.Module]) -> set[str]:
    """The whole frameworks that the files import anywhere."""
    nodes = [n for tree in trees for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
    return {root for node in nodes for root in _roots(node)} & FRAMEWORKS


def _warmed(tree: ast.Module) -> Iterator[str]:
    """At the top of a file those of all known libraries, in functions only those that store artifacts."""
    for nodes, known in ((tree.body, WARMED), (ast.walk(tree), STORED)):
        for node in nodes:
            if isinstance(node, (ast.Import, ast.ImportFrom)) and _roots(node) <= known:
                yield ast.unparse(node)


def _roots(node: ast.Import | ast.ImportFrom) -> set[str]:
    """The libraries that a statement imports; "" for a relative one."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {"" if node.level else (node.module or "").partition(".")[0]}


class Parent:
    """A process that has run statements, and is asked for forks from several threads."""

    def __init__(self, statements: Iterable[str], env: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(CHILD), *statements],
                env=dict(env),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def fork(
        self,
        module: str,
        words: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        stdin: int = subprocess.DEVNULL,
    ) -> Process | None:
        """A new process; None when there is no parent any more, or never was."""
        (out, their_out), (err, their_err), (status, their_status) = os.pipe(), os.pipe(), os.pipe()
        theirs = (their_out, their_err, their_status)
        with tempfile.TemporaryFile() as request, Path(os.devnull).open("rb") as nothing:
            asked = {"module": module, "words": [*words], "env": dict(env), "cwd": str(cwd)}
            request.write(json.dumps(asked).encode())
            request.seek(0)
            with contextlib.suppress(OSError), self._lock:
                read = nothing.fileno() if stdin == subprocess.DEVNULL else stdin
                socket.send_fds(self._socket, [b"."], [request.fileno(), read, *theirs])
        for number in theirs:
            os.close(number)
        told = os.fdopen(status, "rb", buffering=0)
        pid = told.readline().strip()  # as soon as the imports are done
        if pid:
            return Fork(int(pid), os.fdopen(out, "rb"), os.fdopen(err, "rb"), told)
        for number in (out, err):
            os.close(number)
        told.close()
        return None

    def close(self) -> None:
        """Lets the parent end what still runs, and then itself."""
        self._socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        self._process.kill()
        self._process.wait()


@dataclass
class Fork:
    """A process that a parent of ours has started: like subprocess.Popen, as far as it is needed."""

    pid: int
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None
    told: RawIOBase
    returncode: int | None = field(default=None)

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while the process runs."""
        if self.returncode is None:
            os.set_blocking(self.told.fileno(), False)
            self._hear()
        return self.returncode

    def wait(self) -> int:
        """Waits for the end; returns the exit status."""
        if self.poll() is None:
            os.set_blocking(self.told.fileno(), True)
            self._hear()
        return self.returncode or 0

    def _hear(self) -> None:
        text = self.told.read(16)
        if text is not None:
            # Nothing at all: the parent is gone, and with it who knows.
            self.returncode = int(text) if text else -signal.SIGKILL
            self.told.close()
