"""The graph of a pipeline as plain JSON: what a runner needs to know to run a project's steps.

It is written into the project's `nb2pipe.map.json`, so that a project runs without its notebook.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from nb2pipe.notebook.model import Parameter
from nb2pipe.pipeline.model import Artifact, Input, Pipeline, Step
from nb2pipe.pipeline.values import is_json, value_text

Json = dict[str, Any]


def graph(pipeline: Pipeline, package: str) -> Json:
    """The pipeline as JSON: `{"name", "package", "python", "parameters", "input_files", "steps", ...}`.

    `package` is the import name of the generated package. Steps stand in an order that may be run top to bottom.
    """
    return {
        "name": pipeline.name,
        "title": pipeline.title,
        "package": package,
        "python": pipeline.python,
        "base_image": pipeline.base_image,
        "image": pipeline.image,
        "parameters": [_parameter(parameter) for parameter in pipeline.parameters],
        "input_files": [path for path in pipeline.input_files if is_staged(path)],
        "objective": _objective(pipeline),
        "trials": pipeline.trials,
        "steps": [_step(pipeline, index, package) for index in range(len(pipeline.steps))],
    }


def _objective(pipeline: Pipeline) -> Json | None:
    """What tuning optimises: the metric `name` of `step`."""
    steps = {cell: step.name for step in pipeline.steps for cell in step.cells}
    for objective in pipeline.objectives:
        if objective.cell in steps:
            return {"goal": objective.goal, "name": objective.name, "step": steps[objective.cell]}
    return None


def is_staged(path: str) -> bool:
    """Whether a file travels with the pipeline: paths relative to the notebook do, absolute ones and URLs do not."""
    return "://" not in path and not path.startswith(("/", "~"))


def filled(path: str, values: Mapping[str, Any]) -> str:
    """A file's path with the parameters of a run in it.

    >>> filled("data/{region}.csv", {"region": "north"})
    'data/north.csv'
    """
    return path.format(**values) if "{" in path or "}" in path else path


def with_paths(described: Json, values: Mapping[str, Any]) -> Json:
    """The graph for one run: every path is filled in, and what is then no file of the pipeline is no longer listed."""
    steps = []
    for step in described["steps"]:
        taken = [{**row, "path": filled(row["path"], values)} for row in step["files_in"]]
        kept = [row for row in taken if row["source"] is not None or is_staged(row["path"])]
        resources = step["resources"]
        if len(kept) < len(taken) and resources["cache"] is None:  # read where it is: nobody notices when it changes
            resources = {**resources, "cache": False}
        given = [filled(path, values) for path in step["files_out"]]
        steps.append({**step, "files_in": kept, "files_out": given, "resources": resources})
    return {**described, "steps": steps}


def sources_of(step: Mapping[str, Any]) -> list[str]:
    """The steps of the graph that must be done before `step` starts."""
    rows = [*step["inputs"], *step["files_in"]]
    return list(dict.fromkeys([row["source"] for row in rows if row["source"] is not None] + step["after"]))


def unique(name: str, taken: Iterable[str]) -> str:
    """`name`, or the first of `name_2`, `name_3`... that is not taken."""
    used = set(taken)
    count, candidate = 1, name
    while candidate in used:
        count += 1
        candidate = f"{name}_{count}"
    return candidate


def _parameter(parameter: Parameter) -> Json:
    search = asdict(parameter.search) if parameter.search else None
    text = value_text(parameter.type, parameter.default)
    return {
        "name": parameter.name,
        "type": parameter.type,
        "default": parameter.default if is_json(parameter.default) else text,
        "text": text,
        "search": search,
        "help": parameter.help,
        **({} if parameter.least is None else {"least": parameter.least}),
        **({} if parameter.form is None else {"form": parameter.form}),
    }


def _step(pipeline: Pipeline, index: int, package: str) -> Json:
    step = pipeline.steps[index]
    resources = asdict(step.resources)
    resources["env"] = dict(step.resources.env)
    settings = pipeline.kubernetes.get(step.name)
    return {
        "name": step.name,
        "title": step.title,
        "form": step.form,
        "async": step.is_async,
        "module": f"{package}.steps.{step.name}",
        "cells": list(step.cells),
        "inputs": _inputs(step),
        "outputs": [{"artifact": a.name, "names": list(a.names), "kind": a.kind} for a in _artifacts(step)],
        "returns": _returns(step),
        "maybe_unbound": list(step.maybe_unbound),
        "metrics_output": _metrics_output(step),
        "parameters": [*step.parameters, *dict(step.beam_options).values(), *dict(step.bigquery).values()],
        "files_in": [asdict(file) for file in step.files_in if is_staged(file.path)],
        "files_out": [path for path in step.files_out if is_staged(path)],
        "files_fixed": [file.path for file in step.files_in if not is_staged(file.path)],
        "folders": list(step.folders),
        **({"fetches": list(step.fetches)} if step.fetches else {}),
        "files_made": [path for path in step.files_out if not is_staged(path)],
        "after": _after(step),
        "code": _code(pipeline, index, package),
        "requirements": [requirement.spec for requirement in step.requirements],
        "resources": resources,
        "workers": step.workers,
        "framework": step.framework,
        "runner": step.runner,
        "beam": step.beam,
        "beam_options": dict(step.beam_options),
        **({"bigquery": dict(step.bigquery)} if step.bigquery else {}),
        **({"kubernetes": dict(settings)} if settings else {}),
    }


WORKERS_IMPORT: Mapping[str, tuple[str, ...]] = {"torch": ("torch_rows.py",)}
"""What the module of a framework's workers imports of the package beside cluster.py."""


