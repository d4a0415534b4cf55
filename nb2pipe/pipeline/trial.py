"""What a trial of tuning is: the dataflow tells which steps run once, and which run again for each trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nb2pipe.findings import Finding, Nb2pipeError, finding
from nb2pipe.pipeline.graph import filled, is_staged, sources_of

Json = Mapping[str, Any]


class NoTuning(Nb2pipeError):
    """The pipeline has no search space, no objective, or no way from one to the other."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The steps of a tuning, each group in the order of the pipeline.

    `before` run once, all trials take what they give; `trial` run in every trial; what is in neither is not needed for
    the objective. `tuned` are the parameters with a search space that change the objective.
    """

    before: tuple[str, ...]
    trial: tuple[str, ...]
    tuned: tuple[str, ...]


def trial_slice(graph: Json) -> Slice:
    """The slice of a pipeline's graph (see pipeline.graph). Raises NoTuning with the reason."""
    objective = graph["objective"]
    searched = [p["name"] for p in graph["parameters"] if p["search"]]
    if objective is None:
        raise _none("no cell has an objective tag")
    if not searched:
        raise _none("no parameter has a search space")
    steps = {step["name"]: step for step in graph["steps"]}
    needed = _needed(steps, objective["step"])
    used = {name for step in needed for name in steps[step]["parameters"]}
    tuned = tuple(name for name in searched if name in used)
    if not tuned:
        raise _none(f"none of {', '.join(searched)} changes {objective['name']}")
    touched = _touched(steps, tuned)
    return Slice(
        tuple(name for name in steps if name in needed - touched),
        tuple(name for name in steps if name in needed & touched),
        tuned,
    )


def shared_places(
    graph: Json, trials: Iterable[str], values: Mapping[str, Any], *, one_machine: bool
) -> tuple[Finding, ...]:
    """Errors for the places outside of their own folder that the steps of a trial write: trials that run side by side
    would write, and read, each other's. `values` are the parameters that paths may have in them. On many machines only
    URLs are such places."""
    names = set(trials)
    return tuple(
        finding(
            "trials-share-files",
            f"Step {step['name']} writes {path}, which trials that run at the same time would take from each other.",
            cell=step["cells"][0],
            name=path,
        )
        for step in graph["steps"]
        if step["name"] in names
        for path in [filled(path, values) for path in (*step["files_made"], *step["files_out"])]
        if not is_staged(path) and (one_machine or "://" in path)
    )


def _needed(steps: Mapping[str, Json], last: str) -> set[str]:
    """`last` and every step before it."""
    found: set[str] = set()
    waiting = [last]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += sources_of(steps[name])
    return found


def _touched(steps: Mapping[str, Json], tuned: Iterable[str]) -> set[str]:
    """The steps that take a tuned parameter, and every step after them; `steps` stand in an order that may be run."""
    names = set(tuned)
    found: set[str] = set()
    for name, step in steps.items():
        if names & set(step["parameters"]) or found & set(sources_of(step)):
            found.add(name)
    return found


def _none(reason: str) -> NoTuning:
    return NoTuning([finding("no-tuning", f"There is nothing to tune: {reason}.")])
