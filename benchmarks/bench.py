"""Measures nb2pipe on notebooks of 31, 283 and 2,803 cells, as ratios to what the same process could not do without.

    python benchmarks/bench.py [--json FILE] [--repeat N] [--no-growth] [--proofs]

All figures of one table come from one run, so the machine's speed drops out of the ratios. See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SMALL, GROWTH = 2, (2, 20, 200)
CELL = re.compile(r"^# %%(.*)\n", re.M)


@dataclass(frozen=True)
class Cost:
    """The cheapest of several runs: seconds on the clock, CPU seconds with children, largest resident megabytes."""

    wall: float
    cpu: float
    megabytes: float


@dataclass(frozen=True)
class Row:
    """One line of the table; `ratio` is to the row named `to`; `bar` is what should hold."""

    name: str
    cost: Cost
    to: str = ""
    ratio: float | None = None
    bar: str = ""


def cells(blocks: int) -> list[tuple[str, str]]:
    """(tag, source) of each cell of a notebook with `blocks` regions; the tag is "[markdown]" for text."""
    block = (HERE / "notebook.txt").read_text(encoding="utf-8")
    text = (HERE / "shared.txt").read_text(encoding="utf-8")
    text += "".join(re.sub(r"(?<=_)K\b|\bK\b", str(k), block) for k in range(blocks))
    _, *parts = CELL.split(text)
    return [(tag.strip(), source.strip("\n")) for tag, source in zip(parts[::2], parts[1::2], strict=True)]


def notebook(blocks: int) -> dict[str, Any]:
    """The same as an nbformat 4.5 document."""
    documents = []
    for index, (tag, source) in enumerate(cells(blocks)):
        common = {"id": f"c{index}", "source": source.splitlines(keepends=True)}
        if tag == "[markdown]":
            documents.append({**common, "cell_type": "markdown", "metadata": {}})
        else:
            code = {"outputs": [], "execution_count": None, "metadata": {"tags": tag.split()}}
            documents.append({**common, "cell_type": "code", **code})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": documents, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def plain(blocks: int) -> str:
    """The code cells that a pipeline holds, as one script."""
    return "\n\n".join(source for tag, source in cells(blocks) if tag not in ("[markdown]", "skip")) + "\n"


def child(command: list[str], folder: Path) -> Cost:
    """The cost of a command that must succeed."""
    with (folder / "out.txt").open("wb") as out:
        start = time.perf_counter()
        actions = [(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, out.fileno(), 2)]
        pid = os.posix_spawn(command[0], command, environment(), file_actions=actions)
        _, status, used = os.wait4(pid, 0)
        wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)[:200]} failed:\n{(folder / 'out.txt').read_text()[-3000:]}")
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "MPLBACKEND": "Agg", "PYTHONPATH": os.pathsep.join([str(HERE.parent), kept.get("PYTHONPATH", "")])}


def cheapest(measure: Callable[[], Cost], repeat: int) -> Cost:
    costs = [measure() for _ in range(repeat)]
    return Cost(min(c.wall for c in costs), min(c.cpu for c in costs), max(c.megabytes for c in costs))


def here(work: Callable[[], object]) -> Cost:
    """The cost of a call in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu, 0.0)


class Bench:
    """Runs the commands in a temporary folder and gathers the rows."""

    def __init__(self, folder: Path, repeat: int) -> None:
        self.folder, self.repeat = folder, repeat
        self.rows: list[Row] = []
        os.chdir(folder)

    def add(self, name: str, measure: Callable[[], Cost], to: str = "", bar: str = "", repeat: int = 0) -> None:
        cost = cheapest(measure, repeat or self.repeat)
        base = next((row.cost.cpu for row in self.rows if row.name == to), None)
        self.rows.append(Row(name, cost, to, cost.cpu / base if base else None, bar))
        print(line(self.rows[-1]), file=sys.stderr)

    def python(self, *arguments: str) -> Callable[[], Cost]:
        return lambda: child([sys.executable, *arguments], self.folder)

    def nb2pipe(self, *arguments: str) -> Callable[[], Cost]:
        return self.python("-m", "nb2pipe", *arguments)

    def write(self, blocks: int) -> str:
        name = f"cells_{len(cells(blocks))}"
        (self.folder / f"{name}.ipynb").write_text(json.dumps(notebook(blocks)), encoding="utf-8")
        return name


