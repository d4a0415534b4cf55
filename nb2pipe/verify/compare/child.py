"""The process that compares: it has the notebook's libraries, which nb2pipe's own process never imports.

It reads requests as JSON lines from standard input and answers each with a line on standard output. The first request
is `{"paths", "package", "modules", "storing"}`. Each following one is `{"names", "notebook": PICKLE, "pipeline":
ARTIFACT or PICKLE}`, also with a `"tolerance"` for floats, or `{"file": NAME, "notebook": PATH, "pipeline": PATH}`; it
is answered with `{NAME: {"type", "verdict", "detail"}}`. `{"describe": NAMES, "pipeline": ARTIFACT}` is answered with
what a test keeps of the values.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from nb2pipe.verify.compare.engine import Comparison, heads, type_text
from nb2pipe.verify.compare.files import compare_files
from nb2pipe.verify.compare.numbers import loosened
from nb2pipe.verify.compare.outcome import Outcome
from nb2pipe.verify.expectation import describe
from nb2pipe.verify.storing import MODULE

Json = dict[str, Any]
MISSING = object()
READERS = {"pandas": ("pyarrow.parquet",), "sklearn": ("joblib", "pandas", "pyarrow.parquet")}
"""What reading the values of a library imports besides."""


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nothing, stream)  # what libraries print is no answer, and nobody reads it
    os.environ["MPLBACKEND"] = "Agg"
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(5000)
    first = json.loads(sys.stdin.readline() or "{}")
    sys.path[:0] = first["paths"]
    storing = sys.modules[MODULE] = ModuleType(MODULE)
    exec(compile(first["storing"], f"<{MODULE}>", "exec"), storing.__dict__)  # noqa: S102  our own text
    for module in first["modules"]:
        for name in (module, *READERS.get(module.partition(".")[0], ())):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    server = Server(first["package"])
    for line in sys.stdin:
        answers.write(json.dumps(server.answer(json.loads(line))) + "\n")
        answers.flush()


class Server:
    """Compares boundary after boundary and keeps what models are asked to predict from."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.seen: list[Any] = []

    def answer(self, request: Json) -> dict[str, Json]:
        """The verdict on every name of a boundary, or on a file."""
        if "describe" in request:
            return self._described(request)
        if "file" in request:
            return {request["file"]: self._file(request)}
        try:
            mine = self._loaded(Path(request["notebook"]))
        except Exception as error:
            why = f"the notebook's value cannot be read back: {error}"
            return {
                name: {"type": "", "verdict": "not proved", "detail": f"{name}: {why}"} for name in request["names"]
            }
        try:
            other = self._loaded(Path(request["pipeline"]))
        except Exception as error:
            why = f"the pipeline's value cannot be loaded: {error}"
            return {name: {"type": "", "verdict": "different", "detail": f"{name}: {why}"} for name in request["names"]}
        self.seen = [*self.seen, *heads(mine.values())][-40:]
        compare = Comparison(self.package, self.seen)
        with loosened(request.get("tolerance", 0.0)):
            return {name: _row(name, mine, other, compare) for name in request["names"]}

    def _described(self, request: Json) -> Json:
        values = self._loaded(Path(request["pipeline"]))
        return {name: describe(values[name]) for name in request["describe"] if name in values}

    def _file(self, request: Json) -> Json:
        name, paths = request["file"], (Path(request["notebook"]), Path(request["pipeline"]))
        try:
            found = compare_files(*paths, name, self.package)
        except Exception as error:
            found = Outcome("not proved", f"{name} cannot be compared: {error}")
        return {"type": "file", "verdict": found.verdict, "detail": found.detail}

    def _loaded(self, path: Path) -> Mapping[str, Any]:
        if path.suffix == ".pickle":
            return _unpickled(path)
        values: Mapping[str, Any] = importlib.import_module(f"{self.package}.artifacts").load(path)
        return values


def _unpickled(path: Path) -> dict[str, Any]:
    """The values that the probe stored; those that could not be stored are not there."""
    try:
        with path.open("rb") as stream:
            values: dict[str, Any] = sys.modules[MODULE].Unpickler(stream).load()
    except FileNotFoundError:
        return {}
    return values


def _row(name: str, mine: Mapping[str, Any], other: Mapping[str, Any], compare: Comparison) -> Json:
    a, b = mine.get(name, MISSING), other.get(name, MISSING)
    if a is MISSING and b is MISSING:
        return {"type": "", "verdict": "equal", "detail": ""}
    if a is MISSING or b is MISSING:
        found = Outcome("different", f"{name} has a value only in the {'pipeline' if a is MISSING else 'notebook'}")
    else:
        found = compare(a, b, name)
    return {"type": type_text(b if a is MISSING else a), "verdict": found.verdict, "detail": found.detail}


if __name__ == "__main__":
    main()
