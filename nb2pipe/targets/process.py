"""Child processes of a run: each in a process group of its own, with its output shown live and kept in files."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import IO, BinaryIO, Literal, Protocol

GRACE = 3.0
"""Seconds that an ended process group has between SIGTERM and SIGKILL."""

Stream = Literal["stdout", "stderr"]
OnLine = Callable[[Stream, str], None]


class Process(Protocol):
    """What is needed of a running process: what subprocess.Popen has."""

    pid: int
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""

    def wait(self) -> int:
        """Waits for the end; returns the exit status."""


Start = Callable[[Sequence[str], Mapping[str, str], Path], Process]
"""How a process is started: its command, its environment and its working folder."""


def spawned(command: Sequence[str], env: Mapping[str, str], cwd: Path, stdin: int = subprocess.DEVNULL) -> Process:
    """A process that starts afresh, in a group of its own. `stdin` is an open file that it reads from."""
    return subprocess.Popen(
        command,
        env=dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@contextlib.contextmanager
def temporary_files() -> Iterator[dict[str, str]]:
    """The variable that gives processes a folder for temporary files, which is gone with them in the end.

    Libraries leave files there, above all in processes that are ended. The folder is not that of a run: the name of a
    socket in it must be short.
    """
    with tempfile.TemporaryDirectory(prefix="nb2pipe-", ignore_cleanup_errors=True) as folder:
        yield {"TMPDIR": folder}


class Child:
    """A running process whose output goes to the files `stdout` and `stderr` in `folder`, line by line to `on_line`.

    `suffix` stands after the names of the two files, `start` starts the process.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        folder: Path,
        on_line: OnLine,
        timeout: float | None,
        suffix: str = "",
        start: Start = spawned,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.started = time.monotonic()
        self.deadline = None if timeout is None else self.started + timeout
        self.timed_out = False
        self._on_line = on_line
        self._pending: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}
        self._files: dict[Stream, BinaryIO] = {
            "stdout": (folder / f"stdout{suffix}").open("wb", buffering=0),
            "stderr": (folder / f"stderr{suffix}").open("wb", buffering=0),
        }
        self.process = start(command, env, cwd)

    def pipes(self) -> list[tuple[BufferedReader, Stream]]:
        """The ends to read from, with the stream that each carries."""
        out, err = self.process.stdout, self.process.stderr
        assert isinstance(out, BufferedReader)
        assert isinstance(err, BufferedReader)
        return [(out, "stdout"), (err, "stderr")]

    def take(self, stream: Stream, data: bytes) -> None:
        """Keeps output that was read, and shows its whole lines."""
        self._files[stream].write(data)
        *lines, self._pending[stream] = (self._pending[stream] + data).split(b"\n")
        for line in lines:
            self._on_line(stream, line.decode("utf-8", "replace"))

    def close(self) -> int:
        """Ends what the process left running, shows the last unfinished lines; returns the exit status."""
        self.end(signal.SIGKILL)
        status = self.process.wait()
        for stream, rest in self._pending.items():
            if rest:
                self._on_line(stream, rest.decode("utf-8", "replace"))
        for pipe, _ in self.pipes():
            pipe.close()
        for file in self._files.values():
            file.close()
        return status

    def end(self, number: signal.Signals) -> None:
        """Sends a signal to the whole process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


class Children:
    """The running children of a run, each under a name. Used from one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._running: dict[str, Child] = {}

    def __len__(self) -> int:
        return len(self._running)

    def add(self, name: str, child: Child) -> None:
        """Watches `child` from now on."""
        self._running[name] = child
        for pipe, stream in child.pipes():
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ, (name, stream))

    def wait(self, stopped: Callable[[], bool] = lambda: False) -> list[tuple[str, Child, int]]:
        """Passes output on until a child ends; returns the ended ones with their exit status.

        Returns nothing as soon as `stopped`, which is asked several times a second, says so.
        """
        while self._running and not stopped():
            # A child that closed its output is about to end: look soon.
            closed = len(self._selector.get_map()) < 2 * len(self._running)
            for key, _ in self._selector.select(timeout=0.002 if closed else 0.05):
                self._read(key)
            ended = [name for name, child in self._running.items() if self._has_ended(child)]
            if ended:
                return [self._finish(name) for name in ended]
        return []

    def end_all(self) -> None:
        """Ends every child with all its descendants: politely first, surely in the end."""
        for child in self._running.values():
            child.end(signal.SIGTERM)
        limit = time.monotonic() + GRACE
        while time.monotonic() < limit and any(child.process.poll() is None for child in self._running.values()):
            time.sleep(0.02)
        for name in list(self._running):
            self._finish(name)

    def _read(self, key: selectors.SelectorKey) -> None:
        name, stream = key.data
        data = _read_now(key.fd)
        if data:
            self._running[name].take(stream, data)
        elif data == b"":
            self._selector.unregister(key.fileobj)

    def _has_ended(self, child: Child) -> bool:
        if child.deadline is not None and time.monotonic() > child.deadline and child.process.poll() is None:
            child.timed_out = True
            child.end(signal.SIGKILL)
            child.process.wait()
        return child.process.poll() is not None

    def _finish(self, name: str) -> tuple[str, Child, int]:
        child = self._running.pop(name)
        for pipe, stream in child.pipes():
            while data := _read_now(pipe.fileno()):
                child.take(stream, data)
            with contextlib.suppress(KeyError):
                self._selector.unregister(pipe)
        return name, child, child.close()


def _read_now(descriptor: int) -> bytes | None:
    """What can be read without waiting: None when there is nothing yet, b"" at the end."""
    try:
        return os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return None
