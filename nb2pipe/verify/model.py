"""The outcome of a verification as data, and its JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nb2pipe.verify.compare.outcome import Verdict
from nb2pipe.verify.workers import Spread


@dataclass(frozen=True, slots=True)
class Compared:
    """One name at a step's end (or a step's printed text, then `name` is "stdout"), with its place in the notebook."""

    step: str
    name: str
    type: str
    verdict: Verdict
    detail: str
    cell: int | None = None
    line: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As in the document's `compared`."""
        fields = ("step", "name", "type", "verdict", "detail")
        return {name: getattr(self, name) for name in fields}


@dataclass(frozen=True, slots=True)
class Failed:
    """The notebook or the pipeline did not run to its end."""

    where: Literal["notebook", "pipeline"]
    step: str | None
    cell: int | None
    line: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Notebook against pipeline for one set of parameters."""

    parameters: Mapping[str, Any]
    compared: tuple[Compared, ...]
    stdout: tuple[Compared, ...]
    failed: Failed | None = None

    @property
    def verdict(self) -> Literal["equal", "different", "failed"]:
        """Equal only if both ran and nothing is different."""
        if self.failed is not None:
            return "failed"
        return "equal" if self.first_difference is None else "different"

    @property
    def first_difference(self) -> Compared | None:
        """The first difference in the notebook's order; the values of a step count before what it printed."""
        different = [one for one in (*self.compared, *self.stdout) if one.verdict == "different"]
        return min(different, key=lambda one: one.cell if one.cell is not None else -1, default=None)

    @property
    def not_proved(self) -> tuple[Compared, ...]:
        """What could not be compared: never counted as equal."""
        return tuple(one for one in (*self.compared, *self.stdout) if one.verdict == "not proved")


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found: the run with the given parameters, and those with varied ones.

    `expected` describes the values of a run with the default parameters by step, artifact and name, for a test.
    `workers` compares the results of many workers with those of one.
    """

    main: Comparisons
    varied: tuple[Comparisons, ...] = ()
    seconds: float = 0.0
    expected: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    workers: tuple[Spread, ...] = ()

    @property
    def verdict(self) -> Literal["equal", "different", "failed"]:
        """The gravest verdict. A variation with which the notebook itself fails says nothing about the pipeline."""
        telling = [v for v in self.varied if v.failed is None or v.failed.where == "pipeline"]
        verdicts = [self.main.verdict, *(v.verdict for v in telling), *(row.verdict for row in self.workers)]
        return next((v for v in ("failed", "different") if v in verdicts), "equal")

    def to_json(self) -> dict[str, Any]:
        """The document of `nb2pipe verify --json`."""
        first = next((d for c in (self.main, *self.varied) if (d := c.first_difference)), None)
        failed = next((c.failed for c in (self.main, *self.varied) if c.failed), None)
        return {
            "verdict": self.verdict,
            "compared": [one.to_json() for one in self.main.compared],
            "stdout": [one.to_json() for one in self.main.stdout],
            "first_difference": difference_json(first),
            "not_proved": [{"step": o.step, "name": o.name, "why": o.detail} for o in self.main.not_proved],
            "error": None if failed is None or self.verdict != "failed" else failed_json(failed),
            "varied": [_variation(one) for one in self.varied],
            "workers": [one.to_json() for one in self.workers],
            "seconds": round(self.seconds, 3),
        }


def difference_json(found: Compared | None) -> dict[str, Any] | None:
    """A difference with its place in the notebook."""
    if found is None:
        return None
    return {
        "step": found.step,
        "name": found.name,
        "cell": found.cell,
        "line": found.line,
        "detail": found.detail,
    }


def failed_json(failed: Failed) -> dict[str, Any]:
    """What failed, and where."""
    return {
        "where": failed.where,
        "step": failed.step,
        "cell": failed.cell,
        "line": failed.line,
        "message": failed.message,
    }


def _variation(one: Comparisons) -> dict[str, Any]:
    return {
        "parameters": dict(one.parameters),
        "verdict": one.verdict,
        "first_difference": difference_json(one.first_difference),
        "error": failed_json(one.failed) if one.failed else None,
    }
