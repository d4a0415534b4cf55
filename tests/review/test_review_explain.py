"""Tracebacks from any log, in the notebook's terms."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nb2pipe.convert import load
from nb2pipe.review.explain import explain, project_at, projects_near

NOTEBOOK = """\
# %% tags=["shared"]
def ratio(a, b):
    return a / b
# %% tags=["step:load"]
rows = list(range(3))
# %% tags=["step:share"]
print("sharing")
shares = [ratio(row, row - 1)
          for row in rows]
"""


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project, and what its failing step printed."""
    folder = tmp_path_factory.mktemp("explained")
    path = folder / "fares.py"
    path.write_text(NOTEBOOK)
    load(path).convert(folder / "fares", target="local")
    result = load(path).run()
    assert result.status == "failed"
    return folder, next(s for s in result.steps if s.name == "share").stderr.read_text()


def test_frames_of_the_steps_become_cells_and_lines(failed: tuple[Path, str]) -> None:
    folder, log = failed
    explained = explain(log, projects_near(folder))
    places = [(f.file, f.cell, f.cell_line, f.source) for f in explained.frames]
    assert places[0] == ("fares/steps/share.py", 2, 2, "shares = [ratio(row, row - 1)")
    assert places[-1][1:] == (0, 2, "    return a / b")
    assert "  fares.py, cell 2, line 2, in share\n    shares = [ratio(row, row - 1)\n" in explained.text
    assert "  fares.py, cell 0, line 2, in ratio\n    return a / b\n" in explained.text
    assert "steps/share.py" not in explained.text.replace("fares.py", "")
    assert "ZeroDivisionError: division by zero" in explained.text


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tracebacks have carets from 3.11")
def test_carets_stay_under_what_they_point_at(failed: tuple[Path, str]) -> None:
    folder, log = failed
    lines = explain(log, projects_near(folder)).text.splitlines()
    source = lines.index("    return a / b")
    start = lines[source + 1].index("~")
    assert lines[source][start : start + 5] == "a / b"


def prefixed(log: str) -> str:
    return "\n".join(f"2026-11-22T10:00:00Z pod-7 | {line}" for line in log.splitlines())


@pytest.mark.parametrize(
    "around",
    [
        prefixed,
        lambda log: "\n".join(f"\x1b[91m{line}\x1b[0m" for line in log.splitlines()),
        lambda log: json.dumps({"severity": "ERROR", "message": log}),
        lambda log: log.replace("\n", "\\n").replace('"', '\\"'),
        lambda log: re.sub(r'File "[^"]*?/(fares/[^"]*)"', r'File "/tmp/tmp.Ab3/x/\1"', log),
    ],
    ids=["prefix", "colours", "structured log", "escaped", "elsewhere"],
)
def test_any_log_will_do(failed: tuple[Path, str], around: object) -> None:
    folder, log = failed
    assert callable(around)
    explained = explain(around(log), projects_near(folder))
    assert [(f.cell, f.cell_line) for f in explained.frames] == [
        (f.cell, f.cell_line) for f in explain(log, projects_near(folder)).frames
    ]
    assert "fares.py, cell 0, line 2, in ratio" in explained.text


def test_what_is_no_generated_code_stays(failed: tuple[Path, str]) -> None:
    folder, _ = failed
    log = 'Traceback (most recent call last):\n  File "/usr/lib/python3/json/x.py", line 5, in decode\n    x\nError: no'
    explained = explain(log, projects_near(folder))
    assert (explained.text, explained.frames) == (log, ())
    assert explain('  File "fares/steps/share.py", line 9999, in share', projects_near(folder)).frames == ()


def test_a_line_of_nb2pipes_own_is_named_as_such(failed: tuple[Path, str]) -> None:
    folder, _ = failed
    explained = explain('  File "fares/steps/share.py", line 1, in <module>', projects_near(folder))
    assert "nb2pipe's own" in explained.text
    assert explained.frames[0].cell is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": {}}'])
def test_a_folder_that_is_no_project(tmp_path: Path, text: str) -> None:
    (tmp_path / "nb2pipe.map.json").write_text(text)
    assert project_at(tmp_path) is None
    assert projects_near(tmp_path) == []


def test_the_command_reads_standard_input(failed: tuple[Path, str]) -> None:
    folder, log = failed
    command = [sys.executable, "-m", "nb2pipe", "explain", "-"]
    said = subprocess.run(command, input=log, cwd=folder, capture_output=True, text=True, check=True)
    assert "fares.py, cell 2, line 2" in said.stdout
    done = subprocess.run([*command, "--json"], input=log, cwd=folder, capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    assert set(document) == {"frames", "text"}
    assert set(document["frames"][0]) == {"file", "line", "cell", "cell_line", "source"}
    wrong = subprocess.run([*command, "--project", "nowhere"], input=log, cwd=folder, capture_output=True, text=True)
    assert wrong.returncode == 2
