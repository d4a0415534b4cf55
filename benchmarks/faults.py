"""Breaks generated projects on purpose and counts the faults that `nb2pipe verify` catches: it must be all of them.

    python benchmarks/faults.py [--samples] [--cases] [--per-kind N] [--only NAME] [--json FILE]

Every fault is one change of the generated code. Whether it changes results is judged without the comparison that is
on trial: a step fails, prints something else, or stores other bytes than the faultless project does (run in the same
way). A fault that does not is left out: it changes nothing that anybody could see.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
KINDS = (
    "drop an output",
    "stale version",
    "swap two inputs",
    "drop a mutation",
    "skip a line",
    "change a constant",
    "reseed",
)
DRAWS = re.compile(r"rand|seed|sample|shuffle|permut|choice|[.]fit\b|Dropout|train")
SEED_ALL = (
    "import random as _r; _r.seed(99)\ntry:\n    import numpy as _n; _n.random.seed(99)\nexcept ImportError:\n    pass"
)


@dataclass(frozen=True)
class Fault:
    """A change of one file of a project: `text` is the whole new file."""

    kind: str
    file: str
    what: str
    text: str


@dataclass(frozen=True)
class Trial:
    """What came of a fault: how it showed without verify ("" if not at all), and what verify said."""

    notebook: str
    kind: str
    file: str
    what: str
    showed: str
    verdict: str
    first: str

    @property
    def missed(self) -> bool:
        return bool(self.showed) and self.verdict == "equal"


OWN: Mapping[str, Sequence[tuple[str, str]]] = {
    "draws": (
        ("shared", "import random\nimport numpy as np"),
        (
            "step:data",
            "np.random.seed(1)\nrandom.seed(1)\nx = np.random.rand(5)\nk = [random.random() for _ in range(3)]",
        ),
        ("step:more", "random.seed(2)\nk.append(random.randint(0, 10**6))\nprint(k)"),
        ("step:fit", "rng = np.random.default_rng(3)\nw = x * rng.normal(size=5)\nprint(w.sum())"),
        ("step:end", "np.random.seed(4)\norder = np.random.permutation(5)\nprint(w[order], len(k))"),
    ),
    "files": (
        ("shared", "import json\nimport pandas as pd"),
        (
            "step:make",
            "pd.DataFrame({'a': [1, 2, 3]}).to_csv('data.csv', index=False)\njson.dump([1], open('n.json', 'w'))",
        ),
        ("step:grow", "df = pd.read_csv('data.csv')\ndf['b'] = df['a'] * 2\ndf.to_csv('data.csv', index=False)"),
        ("step:read", "late = pd.read_csv('data.csv')\nn = json.load(open('n.json'))\nprint(late, n)"),
        ("step:write", "late.sum().to_csv('sums.csv')\nopen('report.txt', 'w').write(str(n))"),
    ),
}
"""Notebooks whose faults the samples and cases hardly have: generators seeded again and again, files rewritten."""


def faults(files: Mapping[str, str], package: str, written: Mapping[str, Sequence[str]]) -> Iterator[Fault]:
    """Every fault that this module knows for the files that hold the notebook's lines.

    `written` has the paths that each step writes, by the name of its file.
    """
    for name, text in sorted(files.items()):
        if name.startswith(f"{package}/steps/") and not name.endswith("__init__.py"):
            tree = ast.parse(text)
            yield from _of_outputs(name, tree)
            yield from _of_files(name, tree, written.get(name, ()))
            yield from _swapped(name, tree)
            yield from _reseeded(name, tree)
            yield from _skipped(name, tree)
            yield from _constants(name, tree)
        elif name == f"{package}/shared.py":
            yield from _constants(name, ast.parse(text))


def _body(tree: ast.Module) -> tuple[list[ast.stmt], list[str], bool]:
    """The statements of the step, the names that it takes, and whether it is a function."""
    last = tree.body[-1]
    if isinstance(last, (ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(last):
        return last.body, [a.arg for a in (*last.args.args, *last.args.kwonlyargs)], True
    taken = [s.target.id for s in tree.body if isinstance(s, ast.AnnAssign) and s.value is None]
    return tree.body, taken, False


def _code(source: str) -> list[ast.stmt]:
    return ast.parse(source).body


def _start(body: list[ast.stmt]) -> int:
    """The place of the first statement after docstring, imports and declarations."""
    passive = (ast.Import, ast.ImportFrom)
    for index, s in enumerate(body):
        declares = isinstance(s, ast.AnnAssign) and s.value is None
        text = isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)
        if not (isinstance(s, passive) or declares or text):
            return index
    return len(body)


def _of_outputs(name: str, tree: ast.Module) -> Iterator[Fault]:
    body, taken, is_function = _body(tree)
    if not is_function or not isinstance(body[-1], ast.Return) or body[-1].value is None:
        return
    value = body[-1].value
    outputs = [n.id for n in (value.elts if isinstance(value, ast.Tuple) else [value]) if isinstance(n, ast.Name)]
    for output in outputs:
        changed = copy.deepcopy(tree)
        inner = _body(changed)[0]
        inner.insert(len(inner) - 1, _code(f"{output} = None")[0])
        yield _fault("drop an output", name, output, changed)
        if output in taken:
            changed = copy.deepcopy(tree)
            inner = _body(changed)[0]
            inner.insert(len(inner) - 1, _code(f"{output} = _stale")[0])
            inner[_start(inner) : _start(inner)] = _code(f"import copy\n_stale = copy.deepcopy({output})")
            yield _fault("stale version", name, output, changed)


_KEEP = "import os, shutil\n_had = os.path.exists({0!r}) and shutil.copyfile({0!r}, {0!r} + '.stale')"
_PUT_BACK = "if _had:\n    shutil.move({0!r} + '.stale', {0!r})"


def _of_files(name: str, tree: ast.Module, paths: Sequence[str]) -> Iterator[Fault]:
    """Files that a step writes: gone at its end, or as they were at its start."""
    for path in paths:
        yield _fault("drop an output", name, path, _wrapped(tree, "", f"import os\nos.remove({path!r})"))
        yield _fault("stale version", name, path, _wrapped(tree, _KEEP.format(path), _PUT_BACK.format(path)))


def _wrapped(tree: ast.Module, before: str, after: str) -> ast.Module:
    """A step with code before and after its own."""
    changed = copy.deepcopy(tree)
    inner = _body(changed)[0]
    end = len(inner) - 1 if isinstance(inner[-1], ast.Return) else len(inner)
    inner[end:end] = _code(after)
    inner[_start(inner) : _start(inner)] = _code(before)
    return changed


def _swapped(name: str, tree: ast.Module) -> Iterator[Fault]:
    _, taken, _ = _body(tree)
    for first, second in pairwise(taken):
        changed = copy.deepcopy(tree)
        inner = _body(changed)[0]
        inner[_start(inner) : _start(inner)] = _code(f"{first}, {second} = {second}, {first}")
        yield _fault("swap two inputs", name, f"{first} and {second}", changed)


def _reseeded(name: str, tree: ast.Module) -> Iterator[Fault]:
    """Other seeds for the global generators: at the start of a step that may draw, and after each seed."""
    if not DRAWS.search(ast.unparse(tree)):
        return
    body = _body(tree)[0]
    places = [i + 1 for i, s in enumerate(body) if "seed" in ast.unparse(s) and not isinstance(s, ast.Return)]
    for place in sorted({_start(body), *places}):
        changed = copy.deepcopy(tree)
        inner = _body(changed)[0]
        inner[place:place] = _code(SEED_ALL)
        yield _fault("reseed", name, f"at statement {place}", changed)


def _skipped(name: str, tree: ast.Module) -> Iterator[Fault]:
    """Each statement of the step, also inside loops and branches, replaced by `pass`."""
    places = [
        (number, field, index)
        for number, node in enumerate(ast.walk(tree))
        for field in ("body", "orelse", "finalbody")
        for index, s in enumerate(getattr(node, field, []) if isinstance(getattr(node, field, []), list) else [])
        if isinstance(s, (ast.Assign, ast.AugAssign, ast.Expr, ast.Delete)) and not _is_text(s)
    ]
    for number, field, index in places:
        changed = copy.deepcopy(tree)
        block = getattr(next(n for i, n in enumerate(ast.walk(changed)) if i == number), field)
        what, mutates = ast.unparse(block[index]), _mutates(block[index])
        block[index] = ast.copy_location(ast.Pass(), block[index])
        yield _fault("drop a mutation" if mutates else "skip a line", name, what, changed)


def _mutates(statement: ast.stmt) -> bool:
    """Whether a statement may change a value in place: `x.append(1)`, `x[0] = 1`, `x += y`, `del x[0]`."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Call) and isinstance(statement.value.func, ast.Attribute)
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
    parts = any(isinstance(t, (ast.Attribute, ast.Subscript)) for t in targets)
    return parts or isinstance(statement, ast.AugAssign)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _constants(name: str, tree: ast.Module) -> Iterator[Fault]:
    kept = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    kept |= {id(c) for n in ast.walk(tree) for c in ast.walk(n) if isinstance(n, (ast.JoinedStr,))}
    kept |= {id(c) for n in ast.walk(tree) for a in _annotations(n) for c in ast.walk(a)}
    for number, node in enumerate(ast.walk(tree)):
        if isinstance(node, ast.Constant) and id(node) not in kept and _other(node.value) is not None:
            changed = copy.deepcopy(tree)
            target = next(n for i, n in enumerate(ast.walk(changed)) if i == number)
            assert isinstance(target, ast.Constant)
            target.value = _other(node.value)
            yield _fault("change a constant", name, f"line {node.lineno}: {node.value!r} to {target.value!r}", changed)


