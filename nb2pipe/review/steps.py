"""Steps and parameters as the page's tables show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nb2pipe.notebook.model import Layout, Parameter, Resources, Search
from nb2pipe.pipeline.model import Pipeline, Step
from nb2pipe.review.cells import Ids, Link
from nb2pipe.review.drawing import Drawing, drawing
from nb2pipe.review.facts import Facts, Stored

MOST_DRAWN = 150
"""Steps beyond which there is no drawing, only the table."""
WIDEST = 19
"""Characters of a name that fit in a box."""


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output of a step: `other` is the step it comes from, or those that it goes to."""

    name: str
    other: str
    type: str
    format: str
    size: str
    verdict: str
    why: str


@dataclass(frozen=True, slots=True)
class StepView:
    """A step as the page shows it."""

    name: str
    number: int
    style: str
    title: str
    words: str
    cells: tuple[Link, ...]
    file: Link | None
    form: str
    takes: tuple[Value, ...]
    gives: tuple[Value, ...]
    parameters: tuple[str, ...]
    needs: tuple[str, ...]
    requirements: tuple[tuple[str, str], ...]
    after: tuple[str, ...]
    copies: tuple[str, ...]
    status: str
    seconds: str


@dataclass(frozen=True, slots=True)
class Node:
    """A step in the drawing."""

    href: str
    name: str
    title: str
    detail: str
    style: str
    number: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Graph:
    """The drawing with its words."""

    drawing: Drawing
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ParameterView:
    """A parameter as the page shows it."""

    name: str
    type: str
    default: str
    search: str
    steps: tuple[str, ...]
    help: str
    place: Link


def step_views(pipeline: Pipeline, facts: Facts, ids: Ids, package: str | None) -> list[StepView]:
    """Every step of the pipeline; `package` is that of the generated project, None if there is none."""
    return [_step_view(pipeline, step, index, facts, ids, package) for index, step in enumerate(pipeline.steps)]


def _step_view(pipeline: Pipeline, step: Step, index: int, facts: Facts, ids: Ids, package: str | None) -> StepView:
    status, seconds = facts.run.steps.get(step.name, ("", 0.0)) if facts.run else ("", 0.0)
    path = f"{package}/steps/{step.name}.py"
    return StepView(
        name=step.name,
        number=index + 1,
        style=ids.style(step.name),
        title=step.title,
        words=_words(step),
        cells=tuple(Link(f"c{cell}", str(cell)) for cell in step.cells),
        file=Link(ids.file(path), f"steps/{step.name}.py") if package else None,
        form=step.form_reason if step.form == "module" else "",
        takes=tuple(_takes(step, facts)),
        gives=tuple(_gives(pipeline, step, facts)),
        parameters=step.parameters,
        needs=tuple(_needs(step)),
        requirements=tuple((r.spec, r.why) for r in step.requirements),
        after=step.after,
        copies=step.copies,
        status=status,
        seconds=f"{seconds:.1f} s" if status else "",
    )


def _words(step: Step) -> str:
    """How much there is to see."""
    counts = {
        "takes": len(step.inputs) + len(step.files_in),
        "gives": len(step.outputs) + len(step.files_out) + len(step.metrics),
        "requires": len(step.requirements),
    }
    return ", ".join(f"{word} {count}" for word, count in counts.items() if count)


def _takes(step: Step, facts: Facts) -> Iterator[Value]:
    for item in step.inputs:
        yield _value(facts, item.source, item.artifact, item.name, item.source, item.type, item.why)
    for file in step.files_in:
        yield Value(file.path, file.source or "beside the notebook", "file", "", "", "", "")


def _gives(pipeline: Pipeline, step: Step, facts: Facts) -> Iterator[Value]:
    for item in step.outputs:
        users = [s.name for s in pipeline.steps for i in s.inputs if (i.source, i.name) == (step.name, item.name)]
        other = ", ".join(dict.fromkeys(users))
        yield _value(facts, step.name, item.artifact, item.name, other, item.type, item.why)
    for path in step.files_out:
        users = [s.name for s in pipeline.steps for f in s.files_in if (f.source, f.path) == (step.name, path)]
        yield Value(path, ", ".join(dict.fromkeys(users)), "file", "", "", "", "")
    for metric in step.metrics:
        why = f"cell {metric.cell} line {metric.line}: {metric.expression}"
        yield Value(metric.label, "", "metric", "", "", "", why)


