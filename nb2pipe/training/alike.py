"""What workers would not have in common: they run the same code, and must come to the same data."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from nb2pipe.findings import Finding, finding
from nb2pipe.training.model import Code
from nb2pipe.training.names import called

UNSEEDED = frozenset(
    {
        "numpy.random.default_rng",
        "numpy.random.RandomState",
        "numpy.random.SeedSequence",
        "numpy.random.PCG64",
        "random.Random",
    }
)
"""Generators that begin with something else in each process unless they are given a seed."""

NEVER_ALIKE = ("random.SystemRandom", "secrets.", "os.urandom")
HINT = "Give it a seed, or draw in an earlier step, which has no workers."


def unlike(code: Code) -> Iterator[Finding]:
    """Findings for what each worker would draw for itself: its data would be others, and no error would say so."""
    for piece in code.pieces:
        for node in ast.walk(piece.tree):
            path = called(node, code.imports)
            if isinstance(node, ast.Call) and (path.startswith(NEVER_ALIKE) or (path in UNSEEDED and _bare(node))):
                message = f"Each worker draws other numbers here: {path} has no seed that they have in common."
                line = piece.fragment.line + node.lineno - 1
                name = code.step.name
                yield finding("workers-unsound", message, cell=piece.fragment.cell, line=line, name=name, hint=HINT)


def _bare(call: ast.Call) -> bool:
    """Whether a call has no seed: nothing, or None."""
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return all(isinstance(value, ast.Constant) and value.value is None for value in given)
