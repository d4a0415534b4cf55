"""What a framework's rewrite sees of a step, and what it gives back. No logic."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from nb2pipe.findings import Finding
from nb2pipe.pipeline.model import Fragment, Requirement, Step
from nb2pipe.training.edits import Edit

Section = Literal["shared", "definitions", "setup", "body"]
Key = tuple[Section, int]
"""Which fragment: its section and its index there."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A fragment of the code that a step runs, with its syntax tree; line 1 of the tree is `fragment.lines[0]`."""

    key: Key
    fragment: Fragment
    tree: ast.Module


@dataclass(frozen=True, slots=True)
class Code:
    """All code that a step with workers runs: its own and the definitions of shared.py that it uses.

    `imports` gives the dotted path behind each imported name: {"nn": "torch.nn", "DataLoader":
    "torch.utils.data.DataLoader"}.
    """

    step: Step
    pieces: tuple[Piece, ...]
    imports: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Companion:
    """What belongs to a library once a step trains on many workers: every step of the pipeline that requires it (by
    the name of its distribution, or a variant like `tensorflow-cpu`) gets `requirements`, and the whole package `env`,
    set before anything is imported: what one step stores, another one has to read."""

    library: str
    requirements: tuple[Requirement, ...]
    env: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What a framework makes of a step: edits of its fragments, or findings that say why it cannot.

    `requirements` and `env` (environment variables, set before anything is imported) are what the step needs beyond;
    `companions` what other steps need with it.
    """

    edits: Mapping[Key, tuple[Edit, ...]]
    findings: tuple[Finding, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    companions: tuple[Companion, ...] = ()


class Framework(Protocol):
    """One training framework. `name` is also the name of its generated module: NAME_workers.py, from
    templates/package/NAME_workers.py.j2."""

    name: str

    def trains(self, code: Code) -> bool:
        """Whether the step trains a model with this framework."""
        ...

    def rewrite(self, code: Code) -> Rewrite:
        """The step's code for many workers, which with one worker does what the notebook does."""
        ...
