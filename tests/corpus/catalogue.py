"""The handwritten cases: text files in which `=== NAME | VERDICT` starts a case and `--- TAGS` a cell of it.

`equal`: it must convert, and print what the notebook prints. `refused`: no pipeline would be right, so it must be
refused. `safe`: either will do; it must not be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
VERDICTS = {"equal": ("equal",), "refused": ("refused",), "safe": ("equal", "refused")}
"""The outcomes that each verdict allows."""


@dataclass(frozen=True)
class Case:
    """A notebook, as (tags, source) of its cells, and what must come of it."""

    name: str
    verdict: str
    cells: tuple[tuple[str, str], ...]

    @property
    def allowed(self) -> tuple[str, ...]:
        return VERDICTS[self.verdict]


def read(path: Path) -> list[Case]:
    """The cases of one file."""
    return [_case(text) for text in ("\n" + path.read_text()).split("\n=== ")[1:]]


def _case(text: str) -> Case:
    head, *parts = text.split("\n--- ")
    name, _, verdict = head.strip().rpartition(" | ")
    cells = tuple((tags.strip(), source.rstrip("\n")) for tags, _, source in (part.partition("\n") for part in parts))
    return Case(name, verdict, cells)


def everything() -> list[Case]:
    """All cases of all files, named `file: case`."""
    return [
        Case(f"{path.stem}: {case.name}", case.verdict, case.cells)
        for path in sorted(HERE.glob("*.txt"))
        for case in read(path)
    ]