def _annotations(node: ast.AST) -> list[ast.expr]:
    found = [getattr(node, "annotation", None), getattr(node, "returns", None)]
    return [a for a in found if a is not None]


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    return value + "_" if isinstance(value, str) else None


def _fault(kind: str, file: str, what: str, tree: ast.Module) -> Fault:
    return Fault(kind, file, what, ast.unparse(ast.fix_missing_locations(tree)) + "\n")


# --- trials ---------------------------------------------------------------------------------------------------------
class Yard:
    """A notebook that was run once, and its pipeline as it should be: what every fault is held against.

    All pipelines lie in one place, one after the other, so that all their processes are forks of one.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        from nb2pipe.convert import Conversion
        from nb2pipe.targets.base import read_map
        from nb2pipe.targets.warm import Warm
        from nb2pipe.verify.check import Bench

        self.name, self.folder, self._project = path.stem, folder, folder / "project"
        self.conversion = Conversion(path)
        self._number = 0
        files = {name: text for name, text in self.conversion.project.files.items() if name.endswith(".py")}
        package = self.conversion.project.package
        written = {f"{package}/steps/{s.name}.py": s.files_out for s in self.conversion.pipeline.steps}
        self.faults = list(faults(files, package, written))
        with closing(Bench(self.conversion, folder / "right")) as right:
            self._right, self.recorded = right.project, right.record({})
        if self.recorded.error is not None:
            raise ValueError(f"{path.name} does not run: {self.recorded.error}")
        shutil.copytree(self._right, self._project)
        self._warm = Warm(self._project, read_map(self._right)["pipeline"]["steps"], alike=True)
        self._warm.__enter__()
        # As the faulty ones are: laid out anew, so that no difference of bytes comes from line numbers alone.
        same = {n: t for n, t in files.items() if n.startswith(f"{package}/steps/")}
        laid_out = [Fault("", n, "", ast.unparse(ast.parse(t)) + "\n") for n, t in same.items()]
        with self._bench(laid_out) as bench:
            self.right = self.seen(self._run(bench, cached=True))
            again = self._run(bench, cached=False)
            self.steady = [self.seen(again)]
            self.alarm = bench.comparisons(self.recorded, again, {}).verdict != "equal"

    def close(self) -> None:
        """End what processes are forks of."""
        self._warm.__exit__()

    @contextmanager
    def _bench(self, changes: Sequence[Fault]) -> Iterator[Any]:
        """Where the project is compared that has these changes."""
        from nb2pipe.verify.check import Bench

        self._number += 1
        shutil.rmtree(self._project, ignore_errors=True)
        shutil.copytree(self._right, self._project, ignore=shutil.ignore_patterns("__pycache__"))
        for change in changes:
            (self._project / change.file).write_text(change.text, encoding="utf-8")
        with closing(Bench(self.conversion, self.folder / f"bench-{self._number}", self._project, self._warm)) as bench:
            yield bench

    def _run(self, bench: Any, *, cached: bool) -> Any:
        """A run as verify does it; steps that the fault does not reach come from the cache."""
        from nb2pipe.targets.local import run

        home = self.conversion.path.resolve().parent
        folders = {"notebook_dir": home, "runs_dir": self.folder / "runs", "cache_dir": self.folder / "cache"}
        return run(bench.project, {}, part=bench.part, workers=1, cache=cached, **folders)

    @staticmethod
    def seen(ran: Any) -> dict[str, Any]:
        """What anybody can see of a run: how its steps ended, what they printed, the bytes that they stored."""
        found: dict[str, Any] = {}
        for step in ran.steps:
            found[f"{step.name} ended"] = step.status in ("succeeded", "cached")
            found[f"{step.name} printed"] = step.stdout.read_bytes()
            stored = [p for kind in ("outputs", "files") for p in (step.stdout.parent / kind).rglob("*") if p.is_file()]
            for path in sorted(p for p in stored if p.name != "artifact.json"):
                found[f"{step.name} stored {path.relative_to(step.stdout.parent)}"] = path.read_bytes()
        return found

    def showed(self, seen: Mapping[str, Any]) -> str:
        """The first thing in which a run differs from the right one; "" for none."""
        steady = [key for key in {**self.right, **seen} if all(self.right.get(key) == s.get(key) for s in self.steady)]
        return next((key for key in steady if self.right.get(key) != seen.get(key)), "")

    def trial(self, fault: Fault) -> Trial:
        """Break the project, run it, and ask verify."""
        with self._bench([fault]) as bench:
            ran = self._run(bench, cached=True)
            showed = self.showed(self.seen(ran))
            found = bench.comparisons(self.recorded, ran, {})
        first = found.first_difference
        place = f"{first.step}.{first.name} at cell {first.cell} line {first.line}" if first else ""
        return Trial(self.name, fault.kind, fault.file, fault.what, showed, found.verdict, place)


def chosen(found: Sequence[Fault], per_kind: int) -> list[Fault]:
    """At most so many faults of each kind, always the same ones."""
    order = random.Random(7).sample(list(found), len(found))
    counts: Counter[str] = Counter()
    kept = []
    for fault in order:
        counts[fault.kind] += 1
        if counts[fault.kind] <= per_kind:
            kept.append(fault)
    return kept


def written_cases(folder: Path, only: str = "") -> Iterator[Path]:
    """The cases of tests/cases that convert, as notebooks."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    import doors

    for case in json.loads((ROOT / "tests" / "cases" / "dataflow.json").read_text(encoding="utf-8")):
        if case["verdict"] == "ok" and only in case["name"]:
            home = folder / case["name"]
            home.mkdir()
            path = home / f"{case['name']}.ipynb"
            cells = [(cell["code"], [f"step:{cell['step']}"]) for cell in case["cells"]]
            path.write_text(json.dumps(doors.notebook(cells)), encoding="utf-8")
            yield path


