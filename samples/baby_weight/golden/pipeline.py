"""The Kubeflow pipeline baby_weight: `python pipeline.py` compiles it to pipeline.yaml.

Each component hands its artifacts and parameters to baby_weight/task.py, which runs the step.
"""

import base64
import json
import zlib
from pathlib import Path
from typing import NamedTuple

from kfp import compiler, dsl
from kfp.dsl import Artifact, Input, Metrics, Model, Output

PROJECT = Path(__file__).resolve().parent

LARGEST_TEXT = 90_000  # bytes of readable source in a command; one argument holds 128 KiB


def embedded(*names):
    """Puts these files of the project into the component's program: no image has to be built."""

    def embed(component):
        paths = [path for name in (*EVERYWHERE, *names) for path in python_files(PROJECT / name)]
        files = {path.relative_to(PROJECT).as_posix(): path.read_text("utf-8") for path in paths}
        rows = json.loads((PROJECT / "nb2pipe.map.json").read_text("utf-8"))["files"]
        rows = {name: rows[name] for name in files if name in rows}
        files["nb2pipe.map.json"] = json.dumps({"files": rows}) + "\n"
        command = component.component_spec.implementation.container.command
        command[-1] = program(files) + UNPACK + command[-1]
        return component

    return embed


def python_files(path):
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def program(files):
    """Python source that sets FILES: as it reads if that is small enough, else compressed."""
    lines = [f"    {name!r}: {literal(text)},\n" for name, text in files.items()]
    text = "".join(["FILES = {\n", *lines, "}\n"])
    if len(text.encode()) <= LARGEST_TEXT:
        return text
    packed = base64.b64encode(zlib.compress(json.dumps(files).encode(), 9)).decode()
    unpacked = f'zlib.decompress(base64.b64decode("{packed}"))'
    return f"import base64, json, zlib\nFILES = json.loads({unpacked})\n"


def literal(text):
    """A literal that reads as `text` does, without `{{`: platforms take it for a placeholder."""
    for plain, escaped in (("\\", "\\\\"), ('"""', '\\"\\"\\"'), ("\r", "\\r"), ("{{", "{\\x7b")):
        text = text.replace(plain, escaped)
    return f'"""\\\n{text}"""' if text.endswith("\n") else repr(text)


EVERYWHERE = (
    "baby_weight/__init__.py",
    "baby_weight/artifacts.py",
    "baby_weight/task.py",
    "baby_weight/steps/__init__.py",
)
UNPACK = """
import pathlib, sys
for name, text in FILES.items():
    path = pathlib.Path(__file__).parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
sys.path.insert(0, str(pathlib.Path(__file__).parent))
"""


@embedded("baby_weight/beam_runs.py", "baby_weight/shared.py", "baby_weight/steps/prepare.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "apache-beam[gcp]==2.77.0",
        "numpy==2.4.6",
        "pandas==3.1.1",
    ],
)
def prepare(
    births_: Input[Artifact],
    prepared: Output[Artifact],
    births: str = "births.csv",
    beam_runner: str = "DataflowRunner",
    beam_project: str = "",
    beam_region: str = "",
    beam_temp_location: str = "",
    beam_staging_location: str = "",
    beam_job_name: str = "",
    beam_num_workers: int = 0,
    beam_max_num_workers: int = 0,
    beam_machine_type: str = "",
):
    """Cells 9-10 of the notebook."""
    from baby_weight.task import run

    run(
        "prepare",
        parameters={
            "births": births,
            "beam_runner": beam_runner,
            "beam_project": beam_project,
            "beam_region": beam_region,
            "beam_temp_location": beam_temp_location,
            "beam_staging_location": beam_staging_location,
            "beam_job_name": beam_job_name,
            "beam_num_workers": beam_num_workers,
            "beam_max_num_workers": beam_max_num_workers,
            "beam_machine_type": beam_machine_type,
        },
        files_in={"{births}": births_.path},
        files_out={"prepared": prepared.path},
    )


@embedded(
    "baby_weight/cluster.py",
    "baby_weight/keras_workers.py",
    "baby_weight/trial_reports.py",
    "baby_weight/shared.py",
    "baby_weight/steps/train.py",
    "baby_weight/launch.py",
    "baby_weight/jobs.py",
    "baby_weight/remote.py",
    "baby_weight/trial.py",
    "jobs/train.yaml",
)
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "kubernetes>=30",
    ],
)
def train(
    prepared: Input[Artifact],
    model: Output[Model],
    batch_size: int = 64,
    hidden_units: str = "[16]",
    learning_rate: float = 0.02,
    num_epochs: int = 6,
):
    """Cell 13 of the notebook."""
    from baby_weight.launch import run

    run(
        "train",
        parameters={
            "batch_size": batch_size,
            "hidden_units": hidden_units,
            "learning_rate": learning_rate,
            "num_epochs": num_epochs,
        },
        outputs={"model": model.path},
        files_in={"prepared": prepared.path},
        uris={prepared.path: prepared.uri, model.path: model.uri},
        files=FILES,  # noqa: F821  # set by the program that this function is embedded in
    )


