"""`%load_ext nb2pipe`: `%%step` says what a tag says and runs the cell as it is; `%nb2pipe` runs a command."""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import doors
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from nb2pipe.doors.ipython import command_words, notebook_path, without_step
from nb2pipe.notebook.vocabulary import parse_tags


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    made = InteractiveShell()
    made.history_manager.enabled = False
    made.extension_manager.load_extension("nb2pipe")
    yield made
    made.extension_manager.unload_extension("nb2pipe")
    atexit.unregister(made.atexit_operations)
    made.atexit_operations()


@pytest.mark.parametrize(
    ("source", "tags", "line"),
    [
        ("%%step train\nx = 1", ["step:train"], 1),
        (
            "# Train it.\n\n%%step train --gpu nvidia-l4:2 --metrics\nx = 1",
            ["step:train", "gpu:nvidia-l4:2", "metrics"],
            3,
        ),
        ("%%step train --workers=2 --after load", ["step:train", "workers:2", "after:load"], 1),
        ("%%step train --frobnicate 3", ["step:train --frobnicate 3"], 1),
        ("%%step", ["step"], 1),
    ],
)
def test_step_is_read_as_tags(source: str, tags: list[str], line: int) -> None:
    found = parse_tags((), source)
    assert [f"{t.kind}:{t.value}" if t.value else t.kind for t in found] == tags
    assert {t.line for t in found} == {line}


@pytest.mark.parametrize("source", ["x = 1\n%%step train", "%%stepper train", "text = '''\n%%step train\n'''"])
def test_what_only_looks_like_a_step(source: str) -> None:
    assert parse_tags((), source) == ()
    lines = source.splitlines(keepends=True)
    assert without_step(lines) == lines


def test_the_cell_runs_as_if_the_line_were_not_there(shell: InteractiveShell) -> None:
    assert shell.run_cell("%%step load\nx = 41\nx + 1").result == 42
    assert shell.run_cell("%%step load --cpu 2\n%%time\ny = x").success
    assert shell.user_ns["y"] == 41


def test_lines_keep_their_numbers(shell: InteractiveShell) -> None:
    failed = shell.run_cell("%%step load\n\n1 / 0").error_in_exec
    assert failed is not None
    assert failed.__traceback__ is not None
    assert failed.__traceback__.tb_next is not None
    assert failed.__traceback__.tb_next.tb_lineno == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "a name begins with"),
        ("Train", "a name begins with"),
        ("train --cpu many", "write it like `cpu:4`"),
        ("train --frobnicate", "a name begins with"),
        ("class", "keyword"),
    ],
)
def test_wrong_words_stop_the_cell(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str], words: str, says: str
) -> None:
    result = shell.run_cell(f"%%step {words}\nran = True")
    assert isinstance(result.error_before_exec, UsageError)
    assert says in str(result.error_before_exec)
    assert "ran" not in shell.user_ns


def written(folder: Path, cells: list[str]) -> Path:
    path = folder / "n.ipynb"
    path.write_text(json.dumps(doors.notebook([(cell, []) for cell in cells])))
    return path


CELLS = [
    "%load_ext nb2pipe",
    "%%step load\nrows = [3, 1, 2]",
    "%%step sort --cpu 2\n%%time\nrows.sort()",
    "%nb2pipe check n.ipynb",
    "%%step show\nprint(rows)",
]


def test_a_notebook_of_magics_converts(tmp_path: Path) -> None:
    written(tmp_path, CELLS)
    document = doors.nb2pipe_json("check", "n.ipynb", cwd=tmp_path)
    assert [step["name"] for step in document["steps"]] == ["load", "sort", "show"]
    assert not [f for f in document["findings"] if f["severity"] == "error"]
    run = doors.nb2pipe_json("run", "n.ipynb", cwd=tmp_path)
    assert doors.step_stdout(run, tmp_path)["show"] == "[1, 2, 3]\n"


def test_command_on_this_notebook(shell: InteractiveShell, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shell.user_ns["__vsc_ipynb_file__"] = str(written(tmp_path, CELLS))
    assert shell.run_cell("%nb2pipe check").success
    assert "sort (cells 2, 3)" in capsys.readouterr().out


def test_a_refused_notebook_is_said_below_the_cell(
    shell: InteractiveShell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, ["%%step load\nprint(missing)"])
    assert shell.run_cell("%nb2pipe check n.ipynb").success
    said = capsys.readouterr()
    assert "undefined-name" in said.err
    assert "exit status 1" in said.out


@pytest.mark.parametrize("line", ["", "frobnicate", "check", "check n.ipynb --frobnicate"])
def test_wrong_command(shell: InteractiveShell, capsys: pytest.CaptureFixture[str], line: str) -> None:
    assert isinstance(shell.run_cell(f"%nb2pipe {line}").error_in_exec, UsageError)


def test_where_the_notebook_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, CELLS)
    assert notebook_path({"__vsc_ipynb_file__": str(path)}, {}) == str(path)
    assert notebook_path({}, {"JPY_SESSION_NAME": str(path)}) == str(path)
    assert notebook_path({}, {"JPY_SESSION_NAME": f"of the server{os.sep}n.ipynb"}) == "n.ipynb"
    assert notebook_path({}, {"JPY_SESSION_NAME": "gone.ipynb"}) is None
    names: dict[str, Any] = {"__vsc_ipynb_file__": str(path)}
    assert command_words(["run", "-p", "a=1"], names) == ["run", str(path), "-p", "a=1"]
    assert command_words(["run", "other.ipynb"], names) == ["run", "other.ipynb"]


def test_review_is_shown_in_a_frame_that_cannot_touch_the_notebook(
    shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, CELLS)
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data["text/html"]))
    assert shell.run_cell("%nb2pipe review n.ipynb").success
    assert len(shown) == 1
    assert shown[0].startswith('<iframe sandbox="allow-scripts"')
    assert "<script>" not in shown[0]
    assert "&lt;script&gt;" in shown[0]
