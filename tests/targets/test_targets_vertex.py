"""The target `vertex`: what it refuses, what arrives in the compiled pipeline and in jobs/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from doors import nb2pipe, notebook

from nb2pipe.codegen.vertex_jobs import parameter_spec
from nb2pipe.convert import Conversion
from nb2pipe.findings import Nb2pipeError
from nb2pipe.pipeline.machines import accelerator, lacking, machine, quantity

TRAIN = (
    "import xgboost as xgb\n"
    "rmse = 0.0\n"
    "model = xgb.train({'eta': eta}, xgb.DMatrix(rows, label=target), num_boost_round=4)"
)


def cells(*tags: str, train: tuple[str, ...] = ()) -> list[tuple[str, list[str]]]:
    return [
        ("eta = 0.3  # tune: loguniform(0.01, 0.9)\nproject = 'mine'", ["parameters"]),
        ("import numpy as np\nrows, target = np.eye(8), np.arange(8)\nprint(project)", ["step:data", *tags]),
        (TRAIN, ["step:train", "objective:minimize:rmse", "metrics", *train]),
    ]


def converted(folder: Path, *tags: str, train: tuple[str, ...] = (), target: str = "vertex", **options: Any) -> Path:
    (folder / "n.ipynb").write_text(json.dumps(notebook(cells(*tags, train=train))))
    Conversion(folder / "n.ipynb", {**options, "target": target}).convert(folder / "out")
    return folder / "out"


def resources(**given: Any) -> dict[str, Any]:
    return {"cpu": None, "memory": None, "accelerator": None, "accelerators": 0, **given}


# --- machines ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ({}, "e2-standard-4"),
        ({"cpu": "4"}, "e2-standard-4"),
        ({"cpu": "500m"}, "e2-highmem-2"),
        ({"cpu": "8", "memory": "32Gi"}, "e2-standard-8"),
        ({"cpu": "8", "memory": "33Gi"}, "e2-highmem-8"),
        ({"memory": "100Gi"}, "e2-highmem-16"),
        ({"cpu": "64"}, "n2-standard-64"),
        ({"accelerators": 1}, "n1-highmem-2"),
        ({"accelerator": "nvidia-tesla-t4", "accelerators": 2, "cpu": "8"}, "n1-standard-8"),
        ({"accelerator": "nvidia-l4", "accelerators": 1, "cpu": "8"}, "g2-standard-8"),
        ({"accelerator": "nvidia-l4", "accelerators": 2}, "g2-standard-24"),
        ({"accelerator": "nvidia-a100-80gb", "accelerators": 4}, "a2-ultragpu-4g"),
        ({"accelerator": "NVIDIA_H100_80GB", "accelerators": 8}, "a3-highgpu-8g"),
    ],
)
def test_the_smallest_machine_that_fits(wanted: dict[str, Any], name: str) -> None:
    found = machine(resources(**wanted))
    assert found is not None
    assert found.name == name
    assert not list(lacking(resources(**wanted)))


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"cpu": "1000"}, "a machine with 1000 cores"),
        ({"memory": "9Ti"}, "9Ti of memory"),
        ({"accelerator": "nvidia-l4", "accelerators": 3}, "3 NVIDIA_L4"),
        ({"accelerator": "amd.com/gpu", "accelerators": 1}, "the accelerator amd.com/gpu"),
    ],
)
def test_what_no_machine_has(wanted: dict[str, Any], says: str) -> None:
    [found] = lacking(resources(**wanted))
    assert says in found


def test_accelerators_and_quantities() -> None:
    assert accelerator(resources()) is None
    assert accelerator(resources(accelerators=1, accelerator="gpu")) == "NVIDIA_TESLA_T4"
    assert [quantity(text) for text in ("2", "0.5", "250m", "1Ki", "2k")] == [2, 0.5, 0.25, 1024, 2000]
    with pytest.raises(ValueError, match="no quantity"):
        quantity("many")


# --- search spaces ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("space", "spec"),
    [
        ({"kind": "uniform", "low": 0.0, "high": 1.0},
         {"doubleValueSpec": {"minValue": 0.0, "maxValue": 1.0}, "scaleType": "UNIT_LINEAR_SCALE"}),
        ({"kind": "loguniform", "low": 1e-4, "high": 1.0},
         {"doubleValueSpec": {"minValue": 1e-4, "maxValue": 1.0}, "scaleType": "UNIT_LOG_SCALE"}),
        ({"kind": "int", "low": 1, "high": 9},
         {"integerValueSpec": {"minValue": 1, "maxValue": 9}, "scaleType": "UNIT_LINEAR_SCALE"}),
        ({"kind": "logint", "low": 8, "high": 512},
         {"integerValueSpec": {"minValue": 8, "maxValue": 512}, "scaleType": "UNIT_LOG_SCALE"}),
        ({"kind": "choice", "values": [64, 16, 32]}, {"discreteValueSpec": {"values": [16.0, 32.0, 64.0]}}),
        ({"kind": "choice", "values": ["a", "50%"]}, {"categoricalValueSpec": {"values": ["a", "50%25"]}}),
        ({"kind": "choice", "values": [True, False]}, {"categoricalValueSpec": {"values": ["true", "false"]}}),
        ({"kind": "choice", "values": [None, 2]}, {"categoricalValueSpec": {"values": ["null", "2"]}}),
        ({"kind": "choice", "values": [[8], [8, 4]]}, {"categoricalValueSpec": {"values": ["[8]", "[8, 4]"]}}),
    ],
)  # fmt: skip
def test_search_spaces(space: dict[str, Any], spec: dict[str, Any]) -> None:
    assert parameter_spec("p", space) == {"parameterId": "p", **spec}


# --- refusals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("tags", "says"),
    [
        (("secret:my.keys:token:TOKEN",), "the secret my.keys"),
        (("timeout:2h",), "a time limit"),
        (("gpu:amd.com/gpu:1",), "amd.com/gpu"),
        (("gpu:nvidia-l4:3",), "3 NVIDIA_L4"),
        (("cpu:999",), "999 cores"),
    ],
)
def test_what_vertex_cannot_do_is_refused_with_the_cell(tmp_path: Path, tags: tuple[str, ...], says: str) -> None:
    with pytest.raises(Nb2pipeError) as refused:
        converted(tmp_path, *tags)
    [found] = refused.value.findings
    assert (found.code, found.cell, found.name) == ("not-on-vertex", 1, "data")
    assert says in found.message
    assert converted(tmp_path, target="kfp").joinpath("pipeline.yaml").is_file()


def test_the_command_says_so_too(tmp_path: Path) -> None:
    (tmp_path / "n.ipynb").write_text(json.dumps(notebook(cells("timeout:1h"))))
    done = nb2pipe("convert", "n.ipynb", "--target", "vertex", cwd=tmp_path)
    assert done.returncode == 1
    assert "time limit" in done.stderr
    assert not (tmp_path / "n").exists()


# --- what arrives -----------------------------------------------------------------------------------------------------
def executors(project: Path) -> dict[str, Any]:
    [document] = yaml.safe_load_all((project / "pipeline.yaml").read_text())  # one: nothing for Kubernetes
    return dict(document["deploymentSpec"]["executors"])


def test_resources_arrive(tmp_path: Path) -> None:
    tags = ("gpu:nvidia-l4:1", "cpu:8", "memory:32Gi", "env:MODE=fast", "retries:2", "cache:off")
    project = converted(tmp_path, *tags)
    container = executors(project)["exec-data"]["container"]
    limits = container["resources"]
    assert (limits["resourceCpuLimit"], limits["resourceMemoryLimit"]) == ("8", "32Gi")
    assert limits["accelerator"] == {
        "count": "1", "resourceCount": "1", "resourceType": "NVIDIA_L4", "type": "NVIDIA_L4",
    }  # fmt: skip
    assert not [key for key in limits if "Request" in key]
    assert container["env"] == [{"name": "MODE", "value": "fast"}]


def test_a_distributed_step_becomes_a_custom_job(tmp_path: Path) -> None:
    train = ("workers:3", "gpu:nvidia-tesla-t4:1", "cpu:8", "timeout:2h", "env:MODE=fast", "retries:2")
    project = converted(tmp_path, train=train)
    job = yaml.safe_load((project / "jobs" / "train.yaml").read_text())
    spec = job["jobSpec"]
    assert [pool["replicaCount"] for pool in spec["workerPoolSpecs"]] == [1, 2]
    assert spec["scheduling"] == {"strategy": "STANDARD", "restartJobOnWorkerRestart": True, "timeout": "7200s"}
    for pool in spec["workerPoolSpecs"]:
        assert pool["machineSpec"] == {
            "machineType": "n1-standard-8", "acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": 1,
        }  # fmt: skip
        assert {"name": "MODE", "value": "fast"} in pool["containerSpec"]["env"]
        assert pool["containerSpec"]["args"] == ["$JOB"]
    launcher = executors(project)["exec-train"]["container"]
    assert "resources" not in launcher
    assert "google-cloud-aiplatform" in " ".join(launcher["command"])
    assert "kubernetes" not in (project / "pipeline.py").read_text()


def test_what_a_job_is_told_of_where_it_runs_takes_no_name_of_the_notebook(tmp_path: Path) -> None:
    project = converted(tmp_path, train=("workers:2",))
    [document] = yaml.safe_load_all((project / "pipeline.yaml").read_text())
    tasks = document["root"]["dag"]["tasks"]
    assert tasks["data"]["inputs"]["parameters"]["project"] == {"componentInputParameter": "project"}
    for task in ("train", "tune"):
        given = tasks[task]["inputs"]["parameters"]
        told = {row["runtimeValue"]["constant"] for row in given.values() if "runtimeValue" in row}
        assert told == {
            "{{$.pipeline_google_cloud_project_id}}", "{{$.pipeline_google_cloud_location}}", "{{$.pipeline_root}}",
        }  # fmt: skip


def test_an_image_that_was_built_is_not_installed_into(tmp_path: Path) -> None:
    project = converted(tmp_path, train=("workers:2",), image="us-docker.pkg.dev/p/r/image:1")
    for name in ("train", "tune"):
        job = yaml.safe_load((project / "jobs" / f"{name}.yaml").read_text())
        for pool in (job.get("jobSpec") or job["trialJobSpec"])["workerPoolSpecs"]:
            assert pool["containerSpec"]["imageUri"] == "us-docker.pkg.dev/p/r/image:1"
            assert pool["containerSpec"]["command"] == ["python", "-u", "-c", "$PROGRAM"]
    assert "cloudml-hypertune" in (project / "requirements-jobs.txt").read_text()


def test_the_target_may_be_named_when_converting(tmp_path: Path) -> None:
    (tmp_path / "n.ipynb").write_text(json.dumps(notebook(cells(train=("workers:2",)))))
    conversion = Conversion(tmp_path / "n.ipynb")
    assert "TrainJob" in _job(conversion, tmp_path / "k", None)
    assert "workerPoolSpecs" in _job(conversion, tmp_path / "v", "vertex")


def _job(conversion: Conversion, folder: Path, target: str | None) -> str:
    conversion.convert(folder, target)
    return (folder / "jobs" / "train.yaml").read_text()


def test_the_jobs_are_those_of_the_api(tmp_path: Path) -> None:
    types = pytest.importorskip("google.cloud.aiplatform_v1").types
    from google.protobuf import json_format

    project = converted(tmp_path, train=("workers:2", "gpu:nvidia-l4:1"))
    for name, kind in (("train", types.CustomJob), ("tune", types.HyperparameterTuningJob)):
        described = yaml.safe_load((project / "jobs" / f"{name}.yaml").read_text())
        json_format.ParseDict(described, kind.pb(kind()))


def test_the_pipeline_is_one_that_the_sdk_takes(tmp_path: Path) -> None:
    aiplatform = pytest.importorskip("google.cloud.aiplatform")
    from google.auth.credentials import AnonymousCredentials

    project = converted(tmp_path, "gpu:nvidia-l4:1", train=("workers:2",))
    job = aiplatform.PipelineJob(
        display_name="n",
        template_path=str(project / "pipeline.yaml"),
        pipeline_root="gs://bucket/root",
        parameter_values={"eta": 0.1, "trials": 4},
        project="test-project",
        location="us-central1",
        credentials=AnonymousCredentials(),
    )
    sent = job._gca_resource
    assert sent.runtime_config.parameter_values["eta"] == 0.1
    assert sent.pipeline_spec["pipelineInfo"]["name"] == "n"


def test_the_pipeline_runs_under_kfp_here(tmp_path: Path) -> None:
    pytest.importorskip("xgboost")
    (tmp_path / "n.ipynb").write_text(json.dumps(notebook(cells(train=("workers:2",)))))
    result = Conversion(tmp_path / "n.ipynb", {"target": "vertex"}).run(engine="kfp")
    assert result.status == "succeeded", result.error
