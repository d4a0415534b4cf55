"""The Kubeflow pipeline untidy: `python pipeline.py` compiles it to pipeline.yaml.

Each component hands its artifacts and parameters to untidy/task.py, which runs the step.
"""

import base64
import json
import zlib
from pathlib import Path

from kfp import compiler, dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Output

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
    "untidy/__init__.py",
    "untidy/artifacts.py",
    "untidy/task.py",
    "untidy/steps/__init__.py",
)
UNPACK = """
import pathlib, sys
for name, text in FILES.items():
    path = pathlib.Path(__file__).parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
sys.path.insert(0, str(pathlib.Path(__file__).parent))
"""


@embedded("untidy/steps/load.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "numpy==2.4.6",
        "pandas==3.1.1",
        "pyarrow==25.0.1",
    ],
)
def load(
    sales_csv: Input[Artifact],
    df_and_raw: Output[Artifact],
    log: Output[Artifact],
):
    """Cells 3-5 of the notebook."""
    from untidy.task import run

    run(
        "load",
        outputs={"df_and_raw": df_and_raw.path, "log": log.path},
        files_in={"sales.csv": sales_csv.path},
    )


@embedded("untidy/steps/clean.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "pandas==3.1.1",
        "pyarrow==25.0.1",
    ],
)
def clean(
    df_and_raw_in: Input[Artifact],
    log_in: Input[Artifact],
    df_and_raw: Output[Artifact],
    log: Output[Artifact],
    discount: float = 0.1,
    region: str = "all",
):
    """Cells 6-7 of the notebook."""
    from untidy.task import run

    run(
        "clean",
        parameters={"discount": discount, "region": region},
        inputs={"df_and_raw": df_and_raw_in.path, "log": log_in.path},
        outputs={"df_and_raw": df_and_raw.path, "log": log.path},
    )


@embedded("untidy/steps/rank.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "numpy==2.4.6",
        "pandas==3.1.1",
        "pyarrow==25.0.1",
    ],
)
def rank(
    df_and_raw: Input[Artifact],
    log_in: Input[Artifact],
    log: Output[Artifact],
    scores: Output[Dataset],
    top: int = 3,
    weights: str = '{"north": 1.0, "south": 0.5, "east": -1}',
):
    """Cells 9-11 of the notebook."""
    from untidy.task import run

    run(
        "rank",
        parameters={"top": top, "weights": weights},
        inputs={"df_and_raw": df_and_raw.path, "log": log_in.path},
        outputs={"log": log.path, "scores": scores.path},
    )


@embedded("untidy/steps/report.py")
@dsl.component(
    base_image="python:3.11-slim-bookworm",
    packages_to_install=[
        "pandas==3.1.1",
        "pyarrow==25.0.1",
    ],
)
def report(
    scores: Input[Dataset],
    log: Input[Artifact],
    df_and_raw: Input[Artifact],
    metrics: Output[Metrics],
):
    """Cells 13-14 of the notebook."""
    from untidy.task import run

    run(
        "report",
        inputs={"scores": scores.path, "log": log.path, "df_and_raw": df_and_raw.path},
        outputs={"metrics": metrics.path},
        log_metric=metrics.log_metric,
    )


@dsl.pipeline(name="untidy", description="sales numbers (copy of copy, FINAL v3)")
def pipeline(
    discount: float = 0.1,
    top: int = 3,
    region: str = "all",
    weights: str = '{"north": 1.0, "south": 0.5, "east": -1}',
    sales_csv: str = "sales.csv",
):
    sales_csv_file = dsl.importer(
        artifact_uri=sales_csv, artifact_class=Artifact, reimport=False
    )
    load_task = load(
        sales_csv=sales_csv_file.output,
    )
    load_task.set_display_name("load")
    clean_task = clean(
        df_and_raw_in=load_task.outputs["df_and_raw"],
        log_in=load_task.outputs["log"],
        discount=discount,
        region=region,
    )
    clean_task.set_display_name("clean")
    clean_task.after(load_task)
    rank_task = rank(
        df_and_raw=clean_task.outputs["df_and_raw"],
        log_in=clean_task.outputs["log"],
        top=top,
        weights=weights,
    )
    rank_task.set_display_name("rank")
    report_task = report(
        scores=rank_task.outputs["scores"],
        log=rank_task.outputs["log"],
        df_and_raw=clean_task.outputs["df_and_raw"],
    )
    report_task.set_display_name("report")
    report_task.after(clean_task)


def main() -> None:
    """Compiles the pipeline to pipeline.yaml beside this file."""
    compiler.Compiler().compile(pipeline, str(PROJECT / "pipeline.yaml"))


if __name__ == "__main__":
    main()
