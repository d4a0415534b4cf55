"""The project on the disk: written whole or not at all, people's edits kept.

A new folder is built beside its place and renamed. An existing one is changed in three moves: everything new is staged
inside it, a journal says which files will be replaced, then they are renamed one by one. A run that is killed before
the journal leaves the old project; one that is killed after it leaves the new one as soon as `recover` was called,
which every command that opens a project does.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nb2pipe.codegen.paths import is_safe
from nb2pipe.codegen.plan import Change, plan
from nb2pipe.codegen.project import MAP_FILE, Project
from nb2pipe.findings import Finding, Nb2pipeError, finding

STATE = ".nb2pipe"
BASE = f"{STATE}/base"
PREVIOUS = f"{STATE}/previous"
"""What was generated before the last conversion that changed something, for review; data is left out."""
STATE_FILE = f"{STATE}/state.json"
JOURNAL = "commit.json"
STALE_SECONDS = 24 * 3600

Finish = Callable[[Path], Iterable[Path]]
"""Makes further files (the compiled pipeline) in a folder that holds the project, and returns their paths."""


class WriteError(Nb2pipeError):
    """The project cannot be written where it was asked for; nothing was changed."""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a write did; paths are relative to `directory`, with slashes.

    `written` are new or replaced, `merged` hold people's edits and new lines, `conflicts` hold marked conflicts,
    `removed` are gone, `kept` are people's: edited and no longer or not anew generated.
    """

    directory: Path
    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    merged: tuple[str, ...]
    conflicts: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    findings: tuple[Finding, ...]


def write(project: Project, directory: Path, *, overwrite: bool = False, finish: Finish | None = None) -> WriteResult:
    """Write `project` to `directory`, merging with people's edits; `overwrite` drops their edits instead.

    `finish` is called with a folder that holds the whole project as it will be, before anything is changed; the files
    it returns are written with the rest. It is not called when conflicts are left. Whatever it raises ends the write
    with nothing changed. Raises WriteError if the folder is not one of ours, or cannot be written.
    """
    root = Path(os.path.realpath(directory))
    new = _contents(project)
    try:
        _check_place(root, new)
        with _locked(root):
            _recover(root)
            return _write(root, new, overwrite, finish)
    except OSError as error:
        reason = f"{error.strerror or error}: {error.filename or root}"
        raise WriteError([finding("cannot-write", f"The project cannot be written to {root}: {reason}.")]) from error


def check(project: Project, directory: Path) -> tuple[Finding, ...]:
    """What is out of date in `directory`, as findings; none if a conversion would change nothing. Writes nothing."""
    root = Path(os.path.realpath(directory))
    if not (root / MAP_FILE).is_file():
        return (finding("stale-project", f"There is no generated project in {root}."),)
    new = _contents(project)
    base, state = pristine(root), _read_state(root)
    derived = set(base) & set(state["derived"])
    known = {path: content for path, content in base.items() if path not in derived}
    changes = plan(new, known, _read_all(root, {*new, *known}))
    found = [change.finding for change in changes if change.finding and not change.writes]
    late = [change.path for change in changes if change.writes]
    found += [finding("stale-project", f"{path} is not up to date.", name=path) for path in late]
    if not found and derived:
        found += _stale_derived(root, derived, state["files"])
    return tuple(found)


def recover(directory: Path) -> bool:
    """Complete a write that was killed in its last moves; whether there was one. To be called before reading."""
    root = Path(os.path.realpath(directory))
    if not (root / STATE / JOURNAL).is_file():
        return False
    with _locked(root):
        return _recover(root)


def pristine(directory: Path, *, previous: bool = False) -> dict[str, bytes]:
    """The files as the last conversion generated them, or (`previous`) the one before it; none if there was none."""
    folder = Path(os.path.realpath(directory)) / (PREVIOUS if previous else BASE)
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def on_disk(directory: Path, paths: Iterable[str]) -> dict[str, bytes]:
    """Those of the files `paths` that are in the project, as they are now, links not followed."""
    root = Path(os.path.realpath(directory))
    return _read_all(root, [path for path in paths if not _blocked(root, path)])


def _contents(project: Project) -> dict[str, bytes]:
    return {path: text.encode() for path, text in project.files.items()} | dict(project.data)


def _stale_derived(root: Path, derived: Iterable[str], written: Mapping[str, str]) -> list[Finding]:
    """Compiled files that are older than an edit of what they are compiled from, or gone."""
    edited = [p for p, digest in written.items() if p not in derived and _digest_of(root / p) not in (None, digest)]
    sources = [path for path in edited if path.endswith(".py") and not path.startswith("tests/")]
    gone = [path for path in derived if not (root / path).exists()]
    messages = [f"{path} is missing." for path in gone]
    messages += [f"{p} was compiled before {', '.join(sources)} was edited." for p in sorted(derived) if sources]
    return [finding("stale-project", message) for message in messages]


