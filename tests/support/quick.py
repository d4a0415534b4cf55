"""Runs a notebook as it is and as a pipeline, fast: every process is a fork of this one, with the imports done.

    outcome = quick.compare([("step:a", "x = 1"), ("step:b", "print(x)")], folder)

A notebook is a list of (tags, source), tags parted by blanks. Compared is what each step prints, and that it succeeds;
the steps take their values through the same artifacts as in the real runners.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import functools
import importlib
import io
import json
import linecache
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import doors

from nb2pipe.targets.warm import Parent

Cells = Sequence[tuple[str, str]]
Kind = Literal["equal", "refused", "different", "failed", "crashed", "invalid"]
SECONDS = int(os.environ.get("QUICK_SECONDS", "20"))
MEMORY = 4 << 30
ADDRESS = re.compile(r"at 0x[0-9a-f]+")
PACKAGE = "program"


@dataclass(frozen=True)
class Outcome:
    """What came of a notebook.

    `equal`: the pipeline printed what the notebook printed. `refused`: it was not converted; `codes` says why.
    `different`, `failed`, `crashed` (nb2pipe itself): wrong. `invalid`: the notebook itself does not run.
    """

    kind: Kind
    detail: str = ""
    codes: tuple[str, ...] = ()

    @property
    def wrong(self) -> bool:
        return self.kind in ("different", "failed", "crashed")


@dataclass(frozen=True)
class _Ran:
    status: int
    printed: str
    error: str


def compare(
    cells: Cells,
    folder: Path | None = None,
    data: Mapping[str, str] | None = None,
    given: Mapping[str, Any] | None = None,
) -> Outcome:
    """Run the notebook both ways in a temporary folder; `data` are text files beside it, `given` other values of
    parameters for both. Needs `os.fork`."""
    place = Path(tempfile.mkdtemp(dir=folder))
    try:
        return _compare(cells, place, data or {}, given or {})
    finally:
        shutil.rmtree(place, ignore_errors=True)


def compare_apart(cells: Cells, folder: Path, libraries: Sequence[str], data: Mapping[str, str]) -> Outcome:
    """As `compare`, in a fork of a process that has only imported `libraries`: forks of one that used them may hang."""
    request, result = folder / "request.json", folder / "result.json"
    request.write_text(json.dumps({"cells": list(cells), "folder": str(folder), "data": dict(data)}))
    process = _apart(*libraries).fork("quick", [str(request), str(result)], _environment(), folder)
    assert process is not None
    with process.stdout, process.stderr:
        said = process.stderr.read().decode()
        if process.wait():
            return Outcome("crashed", said)
    kind, detail, codes = json.loads(result.read_text())
    return Outcome(kind, detail, tuple(codes))


@functools.cache
def _apart(*libraries: str) -> Parent:
    """A process that has imported `libraries`, for as long as this one lives."""
    statements = [f"import {name}" for name in (*libraries, "pandas", "pyarrow.parquet")]
    parent = Parent([*statements, "import quick", "quick.warm()"], _environment())
    atexit.register(parent.close)
    return parent


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "PYTHONPATH": path, "QUICK_SECONDS": "120"}


def _compare(cells: Cells, place: Path, data: Mapping[str, str], given: Mapping[str, Any]) -> Outcome:
    home, plain = place / "home", place / "plain"
    for beside in (home, plain):
        for name, text in {"keep": "", **data}.items():
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            (beside / name).write_text(text)
    notebook = home / f"{PACKAGE}.ipynb"
    notebook.write_text(json.dumps(doors.notebook([(source, tags.split()) for tags, source in cells])))
    said = _forked(lambda: _convert(notebook, place / "project"), home)
    if said.status:
        return Outcome("crashed", f"{_reasons(said.error)}\n{said.error}" if said.error else "out of time or memory")
    document = json.loads(said.printed)
    ran = _forked(lambda: _run_cells([_with_parameters(tags, source, given) for tags, source in cells]), plain)
    if ran.status:
        return Outcome("invalid", _reasons(ran.error), tuple(document["codes"]))
    if document["codes"]:
        return Outcome("refused", document["text"], tuple(document["codes"]))
    expected = _by_step(ran.printed, {int(cell): step for cell, step in document["steps"].items()})
    shared = f"{PACKAGE}.shared." if document["text of classes"] else ""
    return _pipeline(document["pipeline"], expected, place, home, shared, given)


def _convert(notebook: Path, project: Path) -> None:
    """Write the project and print what the comparison needs to know; or why there is none."""
    import nb2pipe
    from nb2pipe.findings import errors

    conversion = nb2pipe.load(notebook)
    found = errors(conversion.findings)
    document: dict[str, Any] = {
        "codes": list(dict.fromkeys(f.code for f in found)),
        "text of classes": any(f.code == "class-text" for f in conversion.findings),
        "text": "\n".join(f"cell {f.cell} line {f.line}: {f.code}: {f.message}" for f in found),
        "steps": dict(conversion.layout.step_of),
    }
    if not found:
        for name, text in conversion.project.files.items():
            path = project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        document["pipeline"] = json.loads(conversion.project.files["nb2pipe.map.json"])["pipeline"]
    print(json.dumps(document))


def _by_step(printed: str, steps: Mapping[int, str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for index, text in enumerate(printed.split("\x00")[1:]):
        if index in steps:
            texts[steps[index]] = texts.get(steps[index], "") + text
    return texts


def other_parameters(cells: Cells) -> dict[str, Any]:
    """Another value, of the same type, for each parameter that a literal declares."""
    sources = (source for tags, source in cells if "parameters" in tags.split())
    return {name: _another(value) for source in sources for _, name, value in _literals(source)}


def _literals(source: str) -> list[tuple[ast.expr, str, Any]]:
    """The literals that a cell assigns to a name: where they stand, the name and the value."""
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            with contextlib.suppress(ValueError):
                found.append((node.value, node.targets[0].id, ast.literal_eval(node.value)))
    return found


def _another(value: Any) -> Any:
    if isinstance(value, list):
        return [*map(_another, reversed(value)), 9]
    if isinstance(value, dict):
        return {key: _another(item) for key, item in value.items()} | {"other": 8}
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 3
    return f"another {value}" if isinstance(value, str) else value


def _with_parameters(tags: str, source: str, given: Mapping[str, Any]) -> str:
    """A cell's source, in which other values stand for the literals of parameters."""
    if "parameters" not in tags.split():
        return source
    for node, name, _ in reversed(_literals(source)):
        if name in given:
            lines = source.encode().splitlines(keepends=True)
            first, last = lines[node.lineno - 1], lines[node.end_lineno - 1]
            new = first[: node.col_offset] + repr(given[name]).encode() + last[node.end_col_offset :]
            source = b"".join([*lines[: node.lineno - 1], new, *lines[node.end_lineno :]]).decode()
    return source


