"""Runs calls of a library and measures what they change, draw and write, beside what the effect tables say of them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from nb2pipe.dataflow.flow import analyse
from nb2pipe.dataflow.model import Flow
from nb2pipe.notebook.model import Cell, Layout, Notebook, PyCell, StepTags
from nb2pipe.options import Options

Digest = Callable[[Any], bytes]
"""A value's content as bytes; b"" for what has none that can change."""


@dataclass(frozen=True)
class Effects:
    """What a call does: names whose value changes, generators that it draws from or seeds, files that it writes."""

    changed: frozenset[str]
    drawn: frozenset[str]
    written: frozenset[str]


@dataclass(frozen=True)
class Library:
    """A library to measure: code that makes values, their content, and the states of its own random generators."""

    setup: str
    digest: Digest
    generators: dict[str, Callable[[], Any]]

    def measured(self, expression: str, folder: Path) -> tuple[Effects, Any]:
        """What evaluating the expression does here, in an empty folder; and its value."""
        names: dict[str, Any] = {}
        exec(self.setup, names)
        before, states = self._content(names), self._states()
        with _inside(folder):
            result = eval(expression, names)
            written = frozenset(path.name for path in Path().iterdir())
        after = self._content(names)
        drawn = frozenset(n for n, state in self._states().items() if states[n] != state)
        return Effects(frozenset(n for n in before if before[n] != after[n]), drawn, written), result

    def said(self, expression: str) -> tuple[Effects, frozenset[str], Any]:
        """What the tables say that it does, the names whose values the result shares, and the result's value."""
        code = f"import nobody\n{self.setup}r = {expression}\nnobody.touch(r)"
        *_, call, touch = _analysed(code).statements
        drawn = {
            c.channel.removeprefix("random:") for c in call.record.channels if c.use in ("draw", "advance", "seed")
        }
        written = {str(f.path) for f in call.record.files if f.use == "write"}
        said = Effects(frozenset(call.changes) - {"r"}, frozenset(drawn), frozenset(written))
        return said, frozenset(touch.changes) - {"r"}, call.values["r"]

    def _content(self, names: dict[str, Any]) -> dict[str, bytes]:
        return {n: self.digest(v) for n, v in names.items() if not n.startswith("_") and not isinstance(v, ModuleType)}

    def _states(self) -> dict[str, str]:
        import numpy as np

        states = {"random": random.getstate, "numpy": np.random.get_state, **self.generators}
        return {name: repr(state()) for name, state in states.items()}


def _analysed(code: str) -> Flow:
    cell = Cell(0, "c0", "code", code)
    layout = Layout(("step",), (StepTags("one", (0,)),), {0: "one"})
    lines = PyCell(cell, tuple(cell.source.split("\n")))
    return analyse(Notebook("none.ipynb", (cell,), {}), layout, [lines], (), Options())


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    here = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)


def rows(text: str) -> list[tuple[frozenset[str], frozenset[str], str]]:
    """`NAMES | GENERATORS | EXPRESSION` lines: what changes, what is drawn from, by which expression."""
    found = []
    for line in text.strip().splitlines():
        changed, drawn, expression = (part.strip() for part in line.split("|", 2))
        found.append((frozenset(changed.split()), frozenset(drawn.split()), expression))
    return found
