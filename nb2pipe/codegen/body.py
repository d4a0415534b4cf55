"""Steps and shared code laid out as Python files, the notebook's own lines with their source map."""

from __future__ import annotations

import builtins
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from nb2pipe.codegen.annotations import Annotations
from nb2pipe.codegen.imports import Statement, bound_names, statements
from nb2pipe.codegen.layout import WIDTH, bracketed, from_import
from nb2pipe.codegen.literal import default_literal, docstring_line, one_line, string_literal
from nb2pipe.codegen.scopes import hidden_by, means_global
from nb2pipe.codegen.sourcemap import Emitter, Row
from nb2pipe.notebook.model import Parameter
from nb2pipe.pipeline.model import Fragment, Input, Shared, Step

MUTABLE = ("list", "dict", "set")
GIVEN = "what later steps read of this step"
LATE_NAMES = "# ruff: noqa: F821  # inputs and parameters are put here before the script runs"


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one generated Python file, the rows of its source map, and why lines are not the notebook's own."""

    text: str
    rows: tuple[Row, ...]
    reasons: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """What the files of one pipeline have in common: its package, its notebook, and the headings above its cells."""

    package: str
    notebook: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    headings: Mapping[int, str] = field(default_factory=dict)


def step_file(step: Step, context: Context) -> Source:
    """The file of one step, in the form that `step.form` says."""
    return _step_file(step, context, function_name(step))


def shared_file(shared: Shared, context: Context) -> Source:
    """shared.py: what several steps use, in notebook order."""
    file = _File(context)
    title = f"What several steps of the pipeline `{context.package}` use."
    helpers = helper_imports(context.package, shared.frameworks, shared.reports, shared.beam)
    file.head(title, helpers, shared.prelude, shared.imports, shared.extra_imports)
    file.section(shared.definitions, 0, 2)
    return file.source()


def helper_imports(package: str, frameworks: Iterable[str], reports: bool, beam: bool) -> list[str]:
    """The imports of the generated modules that run Beam pipelines, spread a training over workers, and report."""
    spread = [f"{name}_workers" for name in frameworks]
    names = [*["beam_runs"] * beam, *spread, *["trial_reports"] * reports]
    return [f"from {package} import {', '.join(names)}"] if names else []


def shared_import(package: str, step: Step) -> list[str]:
    """The import of the names that the step takes from shared.py."""
    note = "# noqa: E402" if step.prelude else ""
    return from_import(f"{package}.shared", sorted(step.shared), note) if step.shared else []


@lru_cache(maxsize=1024)
def function_name(step: Step) -> str:
    """The name of the step's function: the step's own, or `NAME_step` if its code means something else by NAME."""
    text = "\n".join(line for fragment in _fragments(step) for line in fragment.lines)
    mentioned = step.name in step.shared or re.search(rf"\b{re.escape(step.name)}\b", text)
    if step.form == "module" or not mentioned:
        return step.name
    other = f"{step.name}_step"
    return other if means_global(_step_file(step, Context("package", ""), other).text, step.name) else step.name


def _fragments(step: Step) -> Iterable[Fragment]:
    return (*step.prelude, *step.imports, *step.definitions, *step.setup, *step.body)


def hidden_names(step: Step) -> tuple[str, ...]:
    """Names that the function form would hide: bound at the top of the file and assigned in the function as well.

    `clean = clean(rows)` works in a notebook, but in a function the second `clean` would be the unbound local one.
    """
    name = function_name(step)
    return hidden_by(_step_file(step, Context("package", ""), name).text, name)


def _step_file(step: Step, context: Context, function: str) -> Source:
    file = _File(context)
    taken = statements(step.imports)
    own = bound_names(s.text for s in taken)
    defined = {name for fragment in step.definitions for name in fragment.names}
    early = {*step.shared} if step.form == "module" else {*step.shared, *defined}
    bound = {*step.shared, *defined, *own.values()}
    if step.form == "module":
        bound |= {i.name for i in step.inputs} | set(step.parameters)
    types = Annotations(own, early, defined, any(s.future for s in taken), bound & set(dir(builtins)))
    title = f"Step `{step.name}` of the pipeline `{context.package}`."
    helpers = helper_imports(context.package, [step.framework] if step.framework else (), step.reports, step.beam)
    inside = [*helpers, *shared_import(context.package, step)]
    if step.form == "module":
        declared = _declarations(step, context, types)
        file.head(title, inside, step.prelude, step.imports, step.extra_imports, types, scripted=bool(declared))
        file.module(step, declared)
    else:
        signature = _signature(step, function, context, types)
        file.head(title, inside, step.prelude, step.imports, step.extra_imports, types)
        file.function(step, signature)
    return file.source()


