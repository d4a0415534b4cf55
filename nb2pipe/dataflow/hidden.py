"""State that crosses steps without a name: generators, the environment, modules' attributes."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from nb2pipe.dataflow.events import WORKING_DIRECTORY, ChannelEvent, FileEvent, Place
from nb2pipe.dataflow.model import Statement, StepFlow
from nb2pipe.dataflow.paths import located
from nb2pipe.dataflow.tables import is_known_module
from nb2pipe.findings import Finding, finding

OUTSIDE = "outside data"
FILE_TIMES = "file times"
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
    found = [(s, _set_up(s, statements) if s.step is None else _options(s)) for s in statements]
    return [(statement, touched) for statement, touched in found if touched]


def setup_copies(candidates: Iterable[tuple[Statement, set[str]]], step: Sequence[Statement]) -> set[int]:
    """Those of `candidates` that a step must repeat: the earlier ones whose channel it uses."""
    used = {c.channel for s in step for c in s.record.channels if c.use != "advance"}
    used |= {"folder:" + folder for s in step for f in s.record.files for folder in _folders(f)}
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


def prepares_files(statement: Statement, statements: Iterable[Statement]) -> bool:
    """Whether all that a shared statement does is to make folders that may be there, or to write a text that no step
    changes: each step may repeat it."""
    record = statement.record
    if not record.files or statement.writes or statement.changes or record.unknown_calls:
        return False
    if any(c.use != "use" or c.channel == "stdout" for c in record.channels):
        return False
    if all(f.use in ("folder", "probe") for f in record.files):
        return True
    written = {f.path for f in record.files}
    steps = (f for s in statements if s.step is not None for f in s.record.files)
    changed = any(f.use in ("write", "remove") and f.path in written for f in steps)
    return not record.reads and not changed and all(f.use == "write" and f.path for f in record.files)


def _set_up(statement: Statement, statements: Sequence[Statement]) -> set[str]:
    """The channels that a shared statement sets up; a call of which nothing is known may set up what it mentions."""
    channels = statement.record.channels
    touched = {c.channel for c in channels if c.use in ("set", "seed") and c.channel != "external"}
    if statement.record.files and prepares_files(statement, statements):
        touched |= {"folder:" + located(f.path or "?").path for f in statement.record.files} | {"folder:?"}
    if statement.kind == "setup" and statement.record.unknown_calls:
        touched |= {c.channel for c in channels if c.channel.startswith("module:")}
    return touched


def _folders(event: FileEvent) -> Iterator[str]:
    """The folders that a file is in, itself included; "?" when nothing is known of its path."""
    path = located(event.path).path if event.path is not None else "?"
    while path:
        yield path
        path = path.rpartition("/")[0]


def _options(statement: Statement) -> set[str]:
    """The options of libraries, and the seeds, that a step's statement sets by a call that needs only constants."""
    record = statement.record
    if statement.kind != "setup" or record.unknown_calls or record.files or statement.writes:
        return set()
    changed = {c.channel for c in statement.record.channels if c.use == "set" and c.channel.startswith(_REPEATED)}
    return {c for c in changed if not c.startswith("module:") or is_known_module(c)}


_REPEATED = ("module:", "seed:", "process")


def channel_findings(shared: Sequence[Statement], steps: Sequence[tuple[str, Sequence[Statement]]]) -> list[Finding]:
    """State that one step sets and another relies on."""
    found: list[Finding] = []
    seeded = {e.channel for e in events(shared) if e.use == "seed"}
    setters: dict[str, tuple[str, Place]] = {}
    drawn_in: dict[str, tuple[str, Place]] = {}
    for name, statements in steps:
        happening = [e for s in statements for e in events([s]) if e.channel not in _options(s)]
        found += _step_findings(name, happening, seeded, setters, drawn_in)
    said = any(f.name == "environment" for f in found)
    return found if said else found + _environment_left(setters.get("environment"), [name for name, _ in steps])


def seeded_too_early(statements: Iterable[Statement]) -> list[Finding]:
    """Draws from Python's generator that was seeded before an import that draws from it, too: steps import first."""
    run = [s for s in statements if s.role != "skip"]
    at = next((i for i, s in enumerate(run) if _draws_when_imported(s)), len(run))
    seeds = [e.place for e in events(run[:at]) if e.channel == _PYTHONS and e.use == "seed"]
    later = next((e for e in events(run[at:]) if e.channel == _PYTHONS and e.use in ("seed", "draw")), None)
    if not seeds or later is None or later.use == "seed":
        return []
    imported = f"`{ast.unparse(run[at].node)}` (cell {run[at].cell} line {run[at].first})"
    message = f"{later.place} draws from Python's random generator; {imported} draws from it after {seeds[-1]}"
    hint = "Seed after the imports: a pipeline imports first."
    return [finding("seed-across-steps", message, cell=later.place.cell, line=later.place.line, hint=hint)]


_PYTHONS = "random:random"
_DRAWING_IMPORTS = ("sklearn", "tensorflow", "keras", "tf_keras", "xgboost", "lightgbm", "imblearn", "rich")
"""Libraries that draw from Python's generator when they are first imported: they import rich, which does."""