def _value(facts: Facts, step: str, artifact: str, name: str, other: str, declared: str, why: str) -> Value:
    """A value with what runs and verifications know of it."""
    stored = facts.run.stored.get((step, artifact)) if facts.run else None
    rows = facts.verified.boundaries if facts.verified else ()
    row = next((row for row in rows if (row.step, row.name) == (step, name)), None)
    seen = (stored.type if stored else "") or (row.type if row else "") or declared
    return Value(name, other, short_type(seen), *_storage(stored), row.verdict if row else "", why)


def _storage(stored: Stored | None) -> tuple[str, str]:
    return (stored.format, size_text(stored.size)) if stored else ("", "")


def short_type(name: str) -> str:
    """A type's name without its modules.

    >>> short_type("pandas.core.frame.DataFrame")
    'DataFrame'
    """
    return name.rpartition(".")[2] if "[" not in name else name


def size_text(size: int) -> str:
    """Bytes for people.

    >>> size_text(2048)
    '2.0 KB'
    """
    amount = float(size)
    for unit in ("B", "KB", "MB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GB"


def _needs(step: Step) -> Iterator[str]:
    """What a step asks for, in words."""
    yield from resource_words(step.resources)
    if step.workers:
        yield f"{step.workers} workers" + (f" ({step.framework})" if step.framework else "")
    if step.runner:
        yield f"runs on {step.runner}"


def resource_words(resources: Resources) -> Iterator[str]:
    """What is asked of a machine, in words."""
    words: Mapping[str, object] = {"cpu": resources.cpu, "memory": resources.memory, "image": resources.image}
    yield from (f"{name} {value}" for name, value in words.items() if value)
    if resources.accelerators:
        yield f"{resources.accelerators} x {resources.accelerator or 'gpu'}"
    if resources.retries:
        yield f"{resources.retries} retries"
    if resources.timeout:
        yield f"timeout {resources.timeout} s"
    if resources.cache is False:
        yield "no cache"
    yield from (f"{name}={value}" for name, value in resources.env)
    yield from (f"secret {s.name}:{s.key} as {s.env}" for s in resources.secrets)


def parameter_views(parameters: Sequence[Parameter], pipeline: Pipeline | None) -> list[ParameterView]:
    """Every parameter with the steps that take it."""
    steps = pipeline.steps if pipeline else ()
    return [
        ParameterView(
            p.name,
            p.type,
            p.source,
            search_text(p.search) if p.search else "",
            tuple(step.name for step in steps if p.name in step.parameters),
            p.help,
            Link(f"c{p.cell}-{p.line}", f"cell {p.cell}"),
        )
        for p in parameters
    ]


def search_text(search: Search) -> str:
    """A search space as it is written."""
    values = search.values if search.kind == "choice" else (search.low, search.high)
    return f"{search.kind}({', '.join(map(repr, values))})"


def edges_of(pipeline: Pipeline) -> list[tuple[str, str]]:
    """Which step waits for which, by data, by files or by order."""
    found = []
    for step in pipeline.steps:
        found += [(item.source, step.name) for item in step.inputs]
        found += [(file.source, step.name) for file in step.files_in if file.source]
        found += [(name, step.name) for name in step.after]
    return list(dict.fromkeys(found))


def graph_view(pipeline: Pipeline, ids: Ids) -> Graph | None:
    """The drawing of the pipeline; None for one that is too large for a drawing."""
    if len(pipeline.steps) > MOST_DRAWN:
        return None
    steps = {step.name: (number, step) for number, step in enumerate(pipeline.steps, 1)}
    drawn = drawing([*steps], edges_of(pipeline))
    nodes = []
    for box in drawn.boxes:
        number, step = steps[box.name]
        gives = ", ".join([*(o.name for o in step.outputs), *step.files_out, *(m.label for m in step.metrics)])
        title = f"{box.name}: gives {gives}" if gives else box.name
        node = Node(
            f"s-{box.name}", _cut(box.name, WIDEST), title, _cut(gives, 19), ids.style(box.name), number, box.x, box.y
        )
        nodes.append(node)
    return Graph(drawn, tuple(nodes))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def layout_steps(layout: Layout) -> list[tuple[str, tuple[int, ...]]]:
    """The steps of a notebook that could not be looked at further, and their cells."""
    return [(step.name, step.cells) for step in layout.steps]
