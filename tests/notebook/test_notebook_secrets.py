"""Secrets in cells: what is refused, what is not, and that no message shows one."""

from __future__ import annotations

import json
from pathlib import Path

import doors
import pytest
from click.testing import CliRunner

from nb2pipe.cli import cli
from nb2pipe.notebook.secrets import kind_of_secret

LETTERS = "aB3" * 12
SECRETS = [
    "AKIA" + "ABCD1234" * 2,
    "AIza" + LETTERS[:35],
    "ya29." + LETTERS,
    "ghp_" + LETTERS,
    "github_pat_" + LETTERS,
    "glpat-" + LETTERS,
    "hf_" + LETTERS,
    "xoxb-" + LETTERS,
    "sk-proj-" + LETTERS,
    "sk_live_" + LETTERS,
    f"eyJ{LETTERS}.eyJ{LETTERS}.{LETTERS}",
    "mysql://reader:hunter2@db/shop",
    "-----BEGIN RSA PRIVATE KEY-----",
]
NO_SECRETS = [
    "mysql://reader:{password}@db/shop",
    "mysql://reader:$PASSWORD@db/shop",
    "https://example.com:8080/a@b",
    "https://user@example.com",
    "sk-learn-is-the-name-of-a-library-of-python",
    "AKIAX",
    "hf_hub_download",
    "eyJhbGciOiJIUzI1NiJ9",
    "ghp_short",
    "https://example.com/2024-01-01T10:00:00@home",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_known_by_its_looks(text: str) -> None:
    assert kind_of_secret(f"x = '{text}'")


@pytest.mark.parametrize("text", NO_SECRETS)
def test_what_is_none(text: str) -> None:
    assert kind_of_secret(f"x = '{text}'") is None


def checked(
    folder: Path, cells: list[tuple[str, list[str]]], *words: str
) -> tuple[int, list[tuple[str, str, int, int]], str]:
    """The exit status of `convert`, its findings of secrets, and all that it said."""
    (folder / "small.ipynb").write_text(json.dumps(doors.notebook(cells)))
    done = CliRunner().invoke(cli, ["convert", str(folder / "small.ipynb"), "-v"])
    check = CliRunner().invoke(cli, ["check", str(folder / "small.ipynb"), "--json"])
    found = [one for one in json.loads(check.stdout)["findings"] if one["code"] == "secret-in-code"]
    said = done.output + check.stdout + check.stderr
    return done.exit_code, [(one["severity"], one["code"], one["cell"], one["line"]) for one in found], said


@pytest.mark.parametrize("text", SECRETS[3:5])
def test_a_cell_with_a_secret_is_refused_and_the_secret_is_not_shown(tmp_path: Path, text: str) -> None:
    cells = [("a = 1", ["step:one"]), (f"b = a\n# mine: {text}\nprint(b)", ["step:two"])]
    status, found, said = checked(tmp_path, cells)
    assert (status, found) == (1, [("error", "secret-in-code", 1, 2)])
    assert text not in said
    assert [path.name for path in tmp_path.iterdir()] == ["small.ipynb"]


def test_a_cell_that_is_left_out_may_hold_one(tmp_path: Path) -> None:
    status, found, _ = checked(tmp_path, [(f"key = '{SECRETS[3]}'", ["skip"]), ("print(1)", ["step:one"])])
    assert (status, found) == (0, [])


def test_a_name_for_a_secret_is_warned_of(tmp_path: Path) -> None:
    cells = [("db_password = 'hunter22'\nprint(len(db_password))", ["step:one"])]
    status, found, said = checked(tmp_path, cells)
    assert (status, found) == (0, [("warning", "secret-in-code", 0, 1)])
    assert "hunter22" not in said
    plain = "import os\npassword = os.environ.get('PASSWORD', '')\ntoken = 'UNKNOWN'\nprint(len(password), token)"
    assert checked(tmp_path, [(plain, ["step:one"])])[1] == []
