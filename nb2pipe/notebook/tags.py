"""Tags -> Layout: which cell is for what, the steps, what they need, and everything that is wrong with the tags."""

from __future__ import annotations

import builtins
import difflib
import keyword
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from nb2pipe.findings import Finding, finding
from nb2pipe.notebook.model import Cell, Layout, Notebook, Objective, Resources, Role, StepTags, Tag
from nb2pipe.notebook.vocabulary import TAGS, read_tag
from nb2pipe.options import Options

ROLES: Mapping[str, Role] = {"step": "step", "parameters": "parameters", "shared": "shared", "skip": "skip"}
RESERVED = frozenset(("shared", "task", "artifacts", "steps", "tests", "pipeline", "conftest", "main"))
"""Names of modules of the generated project."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass(slots=True)
class _Step:
    """A step while its cells are gathered; `values` are (kind, parsed value, tag, cell) in order."""

    name: str
    cells: list[int] = field(default_factory=list)
    values: list[tuple[str, Any, Tag, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Draft:
    roles: list[Role] = field(default_factory=list)
    steps: dict[str, _Step] = field(default_factory=dict)
    step_of: dict[int, str] = field(default_factory=dict)
    metrics: set[int] = field(default_factory=set)
    objectives: list[Objective] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    current: str | None = None


def layout(notebook: Notebook, options: Options) -> Layout:
    """What the tags of `notebook` say: a role for each cell, the steps in order of their first cell, and findings.

    Untagged code cells belong to the step before them, or are `setup` before the first step. Errors among the findings:
    no step at all, contradictions, bad names and values, near misses, unknown or circular `after:`; with the option
    `strict` an untagged code cell too.
    """
    draft = _Draft()
    for cell in notebook.cells:
        draft.roles.append(_text_cell(cell, draft) if cell.kind != "code" else _code_cell(cell, draft, options))
    defaults = _kale_defaults(notebook.metadata, draft)
    steps = tuple(_step_tags(step, defaults, draft) for step in draft.steps.values())
    draft.findings += _order_problems(steps, draft)
    if not steps:
        draft.findings.append(finding("no-steps", "No cell of the notebook is tagged as a step."))
    return Layout(
        roles=tuple(draft.roles),
        steps=steps,
        step_of=draft.step_of,
        metrics=frozenset(draft.metrics),
        objectives=tuple(draft.objectives),
        findings=tuple(draft.findings),
    )


def _text_cell(cell: Cell, draft: _Draft) -> Role:
    for tag in cell.tags:
        if tag.kind == "step":
            draft.findings.append(_at(cell, tag, "tag-on-text", f"The tag `{tag.text}` stands on a text cell."))
    return "text"


def _at(cell: Cell, tag: Tag, code: str, message: str, hint: str | None = None) -> Finding:
    return finding(code, message, cell=cell.index, line=tag.line, name=tag.text, hint=hint)


def _code_cell(cell: Cell, draft: _Draft, options: Options) -> Role:
    tags = _unique(cell.tags)
    for tag in tags:
        draft.findings += _word_problems(cell, tag)
    values = _values(cell, tags, draft)
    role = _role(cell, values, draft, options)
    if role == "step" and draft.current is not None:
        step = draft.steps[draft.current]
        step.cells.append(cell.index)
        draft.step_of[cell.index] = step.name
        step.values += [(tag.kind, value, tag, cell.index) for tag, value in values if tag.kind not in ROLES]
        _note_results(cell, values, draft)
    return role


def _unique(tags: Iterable[Tag]) -> list[Tag]:
    """The same tag twice, in the metadata and as a directive, is one tag."""
    seen: dict[tuple[str, str], Tag] = {}
    for tag in tags:
        value = tag.value.replace("-", "_") if tag.kind == "step" else tag.value
        seen.setdefault((tag.kind, value if tag.kind not in ("other", "foreign") else tag.text), tag)
    return list(seen.values())


def _word_problems(cell: Cell, tag: Tag) -> list[Finding]:
    if tag.kind == "near":
        message = f"The tag `{tag.text}` is not known; `{tag.value}` was probably meant."
        return [_at(cell, tag, "unknown-tag", message, f"Write `{tag.value}`.")]
    if tag.kind == "foreign":
        return [_at(cell, tag, "tag-not-carried", f"The tag `{tag.text}` is not carried into the pipeline.")]
    return []


def _values(cell: Cell, tags: Iterable[Tag], draft: _Draft) -> list[tuple[Tag, Any]]:
    """The tags of ours with their parsed values; those that do not parse become findings."""
    values: list[tuple[Tag, Any]] = []
    for tag in tags:
        spec = TAGS.get(tag.kind)
        if spec is None:
            continue
        if spec.value is None and tag.value:
            draft.findings.append(_bad(cell, tag, "it takes no value"))
        try:
            values.append((tag, spec.value(tag.value) if spec.value else None))
        except ValueError as error:
            draft.findings.append(_bad(cell, tag, str(error)))
    return values


def _bad(cell: Cell, tag: Tag, reason: str) -> Finding:
    example = TAGS[tag.kind].example
    return _at(cell, tag, "bad-tag", f"The tag `{tag.text}` is wrong: {reason}.", f"Write it like `{example}`.")


def _role(cell: Cell, values: list[tuple[Tag, Any]], draft: _Draft, options: Options) -> Role:
    claims = [tag for tag, _ in values if tag.kind in ROLES]
    if len(claims) > 1:
        first, second = claims[0], claims[1]
        message = f"The tags `{first.text}` and `{second.text}` of cell {cell.index} contradict each other."
        draft.findings.append(_at(cell, second, "contradicting-tags", message))
    kind = claims[0].kind if claims else ""
    needy = [tag for tag, _ in values if tag.kind not in ROLES]
    if kind in ("parameters", "shared", "skip"):
        if needy:
            message = f"The tag `{needy[0].text}` is for a step, but cell {cell.index} is tagged `{claims[0].text}`."
            draft.findings.append(_at(cell, needy[0], "contradicting-tags", message))
        return ROLES[kind]
    if kind == "step":
        draft.current = _step(cell, claims[0], draft)
        return "step"
    if draft.current is None:
        if needy:
            message = f"The tag `{needy[0].text}` needs a step, but no step begins before cell {cell.index}."
            draft.findings.append(_at(cell, needy[0], "tag-without-step", message))
        return "setup"
    if options.strict and not needy and cell.source.strip():
        message = f"Cell {cell.index} has no tag; it was counted to the step {draft.current}."
        draft.findings.append(
            finding("tag-without-step", message, cell=cell.index, hint=f"Tag it `step:{draft.current}` or `skip`.")
        )
    return "step"


def _step(cell: Cell, tag: Tag, draft: _Draft) -> str:
    """The identifier of the step that `tag` names; a bad name is reported and repaired, so that the rest is checked."""
    name = tag.value.replace("-", "_")
    reason = name_problem(tag.value, name)
    if reason:
        name = step_name(tag.value)
        message = f"The step name {tag.value!r} cannot be used: {reason}."
        draft.findings.append(_at(cell, tag, "bad-step-name", message, f"Write `step:{name}`."))
    draft.steps.setdefault(name, _Step(name))
    return name


def name_problem(written: str, name: str) -> str:
    """Why a step cannot be called `written`, which is `name` in Python; "" when it can."""
    if not _NAME.fullmatch(written):
        return "a name begins with a lower-case letter and holds lower-case letters, digits, `_` and `-` (at most 63)"
    if keyword.iskeyword(name):
        return "it is a keyword of Python"
    return "it is a module of the generated project" if name in RESERVED else ""


def step_name(written: str) -> str:
    """A name that a step may have, as near as can be to what is written."""
    name = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", written).lower()).strip("_")[:55]
    name = name if name and name[0].isalpha() else f"step_{name}".rstrip("_")
    return f"{name}_step" if keyword.iskeyword(name) or name in RESERVED or hasattr(builtins, name) else name


def _note_results(cell: Cell, values: list[tuple[Tag, Any]], draft: _Draft) -> None:
    for tag, value in values:
        if tag.kind == "metrics":
            draft.metrics.add(cell.index)
        elif tag.kind == "objective":
            goal = cast(Literal["maximize", "minimize"], value[0])
            draft.objectives.append(Objective(goal, value[1], cell.index))


def _kale_defaults(metadata: Mapping[str, Any], draft: _Draft) -> list[tuple[str, Any, Tag]]:
    """Kale's `kubeflow_notebook.steps_defaults`: tags of every step that says nothing else."""
    kale = metadata.get("kubeflow_notebook")
    texts = kale.get("steps_defaults") if isinstance(kale, dict) else None
    defaults: list[tuple[str, Any, Tag]] = []
    for text in texts if isinstance(texts, list) else ():
        tag = read_tag(str(text))
        spec = TAGS.get(tag.kind)
        try:
            if spec is None or spec.value is None or not spec.field:
                raise ValueError("it has no counterpart here")
            defaults.append((tag.kind, spec.value(tag.value), tag))
        except ValueError as error:
            message = f"Kale's default `{tag.text}` is not carried into the pipeline: {error}."
            draft.findings.append(finding("tag-not-carried", message, name=tag.text))
    return defaults


