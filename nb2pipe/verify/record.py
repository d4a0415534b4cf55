"""The notebook's side: it is run once from top to bottom, and what crosses steps is recorded on the way."""

from __future__ import annotations

import inspect
import json
import os
import posixpath
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nb2pipe.notebook.model import PyCell
from nb2pipe.pipeline.graph import filled, is_staged
from nb2pipe.pipeline.values import value_text
from nb2pipe.verify import probe as probe_module
from nb2pipe.verify.boundaries import Boundary, Subject, boundaries, request
from nb2pipe.verify.kernel import CellError, CellRun, Kernel
from nb2pipe.verify.storing import MODULE, storing

COPIED_BYTES = 10_000_000
COPIED_IN_ALL = 200_000_000
"""What lies beside the notebook and is no known input is copied up to these sizes: a file, and all together."""

_INSTALL = """
import sys as _sys
for _name, _text in {texts!r}.items():
    _sys.modules[_name] = type(_sys)(_name)
    exec(compile(_text, "<nb2pipe>", "exec"), _sys.modules[_name].__dict__)
_sys.modules["_nb2pipe_probe"].probe = _sys.modules["_nb2pipe_probe"].Probe(get_ipython())
del _sys, _name, _text
"""
_CAPTURE = "__import__('sys').modules['_nb2pipe_probe'].probe.capture({request!r})"


@dataclass
class Recorded:
    """What a run of the notebook left in `folder`: the stored boundaries, and what each cell printed (`runs`).

    `error` is (cell, error) of the cell that failed; `reached` are the boundaries before it.
    """

    folder: Path
    reached: list[Boundary] = field(default_factory=list)
    runs: dict[int, CellRun] = field(default_factory=dict)
    error: tuple[int | None, CellError] | None = None

    def path(self, boundary: Boundary) -> Path:
        """The file with the notebook's values."""
        return self.folder / boundary.file

    def failed(self, boundary: Boundary) -> Mapping[str, str]:
        """Names whose values could not be stored, with the reason."""
        report = self.path(boundary).with_suffix(".json")
        return json.loads(report.read_text(encoding="utf-8"))["failed"] if report.exists() else {}


def cells_to_run(subject: Subject, parameters: Mapping[str, Any]) -> list[tuple[int, str]]:
    """(index, source) of the code cells that the pipeline stands for: all but the skipped ones, parameters set."""
    found = []
    for cell in subject.cells:
        if subject.layout.roles[cell.cell.index] not in ("skip", "text"):
            lines = cell.cell.source.split("\n")
            _install_nothing(lines, {number for _, number in cell.requirements})
            found.append((cell.cell.index, "\n".join(_with_parameters(cell, lines, subject, parameters))))
    return found


def _install_nothing(lines: list[str], numbers: Collection[int]) -> None:
    """Put `pass` in the place of lines (numbers from 1) that install packages, continued lines included."""
    for number in numbers:
        line = lines[number - 1]
        end = number
        while lines[end - 1].endswith("\\") and end < len(lines):
            end += 1
        lines[number - 1 : end] = [line[: len(line) - len(line.lstrip())] + "pass"] + [""] * (end - number)


def _with_parameters(cell: PyCell, lines: list[str], subject: Subject, parameters: Mapping[str, Any]) -> list[str]:
    """The lines with `; NAME = VALUE` after the statement that gives the parameter its default."""
    import ast

    places: list[tuple[int, int, str]] = []
    for parameter in subject.pipeline.parameters:
        if parameter.cell == cell.cell.index and parameter.name in parameters:
            body = ast.parse(cell.text).body
            [statement] = [s for s in body if s.lineno <= parameter.line <= (s.end_lineno or 0)][-1:]
            assert statement.end_lineno is not None
            assert statement.end_col_offset is not None
            text = f"; {parameter.name} = {parameters[parameter.name]!r}"
            places.append((statement.end_lineno, statement.end_col_offset, text))
    for line, column, text in sorted(places, reverse=True):
        data = lines[line - 1].encode()
        lines[line - 1] = (data[:column] + text.encode() + data[column:]).decode()
    return lines


