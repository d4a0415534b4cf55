"""The untagged notebooks: text files in which `=== NAME | CORPUS` starts a notebook, `--- text` a text cell,
`--- beside PATH` a text file beside it, and `--- LABEL` a code cell, with the step or role that a person gave it before
any suggestion was looked at."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import doors
import quick

import nb2pipe
from nb2pipe.convert import Conversion
from nb2pipe.findings import errors
from nb2pipe.notebook.tagging import Change, write_tags
from nb2pipe.suggest.model import Suggestion
from nb2pipe.suggest.suggest import tags

HERE = Path(__file__).parent
ROLES = ("shared", "skip", "parameters")
HEAVY = ("tensorflow", "keras", "tf_keras", "torch", "xgboost", "lightgbm")
"""Notebooks with these run in processes of their own: forks of one that has used them may hang."""


@dataclass(frozen=True)
class Book:
    """A notebook: (kind, source) of its cells; `choice` has a person's label for each code cell, "" for none."""

    corpus: str
    name: str
    cells: tuple[tuple[str, str], ...]
    choice: tuple[str, ...]
    data: Mapping[str, str]

    def code(self) -> list[str]:
        """The code cells."""
        return [source for kind, source in self.cells if kind == "code"]

    def index(self, number: int) -> int:
        """The index, among all cells, of a code cell."""
        return [i for i, (kind, _) in enumerate(self.cells) if kind == "code"][number]

    def document(self, tags: Mapping[int, Sequence[str]] | None = None) -> dict[str, Any]:
        """The notebook as JSON."""
        made = doors.notebook([(source, (tags or {}).get(i, ())) for i, (_, source) in enumerate(self.cells)])
        for cell, (kind, _) in zip(made["cells"], self.cells, strict=True):
            if kind == "markdown":
                cell["cell_type"] = "markdown"
                del cell["outputs"], cell["execution_count"]
            if not cell["metadata"]["tags"]:
                cell["metadata"] = {}
        return made


def own() -> Iterator[Book]:
    """The notebooks of this folder."""
    for path in sorted(HERE.glob("*.txt")):
        for text in ("\n" + path.read_text()).split("\n=== ")[1:]:
            yield _book(text)


def _book(text: str) -> Book:
    head, *parts = text.split("\n--- ")
    name, _, corpus = head.strip().rpartition(" | ")
    pieces = [(label.strip(), body.rstrip("\n")) for label, _, body in (p.partition("\n") for p in parts)]
    data = {label.removeprefix("beside "): f"{body}\n" for label, body in pieces if label.startswith("beside ")}
    pieces = [p for p in pieces if not p[0].startswith("beside ")]
    cells = tuple(("markdown" if label == "text" else "code", body) for label, body in pieces)
    return Book(corpus, name, cells, tuple(label for label, _ in pieces if label != "text"), data)


def stripped() -> Iterator[Book]:
    """The realistic notebooks of tests/corpus that convert: their tags are a person's choice."""
    import catalogue

    for case in catalogue.everything():
        if case.name.startswith("realistic") and case.verdict == "equal":
            choice: list[str] = []
            for tags, _ in case.cells:
                words = [w.removeprefix("step:") for w in tags.split() if w in ROLES or w.startswith("step:")]
                choice.append(words[0] if words else next((c for c in reversed(choice) if c not in ROLES), "shared"))
            yield Book("stripped", case.name, tuple(("code", s) for _, s in case.cells), tuple(choice), case.data)


def everything() -> list[Book]:
    """All notebooks that a person has cut."""
    return [*own(), *stripped()]


def gathered(folder: Path) -> Iterator[Book]:
    """The Python notebooks below a folder that nobody has cut."""
    for path in sorted(folder.rglob("*.ipynb")):
        try:
            cells = json.loads(path.read_text())["cells"]
        except (ValueError, KeyError, TypeError, OSError):
            continue
        texts = [(c["cell_type"], "".join(c["source"])) for c in cells if c["cell_type"] in ("code", "markdown")]
        pairs = tuple((kind, source) for kind, source in texts if source.strip())
        count = sum(kind == "code" for kind, _ in pairs)
        if count > 1:
            yield Book("gathered", path.name, pairs, ("",) * count, {})


def suggested(book: Book, folder: Path) -> Suggestion:
    """What is suggested for the notebook."""
    path = folder / "program.ipynb"
    path.write_text(json.dumps(book.document()))
    for name, text in book.data.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return nb2pipe.load(path).suggestion


