"""The generated project in memory: every file of it, from the IR."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nb2pipe import artifacts
from nb2pipe.codegen.body import Context, Source, function_name, hidden_names, shared_file, step_file
from nb2pipe.codegen.imports import bound_names
from nb2pipe.codegen.jobs import job_text, kubeflow_jobs
from nb2pipe.codegen.literal import one_line
from nb2pipe.codegen.paths import is_safe
from nb2pipe.codegen.render import render
from nb2pipe.codegen.vertex_jobs import vertex_jobs
from nb2pipe.notebook.model import Notebook
from nb2pipe.pipeline.graph import filled, graph, helper_files
from nb2pipe.pipeline.model import Pipeline, Shared, Step
from nb2pipe.pipeline.scaffold import scaffold

Platform = Literal["kfp", "vertex"]
MAP_FILE = "nb2pipe.map.json"
JOBS: Mapping[Platform, Callable[[dict[str, Any], dict[str, Any] | None], dict[str, dict[str, Any]]]] = {
    "kfp": kubeflow_jobs,
    "vertex": vertex_jobs,
}
SAMPLE_LIMIT = 1_000_000
"""Bytes up to which an input file travels with the project as data of its tests."""

RESERVED_PACKAGES = frozenset({"pipeline", "tests", "conftest", "jobs", "kfp", "pytest"})

PACKAGE_FILES = {"task.py": "package/task.py.j2"}
PROJECT_FILES = {
    "README.md": "project/README.md.j2",
    "pyproject.toml": "project/pyproject.toml.j2",
    "requirements.txt": "project/requirements.txt.j2",
    "Dockerfile": "project/Dockerfile.j2",
    ".dockerignore": "project/dockerignore.j2",
    ".gitignore": "project/gitignore.j2",
    "pipeline.py": "project/pipeline.py.j2",
    "tests/conftest.py": "project/tests/conftest.py.j2",
    "tests/test_steps.py": "project/tests/test_steps.py.j2",
}


@dataclass(frozen=True, slots=True)
class Project:
    """A generated project: text files and (for the tests) data files, by their path relative to its folder.

    Paths have slashes. `package` is the import name of the Python package in it. `reasons` gives, for the files that
    hold the notebook's lines, why a line (from 1) is not the notebook's as it stands there.
    """

    name: str
    package: str
    files: Mapping[str, str]
    data: Mapping[str, bytes] = field(default_factory=dict)
    reasons: Mapping[str, Mapping[int, str]] = field(default_factory=dict)


def generate(
    pipeline: Pipeline,
    notebook: Notebook | None = None,
    *,
    data: Mapping[str, bytes] | None = None,
    extra: Mapping[str, str] | None = None,
    platform: Platform = "kfp",
) -> Project:
    """The project of `pipeline`, the same bytes for the same arguments.

    `notebook` gives the headings above the cells and the digest in the source map. `data` are input files by their
    path beside the notebook (see `sample_data`); the project's tests run on them. `extra` are further text files by
    path, such as local modules. `platform` runs the jobs of many workers, and tuning. Raises SyntaxError if a generated
    Python file is not Python.
    """
    pipeline = _settled(pipeline)
    extra = {**{module.path: module.text for module in pipeline.modules}, **(extra or {})}
    package = package_name(pipeline)
    context = Context(package, pipeline.notebook, {p.name: p for p in pipeline.parameters}, headings(notebook))
    sources = _sources(pipeline, context)
    files = {path: source.text for path, source in sources.items()}
    files |= _scaffold(pipeline, package, _modules(extra), platform)
    files |= extra
    files[MAP_FILE] = _map(pipeline, package, notebook, sources, platform)
    for path, text in files.items():
        if path.endswith(".py") and path not in extra:
            _compiled(path, text)
    samples = {f"tests/data/{path}": content for path, content in sorted((data or {}).items())}
    reasons = {path: source.reasons for path, source in sources.items()}
    return Project(pipeline.name, package, dict(sorted(files.items())), samples, reasons)


def _settled(pipeline: Pipeline) -> Pipeline:
    """The pipeline with a script for each step whose function would hide a name that its file has at the top."""

    def settled(step: Step) -> Step:
        hidden = hidden_names(step) if step.form == "function" else ()
        reason = f"a function would hide {', '.join(hidden)}"
        return replace(step, form="module", form_reason=reason) if hidden else step

    return replace(pipeline, steps=tuple(map(settled, pipeline.steps)))


def _compiled(path: str, text: str) -> None:
    import ast

    compile(text, path, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def sample_data(pipeline: Pipeline, folder: Path) -> dict[str, bytes]:
    """The input files of `pipeline` in the notebook's `folder` that are small enough to travel with the project.

    A folder, and a file outside, beyond SAMPLE_LIMIT or with an odd name is left out; tests that need it are skipped.
    """
    root, taken = folder.resolve(), {}
    values = {p.name: p.default for p in pipeline.parameters}
    for name in (filled(path, values) for path in pipeline.input_files):
        path = (root / name).resolve()
        inside = path.relative_to(root).as_posix() if path.is_relative_to(root) else ".."
        if is_safe(inside) and path.is_file() and path.stat().st_size <= SAMPLE_LIMIT:
            taken[inside] = path.read_bytes()
    return taken


def package_name(pipeline: Pipeline) -> str:
    """The import name of the package: the pipeline's name, or `NAME_pipeline` where that would hide another module."""
    taken = _imported(pipeline) | RESERVED_PACKAGES | sys.stdlib_module_names
    return f"{pipeline.name}_pipeline" if pipeline.name in taken else pipeline.name


