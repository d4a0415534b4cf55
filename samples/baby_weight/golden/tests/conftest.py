"""Runs steps on the sample data, each after those it takes values from, and each only once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from baby_weight import task

DATA = Path(os.environ.get("SAMPLE_DATA", Path(__file__).parent / "data"))
DEFAULTS = {
    name: row[1] for step in task.STEPS.values() for name, row in step["parameters"].items()
}


@dataclass(frozen=True)
class Step:
    """What a step takes and gives, by name; a source is a step, None for a data file."""

    inputs: dict[str, tuple[str, str]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    files_in: dict[str, str | None] = field(default_factory=dict)
    files_out: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


STEPS = {
    "prepare": Step(files_in={"{births}": None}, files_out=("prepared",)),
    "train": Step(outputs=("model",), files_in={"prepared": "prepare"}),
    "evaluate": Step(
        inputs={"model": ("train", "model")},
        outputs=("metrics",),
        files_in={"prepared": "prepare"},
    ),
    "predict": Step(inputs={"model": ("train", "model")}),
}


class Runs:
    """The folders in which the steps of one test session ran."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.failures: dict[str, Exception] = {}

    def output(self, step: str, name: str) -> Path:
        return self.root / step / "outputs" / name

    def file(self, step: str, path: str) -> Path:
        return self.root / step / "files" / path.replace("../", "__/")

    def run(self, name: str) -> Step:
        """The step, after it and those before it ran; raises what a failing one of them raised."""
        if name in self.failures:
            raise self.failures[name]
        step = STEPS[name]
        if (self.root / name).exists():
            return step
        for before in self._sources(step):
            self.run(before)
        try:
            self._run(name, step)
        except Exception as error:
            self.failures[name] = error
            raise
        return step

    def _sources(self, step: Step) -> list[str]:
        files = [source for source in step.files_in.values() if source is not None]
        return [source for source, _ in step.inputs.values()] + files + list(step.after)

    def _run(self, name: str, step: Step) -> None:
        files = {path: str(self._found(path, source)) for path, source in step.files_in.items()}
        workdir = self.root / name / "work"
        workdir.mkdir(parents=True)
        task.run(
            name,
            inputs={key: str(self.output(*place)) for key, place in step.inputs.items()},
            outputs={key: str(self.output(name, key)) for key in step.outputs},
            files_in=files,
            files_out={path: str(self.file(name, path)) for path in step.files_out},
            workdir=workdir,
        )

    def _found(self, path: str, source: str | None) -> Path:
        if source is not None:
            return self.file(source, path)
        data = DATA / task.filled(path, DEFAULTS)
        if not data.exists():
            pytest.skip(f"no data file {data}: set SAMPLE_DATA to the folder that has it")
        return data


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(params=list(STEPS))
def step_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)
