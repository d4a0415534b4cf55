"""The IR: a pipeline as frozen data, ready to be laid out as text. No logic.

Everything that decides how the generated project looks is in here; `codegen` and `targets` only lay it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nb2pipe.findings import Finding
from nb2pipe.notebook.model import Objective, Parameter, Resources

BLOCK = 4
"""Columns that a line moves right when it gets into a block that was added."""

ArtifactKind = Literal["Dataset", "Model", "Metrics", "HTML", "Artifact"]


@dataclass(frozen=True, slots=True)
class Fragment:
    """Consecutive lines of one cell, as they will stand in the project (before any indentation by the generator).

    `line` is the cell line (from 1) of `lines[0]`; line i of the fragment is line `line + i` of the cell, always.
    `raw` are the indexes into `lines` of lines that begin inside a string: they must not be indented.
    `changes` are (index, reason) of the lines that differ from the cell's text. `names` are what it defines.
    `added` are lines of nb2pipe's own: (index of the line before which they stand, the lines, the reason). `moved` are
    the indexes of lines that stand in a block which an added line opens, and so BLOCK columns further right.
    """

    cell: int
    line: int
    lines: tuple[str, ...]
    raw: frozenset[int] = frozenset()
    changes: tuple[tuple[int, str], ...] = ()
    names: tuple[str, ...] = ()
    added: tuple[tuple[int, tuple[str, ...], str], ...] = ()
    moved: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Artifact:
    """A value stored between steps. `names` are the notebook's names in it: one, or several that share identity."""

    name: str
    names: tuple[str, ...]
    kind: ArtifactKind = "Artifact"


@dataclass(frozen=True, slots=True)
class Input:
    """A name that a step takes. `source` is the producing step; `type` the annotation, "" when unknown."""

    name: str
    source: str
    artifact: str
    type: str
    why: str


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file or folder that a step finds at `path`: given by the step `source`, or, without one, from beside the
    notebook."""

    path: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """A name that a step gives. `type` is the annotation, "" when unknown; `stored` the type that says how it is kept:
    for the notebook's own classes that of the library's class that they are made from."""

    name: str
    artifact: str
    type: str
    why: str
    stored: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that a `metrics` cell computes: its label and the expression that gives it at the end of the step."""

    label: str
    expression: str
    cell: int
    line: int


@dataclass(frozen=True, slots=True)
class Requirement:
    """A pip requirement of a step: `spec` is "pandas==2.3.1"; `why` says which import or magic needs it."""

    spec: str
    why: str


@dataclass(frozen=True, slots=True)
class Step:
    """One component.

    Function form (`form == "function"`): the file holds `prelude`, `imports`, `shared` (names imported from
    shared.py), `definitions` at module level, then `def NAME(inputs, parameters)` with `setup` and `body` indented.
    Module form: the file is a script; after `prelude`, `imports` and the names from shared.py come `definitions`,
    `setup` and `body` at module level, and inputs and parameters are globals that the runner puts there beforehand.

    A step with `workers` runs in that many processes; `framework` is what it trains with, once rewritten for them.
    One that `reports` tells the trial that it is in how its training goes. One with `beam` builds Beam pipelines;
    `beam_options` are their options, each with the parameter of the pipeline that gives it. `bigquery` is the same for
    what a run says of BigQuery ("project", "rows").
    `outputs` are in the order that the function returns them. `metrics` are returned last, as a dict named
    `metrics_output`. `maybe_unbound` are outputs that may not exist when the step ends (module form only). `folders`
    are those beside the notebook that it writes files into.
    """

    name: str
    cells: tuple[int, ...]
    title: str
    form: Literal["function", "module"]
    form_reason: str
    prelude: tuple[Fragment, ...]
    imports: tuple[Fragment, ...]
    extra_imports: tuple[str, ...]
    shared: tuple[str, ...]
    definitions: tuple[Fragment, ...]
    setup: tuple[Fragment, ...]
    body: tuple[Fragment, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    artifacts: tuple[Artifact, ...]
    parameters: tuple[str, ...]
    copies: tuple[str, ...]
    metrics: tuple[Metric, ...]
    metrics_output: str
    maybe_unbound: tuple[str, ...]
    is_async: bool
    files_in: tuple[InputFile, ...]
    files_out: tuple[str, ...]
    after: tuple[str, ...]
    requirements: tuple[Requirement, ...]
    resources: Resources
    workers: int | None = None
    framework: str = ""
    reports: bool = False
    runner: str | None = None
    beam: bool = False
    beam_options: tuple[tuple[str, str], ...] = ()
    bigquery: tuple[tuple[str, str], ...] = ()
    folders: tuple[str, ...] = ()
    fetches: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shared:
    """shared.py: what several steps use, in notebook order. `frameworks` are those whose workers it serves.

    `reports` and `beam` as in a step.
    """

    prelude: tuple[Fragment, ...] = ()
    imports: tuple[Fragment, ...] = ()
    extra_imports: tuple[str, ...] = ()
    definitions: tuple[Fragment, ...] = ()
    frameworks: tuple[str, ...] = ()
    reports: bool = False
    beam: bool = False


@dataclass(frozen=True, slots=True)
class ModuleFile:
    """A source file of a module of the notebook's own, which steps import: its path in the project, and its text."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """A code cell that is in no step, and why: no code cell is ever left out without being named."""

    cell: int
    why: str


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The whole. `name` is a Python identifier; `steps` are in an order that may be run top to bottom.

    `input_files` are files beside the notebook that steps read. `env` are environment variables that its package sets
    before anything is imported. `trials` is the budget of a tuning. `modules` lie at the top of the project.
    `kubernetes` are the settings of steps by name.
    """

    name: str
    notebook: str
    title: str
    parameters: tuple[Parameter, ...]
    steps: tuple[Step, ...]
    shared: Shared
    input_files: tuple[str, ...]
    objectives: tuple[Objective, ...]
    dropped: tuple[Dropped, ...]
    findings: tuple[Finding, ...]
    python: str
    base_image: str
    image: str | None
    cell_ids: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    trials: int = 20
    modules: tuple[ModuleFile, ...] = ()
    kubernetes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
