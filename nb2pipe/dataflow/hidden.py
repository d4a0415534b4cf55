"""State that crosses steps without a name: generators, the environment, modules' attributes, files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from string import Formatter

from nb2pipe.dataflow.machine import FileEvent, Place, Template
from nb2pipe.dataflow.model import Statement, StepFlow
from nb2pipe.dataflow.paths import escaped
from nb2pipe.findings import Finding, finding

EVERYWHERE = ("process", "environment", "search path")


@dataclass(frozen=True, slots=True)
class Event:
    """A channel event with the statement it happens in."""

    statement: int
    channel: str
    use: str
    place: Place


def events(statements: Iterable[Statement]) -> list[Event]:
    """All channel events, in order."""
    return [Event(s.index, c.channel, c.use, c.place) for s in statements for c in s.record.channels]


def set_ups(statements: Sequence[Statement]) -> list[tuple[Statement, set[str]]]:
    """The set-up calls that other steps may have to repeat, each with the channels that it sets up: those of shared
    cells, and the library options that a step sets."""
    found = [(s, _set_up(s) if s.step is None else _options(s)) for s in statements]
    return [(statement, touched) for statement, touched in found if touched]


def setup_copies(candidates: Iterable[tuple[Statement, set[str]]], step: Sequence[Statement]) -> set[int]:
    """Those of `candidates` that a step must repeat: the earlier ones whose channel it uses."""
    used = {c.channel for s in step for c in s.record.channels}
    wanted = used | set(EVERYWHERE) | {"module:" + c.partition(":")[2] for c in used if c.startswith("text of:")}
    own = {s.index for s in step}
    first = min(own, default=0)
    found = set()
    for statement, touched in candidates:
        if statement.index not in own and (statement.step is None or statement.index < first):
            anything = "text of:?" in used and any(t.startswith("module:") for t in touched)
            if touched & wanted or anything:
                found.add(statement.index)
    return found


def _set_up(statement: Statement) -> set[str]:
    """The channels that a shared statement sets up; a call of which nothing is known may set up what it mentions."""
    channels = statement.record.channels
    touched = {c.channel for c in channels if c.use in ("set", "seed") and c.channel != "external"}
    if statement.kind == "setup" and statement.record.unknown_calls:
        touched |= {c.channel for c in channels if c.channel.startswith("module:")}
    return touched


def _options(statement: Statement) -> set[str]:
    """The libraries of which a step's statement sets options, by a call that needs nothing but constants."""
    if statement.kind != "setup" or statement.record.unknown_calls or statement.writes:
        return set()
    return {c.channel for c in statement.record.channels if c.use == "set" and c.channel.startswith("module:")}


def channel_findings(shared: Sequence[Statement], steps: Sequence[tuple[str, Sequence[Statement]]]) -> list[Finding]:
    """State that one step sets and another relies on."""
    found: list[Finding] = []
    seeded = {e.channel for e in events(shared) if e.use == "seed"}
    setters: dict[str, tuple[str, Place]] = {}
    drawn_in: dict[str, tuple[str, Place]] = {}
    for name, statements in steps:
        happening = events(s for s in statements if not _options(s))
        found += _step_findings(name, happening, seeded, setters, drawn_in)
    return found


def _step_findings(
    step: str,
    happening: list[Event],
    seeded: set[str],
    setters: dict[str, tuple[str, Place]],
    drawn_in: dict[str, tuple[str, Place]],
) -> list[Finding]:
    found: list[Finding] = []
    own: set[str] = set()
    said: set[str] = set()
    for event in happening:
        channel = event.channel
        if event.use in ("set", "seed"):
            own.add(channel)
        elif channel not in own and channel not in said:
            problem = _problem(step, event, setters, drawn_in if channel in seeded else {})
            if problem is not None:
                said.add(channel)
                found.append(problem)
        if event.use == "draw" and channel not in own:
            drawn_in.setdefault(channel, (step, event.place))
    for event in happening:
        if event.use in ("set", "seed") and event.channel != "external":
            setters[event.channel] = (step, event.place)
    return found


def _problem(
    step: str, event: Event, setters: Mapping[str, tuple[str, Place]], drawn_in: Mapping[str, tuple[str, Place]]
) -> Finding | None:
    channel, place = event.channel, event.place
    other = setters.get(channel)
    if other is not None and other[0] != step and channel != "external":
        code = "seed-across-steps" if channel.startswith("random:") else "hidden-process-state"
        message = f"step {step} relies on {_word(channel)} that step {other[0]} sets in {other[1]}"
        return finding(code, message, cell=place.cell, line=place.line, name=channel)
    drawn = drawn_in.get(channel)
    if drawn is not None and drawn[0] != step:
        message = (
            f"steps {drawn[0]} and {step} both draw from {_word(channel)}, seeded once: "
            f"in the notebook the second goes on where the first ended"
        )
        return finding("seed-across-steps", message, cell=place.cell, line=place.line, name=channel)
    return None


def _word(channel: str) -> str:
    kind, _, name = channel.partition(":")
    return f"the {name} random generator" if kind == "random" else f"the state of {name}" if name else f"the {channel}"


def external_order(steps: Sequence[tuple[str, Sequence[Statement]]]) -> dict[str, str]:
    """Steps that talk to the outside keep the notebook's order: each comes after the one before."""
    after: dict[str, str] = {}
    last: str | None = None
    for name, statements in steps:
        if any(e.channel == "external" for e in events(statements)):
            if last is not None:
                after[name] = last
            last = name
    return after


