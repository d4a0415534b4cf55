"""`nb2pipe tag` from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import doors
import pytest
import untagged
from click.testing import CliRunner, Result

from nb2pipe.cli import cli

BOOK = next(b for b in untagged.own() if b.name == "two models compared")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "book.ipynb"
    path.write_text(json.dumps(BOOK.document(), indent=1) + "\n")
    return path


def tag(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["tag", str(path), *arguments])


def tags(path: Path) -> list[list[str]]:
    return [c["metadata"].get("tags", []) for c in json.loads(path.read_text())["cells"]]


def untouched(path: Path) -> Any:
    document = json.loads(path.read_text())
    for cell in document["cells"]:
        cell["metadata"].pop("tags", None)
    return document


def test_suggesting_writes_nothing(path: Path) -> None:
    before = path.read_bytes()
    done = tag(path, "-v")
    assert done.exit_code == 0, done.output
    assert path.read_bytes() == before
    assert "calls load_iris" in done.stdout
    assert "─▶ prepare" in done.stdout
    assert "n_neighbors = 5  # tune: int(1, 30)" in done.stderr
    assert "--write" in done.stderr


def test_the_document(path: Path) -> None:
    done = tag(path, "--json")
    document = json.loads(done.stdout)
    assert {"cells", "steps", "findings", "arrows", "written"} == set(document)
    first = document["cells"][0]
    assert (first["cell"], first["tags"], first["step"]) == (1, ["step:load"], "load")
    assert "load_iris" in first["why"]
    assert document["steps"][0] == {"name": "load", "cells": [1]}
    assert {"from": "load", "to": "prepare", "names": ["X", "y"]} in document["arrows"]
    assert document["written"] == []


def test_writing_and_writing_again(path: Path) -> None:
    before = untouched(path)
    assert tag(path, "--write").exit_code == 0
    written = path.read_bytes()
    assert untouched(path) == before
    assert tags(path)[1] == ["step:load"]
    for again in (["--write"], ["--suggest", "--write"], []):
        done = tag(path, *again)
        assert done.exit_code == 0, done.output
        assert path.read_bytes() == written
    assert CliRunner().invoke(cli, ["check", str(path)]).exit_code == 0


def test_what_cannot_convert_is_not_written(path: Path) -> None:
    path.write_text(json.dumps(doors.notebook([("print(nowhere)", [])])))
    before = path.read_bytes()
    done = tag(path, "--write")
    assert done.exit_code == 1
    assert "undefined-name" in done.stderr
    assert "cannot-suggest" in done.stderr
    assert path.read_bytes() == before


def test_tags_by_hand(path: Path) -> None:
    original = path.read_bytes()
    assert tag(path, "--cell", "1", "step:load", "gpu:1").exit_code == 0
    assert tags(path)[1] == ["step:load", "gpu:1"]
    assert tag(path, "--cell", "cell-1", "step:read").exit_code == 0
    assert tags(path)[1] == ["gpu:1", "step:read"], "a cell has one role"
    assert tag(path, "--cell", "1", "--cell", "3", "--remove", "step:read").exit_code == 0
    assert tag(path, "--cell", "1", "--remove", "gpu:1").exit_code == 0
    assert path.read_bytes() == original


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--cell", "99", "skip"], 1, "unknown-cell"),
        (["--cell", "1", "setp:train"], 1, "Write `step:train`"),
        (["--cell", "1", "cpu:many"], 1, "Write it like `cpu:4`"),
        (["--cell", "1", "a,b"], 2, "without commas"),
        (["--cell", "1"], 2, "give both or none"),
        (["skip"], 2, "give both or none"),
        (["--remove"], 2, "--remove"),
        (["--cell", "1", "skip", "--write"], 2, "leave out --write"),
        (["--interactive", "--json"], 2, "leave out --json"),
    ],
)
def test_wrong_use(path: Path, arguments: list[str], status: int, said: str) -> None:
    before = path.read_bytes()
    done = tag(path, *arguments)
    assert done.exit_code == status
    assert said in done.output
    assert path.read_bytes() == before


def test_scripts_are_tagged_too(tmp_path: Path) -> None:
    path = tmp_path / "book.py"
    path.write_text(
        "# %% [markdown]\n# # Load\n\n# %%\nxs = [int(c) for c in '123']\n\n# %% Test\nprint('sum', sum(xs))\n"
    )
    assert tag(path, "--write").exit_code == 0
    assert '# %% tags=["step:load"]\nxs' in path.read_text()
    assert CliRunner().invoke(cli, ["check", str(path)]).exit_code == 0


def test_tagged_notebooks_are_listed(path: Path) -> None:
    path.write_text(json.dumps(doors.notebook([("x = [1]", ["step:a"]), ("print(x)", [])])))
    done = tag(path)
    assert done.stdout == "cell 0  a  step:a\ncell 1  a  follows the cells of step a\n"
    assert set(json.loads(tag(path, "--json").stdout)) == {"cells", "steps", "findings"}