def helper_files(frameworks: Iterable[str], reports: bool, beam: bool, bigquery: bool, fetches: bool) -> list[str]:
    """The files of the package that spread the trainings of `frameworks` ("" is none) over workers, that report, that
    run Beam pipelines, that tell clients of BigQuery what the run says, and that fetch files by their URLs."""
    spread = sorted({*frameworks} - {""})
    names = [file for name in spread for file in (f"{name}_workers.py", *WORKERS_IMPORT.get(name, ()))]
    names += ["trial_reports.py"] * reports
    others = {"beam_runs.py": beam, "bigquery_runs.py": bigquery, "fetch.py": fetches}
    return [*(["cluster.py", *names] if names else []), *(name for name, wanted in others.items() if wanted)]


def _inputs(step: Step) -> list[Json]:
    """One row for each artifact that the step loads. `key` names it on the step's side: unique among its inputs."""
    rows: dict[tuple[str, str], Json] = {}
    for item in step.inputs:
        row = rows.get((item.artifact, item.source)) or _input_row(item, rows.values())
        rows[item.artifact, item.source] = row
        row["names"].append(item.name)
    return list(rows.values())


def _input_row(item: Input, rows: Iterable[Json]) -> Json:
    taken = [row["key"] for row in rows]
    key = item.artifact if item.artifact not in taken else unique(f"{item.source}_{item.artifact}", taken)
    return {"key": key, "artifact": item.artifact, "source": item.source, "names": []}


def _metrics_output(step: Step) -> str | None:
    return step.metrics_output if step.metrics and step.metrics_output else None


def _artifacts(step: Step) -> tuple[Artifact, ...]:
    """The artifacts that the step stores, its metrics included."""
    name = _metrics_output(step)
    others = tuple(artifact for artifact in step.artifacts if artifact.kind != "Metrics")
    if name is None:
        return others
    own = [artifact.name for artifact in step.artifacts if artifact.kind == "Metrics"]
    taken = [artifact.name for artifact in others]
    return (*others, Artifact(own[0] if own else unique("metrics", taken), (name,), "Metrics"))


def _returns(step: Step) -> list[str]:
    names = [output.name for output in step.outputs]
    metrics = _metrics_output(step)
    return names if metrics is None or metrics in names else [*names, metrics]


def _after(step: Step) -> list[str]:
    """Steps that must end before this one starts although they hand nothing over."""
    makers = [file.source for file in step.files_in if file.source is not None and not is_staged(file.path)]
    return list(dict.fromkeys([*step.after, *makers]))


def _code(pipeline: Pipeline, index: int, package: str) -> list[str]:
    """The project's files that the step needs to run: its own, and shared.py, where stored classes are."""
    step, earlier = pipeline.steps[index], pipeline.steps[:index]
    sources = {item.source for item in step.inputs}
    for maker in reversed(earlier):
        if maker.name in sources:
            sources.update(item.source for item in maker.inputs)
    ancestors = [maker for maker in earlier if maker.name in sources]
    shares = any(item.shared for item in (step, *ancestors))
    frameworks = [step.framework, *(pipeline.shared.frameworks if shares else ())]
    reports = step.reports or (shares and pipeline.shared.reports)
    beam = step.beam or (shares and pipeline.shared.beam)
    helpers = helper_files(frameworks, reports, beam, bool(step.bigquery), bool(step.fetches))
    scaffold = ["__init__.py", "artifacts.py", "task.py", *helpers]
    shared = ["shared.py"] if shares else []
    return [f"{package}/{name}" for name in (*scaffold, *shared, "steps/__init__.py", f"steps/{step.name}.py")]