# --- what may be written where ----------------------------------------------------------------------------------------


def _check_place(root: Path, paths: Iterable[str]) -> None:
    """Raise WriteError if `root` is somebody else's or a path could lead out of it."""
    problems = [*_unsafe(paths), *_foreign(root)]
    problems += [
        finding("unsafe-path", f"{path} leads through a link or a folder in {root}.", name=path)
        for path in (*paths, f"{BASE}/x")
        if _blocked(root, path)
    ]
    if problems:
        raise WriteError(problems)


def _unsafe(paths: Iterable[str]) -> list[Finding]:
    seen: dict[str, str] = {}
    found = []
    for path in paths:
        twin = seen.setdefault(path.casefold(), path)
        if twin != path or not is_safe(path):
            found.append(finding("unsafe-path", f"{path!r} is not a safe path for a generated file.", name=path))
    return found


def _foreign(root: Path) -> list[Finding]:
    if not root.exists():
        return []
    if not root.is_dir():
        return [finding("not-a-project", f"{root} is a file, not a folder.")]
    entries = sorted(entry.name for entry in root.iterdir() if entry.name not in (".git", STATE))
    if not entries or (root / MAP_FILE).is_file() or (root / BASE).is_dir():
        return []
    return [finding("not-a-project", f"{root} holds files of yours ({', '.join(entries[:3])}...) and no project.")]


def _blocked(root: Path, path: str) -> bool:
    """Whether a part of `path` under `root` is a link, or is a folder where a file is to be."""
    parts = path.split("/")
    places = [root.joinpath(*parts[: i + 1]) for i in range(len(parts))]
    return any(place.is_symlink() for place in places) or places[-1].is_dir()


# --- the write itself -------------------------------------------------------------------------------------------------


def _write(root: Path, new: Mapping[str, bytes], overwrite: bool, finish: Finish | None) -> WriteResult:
    base, before = pristine(root), _read_state(root)
    derived = {path: base.pop(path) for path in before["derived"] if path in base}
    ours = _read_all(root, {*new, *base, *derived})
    changes = plan(new, base, ours, overwrite=overwrite)
    fresh = not root.exists() or not any(root.iterdir())
    with _stage(root, fresh) as stage:
        tree = stage / "tree"
        _put_all(tree, {c.path: c.content for c in changes if c.content is not None})
        made = dict(derived)
        if finish and not any(change.fate == "conflict" for change in changes):
            paths = {path.resolve().relative_to(tree).as_posix(): path for path in finish(tree)}
            made = {name: path.read_bytes() for name, path in paths.items() if name not in new}
            changes += _derived_changes(made, derived, ours, overwrite)
            _put_all(tree, {c.path: c.content for c in changes if c.path in made and c.content is not None})
        state = _state_text(changes, made)
        hidden = {STATE_FILE: state, **{f"{BASE}/{path}": content for path, content in {**new, **made}.items()}}
        stale = [f"{BASE}/{path}" for path in {*base, *derived} - {*new, *made}]
        if base and base != new:
            hidden |= {f"{PREVIOUS}/{path}": text for path, text in base.items() if not path.startswith("tests/data/")}
            stale += {f"{PREVIOUS}/{path}" for path in pristine(root, previous=True)} - hidden.keys()
        _put_all(tree, hidden)
        if fresh:
            _publish(root, tree, {*hidden, *(c.path for c in changes if c.content is not None)})
        else:
            _commit(root, stage, changes, hidden, stale)
    return _result(root, changes)


def _derived_changes(
    made: Mapping[str, bytes], before: Mapping[str, bytes], ours: Mapping[str, bytes], overwrite: bool
) -> tuple[Change, ...]:
    """The fate of compiled files; one that somebody deleted is simply made again."""
    changes = plan(made, before, {path: ours[path] for path in {*made, *before} if path in ours}, overwrite=overwrite)
    again = {c.path for c in changes if c.fate == "deleted" and c.path in made}
    return tuple(Change(c.path, "written", made[c.path]) if c.path in again else c for c in changes)


def _result(root: Path, changes: Sequence[Change]) -> WriteResult:
    def of(*fates: str) -> tuple[str, ...]:
        return tuple(sorted(change.path for change in changes if change.fate in fates))

    return WriteResult(
        directory=root,
        written=of("written"),
        unchanged=of("unchanged"),
        merged=of("merged"),
        conflicts=of("conflict"),
        removed=of("removed"),
        kept=of("kept", "edited"),
        findings=tuple(change.finding for change in changes if change.finding),
    )


