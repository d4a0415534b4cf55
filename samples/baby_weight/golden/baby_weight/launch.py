"""Starts what runs outside of a step's own container: jobs of many workers, and tuning.

Where there is no platform to run them (on this machine, under kfp's local runner) the same is done
here: the step with one worker, trials one after another.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from baby_weight import jobs, task

# The spaces of the tuned parameters, in the order of the component's outputs.
SPACES: dict[str, dict[str, Any]] = {
    "learning_rate": {"kind": "loguniform", "low": 0.001, "high": 0.1},
    "batch_size": {"kind": "choice", "values": (32, 64, 128)},
    "hidden_units": {"kind": "choice", "values": ([16], [32, 8])},
}


def run(
    step: str,
    parameters: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    outputs: Mapping[str, str] | None = None,
    files_in: Mapping[str, str] | None = None,
    files_out: Mapping[str, str] | None = None,
    *,
    uris: Mapping[str, str],
    log_metric: Callable[[str, float], None] | None = None,
    files: Mapping[str, str] | None = None,
) -> None:
    """Runs `step` as a job of many workers and waits for its end.

    `uris` gives the URI behind each path of the other arguments, which are those of task.run;
    `files` are the project's files, for workers whose image does not hold them. Raises
    jobs.JobError with the reason when the job fails, is deleted or takes too long.
    """
    given = (parameters or {}, inputs or {}, outputs or {}, files_in or {}, files_out or {})
    if not jobs.available():
        task.run(step, *given, log_metric=log_metric)
        return
    for label, number in jobs.train(step, *given, uris=uris, files=files).items():
        if log_metric and number - number == 0:
            log_metric(label, number)


def tune(
    trials: int,
    parallel: int,
    *,
    parameters: Mapping[str, Any],
    given: Mapping[str, str],
    uris: Mapping[str, str],
    files: Mapping[str, str] | None = None,
) -> tuple[Any, ...]:
    """The best of the tuned parameters, in the order of SPACES; without trials the given ones.

    `parameters` are all that trials take, `given` and `uris` the path and the URI of what steps
    before them made. Raises jobs.JobError, and RuntimeError when no trial completed.
    """
    if trials < 1:
        return tuple(parameters[name] for name in SPACES)
    if jobs.available():
        best = jobs.search(trials, parallel, parameters, given, uris=uris, files=files)
    else:
        best = _search_here(trials, parameters, given)
    return tuple(best[name] for name in SPACES)


def _search_here(
    trials: int, parameters: Mapping[str, Any], given: Mapping[str, str]
) -> dict[str, Any]:
    """The best parameters of trials in this process, one after another."""
    import optuna

    from baby_weight import trial

    def objective(proposed: optuna.Trial) -> float:
        chosen = {name: _proposed(proposed, name) for name in SPACES}
        with tempfile.TemporaryDirectory() as folder:
            return trial.run_trial({**parameters, **chosen}, given, folder)

    sampler = optuna.samplers.TPESampler(seed=0)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    study.optimize(objective, n_trials=trials, catch=(task.StepError,))
    try:
        return {name: _proposed(study.best_trial, name) for name in SPACES}
    except ValueError:
        raise RuntimeError(f"none of {trials} trials completed") from None


def _proposed(proposed: Any, name: str) -> Any:
    """The value that a trial has for a parameter; choices are proposed by their number."""
    space = SPACES[name]
    if space["kind"] == "choice":
        return space["values"][proposed.suggest_int(name, 0, len(space["values"]) - 1)]
    whole = space["kind"] in ("int", "logint")
    suggest = proposed.suggest_int if whole else proposed.suggest_float
    return suggest(name, space["low"], space["high"], log=space["kind"].startswith("log"))
