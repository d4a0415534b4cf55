"""Runs one step of digits_torch.

Loads its inputs, calls it with its parameters, stores its outputs:

    python -m digits_torch.task STEP --PARAMETER VALUE --input NAME=PATH --output NAME=PATH

This is the one entry point of every step, on a workstation, in a container and on a cluster.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib
import json
import os
import posixpath
import shutil
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from digits_torch import artifacts

ROOT = Path(__file__).resolve().parent.parent

# What each step takes and gives: artifacts with the names in them, parameters with type, default,
# meaning.
STEPS: dict[str, dict[str, Any]] = {
    "load": {
        "module": "digits_torch.steps.load",
        "function": "load",
        "async": False,
        "inputs": {},
        "outputs": {
            "images": ["Artifact", ["images"]],
            "labels": ["Artifact", ["labels"]],
        },
        "returns": ["images", "labels"],
        "metrics": None,
        "maybe_unbound": [],
        "parameters": {},
        "files_in": [],
        "files_out": [],
    },
    "split": {
        "module": "digits_torch.steps.split",
        "function": "split",
        "async": False,
        "inputs": {"images": ["images"], "labels": ["labels"]},
        "outputs": {
            "test_images": ["Artifact", ["test_images"]],
            "test_labels": ["Artifact", ["test_labels"]],
            "train_images": ["Artifact", ["train_images"]],
            "val_images": ["Artifact", ["val_images"]],
            "train_labels": ["Artifact", ["train_labels"]],
            "val_labels": ["Artifact", ["val_labels"]],
        },
        "returns": [
            "test_images",
            "test_labels",
            "train_images",
            "val_images",
            "train_labels",
            "val_labels",
        ],
        "metrics": None,
        "maybe_unbound": [],
        "parameters": {},
        "files_in": [],
        "files_out": [],
    },
    "train": {
        "module": "digits_torch.steps.train",
        "function": "train",
        "async": False,
        "inputs": {
            "train_images": ["train_images"],
            "train_labels": ["train_labels"],
            "val_images": ["val_images"],
            "val_labels": ["val_labels"],
        },
        "outputs": {
            "model": ["Model", ["model"]],
            "history": ["Artifact", ["history"]],
        },
        "returns": ["model", "history"],
        "metrics": None,
        "maybe_unbound": [],
        "parameters": {
            "batch_size": ["int", 64, ""],
            "dropout": ["float", 0.2, ""],
            "epochs": ["int", 6, ""],
            "learning_rate": ["float", 0.01, ""],
            "patience": ["int", 2, ""],
            "width": ["int", 16, ""],
        },
        "files_in": [],
        "files_out": [],
        "workers": "torch",
    },
    "evaluate": {
        "module": "digits_torch.steps.evaluate",
        "function": "evaluate_step",
        "async": False,
        "inputs": {
            "model": ["model"],
            "test_images": ["test_images"],
            "test_labels": ["test_labels"],
        },
        "outputs": {
            "guessed": ["Dataset", ["guessed"]],
            "metrics": ["Metrics", ["metrics"]],
        },
        "returns": ["guessed", "metrics"],
        "metrics": "metrics",
        "maybe_unbound": [],
        "parameters": {},
        "files_in": [],
        "files_out": [],
    },
    "report": {
        "module": "digits_torch.steps.report",
        "function": "report",
        "async": False,
        "inputs": {
            "test_labels": ["test_labels"],
            "guessed": ["guessed"],
            "history": ["history"],
        },
        "outputs": {},
        "returns": [],
        "metrics": None,
        "maybe_unbound": [],
        "parameters": {},
        "files_in": [],
        "files_out": [],
    },
}


class StepError(Exception):
    """A step failed. `cell` and `line` are the notebook's, where the failing code is from it."""

    def __init__(
        self, step: str, reason: str, cell: int | None = None, line: int | None = None
    ) -> None:
        super().__init__(
            f"step {step} failed{'' if cell is None else f' at cell {cell} line {line}'}: {reason}"
        )
        self.reason, self.cell, self.line = reason, cell, line
        self.at = time.time()


