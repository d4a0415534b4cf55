"""The result of the analysis as data: what every statement and every step takes, gives and needs."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from nb2pipe.dataflow.events import Place
from nb2pipe.dataflow.machine import Record
from nb2pipe.dataflow.values import Def, Val
from nb2pipe.findings import Finding
from nb2pipe.notebook.model import Layout, Notebook, Parameter, PyCell, Role

Kind = Literal["import", "definition", "constant", "setup", "show", "future", "data"]


@dataclass(slots=True)
class Statement:
    """One top-level statement: where it stands and what the forward pass found out about it.

    Of a definition, `frees` are the outer names that its functions read when called, and `writes_globals` tells whether
    they bind such names; `cache` says why it could be noticed that a cached one forgets.

    `step` is None for shared and parameter cells. `writes` maps a bound name to (binding number, whether it is bound
    for certain); `changes` are the names whose value is mutated, with the place. `values` are those of bound names.
    """

    index: int
    cell: int
    role: Role
    step: str | None
    node: ast.stmt
    first: int
    last: int
    record: Record = field(default_factory=Record)
    writes: dict[str, tuple[int, bool]] = field(default_factory=dict)
    deletes: set[str] = field(default_factory=set)
    changes: dict[str, Place] = field(default_factory=dict)
    values: dict[str, Val] = field(default_factory=dict)
    versions: dict[str, tuple[frozenset[int], tuple[int, ...]]] = field(default_factory=dict)
    kind: Kind = "data"
    frees: frozenset[str] = frozenset()
    writes_globals: bool = False
    cache: str = ""
    _nodes: tuple[ast.AST, ...] = ()

    @property
    def nodes(self) -> tuple[ast.AST, ...]:
        """The nodes of the statement's tree, walked once: steps that repeat the statement ask again and again."""
        if not self._nodes:
            self._nodes = tuple(ast.walk(self.node))
        return self._nodes


@dataclass(frozen=True, slots=True)
class Need:
    """A name that a step takes: from the step `source`."""

    name: str
    source: str
    why: str


@dataclass(slots=True)
class StepFlow:
    """What one step takes, gives and repeats.

    `copies` are indexes of statements that are repeated as source in front of the step, in notebook order; `setup`
    those among them that must run each time (seeds, options, values made anew). `bundles` are groups of names that
    share identity, each with the place where that came to be in `joined_at`. `input_values` and `output_values` are
    what is known of them. `by_value` are definitions that are handed on as values; `carries` names, for each
    output, the definitions of the notebook that it may hold, and `carried_reads` the names that those read when
    they are called; `by_name` has the functions that it may hold that are stored by their names alone. `files_in` are
    paths, each with the step that gives it (None: it lies beside the notebook), in the order in which they are laid
    out; `folders` are those beside the notebook that the step writes into.
    `fetches` are parameters with which paths of files beside the notebook begin that are read by what knows no URLs.
    `outside` are places that read or write data that nobody keeps for the pipeline.
    """

    name: str
    cells: tuple[int, ...]
    statements: tuple[int, ...]
    inputs: dict[str, Need] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    copies: dict[int, set[str]] = field(default_factory=dict)
    setup: set[int] = field(default_factory=set)
    bundles: tuple[tuple[str, ...], ...] = ()
    joined_at: dict[tuple[str, ...], Place] = field(default_factory=dict)
    maybe_unbound: frozenset[str] = frozenset()
    input_values: dict[str, Val] = field(default_factory=dict)
    output_values: dict[str, Val] = field(default_factory=dict)
    by_value: set[str] = field(default_factory=set)
    carries: dict[str, frozenset[str]] = field(default_factory=dict)
    carried_reads: dict[str, frozenset[str]] = field(default_factory=dict)
    by_name: dict[str, tuple[Def, ...]] = field(default_factory=dict)
    files_in: tuple[tuple[str, str | None], ...] = ()
    files_out: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    fetches: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    modules: dict[str, Place] = field(default_factory=dict)
    uses_display: bool = False
    outside: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Flow:
    """The notebook understood: the input of `pipeline.build`. `modules` are files of the notebook's own modules, text
    by path, that go into the project."""

    notebook: Notebook
    layout: Layout
    cells: Mapping[int, PyCell]
    parameters: tuple[Parameter, ...]
    statements: tuple[Statement, ...]
    steps: tuple[StepFlow, ...]
    findings: tuple[Finding, ...]
    future_annotations: bool = False
    modules: Mapping[str, str] = field(default_factory=dict)