def _imported(pipeline: Pipeline) -> set[str]:
    """The top-level names of the modules that the pipeline's code imports anywhere."""
    groups = [pipeline.shared.prelude, pipeline.shared.imports, pipeline.shared.definitions]
    for step in pipeline.steps:
        groups += [step.prelude, step.imports, step.definitions, step.setup, step.body]
    texts = {"\n".join(fragment.lines) for group in groups for fragment in group}
    bound = bound_names(sorted(text for text in texts if "import" in text))
    return {qualified.partition(".")[0] for qualified in bound}


def headings(notebook: Notebook | None) -> dict[int, str]:
    """The last heading above each code cell, for those that text stands directly above."""
    found: dict[int, str] = {}
    heading = ""
    for cell in notebook.cells if notebook else ():
        if cell.kind == "markdown":
            titles = re.findall(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", cell.source, re.MULTILINE)
            heading = one_line(re.sub(r"[*`_]+", "", titles[-1])) if titles else heading
        elif cell.kind == "code":
            found |= {cell.index: heading} if heading else {}
            heading = ""
    return found


def _sources(pipeline: Pipeline, context: Context) -> dict[str, Source]:
    """The files that hold the notebook's lines."""
    package = context.package
    files = {f"{package}/steps/{step.name}.py": step_file(step, context) for step in pipeline.steps}
    if pipeline.shared != Shared():
        files[f"{package}/shared.py"] = shared_file(pipeline.shared, context)
    return files


def _scaffold(pipeline: Pipeline, package: str, modules: Sequence[str], platform: Platform) -> dict[str, str]:
    """The files that are nb2pipe's own text."""
    functions = {step.name: function_name(step) for step in pipeline.steps}
    values = {
        **scaffold(pipeline, package, functions, modules, platform),
        "pipeline": pipeline,
        "package": package,
        "requirements": requirement_lines(pipeline),
        "modules": modules,
    }
    files = {path: render(template, **values) for path, template in PROJECT_FILES.items()}
    files |= {f"{package}/{path}": render(template, **values) for path, template in PACKAGE_FILES.items()}
    title = one_line(pipeline.title) or pipeline.name
    files[f"{package}/__init__.py"] = render("package/init.py.j2", title=title, **values)
    files[f"{package}/steps/__init__.py"] = render("package/steps_init.py.j2", **values)
    reports = pipeline.shared.reports or any(step.reports for step in pipeline.steps)
    beam = pipeline.shared.beam or any(step.beam for step in pipeline.steps)
    frameworks = (step.framework for step in pipeline.steps)
    helpers = helper_files(frameworks, reports, beam, values["bigquery"], values["fetches"])
    launched = values["kfp"]["launch"]
    if launched["packages"]:
        files["requirements-jobs.txt"] = render("project/requirements-jobs.txt.j2", **values)
    helpers = list(dict.fromkeys([*helpers, *launched["files"]]))
    templates = {name: "jobs_" + platform + ".py" if name == "jobs.py" else name for name in helpers}
    files |= {f"{package}/{name}": render(f"package/{template}.j2", **values) for name, template in templates.items()}
    jobs = JOBS[platform](values["graph"], values["trial"])
    files |= {path: job_text(jobs[name]) for name, path in launched["manifests"].items()}
    files[f"{package}/artifacts.py"] = artifacts.source(_stored_types(pipeline), _imported(pipeline))
    return files


def _modules(extra: Mapping[str, str]) -> list[str]:
    """The local modules among further files: what lies at the top of the project and can be imported."""
    tops = {path.partition("/")[0] for path in extra if path.endswith(".py")}
    return sorted(tops - {"jobs", "tests"})


def _stored_types(pipeline: Pipeline) -> list[str | None]:
    """The types of what steps store; metrics are a dict of numbers."""
    types: set[str | None] = {output.stored or None for step in pipeline.steps for output in step.outputs}
    types |= {"builtins.dict"} if any(step.metrics for step in pipeline.steps) else set()
    return sorted(types, key=lambda name: name or "")


def requirement_lines(pipeline: Pipeline) -> list[tuple[str, str]]:
    """The union of the steps' requirements: (spec, names of the steps that need it), sorted by spec."""
    steps: dict[str, list[str]] = {}
    for step in pipeline.steps:
        for requirement in step.requirements:
            steps.setdefault(requirement.spec, []).append(step.name)
    ordered = sorted(steps.items(), key=lambda item: (item[0].casefold(), item[0]))
    return [(one_line(spec), ", ".join(dict.fromkeys(names))) for spec, names in ordered]


def _map(
    pipeline: Pipeline, package: str, notebook: Notebook | None, sources: Mapping[str, Source], platform: Platform
) -> str:
    cells = notebook.cells if notebook else ()
    ids = [cell.id for cell in cells] or list(pipeline.cell_ids)
    content: dict[str, Any] = {
        "version": 1,
        "platform": platform,
        "notebook": {"path": pipeline.notebook, "sha256": notebook_digest(notebook) if notebook else None},
        "files": {path: source.rows for path, source in sorted(sources.items())},
        "cells": [{"index": index, "id": cell_id} for index, cell_id in enumerate(ids)],
        "pipeline": graph(pipeline, package),
    }
    return _compact_json(content)


def notebook_digest(notebook: Notebook) -> str:
    """The sha256 of what a conversion depends on: kinds, tags and sources of the cells, not their outputs."""
    cells = [[cell.kind, [tag.text for tag in cell.tags], cell.source] for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def _compact_json(content: Mapping[str, Any]) -> str:
    """JSON for people and for diffs: one row of the source map, one cell and one step on a line each."""
    parts = []
    for key, value in content.items():
        if key == "files":
            text = _block("{", [f"{json.dumps(path)}: {_rows(rows)}" for path, rows in value.items()], "}", 2)
        elif key == "cells":
            text = _block("[", [json.dumps(cell) for cell in value], "]", 2)
        else:
            text = json.dumps(value, indent=2, ensure_ascii=False).replace("\n", "\n  ")
        parts.append(f"{json.dumps(key)}: {text}")
    return _block("{", parts, "}", 0) + "\n"


def _rows(rows: Iterable[Sequence[int]]) -> str:
    return _block("[", [json.dumps(list(row)) for row in rows], "]", 4)


def _block(opening: str, items: Sequence[str], closing: str, indent: int) -> str:
    pad = " " * indent
    return f"{opening}\n{pad}  " + f",\n{pad}  ".join(items) + f"\n{pad}{closing}" if items else opening + closing