# --- files ----------------------------------------------------------------------------------------------------------
def _local(event: FileEvent) -> str | None:
    """The path of a file event relative to the notebook's folder, None when it is no such path."""
    path = event.path
    if path is None or "://" in path or path.startswith(("/", "~", "..")):
        return None
    while path.startswith("./"):
        path = path[2:]
    return path if isinstance(event.path, Template) else escaped(path.rstrip("/")) or None


def file_flow(steps: Sequence[StepFlow], statements: Sequence[Statement], here: Path) -> list[Finding]:
    """Fill in which files each step takes and gives; `here` is the notebook's folder."""
    found: list[Finding] = []
    written: dict[str, str] = {}
    unknown_writer: tuple[str, Place] | None = None
    for step in steps:
        takes: dict[str, str | None] = {}
        gives: dict[str, None] = {}
        for index in step.statements:
            unknown_writer = _may_write(step, statements[index]) or unknown_writer
            for event in statements[index].record.files:
                path = _local(event)
                if event.use == "write":
                    if path is not None:
                        found += _given(step, path, event, written, gives, here, takes)
                    elif event.path is None:
                        unknown_writer = (step.name, event.place)
                elif path is not None:
                    found += _taken(step, path, event, written, gives, here, takes, unknown_writer, steps)
                elif event.path is None:
                    found += _unknown_read(step, event, written, unknown_writer)
        found += _modules(step, written, gives, here, takes)
        step.files_out = tuple(gives)
        step.files_in = tuple(takes.items())
        needed = {name for path in (*takes, *gives) for name in _placeholders(path)}
        step.parameters = tuple(sorted({*step.parameters, *needed}))
        written.update(dict.fromkeys(step.files_out, step.name))
    return found


def _placeholders(path: str) -> list[str]:
    """The parameters in a path."""
    return [name for _, name, _, _ in Formatter().parse(path) if name]


def _given(
    step: StepFlow,
    path: str,
    event: FileEvent,
    written: Mapping[str, str],
    gives: dict[str, None],
    here: Path,
    takes: dict[str, str | None],
) -> list[Finding]:
    """A file that is written, perhaps only perhaps: then what was there before goes on."""
    if event.perhaps and path not in gives:
        if path in written:
            takes[path] = written[path]
        elif (here / path).exists():
            takes[path] = None
        else:
            step.perhaps_written[path] = event.place
            return []
    takes.update({folder: written[folder] for folder in written if path.startswith(folder + "/")})
    gives[path] = None
    return []


def _taken(
    step: StepFlow,
    path: str,
    event: FileEvent,
    written: Mapping[str, str],
    own: Mapping[str, None],
    here: Path,
    takes: dict[str, str | None],
    unknown: tuple[str, Place] | None,
    steps: Sequence[StepFlow],
) -> list[Finding]:
    if _covering(path, own):
        return []
    doubtful = next((s for s in steps if s is not step and path in s.perhaps_written), None)
    if doubtful is not None:
        message = f"step {doubtful.name} writes {path!r} only under a condition, and step {step.name} reads it"
        return [finding("hidden-file", message, cell=event.place.cell, line=event.place.line, name=path)]
    writers = _covering(path, written)
    for one in writers:
        takes[one] = written[one]
    if writers:
        return []
    if isinstance(event.path, Template) or (here / path).exists():
        takes[path] = None
        return []
    if any(mark in path for mark in "*?["):
        takes.update(dict.fromkeys(p.relative_to(here).as_posix() for p in sorted(here.glob(path))))
        return []
    place = event.place
    if unknown is not None and unknown[0] != step.name:
        message = f"step {step.name} reads {path!r}, which step {unknown[0]} may write in {unknown[1]}"
        return [finding("hidden-file", message, cell=place.cell, line=place.line, name=path)]
    message = f"the file {path!r} is written by no step before and does not lie beside the notebook"
    return [finding("missing-file", message, cell=place.cell, line=place.line, name=path)]


def _may_write(step: StepFlow, statement: Statement) -> tuple[str, Place] | None:
    """Another program may write any file."""
    for event in statement.record.channels:
        if event.channel == "module:subprocess" or (event.channel == "external" and event.use == "set"):
            return step.name, event.place
    return None


def _covering(path: str, paths: Iterable[str]) -> list[str]:
    """Those of `paths` that are `path`, match it, lie in it or hold it."""
    return [p for p in paths if p == path or p.startswith(path + "/") or path.startswith(p + "/") or fnmatch(p, path)]


def _unknown_read(
    step: StepFlow, event: FileEvent, written: Mapping[str, str], unknown: tuple[str, Place] | None
) -> list[Finding]:
    place = event.place
    writer = unknown[0] if unknown is not None else next(iter(written.values()), None)
    if writer is None or writer == step.name:
        return []
    message = f"step {step.name} reads a file whose path is not known here, and step {writer} writes files"
    return [finding("hidden-file", message, cell=place.cell, line=place.line)]


def _modules(
    step: StepFlow, written: Mapping[str, str], own: Mapping[str, None], here: Path, takes: dict[str, str | None]
) -> list[Finding]:
    """Modules that lie beside the notebook are files that the step takes; those that a step writes are refused."""
    found: list[Finding] = []
    for module, place in step.modules.items():
        root = module.partition(".")[0]
        for path in (root + ".py", root):
            writers = [] if _covering(path, own) else _covering(path, written)
            if writers:
                message = f"step {step.name} imports {root}, which step {written[writers[0]]} writes to its own disk"
                found.append(finding("hidden-file", message, cell=place.cell, line=place.line, name=root))
            elif (here / (path if path.endswith(".py") else f"{root}/__init__.py")).is_file():
                takes[path] = None
                break
    return found
