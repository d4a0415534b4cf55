"""The Kubeflow pipeline digits_torch: `python pipeline.py` compiles it to pipeline.yaml.

Each component hands its artifacts and parameters to digits_torch/task.py, which runs the step.
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
    "digits_torch/__init__.py",
    "digits_torch/artifacts.py",
    "digits_torch/task.py",
    "digits_torch/steps/__init__.py",
)
UNPACK = """
import pathlib, sys
for name, text in FILES.items():
    path = pathlib.Path(__file__).parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
sys.path.insert(0, str(pathlib.Path(__file__).parent))
"""


@embedded("digits_torch/steps/load.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "cloudpickle==3.1.3",
        "scikit-learn==1.9.1",
    ],
)
def load(
    images: Output[Artifact],
    labels: Output[Artifact],
):
    """Cell 5 of the notebook."""
    from digits_torch.task import run

    run(
        "load",
        outputs={"images": images.path, "labels": labels.path},
    )


@embedded("digits_torch/shared.py", "digits_torch/steps/split.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "cloudpickle==3.1.3",
        "scikit-learn==1.9.1",
        "torch==2.13.0",
    ],
)
def split(
    images: Input[Artifact],
    labels: Input[Artifact],
    test_images: Output[Artifact],
    test_labels: Output[Artifact],
    train_images: Output[Artifact],
    val_images: Output[Artifact],
    train_labels: Output[Artifact],
    val_labels: Output[Artifact],
):
    """Cell 8 of the notebook."""
    from digits_torch.task import run

    run(
        "split",
        inputs={"images": images.path, "labels": labels.path},
        outputs={
            "test_images": test_images.path,
            "test_labels": test_labels.path,
            "train_images": train_images.path,
            "val_images": val_images.path,
            "train_labels": train_labels.path,
            "val_labels": val_labels.path,
        },
    )


@embedded(
    "digits_torch/cluster.py",
    "digits_torch/torch_workers.py",
    "digits_torch/torch_rows.py",
    "digits_torch/trial_reports.py",
    "digits_torch/shared.py",
    "digits_torch/steps/train.py",
    "digits_torch/launch.py",
    "digits_torch/jobs.py",
    "digits_torch/remote.py",
    "digits_torch/trial.py",
    "jobs/train.yaml",
)
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "kubernetes>=30",
    ],
)
def train(
    train_images: Input[Artifact],
    train_labels: Input[Artifact],
    val_images: Input[Artifact],
    val_labels: Input[Artifact],
    model: Output[Model],
    history: Output[Artifact],
    batch_size: int = 64,
    dropout: float = 0.2,
    epochs: int = 6,
    learning_rate: float = 0.01,
    patience: int = 2,
    width: int = 16,
):
    """Cell 10 of the notebook."""
    from digits_torch.launch import run

    run(
        "train",
        parameters={
            "batch_size": batch_size,
            "dropout": dropout,
            "epochs": epochs,
            "learning_rate": learning_rate,
            "patience": patience,
            "width": width,
        },
        inputs={
            "train_images": train_images.path,
            "train_labels": train_labels.path,
            "val_images": val_images.path,
            "val_labels": val_labels.path,
        },
        outputs={"model": model.path, "history": history.path},
        uris={
            train_images.path: train_images.uri,
            train_labels.path: train_labels.uri,
            val_images.path: val_images.uri,
            val_labels.path: val_labels.uri,
            model.path: model.uri,
            history.path: history.uri,
        },
        files=FILES,  # noqa: F821  # set by the program that this function is embedded in
    )


@embedded("digits_torch/shared.py", "digits_torch/steps/evaluate.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "cloudpickle==3.1.3",
        "numpy==2.4.6",
        "scikit-learn==1.9.1",
        "torch==2.13.0",
    ],
)
def evaluate(
    model: Input[Model],
    test_images: Input[Artifact],
    test_labels: Input[Artifact],
    guessed: Output[Dataset],
    metrics: Output[Metrics],
):
    """Cells 12-13 of the notebook."""
    from digits_torch.task import run

    run(
        "evaluate",
        inputs={
            "model": model.path,
            "test_images": test_images.path,
            "test_labels": test_labels.path,
        },
        outputs={"guessed": guessed.path, "metrics": metrics.path},
        log_metric=metrics.log_metric,
    )


@embedded("digits_torch/shared.py", "digits_torch/steps/report.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "cloudpickle==3.1.3",
        "numpy==2.4.6",
        "scikit-learn==1.9.1",
        "torch==2.13.0",
    ],
)
def report(
    test_labels: Input[Artifact],
    guessed: Input[Dataset],
    history: Input[Artifact],
):
    """Cell 14 of the notebook."""
    from digits_torch.task import run

    run(
        "report",
        inputs={"test_labels": test_labels.path, "guessed": guessed.path, "history": history.path},
    )


@embedded(
    "digits_torch/cluster.py",
    "digits_torch/torch_workers.py",
    "digits_torch/torch_rows.py",
    "digits_torch/trial_reports.py",
    "digits_torch/shared.py",
    "digits_torch/steps/train.py",
    "digits_torch/steps/evaluate.py",
    "digits_torch/launch.py",
    "digits_torch/jobs.py",
    "digits_torch/remote.py",
    "digits_torch/trial.py",
    "jobs/tune.yaml",
)
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "kubernetes>=30",
    ],
)
def tune(
    train_images: Input[Artifact],
    train_labels: Input[Artifact],
    val_images: Input[Artifact],
    val_labels: Input[Artifact],
    test_images: Input[Artifact],
    test_labels: Input[Artifact],
    batch_size: int = 64,
    dropout: float = 0.2,
    epochs: int = 6,
    learning_rate: float = 0.01,
    patience: int = 2,
    width: int = 16,
    trials: int = 20,
    parallel_trials: int = 2,
) -> NamedTuple(
    "Best",
    [
        ("learning_rate", float),
        ("width", int),
        ("dropout", float),
    ],
):
    """Finds the parameters with the best test_loss; with no trials they stay as given."""
    from digits_torch.launch import tune as find

    return find(
        trials,
        parallel_trials,
        parameters={
            "batch_size": batch_size,
            "dropout": dropout,
            "epochs": epochs,
            "learning_rate": learning_rate,
            "patience": patience,
            "width": width,
        },
        given={
            "train_images": train_images.path,
            "train_labels": train_labels.path,
            "val_images": val_images.path,
            "val_labels": val_labels.path,
            "test_images": test_images.path,
            "test_labels": test_labels.path,
        },
        uris={
            "train_images": train_images.uri,
            "train_labels": train_labels.uri,
            "val_images": val_images.uri,
            "val_labels": val_labels.uri,
            "test_images": test_images.uri,
            "test_labels": test_labels.uri,
        },
        files=FILES,  # noqa: F821  # set by the program that this function is embedded in
    )


@dsl.pipeline(name="digits-torch", description="Reading handwritten digits")
def pipeline(
    learning_rate: float = 0.01,
    width: int = 16,
    dropout: float = 0.2,
    batch_size: int = 64,
    epochs: int = 6,
    patience: int = 2,
    trials: int = 20,
    parallel_trials: int = 2,
):
    load_task = load()
    load_task.set_display_name("load")
    split_task = split(
        images=load_task.outputs["images"],
        labels=load_task.outputs["labels"],
    )
    split_task.set_display_name("split")
    tune_task = tune(
        train_images=split_task.outputs["train_images"],
        train_labels=split_task.outputs["train_labels"],
        val_images=split_task.outputs["val_images"],
        val_labels=split_task.outputs["val_labels"],
        test_images=split_task.outputs["test_images"],
        test_labels=split_task.outputs["test_labels"],
        batch_size=batch_size,
        dropout=dropout,
        epochs=epochs,
        learning_rate=learning_rate,
        patience=patience,
        width=width,
        trials=trials,
        parallel_trials=parallel_trials,
    )
    train_task = train(
        train_images=split_task.outputs["train_images"],
        train_labels=split_task.outputs["train_labels"],
        val_images=split_task.outputs["val_images"],
        val_labels=split_task.outputs["val_labels"],
        batch_size=batch_size,
        dropout=tune_task.outputs["dropout"],
        epochs=epochs,
        learning_rate=tune_task.outputs["learning_rate"],
        patience=patience,
        width=tune_task.outputs["width"],
    )
    train_task.set_display_name("train")
    train_task.set_env_variable("PYTHONHASHSEED", "0")
    evaluate_task = evaluate(
        model=train_task.outputs["model"],
        test_images=split_task.outputs["test_images"],
        test_labels=split_task.outputs["test_labels"],
    )
    evaluate_task.set_display_name("evaluate")
    report_task = report(
        test_labels=split_task.outputs["test_labels"],
        guessed=evaluate_task.outputs["guessed"],
        history=train_task.outputs["history"],
    )
    report_task.set_display_name("report")


def main() -> None:
    """Compiles the pipeline to pipeline.yaml beside this file."""
    compiler.Compiler().compile(pipeline, str(PROJECT / "pipeline.yaml"))


if __name__ == "__main__":
    main()
