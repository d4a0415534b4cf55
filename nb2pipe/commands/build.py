"""`nb2pipe build`."""

from __future__ import annotations

from pathlib import Path

import click

from nb2pipe.commands.speech import Speech, common, load, progress, remarks


@click.command()
@click.argument("notebook_or_project", type=click.Path(path_type=Path))
@click.option("--image", required=True, metavar="REF", help="The image, as REGISTRY/NAME:TAG.")
@click.option("--push", is_flag=True, help="Push it to its registry.")
@click.option(
    "--platform",
    type=click.Choice(["linux/amd64", "linux/arm64"]),
    default="linux/amd64",
    show_default=True,
    help="What the cluster's machines are.",
)
@click.option("--target", help="What a notebook is converted for: kfp or vertex.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The project's folder, when a notebook is given.")
@common
def build(
    speech: Speech,
    notebook_or_project: Path,
    image: str,
    push: bool,
    platform: str,
    target: str | None,
    out: Path | None,
) -> int:
    """Build the image that `convert --image REF` and `submit --image REF` run steps in."""
    from nb2pipe.targets.images import built, check_reference

    check_reference(image)
    project = notebook_or_project
    if project.is_dir():
        if out is not None:
            raise click.UsageError("-o is for a notebook")
    else:
        conversion = load(notebook_or_project, image=image, target=target)
        remarks(speech, conversion)
        converted = conversion.convert(out, target)
        speech.findings(converted.written.findings)
        if converted.written.conflicts:
            return 1
        project = converted.project
    done = built(project, image, push=push, platform=platform, on_event=progress(speech))
    speech.document(done.to_json(), f"{done.image}: built by {done.builder}{' and pushed' if done.pushed else ''}")
    return 0