def _is_required(parameter: Parameter) -> bool:
    """Whether a parameter has no default in a signature: a default that can be changed would live on between calls."""
    return parameter.type in MUTABLE


def _signature(step: Step, function: str, context: Context, types: Annotations) -> list[str]:
    parameters = [context.parameters[name] for name in step.parameters if name in context.parameters]
    items = [f"{i.name}: {types.write(i.type)}" for i in _once(step.inputs)]
    items += [f"{p.name}: {types.parameter(p.type)}" for p in parameters if _is_required(p)]
    items += [f"{p.name}: {types.parameter(p.type)} = {default_literal(p)}" for p in parameters if not _is_required(p)]
    start = "async def" if step.is_async else "def"
    return bracketed(f"{start} {function}(", items, f") -> {_returned(step, types)}:")


def _once(inputs: Sequence[Input]) -> list[Input]:
    return list({i.name: i for i in inputs}.values())


def _returned(step: Step, types: Annotations) -> str:
    given = [types.write(output.type) for output in step.outputs]
    given += ["dict[str, float]"] if len(_given_names(step)) > len(given) else []
    return f"tuple[{', '.join(given)}]" if len(given) > 1 else given[0] if given else "None"


def metrics_name(step: Step) -> str:
    """The name of the dict of the step's metrics, "" if it has none."""
    return step.metrics_output if step.metrics else ""


def _given_names(step: Step) -> list[str]:
    """What the step's function returns, in order."""
    names = [output.name for output in step.outputs]
    metrics = metrics_name(step)
    return [*names, metrics] if metrics and metrics not in names else names


def _declarations(step: Step, context: Context, types: Annotations) -> list[str]:
    parameters = [context.parameters[name] for name in step.parameters if name in context.parameters]
    lines = [f"{i.name}: {types.write(i.type)}  # input, from {i.source}" for i in _once(step.inputs)]
    lines += [
        f"{p.name}: {types.parameter(p.type)}  # parameter, {one_line(default_literal(p))} by default"
        for p in parameters
    ]
    return lines


def _cells_phrase(cells: Sequence[int]) -> str:
    numbers = [str(c) for c in cells]
    if len(numbers) < 2:
        return f"cell {''.join(numbers)}"
    return f"cells {', '.join(numbers[:-1])} and {numbers[-1]}"


def _docstring(step: Step, context: Context) -> list[str]:
    title = docstring_line(step.title) or f"Run the step `{step.name}`"
    title = title if title.endswith((".", "!", "?", ":")) else f"{title}."
    facts = [f"{_cells_phrase(step.cells).capitalize()} of {docstring_line(context.notebook)}."] if step.cells else []
    if step.inputs:
        facts.append("Takes " + ", ".join(f"`{i.name}` from `{i.source}`" for i in _once(step.inputs)) + ".")
    given = [f"`{name}`" for name in _given_names(step)]
    if given:
        facts.append("Gives " + ", ".join(given) + ".")
    if not facts:
        return [f'    """{title}"""']
    wrapped = textwrap.wrap(" ".join(facts), WIDTH - 4, break_long_words=False, break_on_hyphens=False)
    return [f'    """{title}', "", *(f"    {line}" for line in wrapped), '    """']


