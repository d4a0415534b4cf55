"""Every step by itself, and the pipeline as a whole, on the sample data."""

from __future__ import annotations

import importlib

import pytest

from baby_weight import artifacts


@pytest.mark.parametrize(
    ("step", "function"),
    [
        ("prepare", "prepare"),
        ("train", "train"),
        ("evaluate", "evaluate"),
        ("predict", "predict"),
    ],
)
def test_step_is_a_function(step, function):
    module = importlib.import_module(f"baby_weight.steps.{step}")
    assert callable(getattr(module, function))


def test_step_gives_its_outputs(runs, step_name):
    step = runs.run(step_name)
    for name in step.outputs:
        assert isinstance(artifacts.load(runs.output(step_name, name)), dict)
    for path in step.files_out:
        assert runs.file(step_name, path).exists()


def test_pipeline_runs_through(runs):
    runs.run("prepare")
    runs.run("train")
    runs.run("evaluate")
    runs.run("predict")
