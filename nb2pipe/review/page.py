"""The review page: notebook and generated code side by side in one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nb2pipe.codegen.project import Project, notebook_digest
from nb2pipe.codegen.render import render_html, template_text
from nb2pipe.findings import Finding, errors
from nb2pipe.notebook.outputs import saved
from nb2pipe.review.cells import Ids, cell_views
from nb2pipe.review.changes import changes
from nb2pipe.review.facts import Facts, Outcome, facts
from nb2pipe.review.fates import Fates
from nb2pipe.review.files import file_order, file_views
from nb2pipe.review.html import Html
from nb2pipe.review.origins import origins
from nb2pipe.review.steps import graph_view, layout_steps, parameter_views, step_views
from nb2pipe.version import __version__

if TYPE_CHECKING:
    from nb2pipe.notebook.model import Layout, Notebook, Parameter, PyCell
    from nb2pipe.pipeline.model import Pipeline

MARK = "<!DOCTYPE html>\n<!-- nb2pipe review -->\n"
"""How every page begins: what does not is not replaced by one."""


class Subject(Protocol):
    """What the page needs of a conversion. `pipeline` and `project` raise Refused where there is none."""

    @property
    def path(self) -> Path: ...
    @property
    def notebook(self) -> Notebook: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def cells(self) -> tuple[PyCell, ...]: ...
    @property
    def declared(self) -> tuple[tuple[Parameter, ...], tuple[Finding, ...]]: ...
    @property
    def findings(self) -> tuple[Finding, ...]: ...
    @property
    def parsed(self) -> Pipeline | None: ...
    @property
    def project(self) -> Project: ...


@dataclass(frozen=True, slots=True)
class Chip:
    """A word of the header: `state` is "good", "bad", "warn" or ""."""

    text: str
    state: str
    href: str


def review_page(subject: Subject, folder: Path | None = None, live: str = "") -> str:
    """The page of a notebook, refused or not. `folder` is where its project is, if it was ever written.

    `live` names the version of a page that looks for newer ones.
    """
    pipeline = subject.parsed
    project = subject.project if pipeline is not None and not errors(subject.findings) else None
    name = pipeline.name if pipeline else subject.path.stem
    digest = notebook_digest(subject.notebook)
    known = facts(subject.path.resolve().parent, name, digest)
    made = origins(project, [m.path for m in pipeline.modules]) if project and pipeline else None
    order = file_order(project, pipeline) if project and pipeline else []
    ids = Ids(order, [step.name for step in subject.layout.steps])
    fates = Fates(subject.layout, subject.declared[0], pipeline, made)
    code = {cell.cell.index: cell for cell in subject.cells}
    views = list(file_views(project, pipeline, made, ids)) if project and pipeline and made else []
    return _page(
        live=live,
        title=(pipeline.title if pipeline else "") or name,
        name=name,
        notebook=subject.path.name,
        digest=digest[:12],
        python=pipeline.python if pipeline else "",
        counts=_counts(subject),
        chips=tuple(_chips(project, subject.findings, known)),
        findings=subject.findings,
        graph=graph_view(pipeline, ids) if pipeline else None,
        steps=step_views(pipeline, known, ids, project.package if project else None) if pipeline else [],
        plain_steps=[] if pipeline else layout_steps(subject.layout),
        parameters=parameter_views(subject.declared[0], pipeline),
        objectives=subject.layout.objectives,
        facts=known,
        changes=changes(project, folder) if folder else (),
        cells=cell_views(
            subject.notebook.cells, code, subject.layout, fates, ids, subject.findings, saved(subject.path)
        ),
        files=views,
    )


def failed_page(path: Path, findings: Sequence[Finding], live: str = "") -> str:
    """The page of a file that cannot be read as a notebook."""
    return _page(
        live=live,
        title=path.name,
        name=path.stem,
        notebook=path.name,
        digest="",
        python="",
        counts="",
        chips=(Chip("not a notebook", "bad", "findings"),),
        findings=tuple(findings),
        graph=None,
        steps=[],
        plain_steps=[],
        parameters=[],
        objectives=(),
        facts=Facts(),
        changes=(),
        cells=[],
        files=[],
    )


def _page(**values: Any) -> str:
    style, script = (template_text(f"review/{name}").strip() for name in ("page.css", "page.js"))
    policy = {
        "default-src": "'none'",
        "style-src": _source(style),
        "script-src": _source(script),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        **({"connect-src": "'self'"} if values["live"] else {}),
    }
    text = render_html(
        "review/page.html.j2",
        policy="; ".join(f"{name} {value}" for name, value in policy.items()),
        style=Html(style),
        script=Html(script),
        version=__version__,
        stale=_stale_words,
        **values,
    )
    return MARK + text


def _source(text: str) -> str:
    """The one inline text that the policy allows."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _stale_words(outcome: Outcome) -> str:
    return "of an earlier state of the notebook" if outcome.is_stale else ""


def _counts(subject: Subject) -> str:
    return f"{_many(len(subject.notebook.cells), 'cell')}, {_many(len(subject.layout.steps), 'step')}"


def _many(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


VERDICTS: Mapping[str, str] = {"equal": "good", "succeeded": "good", "different": "bad", "failed": "bad"}


def _chips(project: Project | None, findings: Sequence[Finding], known: Facts) -> Iterator[Chip]:
    """The state of things at a glance."""
    count, warned = len(errors(findings)), sum(f.severity == "warning" for f in findings)
    yield Chip("converts", "good", "code") if project else Chip(f"refused: {_many(count, 'error')}", "bad", "findings")
    if warned:
        yield Chip(_many(warned, "warning"), "warn", "findings")
    if known.verified:
        old = known.verified.outcome.is_stale
        text = f"verified: {known.verified.verdict}" + (", before the last change" if old else "")
        yield Chip(text, "warn" if old else VERDICTS.get(known.verified.verdict, ""), "verification")
    else:
        yield Chip("not verified", "", "verification")
    if known.run:
        old = known.run.outcome.is_stale
        text = f"last run {known.run.status}" + (", before the last change" if old else "")
        yield Chip(text, "warn" if old else VERDICTS.get(known.run.status, ""), "run")
