"""The process that compares, seen from nb2pipe: started early, so that its imports are done when it is asked."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

from nb2pipe.targets.process import Process
from nb2pipe.verify.storing import storing

Rows = Mapping[str, Mapping[str, str]]
Start = Callable[[Sequence[str], Path, int], Process]
"""How the process is started: its command, its folder, and the open file that it reads from."""

HOME = Path(__file__).resolve().parents[2]
"""Where the process finds nb2pipe."""


class Judge:
    """Asks the child process `nb2pipe.verify.compare.child`; a new one is started when it dies."""

    def __init__(self, paths: Sequence[Path], package: str, modules: Sequence[str], start: Start) -> None:
        self._first = {"paths": [*map(str, paths)], "package": package, "modules": [*modules], "storing": storing()}
        self._start = start
        self._threads = ThreadPoolExecutor(1)  # a fork is had only when its parent has imported
        self._child = self._threads.submit(self._started)

    def _started(self) -> _Child:
        theirs, ours = os.pipe()
        try:
            process = self._start([sys.executable, "-m", "nb2pipe.verify.compare.child"], HOME, theirs)
        finally:
            os.close(theirs)
        child = _Child(process, os.fdopen(ours, "w", encoding="utf-8"))
        child.send(self._first)
        return child

    def compare(self, names: Sequence[str], notebook: Path, pipeline: Path, tolerance: float = 0.0) -> Rows:
        """For each name its type, verdict and detail; both paths are artifacts, or values stored by a probe.

        `tolerance` is how far apart floats may be, relative to their size or to the largest beside them.
        """
        request = {"names": list(names), "notebook": str(notebook), "pipeline": str(pipeline), "tolerance": tolerance}
        return self._asked(names, request)

    def compare_files(self, name: str, notebook: Path, pipeline: Path) -> Mapping[str, str]:
        """The same for two files or folders."""
        request = {"file": name, "notebook": str(notebook), "pipeline": str(pipeline)}
        return self._asked([name], request)[name]

    def describe(self, names: Sequence[str], pipeline: Path) -> Mapping[str, Any]:
        """What a test keeps of the pipeline's values, by name."""
        return self._asked([], {"describe": list(names), "pipeline": str(pipeline)})

    def _asked(self, names: Sequence[str], request: Mapping[str, Any]) -> Rows:
        child = self._child.result()
        child.send(request)
        answer = child.answers.readline()
        if answer:
            rows: Rows = json.loads(answer)
            return rows
        why = f"the process that compared it ended with status {child.ended()}"
        self._child = self._threads.submit(self._started)
        return {name: {"type": "", "verdict": "not proved", "detail": why} for name in names}

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._child.result().ended()
        self._threads.shutdown()


class _Child:
    """The process and the pipes to it."""

    def __init__(self, process: Process, requests: TextIO) -> None:
        assert process.stdout is not None
        self._process, self._requests, self.answers = process, requests, process.stdout

    def send(self, request: Mapping[str, Any]) -> None:
        """A request, which is answered with a line of `answers`."""
        with contextlib.suppress(OSError):  # it died: the missing answer says so
            self._requests.write(json.dumps(request) + "\n")
            self._requests.flush()

    def ended(self) -> int:
        """The exit status, after it was ended."""
        for pipe in (self._requests, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()
