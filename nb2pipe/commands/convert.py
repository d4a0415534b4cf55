"""`nb2pipe convert`."""

from __future__ import annotations

from pathlib import Path

import click

from nb2pipe.commands.speech import NOTEBOOK, Speech, common, load, sources


@click.command()
@NOTEBOOK
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
    notebook: Path,
    out: Path | None,
    target: str | None,
    name: str | None,
    base_image: str | None,
    image: str | None,
    only_check: bool,
) -> int:
    """Generate the project and compile the pipeline."""
    conversion = load(notebook, name=name, base_image=base_image, image=image, target=target)
    if only_check:
        found = conversion.stale(out)
        from nb2pipe.convert import finding_json

        speech.findings(found)
        speech.document(
            {"stale": bool(found), "findings": [finding_json(f) for f in found]}, "stale" if found else "up to date"
        )
        return 1 if found else 0
    speech.findings([f for f in conversion.findings if f.severity != "error"], sources(conversion))
    converted = conversion.convert(out, target)
    speech.findings(converted.written.findings)
    speech.document(converted.to_json(), f"{converted.project}: {len(converted.written.written)} files written")
    return 1 if converted.written.conflicts else 0
