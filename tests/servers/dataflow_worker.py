"""Runs one Dataflow job as its workers would: the staged packages are installed, the staged pipeline is run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.gcp.gcsio import GcsIO
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner


def main(given: dict[str, object]) -> None:
    """Installs `packages` into `folder` and runs `pipeline`, a proto in Cloud Storage."""
    folder = Path(str(given["folder"]))
    GcsIO.copy_batch, GcsIO.delete_batch = copy_one_by_one, delete_one_by_one
    options = PipelineOptions(["--no_auth"])
    FileSystems.set_options(options)
    for url in [str(url) for url in given["packages"]]:  # type: ignore[attr-defined]
        local = folder / url.rpartition("/")[2]
        with FileSystems.open(url) as file:
            local.write_bytes(file.read())
        if local.suffix == ".whl":
            install(local, folder / "site")
    sys.path.insert(0, str(folder / "site"))
    proto = beam_runner_api_pb2.Pipeline()
    with FileSystems.open(str(given["pipeline"])) as file:
        proto.ParseFromString(file.read())
    pipeline = beam.Pipeline.from_runner_api(proto, FnApiRunner(), options)
    pipeline.run().wait_until_finish()


def copy_one_by_one(storage: GcsIO, pairs: list[tuple[str, str]]) -> list[tuple[str, str, None]]:
    """Copies files; the stand-in of Cloud Storage does not know requests of several copies."""
    for source, target in pairs:
        storage.copy(source, target)
    return [(source, target, None) for source, target in pairs]


def delete_one_by_one(storage: GcsIO, paths: list[str]) -> list[tuple[str, None]]:
    """Deletes files, likewise."""
    for path in paths:
        storage.delete(path)
    return [(path, None) for path in paths]


def install(wheel: Path, folder: Path) -> None:
    """Puts a wheel where it can be imported, by pip, which checks that it is one."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