def analysis(bench: Bench, name: str) -> None:
    """In this process, imports done: what analysis costs against what Python's own compiler costs."""
    import nb2pipe

    text = plain(SMALL)
    bench.add("compile() of the text", lambda: here(lambda: compile(text, "text", "exec")), repeat=9)
    path = bench.folder / f"{name}.ipynb"
    nb2pipe.load(path).check()
    bench.add("analysis", lambda: here(lambda: nb2pipe.load(path).check()), "compile() of the text", "< 8x", 9)


def commands(bench: Bench, name: str) -> None:
    """The commands as a user starts them."""
    file = f"{name}.ipynb"
    (bench.folder / "plain.py").write_text(plain(SMALL), encoding="utf-8")
    bench.add("python -c pass", bench.python("-c", "pass"))
    bench.add("import kfp", bench.python("-c", "import kfp"))
    bench.add("plain notebook", bench.python("plain.py"))
    bench.add("nb2pipe --help", bench.nb2pipe("--help"), "import kfp")
    bench.add("check", bench.nb2pipe("check", file, "--json"), "import kfp", "< 0.35 s")
    generate = f"import nb2pipe; nb2pipe.load({file!r}).project"
    bench.add("convert without compiling", bench.python("-c", generate), "import kfp")

    def convert() -> Cost:
        shutil.rmtree(bench.folder / "project", ignore_errors=True)
        return bench.nb2pipe("convert", file, "-o", "project", "--json")()

    bench.add("convert", convert, "import kfp", "< 1.3 s")
    bench.add("run, nothing cached", bench.nb2pipe("run", file, "--no-cache", "--json"), "plain notebook")
    bench.nb2pipe("run", file, "--json")()
    bench.add("run, unchanged", bench.nb2pipe("run", file, "--json"), "plain notebook", "< 0.5 s")


def growth(bench: Bench) -> None:
    """Check and generation from 31 to 2,803 cells, each in a process of its own; ratios are to the size before."""
    for what, call in (("check", "check()"), ("generate", "project")):
        before = ""
        for blocks in GROWTH:
            name = bench.write(blocks)
            code = f"import nb2pipe; nb2pipe.load({name + '.ipynb'!r}).{call}"
            bench.add(
                f"{what} {name}",
                bench.python("-c", code),
                before,
                "< 10x" if before else "",
                1 if blocks == GROWTH[-1] else 0,
            )
            before = f"{what} {name}"


_EXECUTE = "import nbclient, nbformat; nbclient.NotebookClient(nbformat.read({0!r}, 4)).execute()"


def proofs(bench: Bench) -> None:
    """`verify` of every sample against the notebook's own run: at most 2.5 times its time and 3 s."""
    for source in sorted((HERE.parent / "samples").iterdir()):
        if source.is_dir():
            shutil.copytree(source, bench.folder, ignore=shutil.ignore_patterns("golden", ".*"), dirs_exist_ok=True)
            name = f"{source.name}.ipynb"
            bench.add(f"notebook {source.name}", bench.python("-c", _EXECUTE.format(name)), repeat=2)
            bar = f"wall < {2.5 * bench.rows[-1].cost.wall + 3:.1f} s"
            bench.add(f"verify {source.name}", bench.nb2pipe("verify", name), f"notebook {source.name}", bar, 2)


def line(row: Row) -> str:
    ratio = f"{row.ratio:8.2f}x {row.to}" if row.ratio is not None else ""
    cost = f"{row.cost.wall:9.3f} {row.cost.cpu:9.3f} {row.cost.megabytes:7.0f}"
    return f"{row.name:<28} {cost}  {ratio:<36} {row.bar}".rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each command, of which the cheapest counts")
    parser.add_argument("--no-growth", action="store_true", help="only the notebook of 31 cells")
    parser.add_argument("--proofs", action="store_true", help="only `verify` of the samples")
    options = parser.parse_args()
    target = options.json and options.json.resolve()
    sys.path.insert(0, str(HERE.parent))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.repeat)
        if not options.proofs:
            name = bench.write(SMALL)
            analysis(bench, name)
            commands(bench, name)
        if not options.no_growth and not options.proofs:
            growth(bench)
        proofs(bench)
        os.chdir(HERE)
    print(f"{'':<28} {'wall s':>9} {'cpu s':>9} {'MB':>7}  ratio of cpu", *map(line, bench.rows), sep="\n")
    if target:
        target.write_text(json.dumps([asdict(row) for row in bench.rows], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
