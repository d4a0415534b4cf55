"""The handwritten cases: text files in which `=== NAME | VERDICT` starts a case and `--- TAGS` a cell of it, and
`--- beside PATH` a text file beside the notebook.

`equal`: it must convert, and print what the notebook prints. `refused`: no pipeline would be right, so it must be
refused. `safe`: either will do; it must not be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).parent
VERDICTS = {"equal": ("equal",), "refused": ("refused",), "safe": ("equal", "refused")}
"""The outcomes that each verdict allows."""

BESIDE = "beside "


@dataclass(frozen=True)
class Case:
    """A notebook, as (tags, source) of its cells, what must come of it, and the files beside it."""

    name: str
    verdict: str
    cells: tuple[tuple[str, str], ...]
    data: Mapping[str, str]

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
    data = {tags.removeprefix(BESIDE): f"{text}\n" for tags, text in cells if tags.startswith(BESIDE)}
    return Case(name, verdict, tuple(c for c in cells if not c[0].startswith(BESIDE)), data)


def everything() -> list[Case]:
    """All cases of all files, named `file: case`."""
    return [
        replace(case, name=f"{path.stem}: {case.name}") for path in sorted(HERE.glob("*.txt")) for case in read(path)
    ]
