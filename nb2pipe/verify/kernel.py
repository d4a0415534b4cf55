"""One fresh kernel of this Python: runs cells, hears what they print, and runs the probe unseen by the notebook."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nb2pipe.findings import Nb2pipeError, finding

NEEDED = ("jupyter_client", "ipykernel", "zmq", "cloudpickle")
START_SECONDS = 120
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_LINE = re.compile(r"Cell In\[\d+\], line (\d+)|<ipython-input[^>]*> in .*|-+> (\d+) ")


@dataclass(frozen=True, slots=True)
class CellError:
    """Why a cell failed; `line` counts from 1 in the cell."""

    line: int | None
    message: str


@dataclass(frozen=True, slots=True)
class CellRun:
    """What a cell printed; `shown` has what `display` showed as well, as text in its place."""

    printed: str
    shown: str
    error: CellError | None


class KernelDied(Exception):
    """The kernel's process ended; the text says how."""


def require() -> None:
    """Raises Nb2pipeError when a package is missing that running a notebook needs."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        message = f"To run a notebook {', '.join(missing)} must be installed: pip install 'nb2pipe[verify]'."
        raise Nb2pipeError([finding("missing-extra", message)])


class Kernel:
    """A kernel in the folder `cwd`; `scratch` takes its connection file, its log and IPython's own files."""

    def __init__(self, cwd: Path, scratch: Path, env: Mapping[str, str]) -> None:
        from jupyter_client.connect import write_connection_file

        scratch.mkdir(parents=True, exist_ok=True)
        path, info = write_connection_file(str(scratch / "kernel.json"))
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", path]
        self._log = scratch / "kernel.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**env, "IPYTHONDIR": str(scratch / "ipython"), "JUPYTER_RUNTIME_DIR": str(scratch)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wire = _Wire(info)

    def start(self) -> None:
        """Wait until the kernel answers. Raises KernelDied."""
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit:
            # What is published before the connection stands is lost: ask until something is heard.
            self._wire.send("kernel_info_request", {})
            if self._wire.heard(0.2) is not None:
                return
            self._check()
        raise KernelDied(f"the kernel did not answer for {START_SECONDS} s")

    def run(self, code: str) -> CellRun:
        """Run a cell. Raises KernelDied."""
        printed: list[str] = []
        shown: list[str] = []
        errors: list[CellError] = []

        def hear(kind: str, content: Mapping[str, Any]) -> None:
            if kind == "stream" and content["name"] == "stdout":
                printed.append(content["text"])
                shown.append(content["text"])
            elif kind in ("display_data", "update_display_data") and "image/png" not in content["data"]:
                shown.append(content["data"].get("text/plain", "") + "\n")
            elif kind == "error":
                errors.append(_error(content))

        self._execute(code, hear, silent=False)
        texts = ["".join(parts).replace("\r\n", "\n") for parts in (printed, shown)]
        return CellRun(texts[0], texts[1], errors[0] if errors else None)

    def probe(self, code: str) -> None:
        """Run code that the notebook does not see: no history, no execution count. Raises KernelDied."""
        troubles: list[CellError] = []

        def hear(kind: str, content: Mapping[str, Any]) -> None:
            if kind == "error":
                troubles.append(_error(content))

        self._execute(code, hear, silent=True)
        if troubles:
            raise KernelDied(f"its values cannot be stored: {troubles[0].message}")

    def _execute(self, code: str, hear: Callable[[str, Mapping[str, Any]], None], *, silent: bool) -> None:
        """Run code and hear what the kernel publishes until it is done."""
        content = {"code": code, "silent": silent, "store_history": not silent, "allow_stdin": False}
        message = self._wire.send("execute_request", {**content, "user_expressions": {}, "stop_on_error": True})
        while True:
            told = self._wire.heard(0.5)
            if told is None:
                self._check()
                continue
            own = told["parent_header"].get("msg_id") == message
            if own and told["msg_type"] == "status" and told["content"]["execution_state"] == "idle":
                return
            if own or told["msg_type"] == "stream":
                hear(told["msg_type"], told["content"])

    def _check(self) -> None:
        status = self._process.poll()
        if status is None:
            return
        how = f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        last = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        raise KernelDied(" ".join([f"the kernel {how}.", *last]))

    def kill(self) -> None:
        """End the process with everything that it started. May be called from any thread, and twice."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """End the process and close the connection; from the thread that used the kernel."""
        self.kill()
        self._wire.close()


class _Wire:
    """The two channels of a kernel that are used: requests go out on one, all that is published comes on the other."""

    def __init__(self, info: Mapping[str, Any]) -> None:
        from jupyter_client.session import Session

        zmq: Any = import_module("zmq")

        self._session: Any = Session(key=str(info["key"]).encode(), signature_scheme=info["signature_scheme"])
        self._context: Any = zmq.Context()
        self._shell: Any = self._context.socket(zmq.DEALER)
        self._published: Any = self._context.socket(zmq.SUB)
        self._published.setsockopt(zmq.SUBSCRIBE, b"")
        for socket, port in ((self._shell, "shell_port"), (self._published, "iopub_port")):
            socket.connect(f"tcp://{info['ip']}:{info[port]}")

    def send(self, kind: str, content: Mapping[str, Any]) -> str:
        """Send a request; returns its id."""
        sent = self._session.send(self._shell, kind, content)
        return str(sent["header"]["msg_id"])

    def heard(self, seconds: float) -> Mapping[str, Any] | None:
        """The next published message; None when there is none for so long."""
        while self._shell.poll(0):
            self._session.recv(self._shell)
        if not self._published.poll(seconds * 1000):
            return None
        message: Mapping[str, Any] = self._session.recv(self._published)[1]
        return message

    def close(self) -> None:
        """Close both channels."""
        self._context.destroy(linger=0)


def _error(content: Mapping[str, Any]) -> CellError:
    text = _ANSI.sub("", "\n".join(content.get("traceback", [])))
    numbers = [int(number) for match in _LINE.finditer(text) for number in match.groups() if number]
    return CellError(numbers[0] if numbers else None, f"{content.get('ename')}: {content.get('evalue')}")
