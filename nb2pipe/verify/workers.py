"""Many workers against one: each step that has workers is run with them, on what one worker was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from nb2pipe.findings import Finding
from nb2pipe.targets.base import Failure, RunResult
from nb2pipe.targets.local import Part, run
from nb2pipe.verify.compare.outcome import Verdict
from nb2pipe.verify.judge import Judge

TOLERANCE = 1e-3
"""How far results of many workers may be from those of one: relative, of an array relative to its largest number.

Sums of floats depend on how they are shared out, and training makes small differences larger.
"""


@dataclass(frozen=True, slots=True)
class Spread:
    """How a result of a step with many workers compares with that of one; `name` is "" where the step failed."""

    step: str
    workers: int
    name: str
    verdict: Verdict | Literal["failed"]
    detail: str

    def to_json(self) -> dict[str, Any]:
        """As in the document's `workers`."""
        fields = ("step", "workers", "name", "verdict", "detail")
        return {name: getattr(self, name) for name in fields}


@dataclass(frozen=True, slots=True)
class Trained:
    """A project that was run with one worker: `ran` in the notebook's folder `home`; `part` was all of it."""

    project: Path
    described: Mapping[str, Any]
    given: Mapping[str, Any]
    ran: RunResult
    home: Path
    part: Part


def spread(trained: Trained, findings: tuple[Finding, ...], judge: Judge) -> Iterator[Spread]:
    """Every step that has workers, run with them, against the run with one.

    What a finding said to depend on the number of workers is not proved, instead of different.
    """
    for step in trained.described["steps"]:
        if step["framework"] and (step["workers"] or 1) > 1:
            warned = [f.message for f in findings if f.code == "workers-differ" and f.cell in step["cells"]]
            yield from _step(trained, step, judge, " ".join(warned))


def _step(trained: Trained, step: Mapping[str, Any], judge: Judge, warned: str) -> Iterator[Spread]:
    name, workers = step["name"], step["workers"]
    part = replace(trained.part, steps=frozenset({name}), given=trained.ran.run_dir)
    folders: dict[str, Any] = {"notebook_dir": trained.home, "runs_dir": trained.ran.run_dir.parent}
    many = run(trained.project, trained.given, part=part, cache=False, **folders)
    if many.error is not None:
        yield Spread(name, workers, "", "failed", _why(many.error))
        return
    one = {result.name: result.outputs for result in trained.ran.steps}[name]
    for row in step["outputs"]:
        paths = one[row["artifact"]], many.steps[0].outputs[row["artifact"]]
        found = judge.compare(row["names"] if row["kind"] != "Metrics" else ["metrics"], *paths, tolerance=TOLERANCE)
        for value, told in found.items():
            verdict: Any = "not proved" if warned and told["verdict"] == "different" else told["verdict"]
            said = _said(told["detail"], workers)
            yield Spread(name, workers, value, verdict, f"{warned} {said}".strip() if verdict == "not proved" else said)


def _why(failure: Failure) -> str:
    where = "" if failure.cell is None else f"cell {failure.cell} line {failure.line}: "
    return f"{where}{failure.message}"


def _said(detail: str, workers: int) -> str:
    """What the comparison of a notebook with its pipeline says, said of one worker and many."""
    return detail.replace(" in the notebook", " with one worker").replace(" in the pipeline", f" with {workers}")
