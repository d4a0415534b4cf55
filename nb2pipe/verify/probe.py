"""Runs inside the notebook's kernel: stores values at step boundaries. Its text is executed there, under a name that
the notebook cannot see, so it may import neither nb2pipe nor anything that a kernel lacks."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Probe:
    """Stores values of the namespace of an IPython shell, and makes magics print as the pipeline's code does."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.shown: Any = None
        shell.events.register("post_run_cell", self._remember)
        for name, magic in (("time", self._plainly), ("capture", self._plainly), ("timeit", self._muted(shell))):
            shell.register_magic_function(_unexpanded(magic), "line_cell", name)
        for name in ("pip", "conda", "mamba", "uv"):
            shell.register_magic_function(_nothing, "line", name)

    def _remember(self, result: Any) -> None:
        self.shown = result.result

    def _plainly(self, line: str, cell: str | None = None) -> Any:
        """Runs the code of `%time`, `%%time` or `%%capture`, without the times and with what it prints."""
        body = ast.parse(self.shell.transform_cell(line if cell is None else cell)).body
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), "<cell>", "exec"), self.shell.user_ns)  # noqa: S102  the notebook's own code
        if last is None:
            return None
        return eval(compile(ast.Expression(last.value), "<cell>", "eval"), self.shell.user_ns)  # noqa: S307

    @staticmethod
    def _muted(shell: Any) -> Callable[..., None]:
        """`%timeit` without the times that it prints, which no run repeats."""
        real = shell.find_line_magic("timeit")

        def timeit(line: str, cell: str | None = None) -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                real(line, cell)

        return timeit

    def capture(self, request: str) -> None:
        """Carry out `{"values": [{"file", "names"}], "metrics": [{"file", "name", "labels"}], "files": [...]}`."""
        wanted = json.loads(request)
        for row in wanted["values"]:
            space = self.shell.user_ns
            _store({name: space[name] for name in row["names"] if name in space}, Path(row["file"]))
        for row in wanted["metrics"]:
            _store({row["name"]: self._metrics(row["labels"])}, Path(row["file"]))
        for row in wanted["files"]:
            _keep(Path(row["path"]), Path(row["file"]))

    def _metrics(self, labels: dict[str, str]) -> dict[str, Any]:
        names = {**self.shell.user_ns, "shown_metrics": self.shown}
        found = {}
        for label, expression in labels.items():
            value = eval(expression, names)  # noqa: S307  an expression of a `metrics` cell
            plain = value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value
            if isinstance(plain, (bool, int, float)):
                found[label] = plain
        return found


def _unexpanded(magic: Callable[..., Any]) -> Callable[..., Any]:
    """The magic as IPython wants it whose text is code: `$x` and `{x}` in it stay."""
    from IPython.core.magic import no_var_expand

    def same(line: str, cell: str | None = None) -> Any:
        return magic(line, cell)

    marked: Callable[..., Any] = no_var_expand(same)
    return marked


def _nothing(line: str) -> None:
    """Nothing is installed while a notebook is verified."""


def _store(values: dict[str, Any], file: Path) -> None:
    """Pickle the values together, so that shared objects stay shared; what cannot be pickled is named in a report."""
    failed: dict[str, str] = {}
    try:
        data = _dumps(values)
    except Exception:
        failed = {name: text for name, value in values.items() if (text := _trouble(value))}
        together = _trouble({name: value for name, value in values.items() if name not in failed})
        failed |= dict.fromkeys(values, together) if together else {}
        data = _dumps({name: value for name, value in values.items() if name not in failed})
    file.write_bytes(data)
    file.with_suffix(".json").write_text(json.dumps({"failed": failed, "size": len(data)}), encoding="utf-8")


def _trouble(value: Any) -> str:
    try:
        _dumps(value)
    except Exception as error:
        return f"it cannot be pickled: {type(error).__name__}: {error}"
    return ""


def _dumps(value: Any) -> bytes:
    """As the pipeline pickles what no other format keeps: gradients, Keras models of own classes..."""
    stream = io.BytesIO()
    sys.modules["_nb2pipe_artifacts"]._pickler(stream, value).dump(value)
    return stream.getvalue()


def _keep(path: Path, copy: Path) -> None:
    """A copy of a file or a folder as it is now, if it is there."""
    if path.is_dir():
        shutil.copytree(path, copy)
    elif path.exists():
        shutil.copyfile(path, copy)
