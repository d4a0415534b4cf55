"""Files that cross steps: which step writes, changes or removes each, and which reads it."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from nb2pipe.dataflow.events import FileEvent, Place
from nb2pipe.dataflow.model import Statement, StepFlow
from nb2pipe.dataflow.paths import ANYTHING, Location, escaped, glob_of, is_inside, located, overlap, placeholders
from nb2pipe.findings import Finding, finding

_SUFFIXES = frozenset(
    """.csv .tsv .txt .json .jsonl .xml .yaml .yml .toml .ini .cfg .md .html .log .pkl .pickle .joblib .npy .npz .h5
    .hdf5 .parquet .feather .arrow .avro .xlsx .xls .db .sqlite .zip .gz .tar .tgz .bz2 .xz .png .jpg .jpeg .gif .svg
    .pdf .wav .mp3 .mp4 .pt .pth .ckpt .bin .model .keras .onnx .pb .tflite .safetensors .py .sh .sql .ipynb""".split()
)
"""What the name of a file ends with: a text like this that two unknown calls are given is one."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """Somewhere a step may write files that are not known one by one: whatever matches `pattern`."""

    step: str
    place: Place
    pattern: str

    def __str__(self) -> str:
        return f"step {self.step} may write in {self.place}"


@dataclass(eq=False, slots=True)
class Pending:
    """A file that a step may have written, changed or removed: it is an output when a later step reads it. `there`: it
    existed before."""

    step: StepFlow
    place: Place
    there: bool
    does: str = "writes"


@dataclass(eq=False, slots=True)
class _Step:
    """What is known of the step that is looked at; `prepared` are files that shared code writes in every step."""

    flow: StepFlow
    takes: dict[str, str | None] = field(default_factory=dict)
    gives: dict[str, None] = field(default_factory=dict)
    folders: dict[str, None] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    replaced: set[str] = field(default_factory=set)
    prepared: set[str] = field(default_factory=set)

    def has(self, path: str) -> bool:
        """Whether the step has written the file, or the folder that it is in, itself."""
        return path in self.prepared or any(is_inside(path, own) for own in self.gives)


def file_flow(
    steps: Sequence[StepFlow], statements: Sequence[Statement], here: Path, modules: Collection[str]
) -> list[Finding]:
    """Fill in which files each step takes and gives; `here` is the notebook's folder.

    `modules` are importable in every step: they are files of the project.
    """
    files = _Files(here)
    for step in steps:
        prepared = [f.path for i in step.setup for f in statements[i].record.files if f.use == "write" and f.path]
        now = _Step(step, prepared={located(path).path for path in prepared})
        for index in step.statements:
            files.statement(now, statements[index])
        files.imports(now, modules)
        files.end(now)
    for step in steps:
        needed = {name for path in (*(p for p, _ in step.files_in), *step.files_out) for name in placeholders(path)}
        step.parameters = tuple(sorted({*step.parameters, *needed}))
        step.fetches = tuple(dict.fromkeys(_fetches(step, statements)))
    return files.findings


def _fetches(step: StepFlow, statements: Sequence[Statement]) -> Iterator[str]:
    """The parameters with which the path of an input begins that is read by what knows no URLs."""
    events = [e for i in (*step.copies, *step.statements) for e in statements[i].record.files if e.path is not None]
    paths = {known: {located(e.path or "").path for e in events if e.takes_urls is known} for known in (True, False)}
    written = {name for path in step.files_out for name in placeholders(path)}
    for path in (path for path, source in step.files_in if source is None):
        name = next(iter(placeholders(path)), "")
        plain, urls = (any(is_inside(p, path) or is_inside(path, p) for p in paths[known]) for known in (False, True))
        if name and path.startswith(f"{{{name}}}") and name not in written and (plain or not urls):
            yield name


class _Files:
    """The files that exist when a step begins, step after step.

    `written` names the step that gives each file; `pending` are those of which that is not certain; `gone` are removed;
    `bare` are folders that steps only made: what they put into them is written by name.
    """

    def __init__(self, here: Path) -> None:
        self.here = here
        self.written: dict[str, str] = {}
        self.pending: dict[str, list[Pending]] = {}
        self.gone: set[str] = set()
        self.bare: set[str] = set()
        self.ranks: dict[str | None, int] = {None: -1}
        self.suspects: list[Suspect] = []
        self.programs: list[tuple[str, Place]] = []
        self.findings: list[Finding] = []

    # --- one statement ----------------------------------------------------------------------------------------------
    def statement(self, now: _Step, statement: Statement) -> None:
        """Follow what a statement does with files."""
        runs = _runs_program(statement)
        if runs is not None:
            self.programs.append((now.flow.name, runs))
            known = {located(e.path.removesuffix(ANYTHING)).path for e in statement.record.files if e.path is not None}
            for word in (word for word in _words(statement) if word not in known):
                self._mentioned(now, word, runs)
        for text, place in statement.record.mentions:
            self._mentioned(now, located(text).path, place)
        for text in statement.record.texts if self.written else ():
            self._named(now, located(text).path)
        for event in statement.record.files:
            self._event(now, event)

    def _event(self, now: _Step, event: FileEvent) -> None:
        where = located(event.path) if event.path is not None else None
        if event.use in ("write", "folder"):
            self._written(now, event, where)
        elif event.use == "remove":
            if where is not None and where.path != ".":
                self._removed(now, where.path, event)
        elif where is None:
            self._unknown_read(now, event)
        elif where.path == ".":
            self._read_here(now, event, where)
        else:
            self._read(now, event, where.path)

    def end(self, now: _Step) -> None:
        """The step has ended: what it gives is what later steps find."""
        for path in now.replaced:
            for old in [p for p in self.written if is_inside(p, path)]:
                del self.written[old]
        now.flow.files_out = tuple(now.gives)
        now.flow.files_in = tuple(sorted(now.takes.items(), key=lambda item: self.ranks[item[1]]))
        self.ranks[now.flow.name] = len(self.ranks)
        now.flow.folders = tuple(f for f in now.folders if not any(is_inside(p, f) for p in now.takes))
        for path in now.gives:
            self.written.pop(path, None)
            self.written[path] = now.flow.name
            self.gone.discard(path)
        self.gone |= {p for p in now.gone if p not in now.gives}

    # --- writing ----------------------------------------------------------------------------------------------------
    def _written(self, now: _Step, event: FileEvent, where: Location | None) -> None:
        """A file or folder is written. One that is only perhaps written goes on as it was before."""
        if where is None or where.path == ".":
            if where is None or where.pattern or event.use == "write":
                self.suspects.append(Suspect(now.flow.name, event.place, where.pattern or "*" if where else ""))
            return
        path = where.path
        folder = where.pattern != "" or event.use == "folder"
        for known in [p for p in self.written if p != path and is_inside(path, p) and not now.has(p)]:
            now.takes.setdefault(known, self.written[known])
        if folder and not now.has(path):
            now.takes.update({p: self.written[p] for p in self.written if is_inside(p, path)})
        self._parent(now, path)
        if event.perhaps and not now.has(path):
            self._perhaps(now, path, event.place)
            return
        self.pending.pop(path, None)
        if event.use == "folder" and path not in (*self.written, *now.gives):
            self.bare.add(path)
        elif event.use == "write":
            self.bare.discard(path)
        now.gives.setdefault(path)
        now.gone.discard(path)

    def _parent(self, now: _Step, path: str) -> None:
        """A folder beside the notebook, into which a step writes, must be there."""
        parent = path.rpartition("/")[0]
        if parent and not located(path).fixed and not placeholders(parent) and (self.here / parent).is_dir():
            if not any(is_inside(parent, p) for p in (*self.written, *now.gives)):
                now.folders.setdefault(parent)

    def _perhaps(self, now: _Step, path: str, place: Place) -> None:
        there = self._take(now, path)
        if there:
            now.gives[path] = None
        else:
            self.pending.setdefault(path, []).append(Pending(now.flow, place, there=False))

    # --- removing ---------------------------------------------------------------------------------------------------
    def _removed(self, now: _Step, path: str, event: FileEvent) -> None:
        """A file or folder is removed: it is no longer given, and the folder that it was in is given as it is now."""
        own = now.has(path)
        for given in [p for p in now.gives if is_inside(p, path)]:
            del now.gives[given]
        if not own:
            self._take(now, path)
        for folder in [p for p in self.written if p != path and is_inside(path, p) and p not in now.gives]:
            now.takes.update({p: self.written[p] for p in self.written if is_inside(p, folder)})
            now.gives[folder] = None
            now.replaced.add(folder)
        self._without(now, path)
        now.replaced.add(path)
        now.gone.add(path)
        self.pending.pop(path, None)
        if event.perhaps:
            self.pending[path] = [Pending(now.flow, event.place, there=False, does="removes")]

    def _without(self, now: _Step, path: str) -> None:
        """A file is removed from a folder beside the notebook: from now on the folder is what the step leaves of it."""
        folder = path.partition("/")[0]
        if folder not in (path, *now.gives) and not located(path).fixed and folder != ".." and self._beside(folder):
            self._take(now, folder)
            now.gives[folder] = None
            now.replaced.add(folder)

    # --- reading ----------------------------------------------------------------------------------------------------
    def _take(self, now: _Step, path: str) -> bool:
        """Take a file, and what lies in it, from where it is; False when nobody knows it."""
        self._settle(now, path)
        if path in self.gone or path in now.gone:
            return True
        known = {p: s for p, s in self.written.items() if is_inside(p, path) or is_inside(path, p)}
        if self._comes_from_beside(path, known):
            now.takes[path] = None
            known = {p: s for p, s in known.items() if p not in self.bare}
        for one, step in known.items():
            if one not in now.gone and now.takes.get(one) is None:
                now.takes[one] = step
        return bool(known) or path in now.takes

    def _comes_from_beside(self, path: str, known: Mapping[str, str]) -> bool:
        """Whether a file, or some of what lies in a folder, is there before the pipeline runs."""
        filled = any(is_inside(path, p) and p not in self.bare for p in known)
        if filled or located(path).fixed or not self._beside(path):
            return False
        place = self.here / _plain(path)
        if not known or placeholders(path) or not place.is_dir():
            return True
        patterns = [glob_of(p) for p in self.written]
        names = (escaped(f.relative_to(self.here).as_posix()) for f in place.rglob("*") if f.is_file())
        return any(not any(fnmatchcase(glob_of(name), p) for p in patterns) for name in names)

    def _settle(self, now: _Step, path: str) -> None:
        """What a step before may have changed is taken from that step, if the file existed."""
        for known in [p for p in self.pending if is_inside(p, path) or is_inside(path, p)]:
            last = self.pending[known][-1]
            if last.there and last.step is not now.flow:
                self._make_given(known, last.step)

    def _make_given(self, path: str, step: StepFlow) -> None:
        if path not in step.files_out:
            step.files_out = (*step.files_out, path)
        self.written.pop(path, None)
        self.written[path] = step.name
        del self.pending[path]

    def _beside(self, path: str) -> bool:
        """Whether a file is beside the notebook; one whose path has a parameter in it is taken to be."""
        return bool(placeholders(path)) or (self.here / _plain(path)).exists()

    def _read(self, now: _Step, event: FileEvent, path: str) -> None:
        if now.has(path):
            return
        if self._suspected(now, path, event):
            return
        doubtful = [p for p in self.pending.get(path, ()) if p.step is not now.flow]
        if doubtful and not doubtful[-1].there and self._doubted(now, path, event, doubtful):
            return
        if self._take(now, path) or event.use == "probe" or event.perhaps or path in self.pending:
            return
        self._missing(now, event, path)

    def _doubted(self, now: _Step, path: str, event: FileEvent, doubtful: list[Pending]) -> bool:
        """A file that another step perhaps writes. To open it, it must be there: then that step gives it."""
        certain = event.use == "read" and not event.perhaps
        if certain and len({p.step.name for p in doubtful}) == 1:
            self._make_given(path, doubtful[-1].step)
            return False
        last, reader = doubtful[-1], now.flow.name
        message = f"step {last.step.name} {last.does} {path!r} only under a condition, and step {reader} looks for it"
        self._say("hidden-file", message, event.place, path)
        return True

    def _suspected(self, now: _Step, path: str, event: FileEvent) -> bool:
        """Whether a step may have written the file under a name that is not known: what lies beside may be old."""
        if path in self.written or located(path).fixed:
            return False
        names = [p for p in self.written if placeholders(p) and fnmatchcase(glob_of(path), glob_of(p))]
        suspects = self._suspects(now, glob_of(path))
        if not suspects and (not names or placeholders(path)):
            return False
        by = str(suspects[-1]) if suspects else f"step {self.written[names[-1]]} may write"
        message = f"step {now.flow.name} reads {path!r}, which {by}"
        self._say("hidden-file", message, event.place, path)
        return True

    def _suspects(self, now: _Step, pattern: str) -> list[Suspect]:
        return [s for s in self.suspects if s.pattern and s.step != now.flow.name and overlap(s.pattern, pattern)]

    def _missing(self, now: _Step, event: FileEvent, path: str) -> None:
        place = event.place
        program = next((p for p in reversed(self.programs) if p[0] != now.flow.name), None)
        unknown = next((s for s in reversed(self.suspects) if s.step != now.flow.name), None)
        other = program or ((unknown.step, unknown.place) if unknown is not None else None)
        if other is not None and not located(path).fixed:
            message = f"step {now.flow.name} reads {path!r}, which step {other[0]} may write in {other[1]}"
            self._say("hidden-file", message, place, path)
        elif located(path).fixed:
            now.takes.setdefault(path, None)
        else:
            message = f"the file {path!r} is written by no step before and does not lie beside the notebook"
            self._say("missing-file", message, place, path)

    def _unknown_read(self, now: _Step, event: FileEvent) -> None:
        others = [s for s in self.written.values() if s != now.flow.name]
        others += [s.step for s in self.suspects if s.step != now.flow.name]
        if others:
            reader = now.flow.name
            message = f"step {reader} reads a file whose path is not known here, and step {others[0]} writes files"
            self._say("hidden-file", message, event.place)

    def _read_here(self, now: _Step, event: FileEvent, where: Location) -> None:
        """Files in the notebook's own folder, by a pattern: those of steps and those beside the notebook."""
        if event.use == "probe" and not where.pattern:
            return
        if where.pattern in ("", "*", "**", "**/*"):
            message = f"step {now.flow.name} lists the notebook's own folder, of which a step has only what it takes"
            self._say("hidden-file", message, event.place)
            return
        suspects = self._suspects(now, where.pattern)
        if suspects:
            message = f"step {now.flow.name} reads {where.pattern!r}, which {suspects[-1]}"
            self._say("hidden-file", message, event.place)
        known = [p for p in (*self.written, *self.pending) if fnmatchcase(glob_of(p), where.pattern)]
        beside = [escaped(p.relative_to(self.here).as_posix()) for p in sorted(self.here.glob(where.pattern))]
        for path in dict.fromkeys([*known, *beside]):
            if not now.has(path):
                self._take(now, path)

    def _mentioned(self, now: _Step, path: str, place: Place) -> None:
        """An unknown call is given a text that may be a file's name: it may read, change or write the file."""
        if now.has(path) or path == "." or located(path).fixed:
            return
        before = [p for p in self.pending.get(path, ()) if p.step is not now.flow]
        if before and not before[-1].there and Path(path).suffix in _SUFFIXES and not self._beside(path):
            self._make_given(path, before[-1].step)
        there = self._is_file(path) and self._take(now, path)
        shards = [] if there else [s for s in self._suspects(now, path) if s.pattern == f"{path}*"]
        if shards:
            message = f"step {now.flow.name} may read files whose names begin with {path!r}, which {shards[-1]}"
            self._say("hidden-file", message, place, path)
        self.pending.setdefault(path, []).append(Pending(now.flow, place, there))

    def _named(self, now: _Step, path: str) -> None:
        """A known call of which no row says that it opens files is given the path of one that a step before wrote."""
        if not now.has(path) and any(is_inside(path, written) for written in self.written):
            self._take(now, path)

    def _is_file(self, path: str) -> bool:
        known = any(is_inside(p, path) or is_inside(path, p) for p in self.written)
        return known or (self.here / _plain(path)).is_file()

    # --- imports ----------------------------------------------------------------------------------------------------
    def imports(self, now: _Step, modules: Collection[str]) -> None:
        """A module that a step writes can be imported by that step alone, unless it is a file of the project."""
        for module, place in now.flow.modules.items():
            root = module.partition(".")[0]
            if root in modules:
                continue
            for path in (root + ".py", root):
                writers = [] if now.has(path) else [s for p, s in self.written.items() if is_inside(p, path)]
                if writers:
                    message = f"step {now.flow.name} imports {root}, which step {writers[0]} writes to its own disk"
                    self._say("hidden-file", message, place, root)

    def _say(self, code: str, message: str, place: Place, name: str | None = None) -> None:
        self.findings.append(finding(code, message, cell=place.cell, line=place.line, name=name))


def _plain(path: str) -> str:
    """A path without parameters as the file system knows it."""
    return path.replace("{{", "{").replace("}}", "}")


def _runs_program(statement: Statement) -> Place | None:
    """Where a statement runs another program, which may read and write any file."""
    for event in statement.record.channels:
        if event.channel == "module:subprocess" or (event.channel == "external" and event.use == "set"):
            return event.place
    return None


def _words(statement: Statement) -> Iterator[str]:
    """The words of the texts in a statement that runs a program: some may name files."""
    for node in statement.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 10_000:
            yield from (located(word).path for word in _split(node.value) if word.isprintable())


def _split(text: str) -> Iterable[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return text.split()
