"""The Kubeflow pipeline taxi_fare_keras: `python pipeline.py` compiles it to pipeline.yaml.

Each component hands its artifacts and parameters to taxi_fare_keras/task.py, which runs the step.
"""

import base64
import json
import zlib
from pathlib import Path
from typing import NamedTuple

from kfp import compiler, dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

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
    "taxi_fare_keras/__init__.py",
    "taxi_fare_keras/artifacts.py",
    "taxi_fare_keras/task.py",
    "taxi_fare_keras/steps/__init__.py",
)
UNPACK = """
import pathlib, sys
for name, text in FILES.items():
    path = pathlib.Path(__file__).parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
sys.path.insert(0, str(pathlib.Path(__file__).parent))
"""


@embedded("taxi_fare_keras/steps/load.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "pandas==3.1.1",
        "pyarrow==25.0.1",
    ],
)
def load(
    taxi_fares_csv: Input[Artifact],
    df: Output[Dataset],
):
    """Cell 8 of the notebook."""
    from taxi_fare_keras.task import run

    run(
        "load",
        outputs={"df": df.path},
        files_in={"taxi_fares.csv": taxi_fares_csv.path},
    )


@embedded("taxi_fare_keras/steps/split.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "numpy==2.4.6",
        "pandas==3.1.1",
        "pyarrow==25.0.1",
    ],
)
def split(
    df: Input[Dataset],
    df_train: Output[Dataset],
    df_valid: Output[Dataset],
):
    """Cell 11 of the notebook."""
    from taxi_fare_keras.task import run

    run(
        "split",
        inputs={"df": df.path},
        outputs={"df_train": df_train.path, "df_valid": df_valid.path},
    )


@embedded(
    "taxi_fare_keras/cluster.py",
    "taxi_fare_keras/keras_workers.py",
    "taxi_fare_keras/trial_reports.py",
    "taxi_fare_keras/shared.py",
    "taxi_fare_keras/steps/train.py",
    "taxi_fare_keras/launch.py",
    "taxi_fare_keras/jobs.py",
    "taxi_fare_keras/remote.py",
    "taxi_fare_keras/trial.py",
    "jobs/train.yaml",
)
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "kubernetes>=30",
    ],
)
def train(
    df_train: Input[Dataset],
    df_valid: Input[Dataset],
    model: Output[Model],
    batch_size: int = 64,
    hidden_units: str = "[32, 8]",
    learning_rate: float = 0.01,
    num_epochs: int = 8,
):
    """Cell 13 of the notebook."""
    from taxi_fare_keras.launch import run

    run(
        "train",
        parameters={
            "batch_size": batch_size,
            "hidden_units": hidden_units,
            "learning_rate": learning_rate,
            "num_epochs": num_epochs,
        },
        inputs={"df_train": df_train.path, "df_valid": df_valid.path},
        outputs={"model": model.path},
        uris={df_train.path: df_train.uri, df_valid.path: df_valid.uri, model.path: model.uri},
        files=FILES,  # noqa: F821  # set by the program that this function is embedded in
    )


@embedded("taxi_fare_keras/shared.py", "taxi_fare_keras/steps/evaluate.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "cloudpickle==3.1.3",
        "numpy==2.4.6",
        "pandas==3.1.1",
        "pyarrow==25.0.1",
        "tensorflow==2.21.0",
        "tf-keras==2.21.0",
    ],
)
def evaluate(
    df_valid: Input[Dataset],
    model: Input[Model],
    df_train: Input[Dataset],
    metrics: Output[Metrics],
):
    """Cells 16-17 of the notebook."""
    from taxi_fare_keras.task import run

    run(
        "evaluate",
        inputs={"df_valid": df_valid.path, "model": model.path, "df_train": df_train.path},
        outputs={"metrics": metrics.path},
        log_metric=metrics.log_metric,
    )


@embedded(
    "taxi_fare_keras/cluster.py",
    "taxi_fare_keras/keras_workers.py",
    "taxi_fare_keras/trial_reports.py",
    "taxi_fare_keras/shared.py",
    "taxi_fare_keras/steps/train.py",
    "taxi_fare_keras/steps/evaluate.py",
    "taxi_fare_keras/launch.py",
    "taxi_fare_keras/jobs.py",
    "taxi_fare_keras/remote.py",
    "taxi_fare_keras/trial.py",
    "jobs/tune.yaml",
)
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "kubernetes>=30",
    ],
)
def tune(
    df_train: Input[Dataset],
    df_valid: Input[Dataset],
    batch_size: int = 64,
    hidden_units: str = "[32, 8]",
    learning_rate: float = 0.01,
    num_epochs: int = 8,
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
    from taxi_fare_keras.launch import tune as find

    return find(
        trials,
        parallel_trials,
        parameters={
            "batch_size": batch_size,
            "hidden_units": hidden_units,
            "learning_rate": learning_rate,
            "num_epochs": num_epochs,
        },
        given={"df_train": df_train.path, "df_valid": df_valid.path},
        uris={"df_train": df_train.uri, "df_valid": df_valid.uri},
        files=FILES,  # noqa: F821  # set by the program that this function is embedded in
    )


@dsl.pipeline(name="taxi-fare-keras", description="Taxi fares with a neural network")
def pipeline(
    learning_rate: float = 0.01,
    batch_size: int = 64,
    hidden_units: str = "[32, 8]",
    num_epochs: int = 8,
    taxi_fares_csv: str = "taxi_fares.csv",
    trials: int = 20,
    parallel_trials: int = 2,
):
    taxi_fares_csv_file = dsl.importer(
        artifact_uri=taxi_fares_csv, artifact_class=Artifact, reimport=False
    )
    load_task = load(
        taxi_fares_csv=taxi_fares_csv_file.output,
    )
    load_task.set_display_name("load")
    split_task = split(
        df=load_task.outputs["df"],
    )
    split_task.set_display_name("split")
    tune_task = tune(
        df_train=split_task.outputs["df_train"],
        df_valid=split_task.outputs["df_valid"],
        batch_size=batch_size,
        hidden_units=hidden_units,
        learning_rate=learning_rate,
        num_epochs=num_epochs,
        trials=trials,
        parallel_trials=parallel_trials,
    )
    train_task = train(
        df_train=split_task.outputs["df_train"],
        df_valid=split_task.outputs["df_valid"],
        batch_size=tune_task.outputs["batch_size"],
        hidden_units=tune_task.outputs["hidden_units"],
        learning_rate=tune_task.outputs["learning_rate"],
        num_epochs=num_epochs,
    )
    train_task.set_display_name("train")
    evaluate_task = evaluate(
        df_valid=split_task.outputs["df_valid"],
        model=train_task.outputs["model"],
        df_train=split_task.outputs["df_train"],
    )
    evaluate_task.set_display_name("evaluate")


def main() -> None:
    """Compiles the pipeline to pipeline.yaml beside this file."""
    compiler.Compiler().compile(pipeline, str(PROJECT / "pipeline.yaml"))


if __name__ == "__main__":
    main()
