"""The process that compares, seen from nb2pipe: started early, so that its imports are done when it is asked."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nb2pipe.verify.storing import storing

Rows = Mapping[str, Mapping[str, str]]


class Judge:
    """Asks the child process `nb2pipe.verify.compare.child`; a new one is started when it dies.

    `temporary` are the variables that say where its temporary files go.
    """

    def __init__(
        self, paths: Sequence[Path], package: str, modules: Sequence[str], temporary: Mapping[str, str]
    ) -> None:
        self._temporary = temporary
        self._first = {"paths": [*map(str, paths)], "package": package, "modules": [*modules], "storing": storing()}
        self._process = self._started()

    def _started(self) -> subprocess.Popen[str]:
        home = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), home]))
        process = subprocess.Popen(
            [sys.executable, "-m", "nb2pipe.verify.compare.child"],
            env={**os.environ, **self._temporary, "PYTHONPATH": path, "MPLBACKEND": "Agg"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        _send(process, self._first)
        return process

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
        _send(self._process, request)
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if answer:
            rows: Rows = json.loads(answer)
            return rows
        self.close()
        self._process = self._started()
        why = f"the process that compared it ended with status {self._process.returncode}"
        return {name: {"type": "", "verdict": "not proved", "detail": why} for name in names}

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self._process.kill()
        self._process.wait()


def _send(process: subprocess.Popen[str], request: Mapping[str, Any]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it died: the missing answer says so
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