def roles_of(book: Book, labels: Mapping[int, str]) -> list[str]:
    """The suggested label of each code cell, written like a person's; a cell without one goes with that before."""
    found: list[str] = []
    for number in range(len(book.code())):
        label = labels.get(book.index(number), "").removeprefix("step:")
        found.append(label or next((f for f in reversed(found) if f not in ROLES), "shared"))
    return found


def kind(label: str) -> str:
    """The role of a label: shared, skip, parameters or step."""
    return label if label in ROLES else "step"


def boundaries(book: Book, labels: Sequence[str]) -> tuple[int, int, int]:
    """How many boundaries of steps are in both, in the suggestion, and in the person's choice.

    A boundary stands between two cells; where cells lie between the steps that are in none, anywhere among them.
    """
    made, wanted = _cuts(labels), _cuts(book.choice)
    hits = 0
    left = list(made)
    for first, last in wanted:
        match = next((c for c in left if c[0] <= last and first <= c[1]), None)
        if match is not None:
            hits += 1
            left.remove(match)
    return hits, len(made), len(wanted)


def _cuts(labels: Sequence[str]) -> list[tuple[int, int]]:
    """Each boundary as the range of gaps that it may stand in."""
    steps = [(i, label) for i, label in enumerate(labels) if label not in ROLES]
    return [(a[0] + 1, b[0]) for a, b in pairwise(steps) if a[1] != b[1]]


def window_diff(labels: Sequence[str], choice: Sequence[str]) -> float:
    """WindowDiff (Pevzner and Hearst) over the code cells: 0 is the same segmentation."""
    width = max(2, round(len(choice) / (2 * (len(_cuts(choice)) + 1))))
    ours, theirs = ({b for _, b in _cuts(several)} for several in (labels, choice))
    places = range(len(choice) - width + 1)
    wrong = sum(len(ours & {*range(i + 1, i + width)}) != len(theirs & {*range(i + 1, i + width)}) for i in places)
    return wrong / max(len(places), 1)


def outcome(book: Book, suggestion: Suggestion, *, run: bool = True) -> tuple[str, str]:
    """("equal" and so on, detail): whether the notebook with the suggested tags converts, and computes the same."""
    found = errors(suggestion.findings)
    if found:
        return "refused", "; ".join(f"cell {f.cell} {f.code}: {f.message}" for f in found)
    if not run:
        return "converts", ""
    cells = _tagged(book, suggestion)
    heavy = [n for n in HEAVY if re.search(rf"^\s*(?:import|from) .*\b{n}\b", "\n".join(book.code()), re.MULTILINE)]
    if any(find_spec(name) is None for name in heavy):
        return "invalid", "not installed"
    if re.search(r"^\s*[%!]", "\n".join(book.code()), re.MULTILINE) or book.corpus == "gathered":
        return _verified(book, suggestion)
    made = quick.compare_apart(cells, HERE, heavy, book.data) if heavy else quick.compare(cells, data=book.data)
    return made.kind, made.detail


def _verified(book: Book, suggestion: Suggestion) -> tuple[str, str]:
    """As `nb2pipe verify` has it: for notebooks that need IPython."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        conversion = written(book, suggestion, Path(folder))
        found = conversion.verify().to_json()
    if found["error"] and found["error"]["where"] == "notebook":
        return "invalid", str(found["error"]["message"])
    return found["verdict"], json.dumps(found["first_difference"] or found["error"])


def written(book: Book, suggestion: Suggestion, folder: Path) -> Conversion:
    """The notebook in a folder, with the suggested tags written by the writer."""
    path = folder / "program.ipynb"
    path.write_text(json.dumps(book.document(), indent=1))
    for name, text in book.data.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    notebook = nb2pipe.load(path).notebook
    added = tags(notebook, suggestion.labels, suggestion.extra, every=False)
    write_tags(path, notebook, {c: Change(t) for c, t in added.items()})
    return nb2pipe.load(path)


def _tagged(book: Book, suggestion: Suggestion) -> list[tuple[str, str]]:
    """(tags, source) of the code cells, with the tags that would be written."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        cells = written(book, suggestion, Path(folder)).notebook.cells
    return [(" ".join(t.text for t in c.tags), c.source) for c in cells if c.kind == "code"]