def _step_tags(step: _Step, defaults: list[tuple[str, Any, Tag]], draft: _Draft) -> StepTags:
    single: dict[str, Any] = {}
    several: dict[str, list[Any]] = {}
    written: dict[str, tuple[Any, Tag]] = {}
    for kind, value, tag, cell in step.values:
        key = f"env:{value[0]}" if kind == "env" else kind
        if kind == "env" or not TAGS[kind].many:
            before, other = written.setdefault(key, (value, tag))
            if before != value:
                message = f"The step {step.name} is tagged both `{other.text}` and `{tag.text}`."
                draft.findings.append(finding("contradicting-tags", message, cell=cell, line=tag.line, name=tag.text))
        if TAGS[kind].many:
            several.setdefault(kind, []).append(value)
        else:
            single.setdefault(kind, value)
    for kind, value, _ in defaults:
        single.setdefault(kind, value)
    after = dict.fromkeys(name for names in several.get("after", ()) for name in names)
    return StepTags(
        name=step.name,
        cells=tuple(step.cells),
        after=tuple(after),
        resources=_resources(single, several),
        workers=single.get("workers"),
        runner=single.get("runner"),
    )


def _resources(single: Mapping[str, Any], several: Mapping[str, list[Any]]) -> Resources:
    fields = {spec.field: single[kind] for kind, spec in TAGS.items() if spec.field and kind in single}
    accelerator, count = fields.pop("accelerator", (None, 0))
    fields |= {spec.field: tuple(dict.fromkeys(several[k])) for k, spec in TAGS.items() if spec.field and k in several}
    return Resources(**fields, accelerator=accelerator, accelerators=count)


