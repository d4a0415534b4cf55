"""How much of what steps take they could do without: inputs, orders between steps and files, one by one.

    python benchmarks/precision.py [--only NAME] [--json FILE]

The notebooks are the cases of tests/corpus and tests/cases that convert and run. Of every step each input is taken
away, each value that comes through a step is taken from before that step instead, each file is left out: when the step
then prints and stores what it did with them, they were needless. See README.md.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / "tests" / name) for name in ("support", "corpus"))]

import catalogue  # noqa: E402
import doors  # noqa: E402
import quick  # noqa: E402

LIBRARIES = ("numpy", "pandas", "sklearn.linear_model", "matplotlib.pyplot", "pyarrow")
HEAVY = re.compile(r"^\s*(?:import|from) (?:torch|tensorflow|keras|tf_keras)\b", re.MULTILINE)
"""Notebooks with these are left out: forks of a process that has used them may hang."""

Steps = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Trial:
    """One thing that a step takes, taken away. `kind`: input (it is not given), version (given as it was before the
    step that hands it on), file, order (the step need not wait for `source` at all)."""

    notebook: str
    kind: str
    step: str
    source: str
    name: str
    needless: bool


class Yard:
    """A project, and what each of its steps prints and stores when it has all that it asks for."""

    def __init__(self, name: str, cells: quick.Cells, place: Path, data: dict[str, str]) -> None:
        self.name, self.place, self.home = name, place, place / "home"
        for path, text in {"keep": "", **data}.items():
            (self.home / path).parent.mkdir(parents=True, exist_ok=True)
            (self.home / path).write_text(text)
        notebook = self.home / f"{quick.PACKAGE}.ipynb"
        notebook.write_text(json.dumps(doors.notebook([(source, tags.split()) for tags, source in cells])))
        said = quick._forked(lambda: quick._convert(notebook, place / "project"), self.home)
        document = json.loads(said.printed) if not said.status else {"codes": ["crashed"]}
        self.graph: dict[str, Any] = document.get("pipeline", {"steps": []})
        self.steps: Steps = {step["name"]: step for step in self.graph["steps"]}
        self.right = {name: self.trace(step) for name, step in self.steps.items()}

    @property
    def runs(self) -> bool:
        """Whether there is a pipeline, and all its steps succeed."""
        return bool(self.steps) and all(trace["status"] == 0 for trace in self.right.values())

    def trace(self, step: dict[str, Any]) -> dict[str, Any]:
        """Run a step: what it printed, and the bytes of what it stored."""
        ran = quick._forked(lambda: quick._run_step(step, self.steps, self.graph, self.place, self.home), self.place)
        folder = self.place / "results" / step["name"]
        stored = sorted(p for p in folder.rglob("*") if p.is_file() and "work" not in p.relative_to(folder).parts)
        bytes_ = {str(p.relative_to(folder)): p.read_bytes() for p in stored if p.name != "artifact.json"}
        return {"status": ran.status, "printed": ran.printed, **bytes_}

    def same(self, step: dict[str, Any]) -> bool:
        """Whether a changed step still does what it did; its results are put back."""
        folder = self.place / "results" / step["name"]
        kept = folder.rename(folder.with_name("kept"))
        try:
            return self.trace(step) == self.right[step["name"]]
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            kept.rename(folder)

    # --- what is taken away -----------------------------------------------------------------------------------------
    def trials(self) -> Iterator[Trial]:
        """All trials of all steps."""
        steady = [step for name, step in self.steps.items() if self.same(step)]
        for step in steady:
            found = [*self._inputs(step), *self._files(step)]
            yield from found
            yield from self._orders(step, found)

    def _trial(self, kind: str, step: dict[str, Any], source: str, name: str, needless: bool) -> Trial:
        return Trial(self.name, kind, step["name"], source, name, needless)

    def _inputs(self, step: dict[str, Any]) -> Iterator[Trial]:
        for row in step["inputs"]:
            before = self._before(row)
            if before is not None:
                inputs = [before if r is row else r for r in step["inputs"]]
                yield self._trial("version", step, row["source"], row["key"], self.same({**step, "inputs": inputs}))
            if step["form"] == "function" and not set(row["names"]) & set(step["returns"]):
                yield self._trial("input", step, row["source"], row["key"], self._same_without(step, row["names"]))

    def _before(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """The same value as the step that hands it on took it; None when it made it, or has it with other values."""
        taken = [r for r in self.steps[row["source"]]["inputs"] if set(r["names"]) == set(row["names"])]
        return {**row, "source": taken[0]["source"], "artifact": taken[0]["artifact"]} if taken else None

    def _same_without(self, step: dict[str, Any], names: Sequence[str]) -> bool:
        """Whether the step does the same when it forgets these arguments at once."""
        path = self.place / "project" / (step["module"].replace(".", "/") + ".py")
        text = path.read_text()
        tree = ast.parse(text)
        function = tree.body[-1]
        assert isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        arguments = {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}
        forget = [f"    del {name}" for name in names if name in arguments]
        if not forget:
            return False
        lines = text.split("\n")
        start = function.body[0].end_lineno or 0
        path.write_text("\n".join([*lines[:start], *forget, *lines[start:]]))
        try:
            return self.same(step)
        finally:
            path.write_text(text)

    def _files(self, step: dict[str, Any]) -> Iterator[Trial]:
        for row in step["files_in"]:
            related = [r for r in step["files_in"] if _overlap(r["path"], row["path"])]
            if not {r["path"] for r in related} & set(step["files_out"]):
                fewer = [r for r in step["files_in"] if r not in related]
                needless = self.same({**step, "files_in": fewer})
                yield self._trial("file", step, row["source"] or "", row["path"], needless)

    def _orders(self, step: dict[str, Any], found: Sequence[Trial]) -> Iterator[Trial]:
        """Whether the step has to wait for each of the steps that it waits for."""
        for source in dict.fromkeys(r["source"] for r in (*step["inputs"], *step["files_in"]) if r["source"]):
            taken = {r["key"] for r in step["inputs"] if r["source"] == source}
            taken |= {r["path"] for r in step["files_in"] if r["source"] == source}
            spare = {t.name for t in found if t.source == source and t.needless}
            yield self._trial("order", step, source, "", taken <= spare)


def _overlap(one: str, other: str) -> bool:
    """Whether one path is the other, or in it."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


