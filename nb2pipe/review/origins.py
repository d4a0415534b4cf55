"""Where every line of a generated project comes from: a line of a cell, as it was or rewritten, or nb2pipe itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from nb2pipe.codegen.project import MAP_FILE, Project

Kind = Literal["cell", "rewritten", "own", "carried"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Of one generated line: `cell` (from 0) and `line` (from 1) of the notebook if it stems from there, and why it is
    not the notebook's text as it stands there ("" when it is). `carried`: a module of the notebook's own, copied."""

    kind: Kind
    cell: int | None
    line: int | None
    why: str


PURPOSES: Mapping[str, str] = {
    "README.md": "what the project is and how to run it",
    "pyproject.toml": "makes the project a package",
    "requirements.txt": "what the steps import, pinned",
    "requirements-jobs.txt": "what an image needs beside that to start jobs",
    "Dockerfile": "an image with the project in it",
    ".dockerignore": "what stays out of the image",
    ".gitignore": "what stays out of the repository",
    "pipeline.py": "a component for each step, and the pipeline",
    MAP_FILE: "which generated line is which line of which cell",
    "PACKAGE/__init__.py": "the package",
    "PACKAGE/steps/__init__.py": "the package of the steps",
    "PACKAGE/artifacts.py": "saves and loads what crosses steps",
    "PACKAGE/task.py": "the one entry point of every step",
    "PACKAGE/beam_runs.py": "runs the Beam pipelines of steps, here or on Dataflow",
    "PACKAGE/bigquery_runs.py": "tells clients of BigQuery what the run says: project, datasets, rows",
    "PACKAGE/cluster.py": "where a worker stands among the others",
    "PACKAGE/jobs.py": "starts jobs of many workers, and tuning",
    "PACKAGE/launch.py": "what a component does to start a job",
    "PACKAGE/remote.py": "watches a job to its end",
    "PACKAGE/trial.py": "runs one trial of a tuning",
    "PACKAGE/trial_reports.py": "tells a trial how its training goes",
}
"""What the files that hold no line of the notebook are for."""
FOLDER_PURPOSES: Mapping[str, str] = {
    "jobs/": "a job as its cluster takes it",
    "tests/": "runs each step and the whole on the sample data",
}


def purpose(path: str, package: str) -> str:
    """What a file of nb2pipe's own is for."""
    plain = path.replace(f"{package}/", "PACKAGE/", 1) if path.startswith(f"{package}/") else path
    folder = next((why for start, why in FOLDER_PURPOSES.items() if path.startswith(start)), "")
    workers = "spreads a training over workers" if plain.endswith(("_workers.py", "_rows.py")) else ""
    return PURPOSES.get(plain) or folder or workers or "made by nb2pipe"


def origins(project: Project, carried: Sequence[str] = ()) -> dict[str, tuple[Origin, ...]]:
    """One Origin for each line of each text file of the project. `carried` are paths of the notebook's own modules."""
    rows = json.loads(project.files[MAP_FILE])["files"]
    return {
        path: tuple(_of_file(path, text, project, rows.get(path, ()), path in carried))
        for path, text in project.files.items()
    }


def _of_file(path: str, text: str, project: Project, rows: Sequence[Sequence[int]], carried: bool) -> Iterator[Origin]:
    places = {row[0] + i: (row[2], row[3] + i) for row in rows for i in range(row[1])}
    reasons = project.reasons.get(path, {})
    for number in range(1, text.count("\n") + (not text.endswith("\n")) + 1):
        why = reasons.get(number, "")
        if number in places:
            yield Origin("rewritten" if why else "cell", *places[number], why)
        elif carried:
            yield Origin("carried", None, None, "a module of the notebook's own, as it is")
        else:
            yield Origin("own", None, None, why or purpose(path, project.package))
