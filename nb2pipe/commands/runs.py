"""`nb2pipe runs`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nb2pipe.commands.places import places, places_of
from nb2pipe.commands.speech import Speech, common, progress
from nb2pipe.commands.submit import submission_text

if TYPE_CHECKING:
    from nb2pipe.targets.base import Platform
    from nb2pipe.targets.submission import Submission, SubmitOptions

TARGET = click.option("--target", required=True, help="Where the runs are: kfp or vertex.")
RUN = click.argument("run")


@click.group()
def runs() -> None:
    """List, show and cancel runs that were submitted."""


@runs.command("list")
@TARGET
@click.option("--experiment", help="Only runs of this experiment.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, at most.")
@places
@common
def list_runs(speech: Speech, target: str, limit: int, **words: Any) -> int:
    """List the latest runs."""
    platform, options = _asked(target, words)
    found = platform.list_runs(options, limit, progress(speech))
    speech.document({"runs": [run.to_json() for run in found]}, runs_text(found))
    return 0


@runs.command()
@RUN
@TARGET
@places
@common
def show(speech: Speech, run: str, target: str, **words: Any) -> int:
    """Show how a run stands, step by step."""
    return _about(speech, run, target, words, lambda platform: platform.show_run)


@runs.command()
@RUN
@TARGET
@places
@common
def cancel(speech: Speech, run: str, target: str, **words: Any) -> int:
    """Cancel a run."""
    return _about(speech, run, target, words, lambda platform: platform.cancel_run)


def _about(
    speech: Speech,
    run: str,
    target: str,
    words: dict[str, Any],
    action: Callable[[Platform], Callable[..., Submission]],
) -> int:
    from nb2pipe.convert import tell_logs

    platform, options = _asked(target, words)
    found = action(platform)(run, options, progress(speech))
    tell_logs(found, Path(), progress(speech))
    speech.document(found.to_json(), submission_text(found))
    return 0


def _asked(target: str, words: dict[str, Any]) -> tuple[Platform, SubmitOptions]:
    from nb2pipe.targets.base import load_platform
    from nb2pipe.targets.submission import SubmitOptions

    return load_platform(target), SubmitOptions(experiment=words.get("experiment"), **places_of(words))


def runs_text(found: tuple[Submission, ...]) -> str:
    """A table of runs for people."""
    rows = [(run.id or "", run.state, run.created or "", run.name) for run in found]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    lines = [
        "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]) for row in rows
    ]
    return "\n".join(lines) or "no runs"
