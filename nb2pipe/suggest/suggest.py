"""Tags for a notebook that has none, or not enough: `suggest` is the only way in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nb2pipe.dataflow.model import Flow
from nb2pipe.findings import Finding, errors, finding
from nb2pipe.notebook.model import Cell, Layout, Notebook, PyCell, Tag
from nb2pipe.notebook.tagging import Change
from nb2pipe.notebook.tags import ROLES
from nb2pipe.suggest.advice import advice, objective
from nb2pipe.suggest.facts import facts_of
from nb2pipe.suggest.model import Labels, Suggestion, Try
from nb2pipe.suggest.naming import named
from nb2pipe.suggest.reasons import reasons
from nb2pipe.suggest.repair import repaired
from nb2pipe.suggest.roles import roles
from nb2pipe.suggest.segments import Segment, segments


def suggest(notebook: Notebook, cells: Sequence[PyCell], attempt: Try) -> Suggestion:
    """Labels for all code cells of a notebook: its own tags where it has some, else what is likely.

    They convert: `attempt`, the real analysis, is asked again and again until nothing is wrong. Where nothing helps,
    a finding `cannot-suggest` is among the errors that remain.
    """
    facts = facts_of(notebook, cells, attempt)
    outside = roles(facts)
    found = segments(facts, [c.cell for c in facts.cells if c.cell not in outside and not c.empty])
    done = repaired(_labels(outside, found, named(found, facts)), facts, attempt)
    failed = errors(done.attempt.findings)
    extra = {} if failed else objective(notebook, facts, done.labels, done.attempt, attempt)
    why = reasons(done.labels, facts, found, done.moved)
    remarks = [*failed, *_failure(failed)] if failed else advice(facts, done.labels, done.attempt)
    return Suggestion(done.labels, why, extra, tuple(remarks), arrows(done.attempt.flow) if not failed else {})


def _labels(outside: Labels, found: Sequence[Segment], names: Sequence[str]) -> dict[int, str]:
    labels = dict(outside)
    for segment, name in zip(found, names, strict=True):
        labels.update(dict.fromkeys(segment.cells, f"step:{name}"))
    return dict(sorted(labels.items()))


def _failure(failed: Sequence[Finding]) -> list[Finding]:
    message = f"No tags make this notebook a pipeline: {failed[0].message}"
    return [finding("cannot-suggest", message, cell=failed[0].cell, line=failed[0].line)]


def arrows(flow: Flow) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """The names that go from one step to another, in the order of the steps."""
    found: dict[tuple[str, str], list[str]] = {}
    for step in flow.steps:
        for need in step.inputs.values():
            found.setdefault((need.source, step.name), []).append(need.name)
        for path, source in step.files_in:
            if source is not None:
                found.setdefault((source, step.name), []).append(f"file {path}")
    return {pair: tuple(names) for pair, names in found.items()}


def tags(
    notebook: Notebook, labels: Labels, extra: Mapping[int, tuple[str, ...]], *, every: bool
) -> dict[int, tuple[str, ...]]:
    """The tags to write: for a step only on its first cell, because untagged cells follow; with `every` on each."""
    wanted: dict[int, tuple[str, ...]] = {}
    current = ""
    for cell in notebook.cells:
        label = labels.get(cell.index, "")
        own = any(t.kind in ("step", "shared", "skip", "parameters") for t in cell.tags)
        inherited = label.startswith("step:") and label == current and not every
        new = () if own or not label or inherited else (label,)
        current = label if label.startswith("step:") else current
        added = (*new, *(t for t in extra.get(cell.index, ()) if t not in {x.text for x in cell.tags}))
        if added:
            wanted[cell.index] = added
    return wanted


def labels_of(notebook: Notebook, layout: Layout) -> dict[int, str]:
    """The labels that a tagged notebook's cells have: what they are for now."""
    words = {"setup": "shared", "step": ""}
    return {
        c.index: f"step:{layout.step_of[c.index]}" if c.index in layout.step_of else words.get(role, role)
        for c, role in zip(notebook.cells, layout.roles, strict=True)
        if c.kind == "code" and c.source.strip()
    }


def bare(cell: Cell) -> Cell:
    """The cell without those of its metadata's tags that say what it is for."""
    kept = tuple(t for t in cell.tags if t.line is not None or t.kind not in ROLES)
    return cell if kept == cell.tags else replace(cell, tags=kept)


def changes(
    notebook: Notebook, labels: Labels, extra: Mapping[int, tuple[str, ...]], *, every: bool
) -> dict[int, Change]:
    """What has to be written so that the cells have these labels, whatever their tags say now: tags that say another
    thing go, those that are right stay."""
    without = replace(notebook, cells=tuple(bare(c) for c in notebook.cells))
    wanted = tags(without, labels, extra, every=every)
    found: dict[int, Change] = {}
    for cell in notebook.cells:
        own = [t for t in cell.tags if t.line is None and t.kind in ROLES]
        right = [t for t in own if _label(t) == labels.get(cell.index)]
        wrong = tuple(t.text for t in own if t not in right)
        new = tuple(t for t in wanted.get(cell.index, ()) if not (right and t == labels.get(cell.index)))
        if new or wrong:
            found[cell.index] = Change(new, wrong)
    return found


def _label(tag: Tag) -> str:
    return f"step:{tag.value.replace('-', '_')}" if tag.kind == "step" else tag.kind
