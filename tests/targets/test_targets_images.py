"""`nb2pipe build`: what builders are asked, and Dockerfiles by the rules of their linters. No image is built."""

from __future__ import annotations

import json
import re
from pathlib import Path

import doors
import pytest
from click.testing import CliRunner, Result
from wheels import add_wheel, only_from

from nb2pipe.cli import cli

CELLS = [("x = 1", ["step:a"]), ("print(x + 1)", ["step:b"])]
IMAGE = "registry.example.com/team/means:1.2"
PROGRAM = """#!/bin/sh
echo "$(basename "$0") $*" >> "{log}"
case "$*" in {fails}) echo "no engine"; exit 1;; esac
"""


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index that has nothing but kfp."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    add_wheel(folder, "kfp", "2.17.0", ["nothing-that-is-there"])
    for name, value in only_from(folder, tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    return folder


def builders(folder: Path, monkeypatch: pytest.MonkeyPatch, **fails: str) -> Path:
    """Recording programs, and nothing else, on PATH; `fails` is the words that each fails at. Gives the log."""
    log = folder / "asked"
    (folder / "bin").mkdir()
    for name, words in fails.items():
        program = folder / "bin" / name
        program.write_text(PROGRAM.format(log=log, fails=words))
        program.chmod(0o755)
    for tool in ("basename", "sh"):
        (folder / "bin" / tool).symlink_to(Path("/usr/bin") / tool)
    monkeypatch.setenv("PATH", str(folder / "bin"))
    return log


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook and its project, generated for the image."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "means.ipynb").write_text(json.dumps(doors.notebook(CELLS)))
    done = CliRunner().invoke(cli, ["convert", str(folder / "means.ipynb"), "--image", IMAGE])
    assert done.exit_code == 0, done.output
    (folder / "means" / "requirements.txt").write_text("")
    return folder / "means"


def build(project: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["build", str(project), "--image", IMAGE, "--json", *words])


NEVER = "NEVER"
BUILD = f"build --platform linux/amd64 --tag {IMAGE} ."


@pytest.mark.parametrize(
    ("there", "words", "asked"),
    [
        ({"docker": NEVER}, (), ["docker info", f"docker {BUILD}"]),
        ({"docker": NEVER}, ("--push",), ["docker info", f"docker {BUILD}", f"docker push {IMAGE}"]),
        ({"docker": "info", "podman": NEVER}, (), ["docker info", "podman info", f"podman {BUILD}"]),
        (
            {"gcloud": NEVER, "podman": NEVER},
            ("--push", "--platform", "linux/arm64"),
            ["podman info", f"podman {BUILD.replace('amd64', 'arm64')}", f"podman push {IMAGE}"],
        ),
        (
            {"gcloud": NEVER},
            ("--push",),
            ["gcloud auth print-access-token --quiet", f"gcloud builds submit --tag {IMAGE} ."],
        ),
    ],
    ids=str,
)
def test_what_builders_are_asked(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: dict[str, str], words: tuple[str, ...],
    asked: list[str],
) -> None:  # fmt: skip
    log = builders(tmp_path, monkeypatch, **there)
    done = build(project, *words)
    assert done.exit_code == 0, done.output
    assert log.read_text().splitlines() == asked
    assert json.loads(done.stdout) == {
        "image": IMAGE, "builder": asked[-1].split(" ")[0], "pushed": "--push" in words,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("there", "words", "code"),
    [
        ({}, (), "no-builder"),
        ({"docker": "info"}, (), "no-builder"),
        ({"gcloud": NEVER}, (), "no-builder"),
        ({"gcloud": NEVER}, ("--push", "--platform", "linux/arm64"), "no-builder"),
        ({"docker": "build*"}, (), "build-failed"),
        ({"docker": "push*"}, ("--push",), "build-failed"),
    ],
    ids=str,
)
def test_what_is_not_built_is_said(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: dict[str, str], words: tuple[str, ...],
    code: str,
) -> None:  # fmt: skip
    builders(tmp_path, monkeypatch, **there)
    done = build(project, *words)
    assert done.exit_code == 1
    assert [one["code"] for one in json.loads(done.stdout)["findings"]] == [code]


@pytest.mark.parametrize("image", ["--push", "a b:1", "name", "name:latest", "Name:1", "name:1;rm", "a//b:1"])
def test_no_image(project: Path, image: str) -> None:
    done = CliRunner().invoke(cli, ["build", str(project), f"--image={image}"])
    assert done.exit_code == 1
    assert "bad-option" in done.stderr


def test_a_project_for_another_image_is_not_built(project: Path) -> None:
    done = CliRunner().invoke(cli, ["build", str(project), "--image", "other:1"])
    assert (done.exit_code, "stale-project" in done.stderr) == (1, True)


# --- Dockerfiles ------------------------------------------------------------------------------------------------------
def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with their arguments, lines joined; anything else is an error."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", text))
    found = [line.partition(" ") for line in joined.splitlines() if line.strip()]
    assert {word for word, _, _ in found} <= {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT"}
    return [(word, rest.strip()) for word, _, rest in found]


def dockerfiles() -> list[Path]:
    return sorted(doors.SAMPLES.glob("*/golden/Dockerfile"))


@pytest.mark.parametrize("path", dockerfiles(), ids=lambda path: path.parent.parent.name)
def test_a_dockerfile_is_what_engineers_expect(path: Path) -> None:
    rows = instructions(path.read_text())
    words = [word for word, _ in rows]
    assert (words[0], words.count("FROM")) == ("FROM", 1)
    assert re.fullmatch(r"python:3\.\d+-slim-bookworm", rows[0][1])
    assert words[-2:] == ["USER", "ENTRYPOINT"]
    assert rows[-2][1] == "10001"
    assert isinstance(json.loads(rows[-1][1]), list)
    texts = [rest for _, rest in rows]
    [install] = [i for i, rest in enumerate(texts) if "pip install" in rest]
    copies = {rest.split(" ")[0]: i for i, (word, rest) in enumerate(rows) if word == "COPY"}
    assert texts[install] == ("pip install --no-cache-dir --no-deps --require-hashes --requirement requirements.lock")
    assert copies.pop("requirements.txt") < install < min(copies.values())
    assert not [rest for word, rest in rows if word == "RUN" and re.search(r"sudo|curl|apt|;|\|", rest)]
    assert not [rest for word, rest in rows if word == "ENV" and re.search(r"TOKEN|SECRET|PASSWORD|KEY", rest)]
    ignored = (path.parent / ".dockerignore").read_text().split() if (path.parent / ".dockerignore").exists() else None
    if ignored is not None:
        assert ignored[0] == "*"
        assert {f"!{name}" for name in ("requirements.txt", "requirements.lock", *copies)} <= {
            one.rstrip("/") for one in ignored
        }


@pytest.mark.parametrize("path", dockerfiles(), ids=lambda path: path.parent.parent.name)
def test_every_requirement_is_pinned(path: Path) -> None:
    lines = [line.partition("#")[0].strip() for line in (path.parent / "requirements.txt").read_text().splitlines()]
    assert [line for line in lines if line and "==" not in line] == []
