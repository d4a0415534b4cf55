"""requirements.lock: what an image installs, with hashes; made by the real uv, installed by the real pip."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import doors
import pytest
from wheels import add_wheel, only_from

from nb2pipe.convert import Conversion
from nb2pipe.targets.base import Event, read_map
from nb2pipe.targets.locks import LOCK, LockError, locked

GRAPH = {"python": "3.11", "base_image": "python:3.11-slim-bookworm"}
Lock = Callable[[str], str]
pytestmark = pytest.mark.skipif(
    not (shutil.which("uv") or Path(sys.executable).with_name("uv").is_file()), reason="uv is not installed"
)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index that is a folder: `small` needs `tiny`; kfp needs what is not there."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    add_wheel(folder, "kfp", "2.17.0", ["nothing-that-is-there"])
    add_wheel(folder, "tiny", "1.0")
    add_wheel(folder, "small", "2.0", ["tiny>=1"])
    for name, value in only_from(folder, tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def lock(project: Path, events: list[Event]) -> Lock:
    """Locks these requirements; gives what stands in the lock then."""

    def made(requirements: str) -> str:
        (project / "requirements.txt").write_text(requirements)
        return locked(project, GRAPH, "linux/amd64", events.append).read_text()

    return made


def pins(lock: str) -> list[str]:
    return re.findall(r"^(\S+==\S+) \\\n    --hash=sha256:[0-9a-f]{64}", lock, re.MULTILINE)


def code(caught: pytest.ExceptionInfo[LockError]) -> str:
    [found] = caught.value.findings
    return found.code


# --- when it is made --------------------------------------------------------------------------------------------------
def test_a_lock_has_everything_with_hashes_and_is_made_once(index: Path, lock: Lock, events: list[Event]) -> None:
    first = lock("small==2.0  # train\n")
    assert pins(first) == ["small==2.0", "tiny==1.0", "kfp==2.17.0"]
    add_wheel(index, "tiny", "1.1")
    assert lock("# comments are none of its business\nsmall==2.0  # train, evaluate\n") == first
    assert len(events) == 1


def test_other_requirements_make_it_anew_and_leave_what_fits(index: Path, lock: Lock) -> None:
    lock("small\n")
    for name, version in (("tiny", "1.1"), ("other", "3.0")):
        add_wheel(index, name, version)
    assert pins(lock("small\nother\n")) == ["other==3.0", "small==2.0", "tiny==1.0", "kfp==2.17.0"]
    assert pins(lock("small\ntiny>1\n")) == ["small==2.0", "tiny==1.1", "kfp==2.17.0"]


def test_what_starts_jobs_is_in_it(index: Path, lock: Lock, project: Path) -> None:
    (project / "requirements-jobs.txt").write_text("small\n")
    assert pins(lock("")) == ["small==2.0", "tiny==1.0", "kfp==2.17.0"]


def test_another_platform_or_python_makes_it_anew(index: Path, lock: Lock, project: Path, events: list[Event]) -> None:
    add_wheel(index, "newer", "1.0", ["tiny; python_version >= '3.12'", "small; platform_machine == 'aarch64'"])
    assert pins(lock("newer\n")) == ["newer==1.0", "kfp==2.17.0"]
    there = locked(project, {**GRAPH, "base_image": "python:3.12-slim"}, "linux/amd64", events.append)
    assert pins(there.read_text()) == ["newer==1.0", "tiny==1.0", "kfp==2.17.0"]
    there = locked(project, GRAPH, "linux/arm64", events.append)
    assert pins(there.read_text()) == ["newer==1.0", "small==2.0", "tiny==1.0", "kfp==2.17.0"]


def test_what_a_person_changed_in_it_stays(index: Path, lock: Lock, project: Path) -> None:
    edited = lock("tiny\n") + "# and this is why\n"
    (project / LOCK).write_text(edited)
    assert lock("tiny\n") == edited
    with pytest.raises(LockError) as caught:
        lock("tiny\nsmall\n")
    assert code(caught) == "stale-lock"
    assert (project / LOCK).read_text() == edited
    (project / LOCK).unlink()
    assert pins(lock("tiny\nsmall\n")) == ["small==2.0", "tiny==1.0", "kfp==2.17.0"]


def test_a_lock_that_somebody_else_made_is_used_while_it_has_the_versions(lock: Lock, project: Path) -> None:
    own = "Tiny==1.0 --hash=sha256:00\nsmall[x]==2.0 \\\n    --hash=sha256:00\n"
    (project / LOCK).write_text(own)
    assert lock("tiny==1.0\nsmall==2.0\nother\n") == own
    for wanted in ("tiny==1.1\n", "more==1.0\n"):
        with pytest.raises(LockError) as caught:
            lock(wanted)
        assert code(caught) == "stale-lock"
    assert (project / LOCK).read_text() == own


# --- when it cannot be made -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("wanted", ["tiny==9.9\n", "nowhere\n", "not a requirement!\n"])
def test_without_files_there_is_no_lock(index: Path, lock: Lock, project: Path, wanted: str) -> None:
    with pytest.raises(LockError) as caught:
        lock(wanted)
    assert code(caught) == "not-locked"
    assert wanted.partition("==")[0].strip() in caught.value.findings[0].message
    assert [path.name for path in project.iterdir()] == ["requirements.txt"]


def test_what_has_no_hash_is_refused(index: Path, lock: Lock, project: Path) -> None:
    (project / "own").mkdir()
    (project / "own" / "pyproject.toml").write_text('[project]\nname = "own"\nversion = "1"\n')
    with pytest.raises(LockError) as caught:
        lock("./own\n")
    assert code(caught) == "not-locked"
    assert not (project / LOCK).exists()


def test_without_uv_it_is_said_where_it_comes_from(
    lock: Lock, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LockError) as caught:
        lock("tiny\n")
    assert code(caught) == "missing-extra"
    assert not (project / LOCK).exists()


# --- what is installed ------------------------------------------------------------------------------------------------
def image_of(project: Path, folder: Path) -> list[str]:
    """Does in `folder` what the project's Dockerfile says, as a builder would; gives the words that start a container.

    What .dockerignore leaves out is not there; pip installs into an environment that has nothing else.
    """
    ignored = (project / ".dockerignore").read_text().split()
    taken = [row[1:].rstrip("/") for row in ignored if row.startswith("!")]
    text = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", (project / "Dockerfile").read_text()))
    app, python = folder / "app", folder / "env" / "bin" / "python"
    app.mkdir()
    venv.create(folder / "env", symlinks=True)
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "COPY":
            *sources, target = rest.split()
            for name in sources:
                assert any(fnmatch.fnmatch(name, one) for one in taken), f"{name} is left out"
                path = project / name
                copy = shutil.copytree if path.is_dir() else shutil.copy
                copy(path, app / name if target == "./" else app / target)
        elif word == "RUN" and rest.startswith("pip "):
            command = [sys.executable, "-m", "pip", "--python", str(python), *shlex.split(rest)[1:]]
            done = subprocess.run(command, cwd=app, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        elif word == "ENTRYPOINT":
            words = json.loads(rest)
    return [str(python), *words[1:]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project for an image, compiled."""
    folder = tmp_path_factory.mktemp("thin")
    (folder / "sums.ipynb").write_text(
        json.dumps(doors.notebook([("x = sorted([20])[0]", ["step:a"]), ("print(x + 1)", ["step:b"])]))
    )
    return Conversion(folder / "sums.ipynb", {"image": "registry.example.com/sums:1"}).convert(folder / "sums").project


