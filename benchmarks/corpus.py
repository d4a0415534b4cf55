"""How many notebooks convert, how many are refused, and how many come out wrong: on four corpora.

    python benchmarks/corpus.py [--programs N] [--json FILE] [FOLDER ...]

The handwritten notebooks of tests/corpus, N random programs of tests/property, and every Python notebook below the
FOLDERs, tagged by its headings, or in thirds. See README.md.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / "tests" / name) for name in ("support", "corpus", "property"))]

import catalogue  # noqa: E402
import doors  # noqa: E402
import generate  # noqa: E402
import quick  # noqa: E402

SECONDS = 90
LIBRARIES = ("numpy", "pandas", "sklearn.linear_model", "matplotlib.pyplot", "pyarrow")
HEAVY = ("seaborn", "xgboost", "lightgbm", "torch", "tensorflow", "tf_keras")
"""Imported once, before the forks that need them; the heavy ones where they are installed."""


@dataclass(frozen=True)
class Result:
    """What came of one notebook; `wanted` are the outcomes that are right, empty where nobody has judged it."""

    corpus: str
    name: str
    kind: str
    detail: str
    codes: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()

    @property
    def false_alarm(self) -> bool:
        return self.kind == "refused" and self.wanted == ("equal",)

    @property
    def wrong(self) -> bool:
        return self.kind in ("different", "failed", "crashed")


# --- the corpora ------------------------------------------------------------------------------------------------------
def handwritten() -> Iterator[Result]:
    """The cases of tests/corpus; those named `realistic` are a corpus of their own."""
    for case in catalogue.everything():
        corpus = "realistic" if case.name.startswith("realistic") else "adversarial"
        yield _result(corpus, case.name, quick.compare(case.cells, data=case.data), case.allowed)


def random_programs(count: int) -> Iterator[Result]:
    """The first `count` programs of the property test."""
    for seed in range(count):
        yield _result("random", f"seed {seed}", quick.compare(generate.cells(generate.program(seed))), ())


def gathered(folders: Sequence[Path]) -> Iterator[Result]:
    """Python notebooks with at least two code cells below the folders, each text once."""
    seen: set[str] = set()
    for path in sorted(path for folder in folders for path in folder.rglob("*.ipynb")):
        cells = _tagged(path)
        key = repr(cells)
        if len(cells) > 1 and key not in seen:
            seen.add(key)
            yield _result("gathered", path.name, _compared(cells), ())


def _result(corpus: str, name: str, outcome: quick.Outcome, wanted: tuple[str, ...]) -> Result:
    return Result(corpus, name, outcome.kind, outcome.detail[:600], outcome.codes, wanted)


# --- notebooks of other people ----------------------------------------------------------------------------------------
def _tagged(path: Path) -> list[tuple[str, str]]:
    """(tags, source) of the code cells: a step for each heading, or thirds where there are not two headings."""
    document = _document(path)
    language = document.get("metadata", {}).get("kernelspec", {}).get("language", "python")
    if language != "python":
        return []
    groups: list[list[str]] = [[]]
    for cell in document["cells"]:
        source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
        if cell["cell_type"] == "markdown" and re.match(r"#{1,3} ", source):
            groups.append([])
        elif cell["cell_type"] == "code" and source.strip():
            groups[-1].append(source)
    groups = [group for group in groups if group]
    if len(groups) < 2:
        flat = [source for group in groups for source in group]
        size = -(-len(flat) // 3) or 1
        groups = [flat[start : start + size] for start in range(0, len(flat), size)]
    return [(f"step:part{number}", source) for number, group in enumerate(groups) for source in group]


def _document(path: Path) -> dict[str, Any]:
    """The notebook in format 4; without cells if it cannot be read."""
    import nbformat

    try:
        document: dict[str, Any] = nbformat.read(path, as_version=4)
    except Exception:
        return {"cells": []}
    return document


def _compared(cells: list[tuple[str, str]]) -> quick.Outcome:
    """The notebook in IPython against `nb2pipe run`; `invalid` when it does not run here."""
    with tempfile.TemporaryDirectory() as place:
        plain, piped, scratch = (Path(place, name) for name in ("plain", "piped", "scratch"))
        for folder in (plain, piped, scratch):
            folder.mkdir()
        document = doors.notebook([(source, tags.split()) for tags, source in cells])
        (piped / "notebook.ipynb").write_text(json.dumps(document))
        steps = [(tags.removeprefix("step:"), source) for tags, source in cells]
        try:
            expected = doors.baseline(steps, "ipython", plain, scratch)
            outcome = _piped(piped, expected)
            if outcome.kind == "different" and doors.baseline(steps, "ipython", plain, scratch) != expected:
                return quick.Outcome("invalid", "it prints something else each time")
        except (AssertionError, subprocess.SubprocessError, ValueError) as error:
            return quick.Outcome("invalid", str(error).strip()[-200:])
        return outcome


def _piped(folder: Path, expected: doors.Baseline) -> quick.Outcome:
    checked = doors.nb2pipe("check", "notebook.ipynb", "--json", cwd=folder, timeout=SECONDS)
    if checked.returncode not in (0, 1) or not checked.stdout:
        return quick.Outcome("crashed", checked.stderr[-600:])
    found = [f for f in json.loads(checked.stdout)["findings"] if f["severity"] == "error"]
    if found:
        text = "\n".join(f"cell {f['cell']} line {f['line']}: {f['code']}: {f['message']}" for f in found)
        return quick.Outcome("refused", text, tuple(dict.fromkeys(f["code"] for f in found)))
    ran = doors.nb2pipe("run", "notebook.ipynb", "--json", "--no-cache", cwd=folder, timeout=SECONDS)
    if ran.returncode:
        return quick.Outcome("failed", (ran.stdout + ran.stderr)[-600:])
    printed = doors.step_stdout(json.loads(ran.stdout), folder)
    same = printed in (expected.printed, expected.shown)
    return quick.Outcome("equal") if same else quick.Outcome("different", f"{printed}\nand not\n{expected.printed}")


# --- the report -------------------------------------------------------------------------------------------------------
KINDS = ("equal", "refused", "different", "failed", "crashed", "invalid")


def table(results: Sequence[Result]) -> str:
    """A line for each corpus. False alarms: refused although a right pipeline exists, in percent of all that run."""
    lines = [f"{'corpus':12} {'run':>5} {'equal':>6} {'refused':>8} {'false alarms':>13} {'wrong':>6} {'not run':>8}"]
    for corpus in dict.fromkeys(result.corpus for result in results):
        rows = [result for result in results if result.corpus == corpus]
        kinds = Counter(row.kind for row in rows)
        run = len(rows) - kinds["invalid"]
        judged = any(row.wanted for row in rows)
        false = sum(row.false_alarm for row in rows)
        alarms = f"{false} = {100 * false / max(run, 1):.1f} %" if judged else "not judged"
        wrong = sum(row.wrong for row in rows)
        lines.append(
            f"{corpus:12} {run:5} {kinds['equal']:6} {kinds['refused']:8} {alarms:>13} {wrong:6} {kinds['invalid']:8}"
        )
    return "\n".join(lines)


def reasons(results: Sequence[Result]) -> Mapping[str, int]:
    """How often each code was a reason to refuse."""
    return Counter(code for result in results if result.kind == "refused" for code in result.codes)


def notable(results: Sequence[Result]) -> Iterator[str]:
    """What somebody should look at: everything wrong, false alarms, and refused notebooks of other people."""
    for result in results:
        unjudged = result.corpus == "gathered" and result.kind == "refused"
        if result.wrong or result.false_alarm or unjudged or (result.wanted and result.kind not in result.wanted):
            yield f"{result.corpus}: {result.name}: {result.kind}\n    " + result.detail.replace("\n", "\n    ")


def main() -> int:
    """Print the table; returns 1 when a pipeline was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--programs", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    quick.warm(*LIBRARIES, *(name for name in HEAVY if find_spec(name)))
    quick.SECONDS = SECONDS
    results = [*handwritten(), *random_programs(options.programs), *gathered(options.folders)]
    print("\n".join([table(results), "", "Reasons: " + json.dumps(reasons(results)), "", *notable(results)]))
    if options.json:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=1))
    return int(any(result.wrong for result in results))


if __name__ == "__main__":
    sys.exit(main())
