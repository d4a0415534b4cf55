"""The Kubeflow pipeline taxi_fare: `python pipeline.py` compiles it to pipeline.yaml.

Each component hands its artifacts and parameters to taxi_fare/task.py, which runs the step.
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
    "taxi_fare/__init__.py",
    "taxi_fare/artifacts.py",
    "taxi_fare/task.py",
    "taxi_fare/steps/__init__.py",
)
UNPACK = """
import pathlib, sys
for name, text in FILES.items():
    path = pathlib.Path(__file__).parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
sys.path.insert(0, str(pathlib.Path(__file__).parent))
"""


@embedded("taxi_fare/steps/load.py")
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
    """Cell 7 of the notebook."""
    from taxi_fare.task import run

    run(
        "load",
        outputs={"df": df.path},
        files_in={"taxi_fares.csv": taxi_fares_csv.path},
    )


@embedded("taxi_fare/steps/clean.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "pandas==3.1.1",
        "pyarrow==25.0.1",
    ],
)
def clean(
    df_in: Input[Dataset],
    df: Output[Dataset],
):
    """Cells 13-14 of the notebook."""
    from taxi_fare.task import run

    run(
        "clean",
        inputs={"df": df_in.path},
        outputs={"df": df.path},
    )


@embedded("taxi_fare/shared.py", "taxi_fare/steps/features.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "numpy==2.4.6",
        "pandas==3.1.1",
        "pyarrow==25.0.1",
        "scikit-learn==1.9.1",
    ],
)
def features(
    df: Input[Dataset],
    X_train: Output[Dataset],
    X_test: Output[Dataset],
    y_train: Output[Dataset],
    y_test: Output[Dataset],
    test_size: float = 0.2,
):
    """Cells 16-17 of the notebook."""
    from taxi_fare.task import run

    run(
        "features",
        parameters={"test_size": test_size},
        inputs={"df": df.path},
        outputs={
            "X_train": X_train.path,
            "X_test": X_test.path,
            "y_train": y_train.path,
            "y_test": y_test.path,
        },
    )


@embedded("taxi_fare/shared.py", "taxi_fare/steps/train.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "cloudpickle==3.1.3",
        "joblib==1.6.0",
        "pandas==3.1.1",
        "pyarrow==25.0.1",
        "scikit-learn==1.9.1",
    ],
)
def train(
    X_train: Input[Dataset],
    y_train: Input[Dataset],
    model: Output[Model],
    learning_rate: float = 0.1,
    max_depth: int = 4,
    n_estimators: int = 150,
):
    """Cell 20 of the notebook."""
    from taxi_fare.task import run

    run(
        "train",
        parameters={
            "learning_rate": learning_rate,
            "max_depth": max_depth,
            "n_estimators": n_estimators,
        },
        inputs={"X_train": X_train.path, "y_train": y_train.path},
        outputs={"model": model.path},
    )


@embedded("taxi_fare/shared.py", "taxi_fare/steps/evaluate.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "cloudpickle==3.1.3",
        "joblib==1.6.0",
        "numpy==2.4.6",
        "pandas==3.1.1",
        "pyarrow==25.0.1",
        "scikit-learn==1.9.1",
    ],
)
def evaluate(
    model: Input[Model],
    X_test: Input[Dataset],
    y_train: Input[Dataset],
    X_train: Input[Dataset],
    y_test: Input[Dataset],
    metrics: Output[Metrics],
):
    """Cells 23-24 of the notebook."""
    from taxi_fare.task import run

    run(
        "evaluate",
        inputs={
            "model": model.path,
            "X_test": X_test.path,
            "y_train": y_train.path,
            "X_train": X_train.path,
            "y_test": y_test.path,
        },
        outputs={"metrics": metrics.path},
        log_metric=metrics.log_metric,
    )


@embedded(
    "taxi_fare/shared.py",
    "taxi_fare/steps/train.py",
    "taxi_fare/steps/evaluate.py",
    "taxi_fare/cluster.py",
    "taxi_fare/launch.py",
    "taxi_fare/jobs.py",
    "taxi_fare/remote.py",
    "taxi_fare/trial.py",
    "jobs/tune.yaml",
)
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "kubernetes>=30",
    ],
)
def tune(
    X_train: Input[Dataset],
    y_train: Input[Dataset],
    X_test: Input[Dataset],
    y_test: Input[Dataset],
    learning_rate: float = 0.1,
    max_depth: int = 4,
    n_estimators: int = 150,
    trials: int = 20,
    parallel_trials: int = 2,
) -> NamedTuple(
    "Best",
    [
        ("learning_rate", float),
        ("n_estimators", int),
        ("max_depth", int),
    ],
):
    """Finds the parameters with the best rmse; with no trials they stay as given."""
    from taxi_fare.launch import tune as find

    return find(
        trials,
        parallel_trials,
        parameters={
            "learning_rate": learning_rate,
            "max_depth": max_depth,
            "n_estimators": n_estimators,
        },
        given={
            "X_train": X_train.path,
            "y_train": y_train.path,
            "X_test": X_test.path,
            "y_test": y_test.path,
        },
        uris={
            "X_train": X_train.uri,
            "y_train": y_train.uri,
            "X_test": X_test.uri,
            "y_test": y_test.uri,
        },
        files=FILES,  # noqa: F821  # set by the program that this function is embedded in
    )


@dsl.pipeline(name="taxi-fare", description="Predicting New York taxi fares")
def pipeline(
    learning_rate: float = 0.1,
    n_estimators: int = 150,
    max_depth: int = 4,
    test_size: float = 0.2,
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
    clean_task = clean(
        df_in=load_task.outputs["df"],
    )
    clean_task.set_display_name("clean")
    features_task = features(
        df=clean_task.outputs["df"],
        test_size=test_size,
    )
    features_task.set_display_name("features")
    tune_task = tune(
        X_train=features_task.outputs["X_train"],
        y_train=features_task.outputs["y_train"],
        X_test=features_task.outputs["X_test"],
        y_test=features_task.outputs["y_test"],
        learning_rate=learning_rate,
        max_depth=max_depth,
        n_estimators=n_estimators,
        trials=trials,
        parallel_trials=parallel_trials,
    )
    train_task = train(
        X_train=features_task.outputs["X_train"],
        y_train=features_task.outputs["y_train"],
        learning_rate=tune_task.outputs["learning_rate"],
        max_depth=tune_task.outputs["max_depth"],
        n_estimators=tune_task.outputs["n_estimators"],
    )
    train_task.set_display_name("train")
    train_task.set_cpu_request("2")
    train_task.set_cpu_limit("2")
    train_task.set_memory_request("4Gi")
    train_task.set_memory_limit("4Gi")
    evaluate_task = evaluate(
        model=train_task.outputs["model"],
        X_test=features_task.outputs["X_test"],
        y_train=features_task.outputs["y_train"],
        X_train=features_task.outputs["X_train"],
        y_test=features_task.outputs["y_test"],
    )
    evaluate_task.set_display_name("evaluate")


def main() -> None:
    """Compiles the pipeline to pipeline.yaml beside this file."""
    compiler.Compiler().compile(pipeline, str(PROJECT / "pipeline.yaml"))


if __name__ == "__main__":
    main()
