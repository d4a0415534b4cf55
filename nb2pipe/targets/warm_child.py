"""A process that has imported what others need, and forks itself for each of them. Run as a script, not imported.

    python warm_child.py STATEMENT...

Standard input is a socket. Each message on it brings five open files: a request {"module", "words", "env", "cwd"} as
JSON, the standard input, output and error of the new process, and a pipe that is told its number and, at its end, its
status. When the socket is closed, what still runs is ended.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import NoReturn

GRACE = 3.0
"""Seconds that processes have between SIGTERM and SIGKILL, once nobody waits for them any more."""

FILES = 5
"""How many open files come with a message."""


def main(statements: list[str]) -> None:
    """Imports, then forks as it is asked to."""
    before = dict(os.environ)
    os.environ.setdefault("MPLBACKEND", "Agg")
    warm(statements)
    changed = {name: value for name, value in os.environ.items() if before.get(name) != value}
    gc.freeze()  # what is there stays, so that forks need not look through it and copy its pages
    if threading.active_count() > 1:
        os._exit(1)  # an import has started a thread, which forks would lack
    with socket.socket(fileno=os.dup(0)) as asked:
        serve(asked, changed)


def warm(statements: list[str]) -> None:
    """Runs import statements; one that fails is left to the process that needs it, which can say so."""
    del sys.path[0]  # this folder: it holds a kfp.py
    for statement in statements:
        with contextlib.suppress(Exception):
            exec(statement, {})  # noqa: S102


def serve(asked: socket.socket, changed: Mapping[str, str]) -> None:
    """Answers requests until the socket is closed; `changed` are the variables that imports have set."""
    running: dict[int, int] = {}
    while True:
        while not select.select([asked], [], [], 0.01 if running else None)[0]:
            report_ended(running)
        message, files, _, _ = socket.recv_fds(asked, 1, FILES)
        if not message:
            end_all(running)
            return
        request, *streams, status = files
        child = os.fork()
        if child == 0:
            for other in running.values():
                os.close(other)
            asked.close()
            become(request, streams, status, changed)
        running[child] = status
        for one in (request, *streams):
            os.close(one)


def report_ended(running: dict[int, int]) -> None:
    """Tells of each process that ended its status: that of a signal is negative."""
    for child in list(running):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            with contextlib.suppress(BrokenPipeError):
                os.write(running[child], str(os.waitstatus_to_exitcode(status)).encode())
            os.close(running.pop(child))


def end_all(running: dict[int, int]) -> None:
    """Ends what still runs, with its own children."""
    for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        for child in running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child, number)
        limit = time.monotonic() + seconds
        while running and time.monotonic() < limit:
            report_ended(running)
            time.sleep(0.01)


def become(request: int, streams: list[int], status: int, changed: Mapping[str, str]) -> NoReturn:
    """Makes this fork the process that `python -m MODULE WORDS...` would be, and runs the module."""
    os.setsid()
    os.write(status, f"{os.getpid()}\n".encode())
    os.close(status)
    with open(request, encoding="utf-8") as file:
        asked = json.load(file)
    for target, source in enumerate(streams):
        os.dup2(source, target)
        os.close(source)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update({**asked["env"], **changed})
    if "tempfile" in sys.modules:  # it keeps the folder that it found
        sys.modules["tempfile"].__dict__["tempdir"] = None
    sys.path.insert(0, asked["cwd"])
    if "numpy" in sys.modules:  # its global generator was seeded by the import
        importlib.import_module("numpy").random.seed()
    share_cores(os.environ.get("OMP_NUM_THREADS", ""))
    sys.argv[1:] = asked["words"]
    leave(functools.partial(runpy.run_module, asked["module"], run_name="__main__", alter_sys=True))


def share_cores(threads: str) -> None:
    """Tells torch how many threads it may have: it has asked the environment already, which was that of the parent."""
    torch = sys.modules.get("torch")
    if torch is not None and threads.isdecimal() and torch.get_num_threads() != int(threads):
        torch.set_num_threads(int(threads))


def leave(run: Callable[[], object]) -> NoReturn:
    """Runs something and ends the process with its status.

    What is registered for the end is done; but objects are not destroyed one by one, for which every page of memory
    that this fork has in common with its parent would be copied.
    """
    code: object = 0
    try:
        run()
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    main(sys.argv[1:])