def _publish(root: Path, tree: Path, wanted: set[str]) -> None:
    """Make `tree` the new folder `root`, without what a compiler left in it besides its results."""
    for path in sorted(tree.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(tree).as_posix() not in wanted:
            path.unlink()
    if root.exists():
        root.rmdir()
    tree.replace(root)
    _sync_folder(root.parent)


def _commit(
    root: Path, stage: Path, changes: Sequence[Change], hidden: Mapping[str, bytes], stale: Sequence[str]
) -> None:
    """Replace the files that changed, the source map last, by a journal that survives a kill."""
    ours = _read_all(root, hidden)
    moves = [path for path, content in hidden.items() if ours.get(path) != content]
    moves += [change.path for change in changes if change.writes and change.content is not None]
    moves.sort(key=lambda path: (path == MAP_FILE, path))
    removals = sorted([*stale, *(change.path for change in changes if change.fate == "removed")])
    if not moves and not removals:
        return
    for path in moves:
        if (root / path).exists():
            shutil.copymode(root / path, stage / "tree" / path)
    journal = {"stage": stage.name, "moves": moves, "removals": removals}
    with _uninterrupted():
        _put(stage / JOURNAL, json.dumps(journal).encode())
        (stage / JOURNAL).replace(root / STATE / JOURNAL)
        _recover(root)


def _recover(root: Path) -> bool:
    """Do what the journal says, as far as it is not done, and remove it. Also removes what killed writes left."""
    path = root / STATE / JOURNAL
    pending = path.is_file()
    if pending:
        journal = json.loads(path.read_text(encoding="utf-8"))
        tree = root / STATE / journal["stage"] / "tree"
        for name in journal["moves"]:
            if (tree / name).exists():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (tree / name).replace(root / name)
        for name in journal["removals"]:
            (root / name).unlink(missing_ok=True)
            _prune(root, (root / name).parent)
        _sync_folder(root)
        path.unlink()
    return pending


def _prune(root: Path, folder: Path) -> None:
    """Remove folders that are empty now, up to the project's own."""
    while folder != root and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


@contextmanager
def _stage(root: Path, fresh: bool) -> Iterator[Path]:
    """A folder on the same disk as `root` to build in; gone at the end. Folders of killed runs go as well."""
    beside = f".{root.name}.nb2pipe-"
    root.parent.mkdir(parents=True, exist_ok=True)
    _sweep(root.parent, beside)
    home, prefix = (root.parent, beside) if fresh else (root / STATE, "stage-")
    if not fresh:
        home.mkdir(exist_ok=True)
        _sweep(home, prefix)
    stage = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=home))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _sweep(folder: Path, prefix: str) -> None:
    for entry in folder.iterdir():
        if entry.name.startswith(prefix) and entry.is_dir() and not entry.is_symlink() and _is_left_over(entry, prefix):
            shutil.rmtree(entry, ignore_errors=True)


def _is_left_over(entry: Path, prefix: str) -> bool:
    """Whether the process that made the folder is gone, or the folder is a day old."""
    number = entry.name.removeprefix(prefix).partition("-")[0]
    if time.time() - entry.stat().st_mtime > STALE_SECONDS:
        return True
    if os.name != "posix" or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Holds other writers of an existing project off; the lock ends with the process, killed or not."""
    try:
        import fcntl
    except ImportError:  # not on this system: the renames are still whole
        yield
        return
    if not (root / STATE).is_dir():
        yield
        return
    with (root / STATE / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM wait until the last moves are done."""
    import signal

    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- files ------------------------------------------------------------------------------------------------------------


def _put_all(tree: Path, contents: Mapping[str, bytes]) -> None:
    for path, content in contents.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        _put(tree / path, content)


def _put(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _read_all(root: Path, paths: Iterable[str]) -> dict[str, bytes]:
    return {path: (root / path).read_bytes() for path in paths if (root / path).is_file()}


def _read_state(root: Path) -> dict[str, dict[str, str]]:
    """`files`: the digest of each file as it was written last; `derived`: those of them that were compiled."""
    try:
        state = json.loads((root / STATE_FILE).read_text(encoding="utf-8"))
        return {"files": dict(state["files"]), "derived": dict.fromkeys(state["derived"], "")}
    except (OSError, ValueError, KeyError, TypeError):
        return {"files": {}, "derived": {}}


def _state_text(changes: Sequence[Change], made: Mapping[str, bytes]) -> bytes:
    files = {change.path: _digest(change.content) for change in changes if change.content is not None}
    state = {"version": 1, "files": dict(sorted(files.items())), "derived": sorted(made)}
    return (json.dumps(state, indent=1) + "\n").encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def _digest_of(path: Path) -> str | None:
    return _digest(path.read_bytes()) if path.is_file() else None
