"""`nb2pipe convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nb2pipe.commands.speech import NOTEBOOKS, Answer, Speech, common, load, of_each, remarks

if TYPE_CHECKING:
    from nb2pipe.convert import Conversion
    from nb2pipe.findings import Finding


@click.command()
@NOTEBOOKS
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="The project's folder (default: beside the notebook)."
)
@click.option("--target", type=str, help="What to compile for: kfp or vertex.")
@click.option("--name", help="The pipeline's name.")
@click.option("--base-image", help="The container image that steps run in.")
@click.option("--image", help="An image with the project in it: components become thin.")
@click.option("--check", "only_check", is_flag=True, help="Say whether the project is up to date; write nothing.")
@common
def convert(
    speech: Speech,
    notebooks: tuple[Path, ...],
    out: Path | None,
    target: str | None,
    name: str | None,
    base_image: str | None,
    image: str | None,
    only_check: bool,
) -> int:
    """Generate the projects of notebooks and compile their pipelines."""
    if out is not None and len(notebooks) > 1:
        raise click.UsageError("-o is the folder of one project: name one notebook")

    def stale(notebook: Path) -> Answer:
        found = loaded(notebook).stale(out)
        speech.findings(found)
        return stale_json(found), f"{notebook}: {'stale' if found else 'up to date'}", 1 if found else 0

    def converted(notebook: Path) -> Answer:
        conversion = loaded(notebook)
        remarks(speech, conversion)
        done = conversion.convert(out, target)
        speech.findings(done.written.findings)
        text = f"{done.project}: {len(done.written.written)} files written"
        return done.to_json(), text, 1 if done.written.conflicts else 0

    def loaded(notebook: Path) -> Conversion:
        return load(notebook, name=name, base_image=base_image, image=image, target=target)

    return of_each(speech, notebooks, stale if only_check else converted)


def stale_json(found: tuple[Finding, ...]) -> dict[str, Any]:
    """The document of `convert --check --json`."""
    from nb2pipe.documents import finding_json

    return {"stale": bool(found), "findings": [finding_json(f) for f in found]}
