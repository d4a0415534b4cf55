"""The Kubeflow pipeline housing_xgboost: `python pipeline.py` compiles it to pipeline.yaml.

Each component hands its artifacts and parameters to housing_xgboost/task.py, which runs the step.
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
    "housing_xgboost/__init__.py",
    "housing_xgboost/artifacts.py",
    "housing_xgboost/task.py",
    "housing_xgboost/steps/__init__.py",
)
UNPACK = """
import pathlib, sys
for name, text in FILES.items():
    path = pathlib.Path(__file__).parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
sys.path.insert(0, str(pathlib.Path(__file__).parent))
"""


@embedded("housing_xgboost/steps/load.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "pandas==3.1.1",
        "pyarrow==25.0.1",
    ],
)
def load(
    houses_csv: Input[Artifact],
    houses: Output[Dataset],
):
    """Cell 6 of the notebook."""
    from housing_xgboost.task import run

    run(
        "load",
        outputs={"houses": houses.path},
        files_in={"houses.csv": houses_csv.path},
    )


@embedded("housing_xgboost/shared.py", "housing_xgboost/steps/prepare.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "cloudpickle==3.1.3",
        "numpy==2.4.6",
        "pandas==3.1.1",
        "pyarrow==25.0.1",
    ],
)
def prepare(
    houses: Input[Dataset],
    features: Output[Dataset],
    target: Output[Artifact],
    test: Output[Artifact],
    valid: Output[Artifact],
    train: Output[Artifact],
):
    """Cell 9 of the notebook."""
    from housing_xgboost.task import run

    run(
        "prepare",
        inputs={"houses": houses.path},
        outputs={
            "features": features.path,
            "target": target.path,
            "test": test.path,
            "valid": valid.path,
            "train": train.path,
        },
    )


@embedded(
    "housing_xgboost/cluster.py",
    "housing_xgboost/xgboost_workers.py",
    "housing_xgboost/trial_reports.py",
    "housing_xgboost/shared.py",
    "housing_xgboost/steps/train.py",
    "housing_xgboost/launch.py",
    "housing_xgboost/jobs.py",
    "housing_xgboost/remote.py",
    "housing_xgboost/trial.py",
    "jobs/train.yaml",
)
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "kubernetes>=30",
    ],
)
def train(
    features: Input[Dataset],
    train: Input[Artifact],
    target: Input[Artifact],
    valid: Input[Artifact],
    booster: Output[Model],
    prices_json: Output[Artifact],
    learning_rate: float = 0.15,
    max_depth: int = 4,
    min_child_weight: float = 2.0,
    patience: int = 15,
    rounds: int = 120,
):
    """Cells 11-12 of the notebook."""
    from housing_xgboost.launch import run

    run(
        "train",
        parameters={
            "learning_rate": learning_rate,
            "max_depth": max_depth,
            "min_child_weight": min_child_weight,
            "patience": patience,
            "rounds": rounds,
        },
        inputs={
            "features": features.path,
            "train": train.path,
            "target": target.path,
            "valid": valid.path,
        },
        outputs={"booster": booster.path},
        files_out={"prices.json": prices_json.path},
        uris={
            features.path: features.uri,
            train.path: train.uri,
            target.path: target.uri,
            valid.path: valid.uri,
            booster.path: booster.uri,
            prices_json.path: prices_json.uri,
        },
        files=FILES,  # noqa: F821  # set by the program that this function is embedded in
    )


@embedded("housing_xgboost/shared.py", "housing_xgboost/steps/evaluate.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "cloudpickle==3.1.3",
        "numpy==2.4.6",
        "pandas==3.1.1",
        "pyarrow==25.0.1",
        "xgboost==3.2.0",
    ],
)
def evaluate(
    features: Input[Dataset],
    test: Input[Artifact],
    target: Input[Artifact],
    booster: Input[Model],
    metrics: Output[Metrics],
):
    """Cells 14-15 of the notebook."""
    from housing_xgboost.task import run

    run(
        "evaluate",
        inputs={
            "features": features.path,
            "test": test.path,
            "target": target.path,
            "booster": booster.path,
        },
        outputs={"metrics": metrics.path},
        log_metric=metrics.log_metric,
    )


@embedded("housing_xgboost/shared.py", "housing_xgboost/steps/explain.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "cloudpickle==3.1.3",
        "numpy==2.4.6",
        "pandas==3.1.1",
        "pyarrow==25.0.1",
        "xgboost==3.2.0",
    ],
)
def explain(
    booster: Input[Model],
):
    """Cell 17 of the notebook."""
    from housing_xgboost.task import run

    run(
        "explain",
        inputs={"booster": booster.path},
    )


@embedded(
    "housing_xgboost/cluster.py",
    "housing_xgboost/xgboost_workers.py",
    "housing_xgboost/trial_reports.py",
    "housing_xgboost/shared.py",
    "housing_xgboost/steps/train.py",
    "housing_xgboost/steps/evaluate.py",
    "housing_xgboost/launch.py",
    "housing_xgboost/jobs.py",
    "housing_xgboost/remote.py",
    "housing_xgboost/trial.py",
    "jobs/tune.yaml",
)
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "kubernetes>=30",
    ],
)
def tune(
    features: Input[Dataset],
    train: Input[Artifact],
    target: Input[Artifact],
    valid: Input[Artifact],
    test: Input[Artifact],
    learning_rate: float = 0.15,
    max_depth: int = 4,
    min_child_weight: float = 2.0,
    patience: int = 15,
    rounds: int = 120,
    trials: int = 20,
    parallel_trials: int = 2,
) -> NamedTuple(
    "Best",
    [
        ("learning_rate", float),
        ("max_depth", int),
        ("min_child_weight", float),
    ],
):
    """Finds the parameters with the best rmse; with no trials they stay as given."""
    from housing_xgboost.launch import tune as find

    return find(
        trials,
        parallel_trials,
        parameters={
            "learning_rate": learning_rate,
            "max_depth": max_depth,
            "min_child_weight": min_child_weight,
            "patience": patience,
            "rounds": rounds,
        },
        given={
            "features": features.path,
            "train": train.path,
            "target": target.path,
            "valid": valid.path,
            "test": test.path,
        },
        uris={
            "features": features.uri,
            "train": train.uri,
            "target": target.uri,
            "valid": valid.uri,
            "test": test.uri,
        },
        files=FILES,  # noqa: F821  # set by the program that this function is embedded in
    )


@dsl.pipeline(name="housing-xgboost", description="What is this house worth?")
def pipeline(
    learning_rate: float = 0.15,
    max_depth: int = 4,
    min_child_weight: float = 2.0,
    rounds: int = 120,
    patience: int = 15,
    houses_csv: str = "houses.csv",
    trials: int = 20,
    parallel_trials: int = 2,
):
    houses_csv_file = dsl.importer(
        artifact_uri=houses_csv, artifact_class=Artifact, reimport=False
    )
    load_task = load(
        houses_csv=houses_csv_file.output,
    )
    load_task.set_display_name("load")
    prepare_task = prepare(
        houses=load_task.outputs["houses"],
    )
    prepare_task.set_display_name("prepare")
    tune_task = tune(
        features=prepare_task.outputs["features"],
        train=prepare_task.outputs["train"],
        target=prepare_task.outputs["target"],
        valid=prepare_task.outputs["valid"],
        test=prepare_task.outputs["test"],
        learning_rate=learning_rate,
        max_depth=max_depth,
        min_child_weight=min_child_weight,
        patience=patience,
        rounds=rounds,
        trials=trials,
        parallel_trials=parallel_trials,
    )
    train_task = train(
        features=prepare_task.outputs["features"],
        train=prepare_task.outputs["train"],
        target=prepare_task.outputs["target"],
        valid=prepare_task.outputs["valid"],
        learning_rate=tune_task.outputs["learning_rate"],
        max_depth=tune_task.outputs["max_depth"],
        min_child_weight=tune_task.outputs["min_child_weight"],
        patience=patience,
        rounds=rounds,
    )
    train_task.set_display_name("train")
    train_task.set_env_variable("PYTHONHASHSEED", "0")
    evaluate_task = evaluate(
        features=prepare_task.outputs["features"],
        test=prepare_task.outputs["test"],
        target=prepare_task.outputs["target"],
        booster=train_task.outputs["booster"],
    )
    evaluate_task.set_display_name("evaluate")
    explain_task = explain(
        booster=train_task.outputs["booster"],
    )
    explain_task.set_display_name("explain")


def main() -> None:
    """Compiles the pipeline to pipeline.yaml beside this file."""
    compiler.Compiler().compile(pipeline, str(PROJECT / "pipeline.yaml"))


if __name__ == "__main__":
    main()