class _File:
    """One file in the making."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.out = Emitter()

    def source(self) -> Source:
        text = self.out.text()
        return Source(text, tuple(self.out.rows), self.out.reasons)

    def head(
        self,
        title: str,
        inside: Sequence[str],
        prelude: Sequence[Fragment],
        imports: Sequence[Fragment],
        extra: Sequence[str],
        types: Annotations | None = None,
        scripted: bool = False,
    ) -> None:
        """The docstring, `prelude` and every import, those from `inside` the package last."""
        taken = statements(imports)
        self.docstring(title)
        if scripted:
            self.out.own(LATE_NAMES, why="for linters")
        self.imports([s for s in taken if s.future])
        user = {s.text.strip() for s in taken}
        own = [*(types.imports() if types else ()), *(line for line in dict.fromkeys(extra) if line not in user)]
        why = "imports that annotations and rewritten lines need"
        self.scaffold(sorted(own, key=lambda line: (line.startswith("from"), line)), why)
        self.section(prelude, 0, 1)
        early = {s.text.strip() for s in statements(prelude)}
        self.imports([s for s in taken if not s.future and s.text.strip() not in early])
        self.scaffold(inside, "what this file takes from other files of the project")
        self.scaffold(types.checked_imports() if types else (), "imports for annotations only")

    def docstring(self, title: str) -> None:
        made = f"Generated by nb2pipe from {docstring_line(self.context.notebook)}."
        self.out.own(f'"""{docstring_line(title)}', "", made, '"""', why="what this file is")

    def scaffold(self, lines: Sequence[str], why: str) -> None:
        if lines:
            self.out.blank(1)
            self.out.own(*lines, why=why)

    def imports(self, taken: Sequence[Statement]) -> None:
        if taken:
            self.out.blank(1)
        for statement in taken:
            start, stop = _trimmed(statement.fragment, statement.start, statement.stop)
            self.out.fragment(statement.fragment, start, stop, 0)

    def section(self, fragments: Sequence[Fragment], indent: int, gap: int, first_gap: int | None = None) -> None:
        """Fragments in order; each cell begins after `gap` blank lines with a comment that names it."""
        cell: int | None = None
        space = gap if first_gap is None else first_gap
        for fragment in fragments:
            start, stop = _trimmed(fragment, 0, len(fragment.lines))
            if start == stop:
                continue
            if fragment.cell != cell:
                self.out.blank(space)
                self.out.own(" " * indent + self.marker(fragment.cell), why="names the cell that follows")
                space = gap
            elif start > 0 or not self.follows(fragment, start):
                self.out.blank(1)
            self.out.fragment(fragment, start, stop, indent)
            cell = fragment.cell

    def follows(self, fragment: Fragment, start: int) -> bool:
        """Whether the line before this one in the file is the line before it in the cell."""
        _, count, _, cell_line, _ = self.out.rows[-1]
        return cell_line + count == fragment.line + start

    def marker(self, cell: int) -> str:
        heading = one_line(self.context.headings.get(cell, ""))
        comment = f"# Cell {cell}: {heading}" if heading else f"# Cell {cell}"
        return comment if len(comment) <= 80 else comment[:79].rstrip() + "…"

    def function(self, step: Step, signature: Sequence[str]) -> None:
        self.section(step.definitions, 0, 2)
        self.out.blank(2)
        self.out.own(*signature, why="the step's inputs and parameters")
        self.out.own(*_docstring(step, self.context), why="what this step takes and gives")
        self.section([*step.setup, *step.body], 4, 1, first_gap=0)
        returned = _given_names(step)
        self.metrics(step, 4)
        if len(returned) > 1 and len(", ".join(returned)) + 11 > WIDTH:
            self.out.own(*bracketed("return (", returned, ")", 4), why=GIVEN)
        elif returned:
            self.out.own(f"    return {', '.join(returned)}", why=GIVEN)

    def module(self, step: Step, declared: Sequence[str]) -> None:
        self.scaffold(declared, "inputs and parameters, there before the script runs")
        self.section([*step.definitions, *step.setup, *step.body], 0, 1)
        self.metrics(step, 0)

    def metrics(self, step: Step, indent: int) -> None:
        """The dict of the step's metrics, parted from the notebook's lines by a blank line."""
        self.out.blank(1)
        if metrics_name(step):
            items = [f"{string_literal(m.label)}: {m.expression}" for m in step.metrics]
            lines = bracketed(f"{step.metrics_output} = {{", items, "}", indent)
            self.out.own(*lines, why="the metrics that the cells compute")


def _trimmed(fragment: Fragment, start: int, stop: int) -> tuple[int, int]:
    """The range without the blank lines at its ends; a blank line after a backslash ends a statement and stays."""
    lines = fragment.lines
    while start < stop and not lines[start].strip() and start not in fragment.raw:
        start += 1
    while stop > start and not lines[stop - 1].strip() and stop - 1 not in fragment.raw:
        if stop >= 2 and lines[stop - 2].rstrip("\r").endswith("\\"):
            break
        stop -= 1
    return start, stop
