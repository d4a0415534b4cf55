"""`nb2pipe tune`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nb2pipe.commands.speech import NOTEBOOK, Speech, assignments, common, load, remarks

if TYPE_CHECKING:
    from nb2pipe.targets.base import Event, OnEvent
    from nb2pipe.targets.tune import Trial, Tuned


@click.command()
@NOTEBOOK
@click.option("--trials", type=click.IntRange(min=1), help="How many trials (default: 20, or what the settings say).")
@click.option("--parallel", type=click.IntRange(min=1), default=1, show_default=True, help="Trials at a time.")
@click.option("-p", "--parameter", "given", multiple=True, metavar="NAME=VALUE", help="Fix a parameter for all trials.")
@click.option("--new", "anew", is_flag=True, help="Begin anew instead of going on with the study that was left.")
@click.option("--no-prune", is_flag=True, help="Let bad trials train to their end.")
@common
def tune(
    speech: Speech,
    notebook: Path,
    trials: int | None,
    parallel: int,
    given: tuple[str, ...],
    anew: bool,
    no_prune: bool,
) -> int:
    """Tune the parameters that have a search space, on this machine."""
    conversion = load(notebook)
    remarks(speech, conversion)
    tuned = conversion.tune(
        assignments(given),
        trials=trials,
        parallel=parallel,
        anew=anew,
        prune=not no_prune,
        on_trial=lambda trial: speech.say(trial_text(trial)),
        on_event=_notes(speech),
    )
    speech.document(tuned.to_json(), tune_text(tuned, notebook))
    return 0 if tuned.best else 1


def _notes(speech: Speech) -> OnEvent:
    """Only what the user should know: the output of trials stays in their files."""

    def show(event: Event) -> None:
        if event.kind == "note" and speech.verbose:
            speech.say(f"[{event.step}] {event.text}" if event.step else event.text)

    return show


def trial_text(trial: Trial) -> str:
    """A row of the live table."""
    value = "" if trial.objective is None else f"{trial.objective:.6g}"
    chosen = "  ".join(f"{name}={_short(value)}" for name, value in trial.parameters.items())
    row = f"trial {trial.number:>3}  {trial.status:<9}  {value:>12}  {trial.seconds:6.1f} s  {chosen}"
    return f"{row}  {trial.message}".rstrip()


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def tune_text(tuned: Tuned, notebook: Path) -> str:
    """The outcome of a tuning for people, with the command that runs the pipeline with the best parameters."""
    runs = ", ".join(f"{step} {count}" for step, count in tuned.step_runs.items() if count)
    lines = [f"{len(tuned.trials)} trials to {tuned.direction} {tuned.objective}; runs of each step: {runs}"]
    if tuned.best is None:
        return "\n".join([*lines, f"no trial completed; see {tuned.folder}"])
    words = [shlex.quote(word) for word in tuned.best_words()]
    command = " ".join(["nb2pipe run", shlex.quote(str(notebook)), *(f"-p {word}" for word in words)])
    lines += [f"best: trial {tuned.best.number}, {tuned.objective} = {tuned.best.objective}"]
    lines += [f"plot: {path}" for path in tuned.plots]
    return "\n".join([*lines, f"run the pipeline with the best parameters: {command}"])
