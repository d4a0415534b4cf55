"""The notebook as data: cells, tags, the layout of steps and the parameters. No logic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nb2pipe.findings import Finding

CellKind = Literal["code", "markdown", "raw"]
Role = Literal["step", "parameters", "shared", "setup", "skip", "text"]
"""What a cell is for. `setup`: untagged code before the first step, shared if it only imports, defines or sets."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag of a cell, from `metadata.tags` or from a directive line.

    `kind` is nb2pipe's own word whatever dialect wrote it (Kale's `block:load` is kind "step", value "load"); `text` is
    as written; `line` is the directive's line inside the cell (from 1), None for a tag of the metadata.
    """

    kind: str
    value: str
    text: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell. `index` counts all cells from 0; `id` is nbformat's, or one made from the content."""

    index: int
    id: str
    kind: CellKind
    source: str
    tags: tuple[Tag, ...] = ()
    execution_count: int | None = None


@dataclass(frozen=True, slots=True)
class Notebook:
    """A notebook that was read and validated. `path` as given; `metadata` is the notebook's own (plain JSON)."""

    path: str
    cells: tuple[Cell, ...]
    metadata: Mapping[str, Any]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class PyCell:
    """A code cell as plain Python, line for line: `lines[i]` stands for line i + 1 of the cell.

    `changes` gives the reason for each line (from 1) that differs from the notebook's; a dropped line is empty or a
    comment. `imports` are import statements that rewritten lines need. `requirements` are pip requirement strings with
    the line that asks for them. `files` are the paths that `%%writefile` writes.
    """

    cell: Cell
    lines: tuple[str, ...]
    changes: Mapping[int, str] = field(default_factory=dict)
    imports: tuple[str, ...] = ()
    requirements: tuple[tuple[str, int], ...] = ()
    files: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def text(self) -> str:
        """The Python text that is parsed and generated."""
        return "\n".join(self.lines)


@dataclass(frozen=True, slots=True)
class Secret:
    """`secret:NAME:KEY:ENV`: key KEY of the secret NAME arrives as the environment variable ENV."""

    name: str
    key: str
    env: str


@dataclass(frozen=True, slots=True)
class Resources:
    """What a step needs of a machine; None and empty mean the platform's default.

    `cpu` in cores ("4", "0.5"), `memory` as Kubernetes quantities ("16Gi"), `timeout` in seconds.
    """

    cpu: str | None = None
    memory: str | None = None
    accelerator: str | None = None
    accelerators: int = 0
    image: str | None = None
    retries: int | None = None
    timeout: int | None = None
    cache: bool | None = None
    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[Secret, ...] = ()


@dataclass(frozen=True, slots=True)
class Objective:
    """`objective:GOAL:NAME` on the cell that computes NAME."""

    goal: Literal["maximize", "minimize"]
    name: str
    cell: int


@dataclass(frozen=True, slots=True)
class StepTags:
    """A step as the tags say it: its cells in notebook order and what it needs."""

    name: str
    cells: tuple[int, ...]
    after: tuple[str, ...] = ()
    resources: Resources = Resources()
    workers: int | None = None
    runner: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Which cell is for what. `roles` has one entry for every cell of the notebook, in order.

    `steps` are in order of their first cell. `step_of` gives the step of a step cell.
    """

    roles: tuple[Role, ...]
    steps: tuple[StepTags, ...]
    step_of: Mapping[int, str]
    metrics: frozenset[int] = frozenset()
    objectives: tuple[Objective, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Search:
    """A search space. `low` and `high` for uniform, loguniform, int, logint; `values` for choice."""

    kind: Literal["loguniform", "uniform", "int", "logint", "choice"]
    low: float | int | None = None
    high: float | int | None = None
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that a run may change: `learning_rate: float = 0.1  # tune: loguniform(1e-4, 1e-1)`.

    `type` is one of "int", "float", "str", "bool", "list", "dict", "None"; `default` is the literal's value and
    `source` its text; `help` is the comment beside or above it, without the search space. What a run gives may not be
    less than `least`, and as a text it must match `form` (a regular expression) as a whole, unless these are None.
    `option`: it says something to a library that steps use, and the notebook has no such name.
    """

    name: str
    type: str
    default: Any
    source: str
    cell: int
    line: int
    search: Search | None = None
    help: str = ""
    least: int | None = None
    form: str | None = None
    option: bool = False