def _order_problems(steps: tuple[StepTags, ...], draft: _Draft) -> list[Finding]:
    names = [step.name for step in steps]
    problems = [_unknown_step(step, name, names, draft) for step in steps for name in step.after if name not in names]
    after = {step.name: [name for name in step.after if name in names] for step in steps}
    circle = _circle(after)
    if circle:
        shown = " after ".join(circle)
        first = next(step for step in steps if step.name == circle[0])
        problems.append(
            finding("step-cycle", f"The steps wait for each other: {shown}.", cell=first.cells[0], name=circle[0])
        )
    return problems


def _unknown_step(step: StepTags, name: str, names: list[str], draft: _Draft) -> Finding:
    values = draft.steps[step.name].values
    cell, line = next((cell, tag.line) for kind, value, tag, cell in values if kind == "after" and name in value)
    close = difflib.get_close_matches(name, names, 1)
    hint = f"Write `after:{close[0]}`." if close else f"The steps are: {', '.join(names)}."
    message = f"The step {step.name} is tagged `after:{name}`, but there is no step {name}."
    return finding("unknown-step", message, cell=cell, line=line, name=name, hint=hint)


def _circle(after: Mapping[str, list[str]]) -> list[str]:
    """A way from a step back to itself, [] when there is none."""
    done: set[str] = set()
    for start in after:
        path: list[str] = []
        stack = [(start, iter(after[start]))] if start not in done else []
        path = [name for name, _ in stack]
        while stack:
            following = next(stack[-1][1], None)
            if following is None:
                done.add(stack.pop()[0])
                path.pop()
            elif following in path:
                return [*path[path.index(following) :], following]
            elif following not in done:
                stack.append((following, iter(after[following])))
                path.append(following)
    return []
