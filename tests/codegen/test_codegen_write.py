"""Projects on the disk: whole or not at all, and people's edits kept."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from nb2pipe.codegen import write as writing
from nb2pipe.codegen.merge import OURS
from nb2pipe.codegen.project import MAP_FILE, Project
from nb2pipe.codegen.write import WriteError, check, recover, write
from nb2pipe.findings import errors

STEP = "taxi/steps/train.py"
BODY = "# top\n\na = 1\nb = 2\nc = 3\nd = 4\n\n# end\n"


def project(**files: str) -> Project:
    """A small project; keyword names stand for files: step, readme."""
    names = {"step": STEP, "readme": "README.md", "more": "taxi/steps/more.py", "nasty": "nasty"}
    texts = {STEP: BODY, "README.md": "# Taxi\n", MAP_FILE: '{"version": 1}\n'}
    return Project("taxi", "taxi", texts | {names[key]: text for key, text in files.items()})


def without(made: Project, path: str) -> Project:
    return Project(made.name, made.package, {k: v for k, v in made.files.items() if k != path})


def contents(root: Path) -> dict[str, str]:
    paths = [p for p in root.rglob("*") if p.is_file() and p.relative_to(root).as_posix() != ".nb2pipe/lock"]
    return {p.relative_to(root).as_posix(): p.read_text() for p in sorted(paths)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(project(), tmp_path / "out")
    return tmp_path / "out"


def test_a_fresh_project_holds_its_files_and_their_base(root: Path) -> None:
    found = contents(root)
    state = {"README.md", MAP_FILE, STEP}
    assert set(found) == {*state, *(f".nb2pipe/base/{path}" for path in state), ".nb2pipe/state.json"}
    assert found[STEP] == BODY == found[f".nb2pipe/base/{STEP}"]
    assert [entry.name for entry in root.parent.iterdir()] == ["out"]


def test_writing_the_same_again_changes_nothing(root: Path) -> None:
    before = {path: (root / path).stat().st_mtime_ns for path in contents(root)}
    result = write(project(), root)
    assert (result.written, result.merged, result.findings) == ((), (), ())
    assert {path: (root / path).stat().st_mtime_ns for path in contents(root)} == before
    assert check(project(), root) == ()


@pytest.mark.parametrize("place", ["empty", "git", "nested"])
def test_folders_that_may_be_taken(place: str, tmp_path: Path) -> None:
    root = tmp_path / "a" / "b"
    if place != "nested":
        root.mkdir(parents=True)
    if place == "git":
        (root / ".git").mkdir()
    assert set(write(project(), root).written) == set(project().files)
    assert (root / ".git").exists() == (place == "git")


@pytest.mark.parametrize("place", ["file", "full", "link inside", "folder in the way"])
def test_places_that_are_refused(place: str, tmp_path: Path) -> None:
    root = tmp_path / "out"
    if place == "file":
        root.write_text("mine")
    elif place == "full":
        root.mkdir()
        (root / "thesis.txt").write_text("mine")
    else:
        write(without(project(), STEP), root)
        (root / "taxi").mkdir()
        if place == "link inside":
            (tmp_path / "elsewhere").mkdir()
            (root / "taxi" / "steps").symlink_to(tmp_path / "elsewhere")
        else:
            (root / STEP).mkdir(parents=True)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(WriteError) as raised:
        write(project(), root)
    assert {f.code for f in raised.value.findings} <= {"not-a-project", "unsafe-path"}
    assert sorted(str(p) for p in tmp_path.rglob("*") if p.name != "lock") == before


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "/x",
        "a/../../x",
        "a//b",
        "a/./b",
        "",
        "a\\b",
        "C:x",
        "con",
        "taxi/NUL.py",
        "a\nb",
        "x.",
        "README.MD",
        "é" * 3 + "\0",
    ],
)
def test_unsafe_paths_are_refused(path: str, tmp_path: Path) -> None:
    made = Project("taxi", "taxi", {**project().files, path: "x"})
    with pytest.raises(WriteError) as raised:
        write(made, tmp_path / "out")
    assert [f.code for f in raised.value.findings] == ["unsafe-path"]
    assert list(tmp_path.iterdir()) == []


EDIT = BODY.replace("a = 1", "a = 10")
NEW = BODY.replace("d = 4", "d = 40")
BOTH = EDIT.replace("d = 4", "d = 40")
CLASH = BODY.replace("a = 1", "a = 2")


@pytest.mark.parametrize(
    ("edit", "new", "content", "field", "codes"),
    [
        (None, NEW, NEW, "written", []),
        (EDIT, BODY, EDIT, "kept", []),
        (EDIT, NEW, BOTH, "merged", []),
        (EDIT, EDIT, EDIT, "unchanged", []),
        (EDIT, CLASH, None, "conflicts", ["merge-conflict"]),
        (BODY.replace("\n", "\r\n"), NEW, NEW, "written", []),
        (EDIT.replace("\n", "\r\n"), NEW, BOTH, "merged", []),
    ],
)
def test_edits(edit: str | None, new: str, content: str | None, field: str, codes: list[str], root: Path) -> None:
    if edit is not None:
        (root / STEP).write_bytes(edit.encode())
    result = write(project(step=new), root)
    assert STEP in getattr(result, field)
    assert [f.code for f in result.findings] == codes
    text = (root / STEP).read_text()
    assert text == content or (content is None and OURS in text and "a = 10" in text and "a = 2" in text)
    assert (root / ".nb2pipe/base" / STEP).read_text() == new
    if not codes:
        assert write(project(step=new), root).findings == ()
        assert (root / STEP).read_text() == text


def test_a_conflict_is_reported_until_it_is_settled(root: Path) -> None:
    (root / STEP).write_text(EDIT)
    assert errors(write(project(step=CLASH), root).findings)
    text = (root / STEP).read_text()
    again = write(project(step=CLASH), root)
    assert [f.code for f in again.findings] == ["merge-conflict"]
    assert (root / STEP).read_text() == text
    assert [f.code for f in check(project(step=CLASH), root)] == ["merge-conflict"]
    (root / STEP).write_text(CLASH)
    assert write(project(step=CLASH), root).findings == ()


def test_overwrite_drops_edits(root: Path) -> None:
    (root / STEP).write_text(EDIT)
    assert write(project(step=CLASH), root, overwrite=True).findings == ()
    assert (root / STEP).read_text() == CLASH


@pytest.mark.parametrize(("edited", "exists", "codes"), [(False, False, []), (True, True, ["edited-stale-file"])])
def test_files_that_are_no_longer_generated(edited: bool, exists: bool, codes: list[str], root: Path) -> None:
    write(project(more="x = 1\n"), root)
    if edited:
        (root / "taxi/steps/more.py").write_text("x = 2\n")
    result = write(project(), root)
    assert [f.code for f in result.findings] == codes
    assert (root / "taxi/steps/more.py").exists() == exists
    assert not (root / ".nb2pipe/base/taxi/steps/more.py").exists()
    assert write(project(), root).findings == ()


@pytest.mark.parametrize(("new", "exists", "codes"), [(BODY, False, []), (NEW, True, ["deleted-file-changed"])])
def test_files_that_people_deleted(new: str, exists: bool, codes: list[str], root: Path) -> None:
    (root / STEP).unlink()
    assert [f.code for f in write(project(step=new), root).findings] == codes
    assert (root / STEP).exists() == exists


def test_folders_of_removed_steps_go(root: Path) -> None:
    write(without(project(), STEP), root)
    assert not (root / "taxi").exists()


def test_files_of_people_are_left_alone(root: Path) -> None:
    (root / "notes.md").write_text("mine")
    (root / "taxi/steps/mine.py").write_text("mine")
    write(without(project(), STEP), root)
    assert (root / "notes.md").read_text() == (root / "taxi/steps/mine.py").read_text() == "mine"


def test_a_lost_base_never_costs_an_edit(root: Path) -> None:
    (root / STEP).write_text(EDIT)
    shutil.rmtree(root / ".nb2pipe")
    result = write(project(), root)
    assert result.conflicts == (STEP,)
    assert "a = 10" in (root / STEP).read_text()


def test_binary_data_that_was_edited_is_kept(tmp_path: Path) -> None:
    def made(content: bytes) -> Project:
        return Project("taxi", "taxi", project().files, {"tests/data/x.bin": content})

    write(made(b"\xff\0"), tmp_path / "out")
    (tmp_path / "out/tests/data/x.bin").write_bytes(b"\xfe\0")
    result = write(made(b"\xfd\0"), tmp_path / "out")
    assert [f.code for f in result.findings] == ["edited-data-file"]
    assert (tmp_path / "out/tests/data/x.bin").read_bytes() == b"\xfe\0"


def compiled(folder: Path) -> list[Path]:
    """Stands for the compiler: pipeline.yaml from the step, and rubbish beside."""
    (folder / "__pycache__").mkdir(exist_ok=True)
    (folder / "__pycache__/x.pyc").write_text("rubbish")
    (folder / "pipeline.yaml").write_text("compiled: " + (folder / STEP).read_text())
    return [folder / "pipeline.yaml"]


def test_compiled_files_are_written_with_the_rest(tmp_path: Path) -> None:
    root = tmp_path / "out"
    assert "pipeline.yaml" in write(project(), root, finish=compiled).written
    assert not (root / "__pycache__").exists()
    (root / STEP).write_text(EDIT)
    assert [f.message for f in check(project(), root)] == [f"pipeline.yaml was compiled before {STEP} was edited."]
    assert write(project(), root, finish=compiled).written == ("pipeline.yaml",)
    assert (root / "pipeline.yaml").read_text() == "compiled: " + EDIT
    assert check(project(), root) == ()
    (root / "pipeline.yaml").unlink()
    assert [f.code for f in check(project(), root)] == ["stale-project"]
    write(project(), root, finish=compiled)
    assert (root / "pipeline.yaml").exists()
    write(project(), root)
    assert (root / "pipeline.yaml").exists()


@pytest.mark.parametrize("existing", [False, True])
def test_a_failing_compiler_changes_nothing(existing: bool, tmp_path: Path) -> None:
    def fail(folder: Path) -> list[Path]:
        raise RuntimeError("no")

    if existing:
        write(project(), tmp_path / "out")
    before = contents(tmp_path)
    with pytest.raises(RuntimeError):
        write(project(step=NEW), tmp_path / "out", finish=fail)
    assert contents(tmp_path) | {"out/.nb2pipe/lock": ""} == before | {"out/.nb2pipe/lock": ""}


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_changes_nothing(existing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if existing:
        write(project(), tmp_path / "out")
    before = contents(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="No space left"):
        write(project(step=NEW), tmp_path / "out")
    assert {p: t for p, t in contents(tmp_path).items() if not p.endswith("lock")} == before


def test_check_names_what_is_stale_and_writes_nothing(root: Path) -> None:
    before = contents(root)
    assert [f.name for f in check(project(step=NEW, more="x\n"), root)] == ["taxi/steps/more.py", STEP]
    assert [f.code for f in check(project(), root.parent / "nowhere")] == ["stale-project"]
    assert contents(root) == before


# --- kills ------------------------------------------------------------------------------------------------------------

OLD = project(more="x = 1\n", readme="old\n")
LATER = without(project(step=NEW, readme="new\n"), "taxi/steps/more.py")


def fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: the child only writes files
        return os.fork()


def dies_at(number: int, name: str) -> Callable[..., None]:
    """A stand-in for `os.NAME` that ends the process without a word when it is called for the number-th time."""
    real, calls = getattr(os, name), iter(range(10_000))

    def stand_in(*args: object, **keywords: object) -> None:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        real(*args, **keywords)

    return stand_in


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked children")
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("name", ["rename", "replace", "unlink", "fsync", "mkdir"])
def test_a_kill_at_any_moment_leaves_old_or_new(name: str, fresh: bool, tmp_path: Path) -> None:
    if not fresh:
        write(OLD, tmp_path / "wanted")
    write(LATER, tmp_path / "wanted")
    new = contents(tmp_path / "wanted")
    for number in range(60):
        root = tmp_path / f"out{number}"
        if not fresh:
            write(OLD, root)
        old = contents(root)
        child = fork()
        if child == 0:
            setattr(os, name, dies_at(number, name))
            writing.write(LATER, root)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        recover(root)
        now = {path: text for path, text in contents(root).items() if not path.startswith(".nb2pipe/stage-")}
        assert now in (old, new)
        write(LATER, root)
        assert contents(root) == new
        assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
        if ended == 0:
            return
    raise AssertionError("the write never came to its end")


SCRIPT = """
import sys
from pathlib import Path
from nb2pipe.codegen.project import Project
from nb2pipe.codegen.write import write
root = Path(sys.argv[1])
for number in range(1, 10_000):
    write(Project("t", "t", {f"f{i}.py": f"x = {number}\\n" for i in range(30)} | {"nb2pipe.map.json": "{}"}), root)
    print(number, flush=True)
"""


def test_sudden_kills_never_mix(tmp_path: Path) -> None:
    root, generator = tmp_path / "out", random.Random(7)
    (tmp_path / "loop.py").write_text(textwrap.dedent(SCRIPT))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(6):
        child = subprocess.Popen(
            [sys.executable, str(tmp_path / "loop.py"), str(root)], stdout=subprocess.PIPE, env=environment
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(generator.uniform(0, 0.05))
        child.kill()
        child.communicate()
        recover(root)
        assert len({path.read_text() for path in root.glob("*.py")}) == 1
