"""`nb2pipe review`."""

from __future__ import annotations

from pathlib import Path

import click

from nb2pipe.commands.speech import Speech, common
from nb2pipe.findings import errors


@click.command()
@click.argument("notebook_or_project", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The page (default: NAME.review.html here).")
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
@click.option("--serve", is_flag=True, help="Serve a live page that follows the notebook, until Ctrl-C.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port of --serve (default: a free one).")
@common
def review(speech: Speech, notebook_or_project: Path, out: Path | None, show: bool, serve: bool, port: int) -> int:
    """Show notebook and generated code side by side, in one HTML page. Runs nothing."""
    from nb2pipe.convert import notebook_and_project

    notebook, project = notebook_and_project(notebook_or_project)
    if serve:
        if out is not None:
            raise click.UsageError("--serve writes no page: leave out -o")
        return _served(speech, notebook, project, show, port)
    from nb2pipe.convert import Conversion
    from nb2pipe.documents import finding_json

    conversion = Conversion(notebook)
    page = conversion.review(out or Path(f"{notebook.stem}.review.html"), project=project)
    document = {"page": str(page), "findings": [finding_json(f) for f in conversion.findings]}
    speech.document(document, f"{page} written")
    if show:
        _open(page.resolve().as_uri())
    return 1 if errors(conversion.findings) else 0


def _served(speech: Speech, notebook: Path, project: Path | None, show: bool, port: int) -> int:
    from nb2pipe.convert import live_review

    server = live_review(notebook, project, port)
    speech.document({"page": server.url}, f"{server.url} follows {notebook}; Ctrl-C ends it")
    if show:
        _open(server.url)
    server.run()
    return 0


def _open(url: str) -> None:
    import webbrowser

    webbrowser.open(url)
