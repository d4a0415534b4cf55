"""Runs the code cells of a notebook in order in this process and writes what each step printed. Started by `baseline`.

    python run_cells.py REQUEST.json RESULT.json

REQUEST is `{"kernel": "python"|"ipython", "cells": [{"step", "code"}]}`; RESULT is `{"steps": {step: text}, "shown":
{step: text}, "error"}`. `steps` has what was printed, `shown` has the outputs of `display` in their places as well.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


class Printed:
    """What arrives on file descriptor 1 while it is open, child processes included."""

    def __enter__(self) -> Printed:
        sys.stdout.flush()
        self._file = tempfile.TemporaryFile()
        self._kept = os.dup(1)
        os.dup2(self._file.fileno(), 1)
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()
        os.dup2(self._kept, 1)
        os.close(self._kept)
        self._file.seek(0)
        # A pseudo-terminal, through which IPython runs shell commands, ends lines with CR LF.
        self.text = self._file.read().decode().replace("\r\n", "\n")
        self._file.close()


def python_runner() -> Callable[[str], None]:
    module = sys.modules["__main__"] = ModuleType("__main__")

    def run(code: str) -> None:
        exec(compile(code, "<cell>", "exec"), module.__dict__)

    return run


def ipython_runner() -> Callable[[str], None]:
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.core.magic import no_var_expand
    from traitlets.config import Config

    class Silent(DisplayHook):  # type: ignore[misc]
        def write_output_prompt(self) -> None: ...
        def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None: ...
        def finish_displayhook(self) -> None:
            self.exec_result = None

    class Marked(DisplayPublisher):  # type: ignore[misc]
        def publish(self, data: Any, *_: Any, **__: Any) -> None:
            sys.stdout.write(f"\x00{data.get('text/plain', '')}\n\x01")

    class Shell(InteractiveShell):  # type: ignore[misc]
        displayhook_class = Silent
        display_pub_class = Marked

        def enable_gui(self, gui: str | None = None) -> None: ...

    config = Config()
    config.HistoryManager.enabled = False
    shell = Shell.instance(config=config)

    @no_var_expand  # type: ignore[untyped-decorator]
    def untimed(line: str, cell: str | None = None) -> None:
        """%time prints the time that it took, which no pipeline repeats."""
        exec(shell.transform_cell(line if cell is None else cell), shell.user_ns)

    shell.register_magic_function(untimed, "line_cell", "time")
    # Requirements of the pipeline: nothing is installed while a test runs.
    shell.register_magic_function(lambda line: None, "line", "pip")

    def run(code: str) -> None:
        result = shell.run_cell(code)
        result.raise_error()

    return run


def printed_only(text: str) -> str:
    """The text without what `display` showed."""
    return "".join(part.split("\x01", 1)[-1] for part in f"\x01{text}".split("\x00"))


def main(request_path: str, result_path: str) -> None:
    request = json.loads(Path(request_path).read_text())
    run = {"python": python_runner, "ipython": ipython_runner}[request["kernel"]]()
    raw: dict[str, str] = {}
    error = None
    for cell in request["cells"]:
        with Printed() as printed:
            try:
                run(cell["code"])
            except BaseException:
                error = traceback.format_exc()
        raw[cell["step"]] = raw.get(cell["step"], "") + printed.text
        if error:
            break
    steps = {step: printed_only(text) for step, text in raw.items()}
    shown = {step: text.replace("\x00", "").replace("\x01", "") for step, text in raw.items()}
    Path(result_path).write_text(json.dumps({"steps": steps, "shown": shown, "error": error}))


if __name__ == "__main__":
    # The cells find the same `sys.path[0]` as a kernel started in their folder.
    sys.path[0] = ""
    main(*sys.argv[1:])
