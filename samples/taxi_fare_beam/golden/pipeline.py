"""The Kubeflow pipeline taxi_fare_beam: `python pipeline.py` compiles it to pipeline.yaml.

Each component hands its artifacts and parameters to taxi_fare_beam/task.py, which runs the step.
"""

import base64
import json
import zlib
from pathlib import Path

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
    "taxi_fare_beam/__init__.py",
    "taxi_fare_beam/artifacts.py",
    "taxi_fare_beam/task.py",
    "taxi_fare_beam/steps/__init__.py",
)
UNPACK = """
import pathlib, sys
for name, text in FILES.items():
    path = pathlib.Path(__file__).parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
sys.path.insert(0, str(pathlib.Path(__file__).parent))
"""


@embedded(
    "taxi_fare_beam/beam_runs.py",
    "taxi_fare_beam/shared.py",
    "taxi_fare_beam/steps/prepare.py",
)
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "apache-beam[gcp]==2.77.0",
        "pandas==3.1.1",
    ],
)
def prepare(
    trips_csv: Input[Artifact],
    split: Output[Artifact],
    eval_percent: int = 20,
    max_km: float = 60.0,
    table: str = "",
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
    """Cells 5-7 of the notebook."""
    from taxi_fare_beam.task import run

    run(
        "prepare",
        parameters={
            "eval_percent": eval_percent,
            "max_km": max_km,
            "table": table,
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
        files_in={"trips.csv": trips_csv.path},
        files_out={"split": split.path},
    )


@embedded("taxi_fare_beam/shared.py", "taxi_fare_beam/steps/train.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "apache-beam==2.77.0",
        "cloudpickle==3.1.3",
        "joblib==1.6.0",
        "pandas==3.1.1",
        "scikit-learn==1.9.1",
    ],
)
def train(
    split: Input[Artifact],
    model: Output[Model],
    learning_rate: float = 0.1,
):
    """Cell 10 of the notebook."""
    from taxi_fare_beam.task import run

    run(
        "train",
        parameters={"learning_rate": learning_rate},
        outputs={"model": model.path},
        files_in={"split": split.path},
    )


@embedded("taxi_fare_beam/shared.py", "taxi_fare_beam/steps/evaluate.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "apache-beam==2.77.0",
        "cloudpickle==3.1.3",
        "joblib==1.6.0",
        "pandas==3.1.1",
        "scikit-learn==1.9.1",
    ],
)
def evaluate(
    model: Input[Model],
    split: Input[Artifact],
    metrics: Output[Metrics],
):
    """Cell 12 of the notebook."""
    from taxi_fare_beam.task import run

    run(
        "evaluate",
        inputs={"model": model.path},
        outputs={"metrics": metrics.path},
        files_in={"split": split.path},
        log_metric=metrics.log_metric,
    )


@embedded("taxi_fare_beam/shared.py", "taxi_fare_beam/steps/report.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "apache-beam==2.77.0",
        "cloudpickle==3.1.3",
        "joblib==1.6.0",
        "pandas==3.1.1",
        "scikit-learn==1.9.1",
    ],
)
def report(
    model: Input[Model],
):
    """Cell 13 of the notebook."""
    from taxi_fare_beam.task import run

    run(
        "report",
        inputs={"model": model.path},
    )


@dsl.pipeline(name="taxi-fare-beam", description="Taxi fares, prepared at scale")
def pipeline(
    table: str = "",
    max_km: float = 60.0,
    eval_percent: int = 20,
    learning_rate: float = 0.1,
    beam_runner: str = "DataflowRunner",
    beam_project: str = "",
    beam_region: str = "",
    beam_temp_location: str = "",
    beam_staging_location: str = "",
    beam_job_name: str = "",
    beam_num_workers: int = 0,
    beam_max_num_workers: int = 0,
    beam_machine_type: str = "",
    trips_csv: str = "trips.csv",
):
    trips_csv_file = dsl.importer(
        artifact_uri=trips_csv, artifact_class=Artifact, reimport=False
    )
    prepare_task = prepare(
        trips_csv=trips_csv_file.output,
        eval_percent=eval_percent,
        max_km=max_km,
        table=table,
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
    prepare_task.set_caching_options(False)
    train_task = train(
        split=prepare_task.outputs["split"],
        learning_rate=learning_rate,
    )
    train_task.set_display_name("train")
    evaluate_task = evaluate(
        model=train_task.outputs["model"],
        split=prepare_task.outputs["split"],
    )
    evaluate_task.set_display_name("evaluate")
    report_task = report(
        model=train_task.outputs["model"],
    )
    report_task.set_display_name("report")


def main() -> None:
    """Compiles the pipeline to pipeline.yaml beside this file."""
    compiler.Compiler().compile(pipeline, str(PROJECT / "pipeline.yaml"))


if __name__ == "__main__":
    main()
