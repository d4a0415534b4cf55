"""One trial of the tuning: the steps from the tuned parameters to the objective.

    python -m baby_weight.trial --parameter NAME=VALUE --given NAME=PATH

What comes before those steps is given: it ran once, for all trials. A platform that tunes passes
the tuned parameters as --NAME=VALUE, and hears of the objective as it wants to: in a file of
Vertex AI's hypertune, and as a line "objective: NAME=VALUE" in the log, which Katib reads.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from baby_weight import task

OBJECTIVE = "rmse"
GOAL = "minimize"
STEP = "evaluate"
TUNED = ["learning_rate", "batch_size", "hidden_units"]

# The steps of a trial, in order. Inputs and files come from [STEP, NAME], or are given: ["", NAME].
STEPS: dict[str, dict[str, Any]] = {
    "train": {
        "inputs": {},
        "outputs": ["model"],
        "files_in": {"prepared": ["", "prepared"]},
        "files_out": [],
        "parameters": ["batch_size", "hidden_units", "learning_rate", "num_epochs"],
    },
    "evaluate": {
        "inputs": {"model": ["train", "model"]},
        "outputs": ["metrics"],
        "files_in": {"prepared": ["", "prepared"]},
        "files_out": [],
        "parameters": [],
    },
}


def run_trial(parameters: Mapping[str, Any], given: Mapping[str, str], folder: str | Path) -> float:
    """Runs the steps of a trial in `folder` and returns the objective.

    `given` are the paths of what steps before the trial made. Raises task.StepError.
    """
    made: dict[tuple[str, str], str] = {("", name): path for name, path in given.items()}
    objective = float("nan")
    for step, row in STEPS.items():
        place = Path(folder) / step
        outputs = {name: str(place / "outputs" / name) for name in row["outputs"]}
        files = {name: str(place / f"files-{i}") for i, name in enumerate(row["files_out"])}
        metrics = task.run(
            step,
            {name: parameters[name] for name in row["parameters"] if name in parameters},
            {name: made[source, key] for name, (source, key) in row["inputs"].items()},
            outputs,
            {name: made[source, key] for name, (source, key) in row["files_in"].items()},
            files,
        )
        made.update({(step, name): path for name, path in (outputs | files).items()})
        objective = metrics.get(OBJECTIVE, objective) if step == STEP else objective
    if objective - objective != 0:
        raise task.StepError(STEP, f"{OBJECTIVE} is {objective}, not a finite number")
    return objective


def kind(name: str) -> str:
    """The type of a tuned parameter."""
    declared = [task.STEPS[step]["parameters"] for step in STEPS]
    return next(str(rows[name][0]) for rows in declared if name in rows)


def tuned(words: list[str]) -> dict[str, str]:
    """The parameters in words --NAME=VALUE, with values quoted as in a URL.

    A platform may write whole numbers as 64.0.
    """
    pairs = (word.removeprefix("--").split("=", 1) for word in words)
    texts = {name: unquote(value) for name, value in pairs}
    whole = {name for name in texts if kind(name) == "int"}
    return {n: text.removesuffix(".0") if n in whole else text for n, text in texts.items()}


def report(value: float) -> None:
    """Tells the platform that tunes what the trial's objective is."""
    print(f"objective: rmse={value!r}", flush=True)
    if "CLOUD_ML_TRIAL_ID" in os.environ:
        measured(value)


def measured(value: float) -> None:
    """Tells Vertex AI the objective as it is now; the last time is at the trial's end."""
    steps = _hypertune().metrics_queue
    step = int(steps[-1]["global_step"]) + 1 if steps else 1
    _hypertune().report_hyperparameter_tuning_metric(OBJECTIVE, value, step)


@functools.cache
def _hypertune() -> Any:
    """The one reporter of this process: another would begin its file anew."""
    from hypertune import HyperTune

    return HyperTune()


def _pairs(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words)


def main(argv: list[str] | None = None) -> int:
    """Runs the trial that the command line describes; returns 0, or 1 when a step failed."""
    parser = argparse.ArgumentParser(prog="baby_weight.trial", allow_abbrev=False)
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--given", action="append", default=[], metavar="NAME=PATH")
    for name in TUNED:
        parser.add_argument(f"--{name}", dest=f"tuned:{name}", metavar="VALUE")
    words = vars(parser.parse_args(argv))
    tuned = {name: words[f"tuned:{name}"] for name in TUNED if words[f"tuned:{name}"] is not None}
    with tempfile.TemporaryDirectory() as folder:
        try:
            parameters = {**_pairs(words["parameter"]), **tuned}
            report(run_trial(parameters, _pairs(words["given"]), folder))
        except task.StepError as error:
            task._print_failure(error)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