def run(
    step: str,
    parameters: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    outputs: Mapping[str, str] | None = None,
    files_in: Mapping[str, str] | None = None,
    files_out: Mapping[str, str] | None = None,
    workdir: str | Path | None = None,
    log_metric: Callable[[str, float], None] | None = None,
) -> dict[str, float]:
    """Runs `step` and returns its metrics, which `log_metric` gets too where they are finite.

    `inputs` and `outputs` give the path of each artifact by name. `files_in` are laid out at their
    relative path in the working folder (a temporary one unless `workdir` is given), `files_out` are
    copied from there. Raises StepError.
    """
    report = os.environ.get("STEP_REPORTS")
    with _reported(step, Path(report)) if report else contextlib.nullcontext({}) as result:
        with _as_worker(step, outputs or {}, files_out or {}, workdir) as (place, targets, files):
            metrics = _run(
                step, parameters or {}, inputs or {}, targets, files_in or {}, files, place
            )
        result["metrics"] = metrics
        result["outputs"] = dict(outputs or {})
    if "workers" in STEPS[step] and _rank():
        return {}
    for label, number in metrics.items():
        if log_metric and number - number == 0:
            log_metric(label, number)
    return metrics


def _run(
    step: str,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    files_in: Mapping[str, str],
    files_out: Mapping[str, str],
    workdir: str | Path | None,
) -> dict[str, float]:
    spec = STEPS[step]
    values = _parameters(step, spec, parameters)
    paths = {key: os.path.abspath(path) for key, path in outputs.items()}
    with _loading(spec):
        arguments = _inputs(step, spec, inputs)
    files_in = {filled(path, values): source for path, source in files_in.items()}
    files_out = {filled(path, values): target for path, target in files_out.items()}
    with _working_folder(step, workdir, files_in, files_out), _main_module():
        namespace = _execute(step, spec, {**arguments, **values})
        metrics = _metrics(namespace.get(spec["metrics"]))
        if spec["metrics"]:
            namespace[spec["metrics"]] = metrics
        for key, path in paths.items():
            _save(step, spec, key, path, namespace)
    return metrics


@contextlib.contextmanager
def _as_worker(
    step: str, outputs: Mapping[str, str], files_out: Mapping[str, str], workdir: str | Path | None
) -> Iterator[tuple[str | Path | None, Mapping[str, str], Mapping[str, str]]]:
    """Makes this process one of the step's workers; gives where it works and stores.

    All workers compute and store the same, since storing may need all of them; but only the chief's
    results count. The others work in folders of their own and store in one that is thrown away.
    """
    framework = STEPS[step].get("workers")
    if framework is None:
        yield workdir, outputs, files_out
        return
    workers = importlib.import_module(f"digits_torch.{framework}_workers")
    try:
        place = Path(workdir).parent if workdir else None
        if place:
            place.mkdir(parents=True, exist_ok=True)
        with workers.group(), tempfile.TemporaryDirectory(dir=place, prefix="work") as scratch:
            if not _rank():
                yield workdir, outputs, files_out
            else:
                own = {name: f"{scratch}/output-{i}" for i, name in enumerate(outputs)}
                files = {name: f"{scratch}/file-{i}" for i, name in enumerate(files_out)}
                yield workdir and f"{workdir}.worker{_rank()}", own, files
    except StepError:
        raise
    except Exception as error:
        raise StepError(step, f"worker {_rank()}: {type(error).__name__}: {error}") from error


def _loading(spec: dict[str, Any]) -> contextlib.AbstractContextManager[Any]:
    """Where a worker loads its inputs: models may have to be made in the scope of all workers."""
    if "workers" not in spec:
        return contextlib.nullcontext()
    workers = importlib.import_module(f"digits_torch.{spec['workers']}_workers")
    scope: Callable[[], contextlib.AbstractContextManager[Any]]
    scope = getattr(workers, "scope", contextlib.nullcontext)
    return scope()


def _rank() -> int:
    """Which worker this process is, from 0."""
    return int(importlib.import_module("digits_torch.cluster").place().rank)


