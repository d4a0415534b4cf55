"""The tuning of a pipeline, as its generated files lay it out: what a trial runs, and the component `tune`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nb2pipe.pipeline.graph import Json, unique
from nb2pipe.pipeline.trial import NoTuning, Slice, trial_slice


def trial_table(described: Json) -> Json | None:
    """What trial.py runs: `steps`, each with where its inputs and files come from, and `given`, what it is given.

    A source is `[step, name]`: an artifact or a file that a step of the trial makes, `["", key]` for what is given.
    None for a pipeline that has nothing to tune.
    """
    try:
        cut = trial_slice(described)
    except NoTuning:
        return None
    steps = {step["name"]: step for step in described["steps"] if step["name"] in cut.trial}
    given = _given(steps, cut)
    table: dict[str, Json] = {}
    for name, step in steps.items():
        table[name] = {
            "inputs": {row["key"]: _source(row["source"], row["artifact"], given) for row in step["inputs"]},
            "outputs": [row["artifact"] for row in step["outputs"]],
            "files_in": {row["path"]: _source(row["source"], row["path"], given) for row in step["files_in"]},
            "files_out": step["files_out"],
            "parameters": step["parameters"],
        }
    rows = {key: list(origin) for origin, key in given.items()}
    return {"steps": table, "given": rows, "tuned": list(cut.tuned), "before": list(cut.before)}


Origin = tuple[str, str | None, str]
"""Whether it is an "artifact" or a "file", the step that makes it (None: beside the notebook), its name or path."""


def _given(steps: Mapping[str, Json], cut: Slice) -> dict[Origin, str]:
    """A key for each artifact and file that a trial takes from outside."""
    found: dict[Origin, str] = {}
    for step in steps.values():
        for origin in _origins(step):
            if origin[1] not in cut.trial and origin not in found:
                found[origin] = unique(origin[2], found.values())
    return found


def _origins(step: Json) -> Iterator[Origin]:
    yield from (("artifact", row["source"], row["artifact"]) for row in step["inputs"])
    yield from (("file", row["source"], row["path"]) for row in step["files_in"])


def _source(maker: str | None, name: str, given: Mapping[Origin, str]) -> list[str]:
    for kind in ("artifact", "file"):
        if (kind, maker, name) in given:
            return ["", given[kind, maker, name]]
    return [maker or "", name]
