"""Runs a step, or a trial, in a container of its own: artifacts are fetched and stored by URI.

    python -m baby_weight.remote JSON [--NAME=VALUE ...]

JSON says what to run: {"step", "parameters", "inputs", "outputs", "files_in", "files_out"}, as for
task.run but with URIs. Without a step it is a trial, {"parameters", "given"}, whose tuned
parameters the platform adds as --NAME=VALUE, each value quoted as in a URL.

A path, and any URI that fsspec knows, will do; minio:// is Kubeflow's own name for the object store
at AWS_ENDPOINT_URL. Of several workers only the chief stores. What came of it, {"metrics"} or
{"error"}, goes to a file in the folder "results", or to where Kubernetes looks for a last message.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from baby_weight import cluster, task, trial

TERMINATION_LOG = Path(os.environ.get("TERMINATION_LOG", "/dev/termination-log"))
LONGEST_MESSAGE = 4096  # bytes that Kubernetes keeps of it
LONGEST_ERROR = 600  # characters, each of up to six bytes


def program(files: Mapping[str, str] | None) -> str:
    """A Python program that runs this module, in `files` where the image does not hold them."""
    run = "import runpy; runpy.run_module('baby_weight.remote', run_name='__main__')"
    if files is None:
        return run
    packed = base64.b64encode(zlib.compress(json.dumps(dict(files)).encode(), 9)).decode()
    lines = (
        "import base64, json, pathlib, sys, tempfile, zlib",
        f"files = json.loads(zlib.decompress(base64.b64decode('{packed}')))",
        "root = pathlib.Path(tempfile.mkdtemp())",
        "for name, text in files.items():",
        "    (root / name).parent.mkdir(parents=True, exist_ok=True)",
        "    (root / name).write_bytes(text.encode())",
        "sys.path.insert(0, str(root))",
        run,
    )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Runs what the command line says; returns 0, or 1 when a step failed."""
    text, *words = sys.argv[1:] if argv is None else argv
    job = json.loads(text)
    outcome: dict[str, Any]
    try:
        outcome = {"metrics": run_step(job) if "step" in job else run_trial(job, words)}
    except task.StepError as error:
        task._print_failure(error)
        outcome = {"error": str(error)[:LONGEST_ERROR], "at": error.at}
    if cluster.is_chief() or "error" in outcome:
        _tell(outcome, _result_file(job))
    return 1 if "error" in outcome else 0


def _result_file(job: Mapping[str, Any]) -> Path:
    """Where to tell what came of it: a file of this trial and worker in the folder "results"."""
    if "results" not in job:
        return TERMINATION_LOG
    number = os.environ.get("CLOUD_ML_TRIAL_ID") or "0"
    return Path(job["results"]) / f"{number}-{cluster.place().rank}.json"


def _tell(outcome: Mapping[str, Any], path: Path) -> None:
    text = json.dumps(outcome)
    if path == TERMINATION_LOG and len(text.encode()) > LONGEST_MESSAGE:
        text = json.dumps({"error": "its metrics are too many to pass on"})
    if path != TERMINATION_LOG or path.exists():
        path.write_text(text, encoding="utf-8")


def run_step(job: Mapping[str, Any]) -> dict[str, float]:
    """Runs one step with its artifacts fetched and stored; returns its metrics."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        inputs, files_in = (
            _fetched(job["inputs"], place / "in"),
            _fetched(job["files_in"], place / "files"),
        )
        with (
            _stored(job["outputs"], place / "out") as outputs,
            _stored(job["files_out"], place / "made") as made,
        ):
            return task.run(job["step"], job["parameters"], inputs, outputs, files_in, made)


def run_trial(job: Mapping[str, Any], words: list[str]) -> dict[str, float]:
    """Runs a trial with what it is given fetched, reports its objective, and returns it."""
    with tempfile.TemporaryDirectory() as folder:
        given = _fetched(job["given"], Path(folder) / "given")
        place = Path(folder) / "trial"
        value = trial.run_trial({**job["parameters"], **trial.tuned(words)}, given, place)
    trial.report(value)
    return {trial.OBJECTIVE: value}


def _fetched(uris: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The local path of each artifact, by name."""
    paths = {name: folder / str(number) for number, name in enumerate(uris)}
    for name, path in paths.items():
        _get(uris[name], path)
    return {name: str(path) for name, path in paths.items()}


@contextmanager
def _stored(uris: Mapping[str, str], folder: Path) -> Iterator[dict[str, str]]:
    """A local path for each artifact, by name; what is there in the end is stored, by the chief."""
    paths = {name: folder / str(number) for number, name in enumerate(uris)}
    yield {name: str(path) for name, path in paths.items()}
    if cluster.is_chief():
        for name, path in paths.items():
            _put(path, uris[name])


def _file_system(uri: str) -> tuple[Any, str]:
    import fsspec

    if uri.startswith("minio://"):
        uri = "s3://" + uri.removeprefix("minio://")
    file_system, path = fsspec.core.url_to_fs(uri)
    return file_system, path


def _get(uri: str, path: Path) -> None:
    """Fetches a file or a folder."""
    if "://" not in uri:
        task._copy(Path(uri), path)
        return
    file_system, place = _file_system(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not file_system.isdir(place):
        file_system.get_file(place, str(path))
        return
    root = place.rstrip("/")
    for name in file_system.find(root):
        target = path / name.removeprefix(root).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        file_system.get_file(name, str(target))


def _put(path: Path, uri: str) -> None:
    """Stores a file or a folder."""
    if "://" not in uri:
        task._copy(path, Path(uri))
        return
    file_system, place = _file_system(uri)
    inside = [file for file in path.rglob("*") if file.is_file()]
    for file in [path] if path.is_file() else inside:
        rest = "" if file == path else f"/{file.relative_to(path).as_posix()}"
        target = place.rstrip("/") + rest
        file_system.makedirs(target.rpartition("/")[0], exist_ok=True)
        file_system.put_file(str(file), target)


if __name__ == "__main__":
    sys.exit(main())
