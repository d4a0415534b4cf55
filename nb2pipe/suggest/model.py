"""What the suggester knows and says, as data. No logic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from nb2pipe.dataflow.model import Flow
from nb2pipe.findings import Finding
from nb2pipe.notebook.model import Layout

ACTIVITIES = ("load", "prepare", "tune", "train", "evaluate", "export", "other")
"""What a step may do. "explore" is an activity of cells only: they are skipped."""

Labels = Mapping[int, str]
"""For each code cell that gets one: "skip", "shared", "parameters" or "step:NAME"."""


class Attempt(Protocol):
    """A conversion of the notebook with tags that are tried."""

    @property
    def flow(self) -> Flow:
        """Its dataflow; only when the cells parse."""
        ...

    @property
    def layout(self) -> Layout:
        """Which cell is for what."""
        ...

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that there is to say about it, of all stages."""
        ...


Try = Callable[[Labels], Attempt]
"""Converts the notebook with these labels instead of its tags, without running or writing anything."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading above cells: its text, level (1 to 6) and what its words speak for."""

    text: str
    level: int
    speaks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CellFacts:
    """One code cell, looked at by itself and in the dataflow.

    `heading` is the nearest above, `opens` whether nothing but text stands between. `speaks` has the weight of what
    its calls say for each activity, with `calls` the most telling of them. `takes` maps names that it needs to the
    cell that gives them last; `needed_by` are cells that need something that it defines or changes. `literals` are
    top-level names that it sets to plain values, with the line. `prints`: it prints what is no mere look at the data;
    `begins`: it makes data from nothing that another cell gives.
    """

    cell: int
    heading: Heading | None = None
    opens: bool = False
    speaks: Mapping[str, float] = field(default_factory=dict)
    calls: Mapping[str, str] = field(default_factory=dict)
    takes: Mapping[str, int] = field(default_factory=dict)
    needed_by: frozenset[int] = frozenset()
    literals: Mapping[str, int] = field(default_factory=dict)
    statements: int = 0
    empty: bool = False
    unreadable: str = ""
    only_shows: bool = False
    prints: bool = False
    repeatable: bool = False
    only_literals: bool = False
    leaves_traces: bool = False
    begins: bool = False
    fixed: str = ""


@dataclass(frozen=True, slots=True)
class Tie:
    """Two cells that belong into one step, and what would be wrong if a step ended between them."""

    first: int
    last: int
    code: str


@dataclass(frozen=True, slots=True)
class Facts:
    """The notebook as the suggester sees it: its code cells in order."""

    cells: tuple[CellFacts, ...]
    ties: tuple[Tie, ...] = ()
    headed: bool = False


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Labels for the code cells with the reason for each; `extra` are further tags. `findings` say why there are
    none that convert, or advise. `names` maps (step, later step) to the names that go from one to the other.
    """

    labels: Labels
    why: Mapping[int, str]
    extra: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    arrows: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
