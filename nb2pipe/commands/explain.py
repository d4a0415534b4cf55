"""`nb2pipe explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from nb2pipe.commands.speech import Speech, common


@click.command()
@click.argument("log", type=click.File(errors="replace"))
@click.option("--project", type=click.Path(path_type=Path), help="The project (default: those in this folder).")
@common
def explain(speech: Speech, log: TextIO, project: Path | None) -> int:
    """Show a traceback of a generated step in the notebook's cells and lines. LOG is a file, or - for stdin."""
    from nb2pipe.review.explain import explain, project_at, projects_near

    found = project_at(project) if project else None
    if project and found is None:
        raise click.UsageError(f"{project} is no generated project")
    explained = explain(log.read(), [found] if found else projects_near(Path.cwd()))
    if not explained.frames:
        speech.say("no line of a generated step is in this log; name its project with --project")
    document = {"frames": [frame.to_json() for frame in explained.frames], "text": explained.text}
    speech.document(document, explained.text)
    return 0