def copy_beside(subject: Subject, folder: Path, parameters: Mapping[str, Any]) -> Path:
    """A copy of what the notebook may read, in `folder`; the folder to run in (deeper, where inputs begin with `..`).

    Known input files are copied whatever their size; other files beside the notebook up to a limit. Hidden folders and
    generated projects are left out.
    """
    source = subject.path.resolve().parent
    inputs = [filled(path, texts(subject, parameters)) for path in subject.pipeline.input_files]
    relative = [posixpath.normpath(path) for path in inputs if is_staged(path)]
    depth = max((p.split("/").count("..") for p in relative), default=0)
    here = folder.joinpath(*["work"] * (depth + 1))
    here.mkdir(parents=True)
    for name in relative:
        _copy(source / name, here / name)
    left = COPIED_IN_ALL
    for place, folders, names in os.walk(source):
        folders[:] = [f for f in folders if not f.startswith((".", "__pycache__")) and _is_data(Path(place, f))]
        for file in (Path(place, name) for name in names if not name.endswith(".ipynb")):
            target = here / file.relative_to(source)
            size = file.stat().st_size if file.is_file() and not target.exists() else COPIED_BYTES + 1
            if size <= COPIED_BYTES and left >= size:
                left -= size
                _copy(file, target)
    return here


def _is_data(folder: Path) -> bool:
    """Whether a folder is none of those that hold projects or environments."""
    marks = ("nb2pipe.map.json", "pyvenv.cfg", "conda-meta")
    return not any((folder / mark).exists() for mark in marks)


def _copy(source: Path, target: Path) -> None:
    if not source.exists() or target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=shutil.copyfile)
    else:
        shutil.copyfile(source, target)


def texts(subject: Subject, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Every parameter of a run as text, as it stands in the names of files."""
    kinds = {p.name: (p.type, p.default) for p in subject.pipeline.parameters}
    return {name: value_text(kind, parameters.get(name, default)) for name, (kind, default) in kinds.items()}


class Recorder:
    """Runs the notebook in a kernel of its own, which `kill` ends from any thread."""

    def __init__(self, subject: Subject, parameters: Mapping[str, Any], folder: Path, env: Mapping[str, str]) -> None:
        self._texts = texts(subject, parameters)
        self.recorded = Recorded(folder / "values")
        self.recorded.folder.mkdir(parents=True)
        self._cells = cells_to_run(subject, parameters)
        self._boundaries = boundaries(subject)
        self._going_on = {c.index for c in subject.notebook.cells if any(t.text == "raises-exception" for t in c.tags)}
        modules = {MODULE: storing(), "_nb2pipe_probe": inspect.getsource(probe_module)}
        self._install = _INSTALL.format(texts=modules)
        self._kernel = Kernel(copy_beside(subject, folder / "beside", parameters), folder / "kernel", env)

    def run(self) -> Recorded:
        """Run all cells; the first that fails ends it."""
        try:
            self._kernel.start()
            self._kernel.probe(self._install)
            for index, source in self._cells:
                if not self._run_cell(index, source):
                    break
        except Exception as error:
            last = next(reversed(self.recorded.runs), None)
            self.recorded.error = (last, CellError(None, str(error)))
        finally:
            self._kernel.close()
        return self.recorded

    def _run_cell(self, index: int, source: str) -> bool:
        run = self.recorded.runs[index] = self._kernel.run(source)
        if run.error is not None and index not in self._going_on:
            self.recorded.error = (index, run.error)
            return False
        self._store([b for b in self._boundaries if b.cell == index])
        return True

    def _store(self, found: Sequence[Boundary]) -> None:
        if found:
            text = json.dumps(request(found, self.recorded.folder, self._texts))
            self._kernel.probe(_CAPTURE.format(request=text))
            self.recorded.reached += found

    def kill(self) -> None:
        """End the kernel; `run` then returns."""
        self._kernel.kill()
