"""What the last run, verification and tuning found out, as far as it can be read: `.nb2pipe` is anybody's to edit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nb2pipe.notebook.outputs import MOST_IMAGE, image_uri
from nb2pipe.targets.records import Command, Record, kept

Json = Mapping[str, Any]
Parsed = TypeVar("Parsed")
MOST_FIGURES = 12


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored artifact: the type of its value ("" when it has several), the name of its format, its bytes."""

    type: str
    format: str
    size: int


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture that a step stored, as a data URI."""

    step: str
    name: str
    image: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of any command: when it ended, the parameters it was given, whether the notebook has changed since."""

    when: str
    parameters: tuple[tuple[str, str], ...]
    is_stale: bool


@dataclass(frozen=True, slots=True)
class Run:
    """The last run: how each step ended, what it stored by (step, artifact), metrics and figures."""

    outcome: Outcome
    status: str
    seconds: float
    steps: Mapping[str, tuple[str, float]]
    metrics: tuple[tuple[str, str], ...]
    error: str
    stored: Mapping[tuple[str, str], Stored] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True)
class Boundary:
    """What one comparison said."""

    step: str
    name: str
    type: str
    verdict: str
    detail: str


@dataclass(frozen=True, slots=True)
class Verified:
    """The last verification, boundary by boundary."""

    outcome: Outcome
    verdict: str
    seconds: float
    boundaries: tuple[Boundary, ...]
    error: str


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial of the last tuning."""

    number: int
    parameters: Mapping[str, str]
    objective: float | None
    status: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """The last tuning; `best` is the number of its best trial."""

    outcome: Outcome
    objective: str
    direction: str
    names: tuple[str, ...]
    trials: tuple[Trial, ...]
    best: int | None


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it; None for what was never done."""

    run: Run | None = None
    verified: Verified | None = None
    tuning: Tuning | None = None


def facts(home: Path, pipeline: str, digest: str) -> Facts:
    """What is kept in `home`, the notebook's folder, about the pipeline; `digest` is that of the notebook now."""

    def read(command: Command, parse: Callable[[Json, Outcome], Parsed]) -> Parsed | None:
        record = kept(home, command, pipeline)
        try:
            return parse(record.document, _outcome(record, digest)) if record else None
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    return Facts(
        read("run", lambda document, outcome: _run(document, outcome, home / ".nb2pipe")),
        read("verify", _verified),
        read("tune", _tuning),
    )


def _outcome(record: Record, digest: str) -> Outcome:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.when))
    given = tuple((str(name), _text(value)) for name, value in record.parameters.items())
    return Outcome(when, given, record.notebook != digest)


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _where(error: Json | None) -> str:
    """An error of a document in words."""
    if error is None:
        return ""
    place = f"cell {error['cell']}, line {error['line']}" if error.get("cell") is not None else ""
    step = f"step {error['step']}" if error.get("step") else str(error.get("where") or "")
    return ": ".join(filter(None, [", ".join(filter(None, [step, place])), str(error["message"])]))


def _run(document: Json, outcome: Outcome, inside: Path) -> Run:
    steps = document["steps"]
    return Run(
        outcome,
        str(document["status"]),
        float(document["seconds"]),
        {str(row["name"]): (str(row["status"]), float(row["seconds"])) for row in steps},
        tuple((str(name), _text(value)) for name, value in document["metrics"].items()),
        _where(document["error"]),
        {key: found for key, folder in _folders(steps, inside) if (found := _stored(folder)) is not None},
        tuple(_figures(steps, inside))[:MOST_FIGURES],
    )


def _folders(steps: Sequence[Json], inside: Path) -> Iterator[tuple[tuple[str, str], Path]]:
    """The artifacts by (step, artifact), those in the folder `inside` only: a document may name any path."""
    home = inside.resolve()
    for row in steps:
        for name, path in row["outputs"].items():
            folder = Path(path).resolve()
            if folder.is_relative_to(home) and folder.is_dir():
                yield (str(row["name"]), str(name)), folder


def _stored(folder: Path) -> Stored | None:
    try:
        record = json.loads((folder / "artifact.json").read_text(encoding="utf-8"))
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "artifact.json")
        return Stored(str(record["type"] or ""), str(record["format"]), size)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _figures(steps: Sequence[Json], inside: Path) -> Iterator[Figure]:
    for (step, name), folder in _folders(steps, inside):
        path = folder / "figure.png"
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= MOST_IMAGE:
            image = image_uri(path.read_bytes())
            if image:
                yield Figure(step, name, image)


def _verified(document: Json, outcome: Outcome) -> Verified:
    rows = [*document["compared"], *document["stdout"]]
    boundaries = [Boundary(*(str(row[key]) for key in ("step", "name", "type", "verdict", "detail"))) for row in rows]
    boundaries += [
        Boundary(
            str(row["step"]),
            f"{row['name'] or 'run'} with {row['workers']} workers",
            "",
            str(row["verdict"]),
            str(row["detail"]),
        )
        for row in document["workers"]
    ]
    seconds = float(document["seconds"])
    return Verified(outcome, str(document["verdict"]), seconds, tuple(boundaries), _where(document["error"]))


def _tuning(document: Json, outcome: Outcome) -> Tuning:
    trials = tuple(
        Trial(
            int(row["number"]),
            {str(name): _text(value) for name, value in row["parameters"].items()},
            None if row["objective"] is None else float(row["objective"]),
            str(row["status"]),
            float(row["seconds"]),
        )
        for row in document["trials"]
    )
    names = tuple(dict.fromkeys(name for trial in trials for name in trial.parameters))
    best = document["best"]["number"] if document["best"] else None
    return Tuning(outcome, str(document["objective"]), str(document["direction"]), names, trials, best)