def test_an_image_with_what_is_locked_runs_a_step(index: Path, made: Path, tmp_path: Path, events: list[Event]) -> None:
    (made / "requirements.txt").write_text("small==2.0\n")
    locked(made, read_map(made)["pipeline"], "linux/amd64", events.append)
    entry = image_of(made, tmp_path)
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "app")}
    listed = [entry[0], "-c", "import kfp, small, tiny; print('there')"]
    assert subprocess.run(listed, env=env, capture_output=True, text=True).stdout == "there\n"
    for step, words in (("a", ["--output"]), ("b", ["--input"])):
        command = [*entry, step, *words, f"x={tmp_path / 'x'}"]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert done.stdout == "21\n"


def test_another_file_of_the_same_version_is_not_installed(
    index: Path, made: Path, tmp_path: Path, events: list[Event]
) -> None:
    (made / "requirements.txt").write_text("small==2.0\n")
    locked(made, read_map(made)["pipeline"], "linux/amd64", events.append)
    add_wheel(index, "tiny", "1.0", text="print('something else')\n")
    with pytest.raises(AssertionError, match="DO NOT MATCH THE HASHES"):
        image_of(made, tmp_path)


def test_thin_components_install_nothing(made: Path) -> None:
    assert "pip install" not in (made / "pipeline.yaml").read_text()


def test_a_lock_of_an_index_on_the_network(project: Path, tmp_path: Path) -> None:
    (project / "requirements.txt").write_text("cloudpickle==3.1.1\n")
    try:
        lock = locked(project, GRAPH, "linux/amd64", lambda event: None)
    except LockError as error:
        pytest.skip(error.findings[0].message)
    venv.create(tmp_path / "env", symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(tmp_path / "env" / "bin" / "python")]
    words = ["install", "--dry-run", "--no-deps", "--require-hashes", "--requirement", str(lock)]
    done = subprocess.run([*pip, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"Would install cloudpickle-3\.1\.1 kfp-2\.", done.stdout)
