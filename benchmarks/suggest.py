"""How well suggested tags convert, and how near their boundaries are to a person's.

    python benchmarks/suggest.py [--only WORDS] [--show] [--no-run] [--json FILE] [FOLDER ...]

The untagged notebooks of tests/suggest (tuned on, and held out), the realistic ones of tests/corpus without their tags,
and every Python notebook below the FOLDERs, which nobody has cut by hand. See README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / "tests" / name) for name in ("support", "corpus", "suggest"))]

import quick  # noqa: E402
import untagged  # noqa: E402

LIBRARIES = ("numpy", "pandas", "sklearn.linear_model", "matplotlib.pyplot", "pyarrow", "seaborn", "scipy.optimize")
HEAVY = ("xgboost", "lightgbm", "torch", "tensorflow", "tf_keras")
quick.SECONDS = 90


@dataclass(frozen=True)
class Result:
    """One notebook: what became of it, its boundaries against a person's, and the cells with the same role."""

    corpus: str
    name: str
    kind: str
    detail: str
    hits: int
    suggested: int
    wanted: int
    same: int
    cells: int
    window: float


def results(books: Sequence[untagged.Book], *, run: bool, show: bool) -> Iterator[Result]:
    """Suggest, compare with the person's choice, and run both ways."""
    for book in books:
        with tempfile.TemporaryDirectory() as folder:
            suggestion = untagged.suggested(book, Path(folder))
        labels = untagged.roles_of(book, suggestion.labels)
        hits, made, wanted = untagged.boundaries(book, labels)
        same = sum(untagged.kind(a) == untagged.kind(b) for a, b in zip(labels, book.choice, strict=True))
        kind, detail = untagged.outcome(book, suggestion, run=run)
        if show:
            print(f"\n=== {book.name}: {kind} {detail[:300]}")
            for number, (cell, own, theirs) in enumerate(zip(book.code(), labels, book.choice, strict=True)):
                mark = " " if untagged.kind(own) == untagged.kind(theirs) else "!"
                why = suggestion.why.get(book.index(number), "")
                print(f" {mark} {own:22.22} {theirs:14} {cell.splitlines()[0][:50]:50} {why[:80]}")
        window = untagged.window_diff(labels, book.choice)
        yield Result(book.corpus, book.name, kind, detail[:500], hits, made, wanted, same, len(labels), window)


def table(found: Sequence[Result]) -> str:
    """A line for each corpus."""
    heads = ("equal", "F1", "precision", "recall", "role", "WindowDiff")
    lines = [f"{'corpus':12} {'books':>5}" + "".join(f"{head:>12}" for head in heads)]
    for corpus in dict.fromkeys(r.corpus for r in found):
        rows = [r for r in found if r.corpus == corpus and r.kind != "invalid"]
        equal = sum(r.kind in ("equal", "converts") for r in rows)
        hits, made, wanted = (sum(getattr(r, f) for r in rows) for f in ("hits", "suggested", "wanted"))
        precision, recall = hits / max(made, 1), hits / max(wanted, 1)
        score = 2 * hits / max(made + wanted, 1)
        role = sum(r.same for r in rows) / max(sum(r.cells for r in rows), 1)
        window = sum(r.window for r in rows) / max(len(rows), 1)
        share = f"{equal} = {100 * equal / max(len(rows), 1):.0f} %"
        figures = "".join(f"{figure:12.2f}" for figure in (score, precision, recall, role, window))
        lines.append(f"{corpus:12} {len(rows):5}{share:>12}{figures}")
    return "\n".join(lines)


def main() -> int:
    """Print the table, and what did not come out equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--only", default="")
    parser.add_argument("--corpus", default="")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--no-run", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    books = [b for b in untagged.everything() if options.only in b.name and options.corpus in b.corpus]
    books += [b for folder in options.folders for b in untagged.gathered(folder)]
    if not options.no_run:
        quick.warm(*(n for n in LIBRARIES if find_spec(n.partition(".")[0])))
    found = list(results(books, run=not options.no_run, show=options.show))
    for result in found:
        if result.kind not in ("equal", "converts"):
            print(f"{result.corpus}: {result.name}: {result.kind}: {result.detail}")
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in found], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