@embedded("baby_weight/shared.py", "baby_weight/steps/evaluate.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "cloudpickle==3.1.3",
        "numpy==2.4.6",
        "pandas==3.1.1",
        "tensorflow==2.21.0",
        "tf-keras==2.21.0",
    ],
)
def evaluate(
    model: Input[Model],
    prepared: Input[Artifact],
    metrics: Output[Metrics],
):
    """Cell 16 of the notebook."""
    from baby_weight.task import run

    run(
        "evaluate",
        inputs={"model": model.path},
        outputs={"metrics": metrics.path},
        files_in={"prepared": prepared.path},
        log_metric=metrics.log_metric,
    )


@embedded("baby_weight/shared.py", "baby_weight/steps/predict.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "cloudpickle==3.1.3",
        "numpy==2.4.6",
        "pandas==3.1.1",
        "tensorflow==2.21.0",
        "tf-keras==2.21.0",
    ],
)
def predict(
    model: Input[Model],
):
    """Cell 18 of the notebook."""
    from baby_weight.task import run

    run(
        "predict",
        inputs={"model": model.path},
    )


@embedded(
    "baby_weight/cluster.py",
    "baby_weight/keras_workers.py",
    "baby_weight/trial_reports.py",
    "baby_weight/shared.py",
    "baby_weight/steps/train.py",
    "baby_weight/steps/evaluate.py",
    "baby_weight/launch.py",
    "baby_weight/jobs.py",
    "baby_weight/remote.py",
    "baby_weight/trial.py",
    "jobs/tune.yaml",
)
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "kubernetes>=30",
    ],
)
def tune(
    prepared: Input[Artifact],
    batch_size: int = 64,
    hidden_units: str = "[16]",
    learning_rate: float = 0.02,
    num_epochs: int = 6,
    trials: int = 20,
    parallel_trials: int = 2,
) -> NamedTuple(
    "Best",
    [
        ("learning_rate", float),
        ("batch_size", int),
        ("hidden_units", str),
    ],
):
    """Finds the parameters with the best rmse; with no trials they stay as given."""
    from baby_weight.launch import tune as find

    return find(
        trials,
        parallel_trials,
        parameters={
            "batch_size": batch_size,
            "hidden_units": hidden_units,
            "learning_rate": learning_rate,
            "num_epochs": num_epochs,
        },
        given={"prepared": prepared.path},
        uris={"prepared": prepared.uri},
        files=FILES,  # noqa: F821  # set by the program that this function is embedded in
    )


@dsl.pipeline(name="baby-weight", description="Baby weights, from a laptop to a cluster")
def pipeline(
    births: str = "births.csv",
    learning_rate: float = 0.02,
    batch_size: int = 64,
    hidden_units: str = "[16]",
    num_epochs: int = 6,
    beam_runner: str = "DataflowRunner",
    beam_project: str = "",
    beam_region: str = "",
    beam_temp_location: str = "",
    beam_staging_location: str = "",
    beam_job_name: str = "",
    beam_num_workers: int = 0,
    beam_max_num_workers: int = 0,
    beam_machine_type: str = "",
    births_: str = "births.csv",
    trials: int = 20,
    parallel_trials: int = 2,
):
    births__file = dsl.importer(
        artifact_uri=births_, artifact_class=Artifact, reimport=False
    )
    prepare_task = prepare(
        births_=births__file.output,
        births=births,
        beam_runner=beam_runner,
        beam_project=beam_project,
        beam_region=beam_region,
        beam_temp_location=beam_temp_location,
        beam_staging_location=beam_staging_location,
        beam_job_name=beam_job_name,
        beam_num_workers=beam_num_workers,
        beam_max_num_workers=beam_max_num_workers,
        beam_machine_type=beam_machine_type,
    )
    prepare_task.set_display_name("prepare")
    tune_task = tune(
        prepared=prepare_task.outputs["prepared"],
        batch_size=batch_size,
        hidden_units=hidden_units,
        learning_rate=learning_rate,
        num_epochs=num_epochs,
        trials=trials,
        parallel_trials=parallel_trials,
    )
    train_task = train(
        prepared=prepare_task.outputs["prepared"],
        batch_size=tune_task.outputs["batch_size"],
        hidden_units=tune_task.outputs["hidden_units"],
        learning_rate=tune_task.outputs["learning_rate"],
        num_epochs=num_epochs,
    )
    train_task.set_display_name("train")
    evaluate_task = evaluate(
        model=train_task.outputs["model"],
        prepared=prepare_task.outputs["prepared"],
    )
    evaluate_task.set_display_name("evaluate")
    predict_task = predict(
        model=train_task.outputs["model"],
    )
    predict_task.set_display_name("predict")


def main() -> None:
    """Compiles the pipeline to pipeline.yaml beside this file."""
    compiler.Compiler().compile(pipeline, str(PROJECT / "pipeline.yaml"))


if __name__ == "__main__":
    main()
