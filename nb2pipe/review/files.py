"""The right side: the files of the project as HTML, every line with its origin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from nb2pipe.codegen.project import MAP_FILE, Project
from nb2pipe.pipeline.model import Pipeline
from nb2pipe.review.cells import Ids, line_html
from nb2pipe.review.highlight import highlighted
from nb2pipe.review.html import Html, escaped
from nb2pipe.review.origins import Origin, purpose

QUIET = frozenset({"space", "what this file is", "names the cell that follows"})
"""Reasons that the lines themselves say."""


@dataclass(frozen=True, slots=True)
class FileView:
    """A file as the page shows it. `is_plain`: nb2pipe's own from the first line to the last, shown when asked for;
    `from_notebook` counts the lines that are the notebook's."""

    ident: str
    path: str
    purpose: str
    step: str | None
    style: str
    body: Html
    lines: int
    from_notebook: int
    is_plain: bool


def file_order(project: Project, pipeline: Pipeline) -> list[str]:
    """The paths of the project: shared code, the steps, the pipeline, jobs, carried modules, then everything else."""
    package = project.package
    first = [f"{package}/shared.py", *(f"{package}/steps/{step.name}.py" for step in pipeline.steps), "pipeline.py"]
    jobs = sorted(path for path in project.files if path.startswith("jobs/"))
    modules = [module.path for module in pipeline.modules]
    ordered = [path for path in [*first, *jobs, *modules] if path in project.files]
    rest = sorted(path for path in project.files if path not in ordered and path != MAP_FILE)
    return [*ordered, *rest]


def file_views(
    project: Project, pipeline: Pipeline, origins: Mapping[str, Sequence[Origin]], ids: Ids
) -> Iterator[FileView]:
    """Every text file but the source map, in `file_order`."""
    package = project.package
    steps = {f"{package}/steps/{step.name}.py": step.name for step in pipeline.steps}
    linked = {*steps, f"{package}/shared.py", "pipeline.py", *(module.path for module in pipeline.modules)}
    for path in file_order(project, pipeline):
        rows = origins[path]
        plain = path not in linked and not path.startswith("jobs/")
        text = project.files[path]
        count = sum(row.cell is not None for row in rows)
        what = "" if count else "a module of the notebook's own" if _is_carried(rows) else purpose(path, package)
        step = steps.get(path)
        body = Html(f"<pre>{escaped(text)}</pre>") if plain else _code(path, text, rows, ids)
        yield FileView(ids.file(path), path, what, step, ids.style(step), body, len(rows), count, plain)


def _is_carried(rows: Sequence[Origin]) -> bool:
    return bool(rows) and rows[0].kind == "carried"


def _code(path: str, text: str, rows: Sequence[Origin], ids: Ids) -> Html:
    parts: list[str] = []
    whole = len({row.why for row in rows}) == 1
    last = ""
    codes = highlighted(text, PurePosixPath(path).suffix)
    for number, (row, code) in enumerate(zip(rows, codes, strict=False), 1):
        here = ids.place((path, number))
        origin = ids.line(row.cell, row.line) if row.cell is not None and row.line is not None else None
        why = "" if whole or row.why == last or row.why in QUIET else row.why
        last = row.why if row.why != "space" else last
        marked = row.kind if row.kind in ("own", "rewritten") else ""
        kind = f"{marked} blank" if marked == "own" and not code else marked
        parts.append(line_html(here, number, origin or here, code, kind=kind, why=why, origin=origin))
    return Html("".join(parts))