def own_notebooks(folder: Path, only: str = "") -> Iterator[Path]:
    """The notebooks of this module."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    import doors

    for name, cells in OWN.items():
        if only in name:
            (folder / name).mkdir()
            path = folder / name / f"{name}.ipynb"
            path.write_text(json.dumps(doors.notebook([(code, [tag]) for tag, code in cells])), encoding="utf-8")
            yield path


def copied_samples(folder: Path, only: str = "") -> Iterator[Path]:
    """Copies of the samples."""
    for source in sorted((ROOT / "samples").iterdir()):
        if source.is_dir() and only in source.name:
            ignored = shutil.ignore_patterns("golden", ".nb2pipe")
            shutil.copytree(source, folder / source.name, ignore=ignored)
            yield folder / source.name / f"{source.name}.ipynb"


def trials(path: Path, folder: Path, per_kind: int, kinds: Sequence[str] = KINDS) -> list[Trial]:
    """All trials of one notebook; none when it does not convert or run."""
    from nb2pipe.findings import Nb2pipeError

    try:
        yard = Yard(path, folder)
    except (Nb2pipeError, ValueError) as error:
        print(f"{path.stem}: left out: {str(error)[:150]}", file=sys.stderr)
        return []
    try:
        if not all(value for key, value in yard.right.items() if key.endswith(" ended")):
            print(f"{path.stem}: left out: its pipeline fails", file=sys.stderr)
            return []
        if yard.alarm:
            return [Trial(yard.name, "none", "", "", "", "false alarm", "")]
        return [yard.trial(fault) for fault in chosen(yard.faults, per_kind) if fault.kind in kinds]
    finally:
        yard.close()


def table(done: Sequence[Trial]) -> str:
    """One line a kind: faults, those that change results, those of them that were caught."""
    lines = [f"{'fault':<20} {'tried':>6} {'change results':>15} {'caught':>7} {'share':>7}"]
    for kind in (*KINDS, "all"):
        rows = [t for t in done if kind in (t.kind, "all") and t.kind in KINDS]
        telling = [t for t in rows if t.showed]
        caught = len([t for t in telling if not t.missed])
        share = f"{100 * caught / len(telling):.1f} %" if telling else "-"
        lines.append(f"{kind:<20} {len(rows):>6} {len(telling):>15} {caught:>7} {share:>7}")
    lines += [f"false alarm: {t.notebook}" for t in done if t.verdict == "false alarm"]
    missed = [f"missed: {t.notebook} {t.file}: {t.kind}: {t.what}; showed: {t.showed}" for t in done if t.missed]
    return "\n".join(lines + missed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", action="store_true", help="only the cases of tests/cases")
    parser.add_argument("--samples", action="store_true", help="only the samples")
    parser.add_argument("--per-kind", type=int, default=3, help="faults of each kind for each notebook")
    parser.add_argument("--only", default="", help="only notebooks whose name has this in it")
    parser.add_argument("--json", type=Path, help="write the trials to this file as well")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from nb2pipe.verify.check import steady_hashes

    done: list[Trial] = []
    both = options.cases == options.samples
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        stack.enter_context(steady_hashes())
        folder = Path(name)
        notebooks = [*own_notebooks(folder, options.only)]
        notebooks += [*(written_cases(folder, options.only) if both or options.cases else ())]
        notebooks += [*(copied_samples(folder, options.only) if both or options.samples else ())]
        for number, path in enumerate(notebooks):
            found = trials(path, folder / f"yard-{number}", options.per_kind)
            done += found
            missed = sum(t.missed for t in found)
            print(f"{path.stem}: {len(found)} faults, {missed} missed", file=sys.stderr)
            shutil.rmtree(folder / f"yard-{number}", ignore_errors=True)
    print(table(done))
    if options.json:
        options.json.write_text(json.dumps([asdict(t) for t in done], indent=1) + "\n", encoding="utf-8")
    return 1 if any(t.missed or t.verdict == "false alarm" for t in done) else 0


if __name__ == "__main__":
    sys.exit(main())