def filled(path: str, values: Mapping[str, Any]) -> str:
    """A file's path with the parameters of the run in it."""
    return path.format(**values) if "{" in path or "}" in path else path


def _parameters(step: str, spec: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The step's parameters: the given ones, read by their type, and the defaults of the others."""
    unknown = set(given) - set(spec["parameters"])
    if unknown:
        raise StepError(step, f"no parameter {', '.join(sorted(unknown))}")
    values = {}
    for name, (kind, default, _) in spec["parameters"].items():
        try:
            values[name] = (
                parse_value(kind, given[name]) if name in given else copy.deepcopy(default)
            )
        except ValueError as error:
            raise StepError(step, f"parameter {name}: {error}") from None
    return values


def _inputs(step: str, spec: dict[str, Any], paths: Mapping[str, str]) -> dict[str, Any]:
    """The values that the step takes, by name; a script may lack names that were never bound."""
    values: dict[str, Any] = {}
    for key, names in spec["inputs"].items():
        if key not in paths:
            raise StepError(step, f"input {key} is missing")
        try:
            stored = artifacts.load(paths[key])
        except Exception as error:
            raise StepError(step, f"input {key} cannot be loaded: {error}") from error
        missing = [name for name in names if name not in stored]
        if missing and spec["function"]:
            raise StepError(step, f"input {key} holds no {', '.join(missing)}")
        values.update((name, stored[name]) for name in names if name in stored)
    return values


def _execute(step: str, spec: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Runs the step's code; returns its outputs by name."""
    try:
        if spec["function"]:
            function = getattr(importlib.import_module(spec["module"]), spec["function"])
            returned = function(**arguments)
            if spec["async"]:
                returned = _await(returned)
            names = spec["returns"]
            return dict(zip(names, (returned,) if len(names) == 1 else returned)) if names else {}
        return _script(ROOT.joinpath(*spec["module"].split(".")).with_suffix(".py"), arguments)
    except (Exception, SystemExit) as error:
        cell, line, source = _place(error)
        reason = source or f"{type(error).__name__}: {error}"
        raise StepError(step, reason, cell, line) from error


def _script(path: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """Runs the file as a script with `arguments` as globals; returns the globals that it leaves."""
    module = types.ModuleType("__main__")
    module.__dict__.update(arguments)  # as in a notebook there is no __file__
    sys.modules["__main__"] = module
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(path.read_bytes(), str(path), "exec", flags, dont_inherit=True)
    result = eval(code, module.__dict__)
    if result is not None:
        _await(result)
    return dict(module.__dict__)


def _await(coroutine: Any) -> Any:
    import asyncio

    return asyncio.run(coroutine)


def _save(step: str, spec: dict[str, Any], key: str, path: str, namespace: dict[str, Any]) -> None:
    kind, names = spec["outputs"][key]
    unbound = [name for name in names if name not in namespace]
    missing = [name for name in unbound if name not in spec["maybe_unbound"]]
    if missing:
        raise StepError(step, f"it ended without a value for {', '.join(missing)}")
    values = {name: namespace[name] for name in names if name in namespace}
    if kind == "Metrics":
        values = {"metrics": values[spec["metrics"]]}
    try:
        artifacts.save(path, values, kind=kind, unbound=unbound)
    except Exception as error:
        raise StepError(step, f"output {key} cannot be stored: {error}") from error


def _metrics(values: Any) -> dict[str, float]:
    """The numbers among `values`, as plain ints and floats."""
    numbers: dict[str, float] = {}
    for name, value in dict(values or {}).items():
        plain = value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value
        if isinstance(plain, (bool, int, float)):
            numbers[str(name)] = plain
        else:
            print(
                f"metric {name} is left out: {type(value).__name__} is not a number",
                file=sys.stderr,
            )
    return numbers


@contextlib.contextmanager
def _main_module() -> Iterator[None]:
    """Gives `__main__` back at the end: a script takes its place, to have its classes stored."""
    before = sys.modules["__main__"]
    try:
        yield
    finally:
        sys.modules["__main__"] = before


@contextlib.contextmanager
def _working_folder(
    step: str, workdir: str | Path | None, files_in: Mapping[str, str], files_out: Mapping[str, str]
) -> Iterator[None]:
    """Changes to the working folder with `files_in` in it; in the end copies `files_out` out."""
    before, path = os.getcwd(), list(sys.path)
    sources = {name: os.path.abspath(source) for name, source in files_in.items()}
    targets = {name: os.path.abspath(target) for name, target in files_out.items()}
    place = tempfile.TemporaryDirectory() if workdir is None else contextlib.nullcontext(workdir)
    with place as folder:
        # Deep enough that no `../` of a file leads out of it.
        parts = [posixpath.normpath(name).split("/") for name in (*sources, *targets)]
        depth = max((names.count("..") for names in parts), default=0)
        here = Path(folder).resolve().joinpath(*["work"] * depth)
        here.mkdir(parents=True, exist_ok=True)
        for name, source in sources.items():
            if "://" not in name and not os.path.isabs(name):
                _copy(Path(source), here / name)
        os.environ.setdefault("MPLBACKEND", "Agg")
        sys.path.insert(0, str(ROOT))
        try:
            os.chdir(here)
            yield
            for name, target in targets.items():
                if not (here / name).exists():
                    raise StepError(step, f"it wrote no file {name}")
                _copy(here / name, Path(target))
        finally:
            os.chdir(before)
            sys.path[:] = path


def _copy(source: Path, target: Path) -> None:
    """Copies a file or a folder with its times, but not its permissions: a step may change it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_copy_file, dirs_exist_ok=True)
    else:
        _copy_file(source, target)


def _copy_file(source: str | Path, target: str | Path) -> None:
    shutil.copyfile(source, target)
    with contextlib.suppress(OSError):  # mounted buckets have times of their own
        os.utime(target, ns=(os.stat(source).st_atime_ns, os.stat(source).st_mtime_ns))


def _place(error: BaseException) -> tuple[int | None, int | None, str]:
    """The notebook's cell and line, and the text, of the innermost line that came from there."""
    lines, trace = _source_map(), error.__traceback__
    found: tuple[int | None, int | None, str] = (None, None, "")
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        for start, count, cell, cell_line, *_ in lines.get(file, ()):
            if start <= trace.tb_lineno < start + count:
                text = Path(file).read_text(encoding="utf-8").splitlines()[trace.tb_lineno - 1]
                found = (cell, cell_line + trace.tb_lineno - start, text.strip())
        trace = trace.tb_next
    return found


def _source_map() -> dict[str, list[list[int]]]:
    """The rows [line, count, cell, cell line, ...] of each generated file, by its full path."""
    try:
        files = json.loads((ROOT / "nb2pipe.map.json").read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return {}
    return {str(ROOT / name): rows for name, rows in files.items()}


@contextlib.contextmanager
def _reported(step: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Keeps what the step prints, and its result.json, in `folder`/STEP."""
    place = folder / step
    place.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    for number, name in ((1, "stdout"), (2, "stderr")):
        with open(place / name, "wb") as file:
            os.dup2(file.fileno(), number)
    result: dict[str, Any] = {}
    started = time.perf_counter()
    try:
        yield result
    except StepError as error:
        _print_failure(error)
        result["error"] = {"message": _message(error), "cell": error.cell, "line": error.line}
        raise
    finally:
        result["seconds"] = time.perf_counter() - started
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        _write_result(place / "result.json", result)


def _write_result(path: Path, result: dict[str, Any]) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(result), encoding="utf-8")
    part.replace(path)


def _message(error: StepError) -> str:
    cause = error.__cause__
    return f"{type(cause).__name__}: {cause}" if cause is not None else error.reason


def _print_failure(error: StepError) -> None:
    """Prints the traceback of the step's own code, then where in the notebook that is."""
    import traceback

    cause = error.__cause__
    if cause is not None:
        trace = cause.__traceback__
        while (
            trace is not None
            and trace.tb_next is not None
            and trace.tb_frame.f_code.co_filename == __file__
        ):
            trace = trace.tb_next
        traceback.print_exception(type(cause), cause, trace)
    print(error, file=sys.stderr, flush=True)


def parse_value(kind: str, value: Any) -> Any:
    """The value of a parameter of type `kind`: int, float, str, bool, list, dict or None.

    Text is read as a literal, JSON or Python; whole floats become ints where an int is wanted:
    platforms pass every number as a float. Raises ValueError when `value` is not of the type.
    """
    if kind == "str":
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not a str")
        return value
    if kind == "None" and isinstance(value, str):
        try:
            return _parse_literal(value)
        except ValueError:
            return value
    if kind in ("int", "float") and isinstance(value, str):
        return int(value) if kind == "int" else float(value)
    if isinstance(value, str):
        value = _parse_literal(value)
    if kind == "int" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    names = {"list": ("list", "tuple", "set"), "None": (type(value).__name__,)}.get(kind, (kind,))
    wanted = type(value).__name__ in names
    if not wanted:
        raise ValueError(f"{value!r} is not a {kind}")
    return value


def _parse_literal(text: str) -> Any:
    """The value of a JSON or Python literal; True, False and None are understood in any case."""
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    raise ValueError(f"{text!r} is not a literal")


PATHS = {
    "input": "an artifact",
    "output": "an artifact",
    "file_in": "a file",
    "file_out": "a file",
}
RESERVED = {"help", "workdir", "result", *PATHS}


def _parser(step: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"digits_torch.task {step}", allow_abbrev=False)
    for name, (kind, default, meaning) in STEPS[step]["parameters"].items():
        flag = f"parameter_{name}" if name in RESERVED else name
        flags = dict.fromkeys(("--" + flag.replace("_", "-"), "--" + flag))
        text = f"{meaning} ({kind}, default {default!r})".strip().replace("%", "%%")
        parser.add_argument(
            *flags, dest=f"parameter:{name}", default=argparse.SUPPRESS, metavar="VALUE", help=text
        )
    for name, what in PATHS.items():
        flag = "--" + name.replace("_", "-")
        parser.add_argument(
            flag, action="append", default=[], metavar="NAME=PATH", help=f"where {what} is"
        )
    parser.add_argument("--workdir", help="the folder to work in (default: a temporary one)")
    parser.add_argument("--result", help="a JSON file to write metrics and errors to")
    return parser


def _paths(pairs: list[str], names: list[str]) -> dict[str, str]:
    """The path of each name in NAME=PATH texts; names may hold an equals sign themselves."""
    known = {n: pair[len(n) + 1 :] for pair in pairs for n in names if pair.startswith(f"{n}=")}
    others = [pair for pair in pairs if not any(pair.startswith(f"{name}=") for name in names)]
    return {**known, **dict(pair.split("=", 1) for pair in others)}


def main(argv: list[str] | None = None) -> int:
    """Runs the step that the command line names; returns 0, or 1 when the step failed."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] not in STEPS:
        print("usage: python -m digits_torch.task STEP [--help]", file=sys.stderr)
        print(f"steps: {', '.join(STEPS)}", file=sys.stderr)
        return 0 if words in (["-h"], ["--help"]) else 2
    step = words[0]
    spec, options = STEPS[step], vars(_parser(step).parse_args(words[1:]))
    parameters = {name.partition(":")[2]: value for name, value in options.items() if ":" in name}
    paths = [
        _paths(options[flag], list(spec[group]))
        for flag, group in zip(PATHS, ("inputs", "outputs", "files_in", "files_out"))
    ]
    result: dict[str, Any] = {}
    result_path = options["result"] and Path(options["result"]).resolve()
    if result_path and "workers" in spec and _rank():
        result_path = result_path.with_name(f"{result_path.name}.worker{_rank()}")
    try:
        result["metrics"] = run(step, parameters, *paths, workdir=options["workdir"])
    except StepError as error:
        sys.stdout.flush()
        _print_failure(error)
        result["error"] = {"message": _message(error), "cell": error.cell, "line": error.line}
        result["error"]["at"] = getattr(error.__cause__, "at", error.at)
    if result_path:
        _write_result(result_path, result)
    return 1 if "error" in result else 0


if __name__ == "__main__":
    sys.exit(main())
