"""A class that says itself what is stored of it may leave something out: said when an instance crosses steps."""

from __future__ import annotations

import json
from pathlib import Path

import doors
import pytest

import nb2pipe

METHODS = {
    "drops a field": "    def __getstate__(self):\n        return {'size': self.size}\n",
    "makes itself anew": "    def __reduce__(self):\n        return (Table, ())\n",
    "nothing of its own": "    def __len__(self):\n        return self.size\n",
}
HEAD = "class Table:\n    def __init__(self):\n        self.size, self.rows = 1, [2]\n"


def _said(folder: Path, method: str, made: str, used: str) -> list[tuple[str, str]]:
    cells = [(HEAD + METHODS[method], ["shared"]), (made, ["step:a"]), (used, ["step:b"])]
    notebook = folder / "own.ipynb"
    notebook.write_text(json.dumps(doors.notebook(cells)))
    found = nb2pipe.load(notebook).check()["findings"]
    return [(f["severity"], f["name"]) for f in found if f["code"] == "own-pickling"]


@pytest.mark.parametrize(
    ("method", "made", "used", "said"),
    [
        ("drops a field", "t = Table()", "print(t.size)", [("warning", "t")]),
        ("makes itself anew", "t = Table()", "print(t.size)", [("warning", "t")]),
        ("drops a field", "several = {'one': Table()}", "print(len(several))", [("warning", "several")]),
        ("nothing of its own", "t = Table()", "print(t.size)", []),
        ("drops a field", "t = Table()\nn = t.size", "print(n)", []),
    ],
)
def test_own_pickling_is_said_where_an_instance_crosses(
    tmp_path: Path, method: str, made: str, used: str, said: list[tuple[str, str]]
) -> None:
    assert _said(tmp_path, method, made, used) == said