# --- the notebooks ----------------------------------------------------------------------------------------------------
def notebooks() -> Iterator[tuple[str, quick.Cells, dict[str, str]]]:
    """Name, cells and files beside of the corpus and of the shared cases."""
    for case in catalogue.everything():
        if not HEAVY.search("\n".join(source for _, source in case.cells)):
            yield case.name, case.cells, dict(case.data)
    for case in json.loads((ROOT / "tests" / "cases" / "dataflow.json").read_text(encoding="utf-8")):
        if case["verdict"] == "ok":
            yield f"cases: {case['name']}", [(f"step:{c['step']}", c["code"]) for c in case["cells"]], {}


def table(done: Sequence[Trial]) -> str:
    """A line a kind, the realistic notebooks and the others apart."""
    lines = [f"{'corpus':12} {'kind':8} {'measured':>9} {'needless':>9} {'share':>7}"]
    for corpus in ("realistic", "adversarial"):
        for kind in ("input", "version", "file", "order"):
            rows = [t for t in done if t.kind == kind and t.notebook.startswith("realistic") == (corpus == "realistic")]
            spare = sum(t.needless for t in rows)
            share = f"{100 * spare / len(rows):.1f} %" if rows else "-"
            lines.append(f"{corpus:12} {kind:8} {len(rows):9} {spare:9} {share:>7}")
    return "\n".join(lines)


def main() -> int:
    """Print what is needless, and how much it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only notebooks whose name has this in it")
    parser.add_argument("--json", type=Path, help="write the trials to this file as well")
    options = parser.parse_args()
    sys.dont_write_bytecode = True  # a step is changed and changed back within a second
    quick.warm(*(name for name in LIBRARIES if find_spec(name.partition(".")[0])))
    done: list[Trial] = []
    left_out: Counter[str] = Counter()
    for name, cells, data in notebooks():
        if options.only in name:
            with tempfile.TemporaryDirectory() as place:
                yard = Yard(name, cells, Path(place), data)
                left_out["converted" if yard.runs else "refused, or not run"] += 1
                done += yard.trials() if yard.runs else ()
    print(table(done), dict(left_out), sep="\n\n")
    for trial in done:
        if trial.needless and trial.kind != "order":
            print(f"{trial.notebook}: {trial.step} takes the {trial.kind} {trial.name} from {trial.source} for nothing")
    if options.json:
        options.json.write_text(json.dumps([asdict(trial) for trial in done], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
