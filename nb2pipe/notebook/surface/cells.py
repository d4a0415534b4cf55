"""The table of cell magics. A new one is one row."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nb2pipe.notebook.surface.bigquery import bigquery
from nb2pipe.notebook.surface.files import writefile
from nb2pipe.notebook.surface.model import Handler, Magic, Python, dropped, refused
from nb2pipe.notebook.surface.scripts import script


def _unwrapped(magic: Magic) -> Python:
    """The line of the magic goes, the body stays."""
    return dropped(magic, "its cell stays")


def _capture(magic: Magic) -> Python:
    """`%%capture [NAME]`: a captured NAME cannot be given."""
    names = re.findall(r"(?<![\w-])[A-Za-z_]\w*", re.sub(r"--[\w-]+", "", magic.text))
    if names:
        message = f"`{magic.written}` stores the cell's output in {names[0]}, which a step cannot."
        error = magic.finding("captured-output", message)
        return Python(why="%%capture unwrapped", findings=(error,))
    return dropped(magic, "its cell stays, and what it prints is shown")


def _whole(why: str) -> Handler:
    """The whole cell goes."""
    return lambda magic: _without_body(dropped(magic, why), magic)


def _refuse(why: str, hint: str | None = None) -> Handler:
    return lambda magic: _without_body(refused(magic, why, hint), magic)


def _without_body(python: Python, magic: Magic) -> Python:
    return Python(why=python.why, lines=("",) * (len(magic.body) + 1), findings=python.findings)


def _bodyless(handler: Handler) -> Handler:
    """For magics whose body is no Python: when the handler gives no lines, the body goes with the magic."""

    def handle(magic: Magic) -> Python:
        python = handler(magic)
        return python if python.lines is not None else _without_body(python, magic)

    return handle


def _rows(names: str, handler: Handler) -> dict[str, Handler]:
    return dict.fromkeys(names.split(), handler)


CELL_MAGICS: Mapping[str, Handler] = {
    **_rows("time prun lprun mprun debug snakeviz scalene heat wandb", _unwrapped),
    "capture": _capture,
    **_rows("timeit memit", _whole("it repeats the cell to measure it, and defines nothing")),
    **_rows("html HTML javascript js latex markdown svg SVG mermaid ai", _whole("it is only shown")),
    **_rows("bash sh script perl ruby python python3 pypy ! sx system zsh", _bodyless(script)),
    **_rows("writefile file", _bodyless(writefile)),
    "bigquery": _bodyless(bigquery),
    "sql": _refuse("its query runs through the notebook", "Use a client library in Python."),
    "cython": _refuse("it compiles C", "Put the code into an installed module."),
    **_rows("R julia", _refuse("it is another language", "Write it in Python.")),
}
"""What becomes of a cell that begins with `%%NAME`."""