def _draws_when_imported(statement: Statement) -> bool:
    names = [n.module or "" for n in statement.nodes if isinstance(n, ast.ImportFrom) and not n.level]
    names += [a.name for n in statement.nodes if isinstance(n, ast.Import) for a in n.names]
    return any(name.partition(".")[0] in _DRAWING_IMPORTS for name in names) and find_spec("rich") is not None


def _environment_left(last: tuple[str, Place] | None, steps: Sequence[str]) -> list[Finding]:
    """The environment that a step leaves set, when others come after it: what libraries read there nobody can see."""
    if last is None or last[0] == steps[-1]:
        return []
    step, place = last
    message = f"the steps after {step} do not have what {place} sets in the environment, and a library may read it"
    name = "environment"
    return [finding("hidden-process-state", message, cell=place.cell, line=place.line, name=name, severity="warning")]


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
    seeds = {(e.statement, e.channel) for e in happening if e.use == "seed"}
    for event in happening:
        channel = event.channel
        if event.use in ("set", "seed", "back"):
            own.add(channel)
        elif event.use == "use" and (event.statement, channel) in seeds:
            continue  # `library` in `library.set_mode(1)`
        elif channel not in own and channel not in said and event.use != "advance":
            problem = _problem(step, event, setters, drawn_in if channel in seeded else {})
            if problem is not None:
                said.add(channel)
                found.append(problem)
        if event.use in ("draw", "advance") and channel not in own:
            drawn_in.setdefault(channel, (step, event.place))
    for event in happening:
        if event.use in ("set", "seed") and event.channel != "external":
            setters[event.channel] = (step, event.place)
        elif event.use == "back":
            setters.pop(event.channel, None)
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


def moved_files(statements: Iterable[Statement]) -> list[Finding]:
    """Files by a relative path, where the working folder is not the notebook's: the paths of a pipeline start there."""
    found: list[Finding] = []
    moved: Place | None = None
    for statement in (s for s in statements if s.role != "skip"):
        turns = [c for c in statement.record.channels if c.channel == WORKING_DIRECTORY and c.use in ("set", "back")]
        left = next((c.place for c in turns if c.use == "set"), moved)
        if left is not None:
            found += [_moved(f, left) for f in statement.record.files if _relative(f)]
            found += [_moved(c, left) for c in statement.record.channels if c.use == "use" and _is_kept(c, statement)]
        moved = (turns[-1].place if turns[-1].use == "set" else None) if turns else moved
    return found


def _relative(event: FileEvent) -> bool:
    return event.path is None or not located(event.path).fixed


def _is_kept(event: ChannelEvent, statement: Statement) -> bool:
    """Whether a statement that steps may repeat asks where the working folder is."""
    return event.channel == WORKING_DIRECTORY and statement.kind == "constant"


def _moved(event: FileEvent | ChannelEvent, place: Place) -> Finding:
    path = event.path if isinstance(event, FileEvent) else "."
    what = repr(path) if path is not None else "a file"
    return finding(
        "hidden-process-state",
        f"{event.place} names {what}, after {place} changes the folder that relative paths start from",
        cell=event.place.cell,
        line=event.place.line,
        name=WORKING_DIRECTORY,
        hint="Write paths as they are from the notebook's folder (`data/a.csv`), and leave `chdir` or `%cd` out.",
    )


def _word(channel: str) -> str:
    kind, _, name = channel.partition(":")
    if channel == _PYTHONS:
        return "Python's random generator"
    words = {"random": "the random generator of {}", "accessor": "the accessor {}", "module": "the state of {}"}
    return words.get(kind, f"the {channel}").format(name)


def file_times(flows: Iterable[StepFlow], statements: Sequence[Statement]) -> list[Finding]:
    """Where steps ask when a file was changed that another step gives: storage in between may forget that."""
    found = []
    for flow in flows:
        given = [path for path, source in flow.files_in if source is not None]
        asked = [e.place for e in events(statements[i] for i in flow.statements) if e.channel == FILE_TIMES]
        if given and asked:
            message = f"{asked[0]} asks when a file was changed, and {given[0]} comes from another step"
            found.append(finding("file-times", message, cell=asked[0].cell, line=asked[0].line, name=given[0]))
    return found


def external_order(steps: Sequence[tuple[str, Sequence[Statement]]]) -> dict[str, str]:
    """Steps that talk to the outside keep the notebook's order: each comes after the one before."""
    after: dict[str, str] = {}
    last: str | None = None
    for name, statements in steps:
        if any(e.channel == "external" for e in events(statements)) or outside_data(statements):
            if last is not None:
                after[name] = last
            last = name
    return after


def outside_data(statements: Iterable[Statement]) -> tuple[Place, ...]:
    """Where statements read or write data outside of the pipeline: tables of BigQuery, objects of Cloud Storage."""
    found = [e.place for e in events(statements) if e.channel == OUTSIDE]
    found += [f.place for s in statements for f in s.record.files if f.path is not None and is_outside(f.path)]
    return tuple(dict.fromkeys(found))


STORES = ("bigquery://", "gs://", "gcs://", "s3://", "abfs://", "hdfs://")


def is_outside(path: str) -> bool:
    """Whether a path is a place in a store that others write to as well."""
    return path.startswith(STORES)