def _run_cells(sources: Sequence[str]) -> None:
    module = sys.modules["__main__"] = ModuleType("__main__")
    sys.path.insert(0, "")
    for number, source in enumerate(sources):
        print("\x00", end="")
        name, text = f"<cell {number}>", f"{_without_magic(source)}\n"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        importlib.invalidate_caches()
        exec(compile(text, name, "exec", dont_inherit=True), module.__dict__)
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")  # as a notebook does when a cell has ended


def _without_magic(source: str) -> str:
    """What a cell with `%%writefile` does, in Python."""
    if not source.startswith("%%writefile "):
        return source
    path, _, text = source.removeprefix("%%writefile ").partition("\n")
    return f"import pathlib as _p; _p.Path({path!r}).write_text({text + chr(10)!r})"


def _pipeline(
    graph: dict[str, Any],
    expected: Mapping[str, str],
    place: Path,
    home: Path,
    shared: str,
    given: Mapping[str, Any],
) -> Outcome:
    """Every step in a process and a folder of its own, in the pipeline's order; `shared`: what the notebook's user has
    been told to find in text where the notebook has `__main__.`."""
    rows = {step["name"]: step for step in graph["steps"]}
    for name, step in rows.items():
        ran = _forked(lambda step=step: _run_step(step, rows, graph, place, home, given), place)
        if ran.status:
            return Outcome("failed", f"step {name}: {_reasons(ran.error)}")
        printed = ran.printed.replace(shared, "__main__.") if shared else ran.printed
        if printed != expected.get(name, ""):
            return Outcome("different", f"step {name} printed\n{printed}\nand not\n{expected.get(name, '')}")
    return Outcome("equal")


