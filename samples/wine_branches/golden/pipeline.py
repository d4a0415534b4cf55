"""The Kubeflow pipeline wine_branches: `python pipeline.py` compiles it to pipeline.yaml.

Each component hands its artifacts and parameters to wine_branches/task.py, which runs the step.
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
    "wine_branches/__init__.py",
    "wine_branches/artifacts.py",
    "wine_branches/task.py",
    "wine_branches/steps/__init__.py",
)
UNPACK = """
import pathlib, sys
for name, text in FILES.items():
    path = pathlib.Path(__file__).parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
sys.path.insert(0, str(pathlib.Path(__file__).parent))
"""


@embedded("wine_branches/shared.py", "wine_branches/steps/prepare.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "cloudpickle==3.1.3",
        "scikit-learn==1.9.1",
    ],
)
def prepare(
    names: Output[Artifact],
    X_train: Output[Artifact],
    X_test: Output[Artifact],
    y_train: Output[Artifact],
    y_test: Output[Artifact],
    holdout: float = 0.3,
):
    """Cell 4 of the notebook."""
    from wine_branches.task import run

    run(
        "prepare",
        parameters={"holdout": holdout},
        outputs={
            "names": names.path,
            "X_train": X_train.path,
            "X_test": X_test.path,
            "y_train": y_train.path,
            "y_test": y_test.path,
        },
    )


@embedded("wine_branches/shared.py", "wine_branches/steps/forest.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "cloudpickle==3.1.3",
        "joblib==1.6.0",
        "numpy==2.4.6",
        "scikit-learn==1.9.1",
    ],
)
def forest(
    X_train: Input[Artifact],
    y_train: Input[Artifact],
    X_test: Input[Artifact],
    y_test: Input[Artifact],
    forest: Output[Model],
    forest_guess: Output[Dataset],
    trees: int = 200,
):
    """Cell 7 of the notebook."""
    from wine_branches.task import run

    run(
        "forest",
        parameters={"trees": trees},
        inputs={
            "X_train": X_train.path,
            "y_train": y_train.path,
            "X_test": X_test.path,
            "y_test": y_test.path,
        },
        outputs={"forest": forest.path, "forest_guess": forest_guess.path},
    )


@embedded("wine_branches/shared.py", "wine_branches/steps/linear.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "cloudpickle==3.1.3",
        "joblib==1.6.0",
        "numpy==2.4.6",
        "scikit-learn==1.9.1",
    ],
)
def linear(
    X_train: Input[Artifact],
    y_train: Input[Artifact],
    X_test: Input[Artifact],
    y_test: Input[Artifact],
    linear: Output[Model],
    linear_guess: Output[Dataset],
    regularisation: float = 1.0,
):
    """Cell 9 of the notebook."""
    from wine_branches.task import run

    run(
        "linear",
        parameters={"regularisation": regularisation},
        inputs={
            "X_train": X_train.path,
            "y_train": y_train.path,
            "X_test": X_test.path,
            "y_test": y_test.path,
        },
        outputs={"linear": linear.path, "linear_guess": linear_guess.path},
    )


@embedded("wine_branches/shared.py", "wine_branches/steps/compare.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "cloudpickle==3.1.3",
        "joblib==1.6.0",
        "numpy==2.4.6",
        "scikit-learn==1.9.1",
    ],
)
def compare(
    forest: Input[Model],
    linear: Input[Model],
    y_test: Input[Artifact],
    X_test: Input[Artifact],
    forest_guess: Input[Dataset],
    linear_guess: Input[Dataset],
    names: Input[Artifact],
    metrics: Output[Metrics],
):
    """Cells 11-13 of the notebook."""
    from wine_branches.task import run

    run(
        "compare",
        inputs={
            "forest": forest.path,
            "linear": linear.path,
            "y_test": y_test.path,
            "X_test": X_test.path,
            "forest_guess": forest_guess.path,
            "linear_guess": linear_guess.path,
            "names": names.path,
        },
        outputs={"metrics": metrics.path},
        log_metric=metrics.log_metric,
    )


@embedded(
    "wine_branches/shared.py",
    "wine_branches/steps/forest.py",
    "wine_branches/steps/linear.py",
    "wine_branches/steps/compare.py",
    "wine_branches/cluster.py",
    "wine_branches/launch.py",
    "wine_branches/jobs.py",
    "wine_branches/remote.py",
    "wine_branches/trial.py",
    "jobs/tune.yaml",
)
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "kubernetes>=30",
    ],
)
def tune(
    X_train: Input[Artifact],
    y_train: Input[Artifact],
    X_test: Input[Artifact],
    y_test: Input[Artifact],
    names: Input[Artifact],
    trees: int = 200,
    regularisation: float = 1.0,
    trials: int = 20,
    parallel_trials: int = 2,
) -> NamedTuple(
    "Best",
    [
        ("trees", int),
        ("regularisation", float),
    ],
):
    """Finds the parameters with the best best_loss; with no trials they stay as given."""
    from wine_branches.launch import tune as find

    return find(
        trials,
        parallel_trials,
        parameters={"trees": trees, "regularisation": regularisation},
        given={
            "X_train": X_train.path,
            "y_train": y_train.path,
            "X_test": X_test.path,
            "y_test": y_test.path,
            "names": names.path,
        },
        uris={
            "X_train": X_train.uri,
            "y_train": y_train.uri,
            "X_test": X_test.uri,
            "y_test": y_test.uri,
            "names": names.uri,
        },
        files=FILES,  # noqa: F821  # set by the program that this function is embedded in
    )


@dsl.pipeline(name="wine-branches", description="Which cultivar is this wine?")
def pipeline(
    holdout: float = 0.3,
    trees: int = 200,
    regularisation: float = 1.0,
    trials: int = 20,
    parallel_trials: int = 2,
):
    prepare_task = prepare(
        holdout=holdout,
    )
    prepare_task.set_display_name("prepare")
    tune_task = tune(
        X_train=prepare_task.outputs["X_train"],
        y_train=prepare_task.outputs["y_train"],
        X_test=prepare_task.outputs["X_test"],
        y_test=prepare_task.outputs["y_test"],
        names=prepare_task.outputs["names"],
        trees=trees,
        regularisation=regularisation,
        trials=trials,
        parallel_trials=parallel_trials,
    )
    forest_task = forest(
        X_train=prepare_task.outputs["X_train"],
        y_train=prepare_task.outputs["y_train"],
        X_test=prepare_task.outputs["X_test"],
        y_test=prepare_task.outputs["y_test"],
        trees=tune_task.outputs["trees"],
    )
    forest_task.set_display_name("forest")
    forest_task.set_cpu_request("2")
    forest_task.set_cpu_limit("2")
    linear_task = linear(
        X_train=prepare_task.outputs["X_train"],
        y_train=prepare_task.outputs["y_train"],
        X_test=prepare_task.outputs["X_test"],
        y_test=prepare_task.outputs["y_test"],
        regularisation=tune_task.outputs["regularisation"],
    )
    linear_task.set_display_name("linear")
    compare_task = compare(
        forest=forest_task.outputs["forest"],
        linear=linear_task.outputs["linear"],
        y_test=prepare_task.outputs["y_test"],
        X_test=prepare_task.outputs["X_test"],
        forest_guess=forest_task.outputs["forest_guess"],
        linear_guess=linear_task.outputs["linear_guess"],
        names=prepare_task.outputs["names"],
    )
    compare_task.set_display_name("compare")


def main() -> None:
    """Compiles the pipeline to pipeline.yaml beside this file."""
    compiler.Compiler().compile(pipeline, str(PROJECT / "pipeline.yaml"))


if __name__ == "__main__":
    main()
