"""Other programs that call nb2pipe: nbconvert, pre-commit, GitHub's runners. What they call is called here."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import doors
import pytest
import yaml

GOOD = [("rows = [2, 1]", ["step:load"]), ("rows.sort()\nprint(rows)", ["step:show"])]
BAD = [("rows = [2, 1]", ["step:load"]), ("print(missing)", ["step:show"])]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.ipynb").write_text(json.dumps(doors.notebook(GOOD)))
    (tmp_path / "bad.ipynb").write_text(json.dumps(doors.notebook(BAD)))
    return tmp_path


def nbconvert(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nbconvert", "--to", "nb2pipe", *words]
    return subprocess.run(command, cwd=folder, env=doors.environment(), capture_output=True, text=True, timeout=120)


def test_nbconvert_writes_pipeline_and_project(folder: Path) -> None:
    done = nbconvert("good.ipynb", "--output-dir", "out", folder=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "out/good.yaml").read_text() == (folder / "out/good/pipeline.yaml").read_text()
    assert (folder / "out/good/good/steps/show.py").is_file()
    assert sorted(p.name for p in folder.iterdir()) == ["bad.ipynb", "good.ipynb", "out"]


def test_nbconvert_to_stdout_writes_nothing(folder: Path) -> None:
    done = nbconvert("good.ipynb", "--stdout", folder=folder)
    assert next(yaml.safe_load_all(done.stdout))["pipelineInfo"]["name"] == "good"
    assert sorted(p.name for p in folder.iterdir()) == ["bad.ipynb", "good.ipynb"]


def test_nbconvert_says_why_a_notebook_is_refused(folder: Path) -> None:
    done = nbconvert("bad.ipynb", folder=folder)
    assert done.returncode == 1
    assert "error[undefined-name] cell 1 line 1" in done.stderr
    assert sorted(p.name for p in folder.iterdir()) == ["bad.ipynb", "good.ipynb"]


def test_several_notebooks_are_all_looked_at(folder: Path) -> None:
    done = doors.nb2pipe("check", "bad.ipynb", "gone.ipynb", "good.ipynb", "--json", cwd=folder)
    assert done.returncode == 1
    documents = json.loads(done.stdout)
    codes = [[f["code"] for f in document["findings"] if f["severity"] == "error"] for document in documents]
    assert codes == [["undefined-name"], ["unreadable-file"], []]
    assert doors.nb2pipe("convert", "bad.ipynb", "good.ipynb", "-o", "x", cwd=folder).returncode == 2


def hooks() -> dict[str, list[str]]:
    listed = yaml.safe_load((doors.ROOT / ".pre-commit-hooks.yaml").read_text())
    return {hook["id"]: shlex.split(hook["entry"]) for hook in listed}


def test_hooks_refuse_what_is_wrong_or_stale(folder: Path) -> None:
    def hook(name: str, *files: str) -> int:
        program, *words = hooks()[name]
        assert program == "nb2pipe"
        return doors.nb2pipe(*words, *files, cwd=folder).returncode

    assert hook("nb2pipe-check", "good.ipynb") == 0
    assert hook("nb2pipe-check", "good.ipynb", "bad.ipynb") == 1
    assert hook("nb2pipe-stale", "good.ipynb") == 1
    doors.nb2pipe_json("convert", "good.ipynb", cwd=folder)
    assert hook("nb2pipe-stale", "good.ipynb") == 0


def test_action_checks_what_its_globs_name(folder: Path) -> None:
    action = yaml.safe_load((doors.ROOT / "action.yml").read_text())
    script = action["runs"]["steps"][-1]["run"]
    assert set(action["runs"]["steps"][-1]["env"].values()) == {"${{ inputs.notebooks }}", "${{ inputs.stale }}"}

    def act(notebooks: str, stale: str) -> subprocess.CompletedProcess[str]:
        environment = {**doors.environment(), "NOTEBOOKS": notebooks, "STALE": stale}
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)

    assert act("g*.ipynb", "false").returncode == 0
    assert act("*.ipynb", "false").returncode == 1
    assert act("g*.ipynb", "true").returncode == 1
    assert "no notebook matches" in act("none*", "false").stdout