def _reasons(trace: str) -> str:
    """The last line of each traceback in a chain."""
    lines = trace.strip().splitlines() or ["out of time or memory"]
    ends = [i for i, line in enumerate(lines) if line.startswith(("The above exception", "During handling"))]
    return " <- ".join(lines[i].strip() for i in [-1, *(i - 2 for i in reversed(ends))])


def _run_step(
    step: dict[str, Any],
    rows: dict[str, Any],
    graph: dict[str, Any],
    place: Path,
    home: Path,
    given: Mapping[str, Any],
) -> None:
    sys.path.insert(0, str(place / "project"))
    task = __import__(f"{graph['package']}.task", fromlist=["run"])
    results = place / "results"
    name = step["name"]

    def file(row: Mapping[str, Any]) -> Path:
        if row["source"] is None:
            return home / row["path"]
        return results / row["source"] / "files" / str(rows[row["source"]]["files_out"].index(row["path"]))

    files = {row["path"]: file(row) for row in step["files_in"]}
    os.environ.update(step["resources"]["env"])
    task.run(
        name,
        parameters={key: given[key] for key in step["parameters"] if key in given},
        inputs={row["key"]: str(results / row["source"] / row["artifact"]) for row in step["inputs"]},
        outputs={row["artifact"]: str(results / name / row["artifact"]) for row in step["outputs"]},
        files_in={path: str(source) for path, source in files.items() if source.exists()},
        files_out={path: str(results / name / "files" / str(i)) for i, path in enumerate(step["files_out"])},
        workdir=results / name / "work",
    )


def _forked(action: Callable[[], None], folder: Path) -> _Ran:
    """Run `action` in a fork of this process whose working folder is `folder`, with what it prints."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            warnings.simplefilter("ignore")  # a library's deprecations are no failure of the notebook
        if not child:
            _be_child(action, folder, out.fileno(), err.fileno())
        _, status = os.waitpid(child, 0)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(ADDRESS.sub("at 0x", stream.read().decode()))
    return _Ran(status, texts[0], texts[1])


def _be_child(action: Callable[[], None], folder: Path, out: int, err: int) -> None:
    """Never returns. Pytest's own streams are left behind."""
    status = 1
    try:
        signal.alarm(SECONDS)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        os.chdir(folder)
        action()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def warm(*names: str) -> None:
    """Import what every fork will need, once; and convert a notebook, so that templates are compiled."""
    import argparse  # noqa: F401

    for name in ("cloudpickle", "hashlib", "nb2pipe", *names):
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        notebook = Path(folder) / f"{PACKAGE}.ipynb"
        notebook.write_text(json.dumps(doors.notebook([("x = [1]\nprint(x)", ["step:a"]), ("print(x)", ["step:b"])])))
        _convert(notebook, Path(folder) / "project")


def main(request: str, result: str) -> None:
    """Compares the notebook of the file `request`, and writes the outcome to the file `result`."""
    warnings.simplefilter("ignore")
    given = json.loads(Path(request).read_text())
    outcome = compare([(tags, source) for tags, source in given["cells"]], Path(given["folder"]), given["data"])
    Path(result).write_text(json.dumps([outcome.kind, outcome.detail, outcome.codes]))


if __name__ == "__main__":
    main(*sys.argv[1:])
