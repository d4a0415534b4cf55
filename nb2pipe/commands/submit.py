"""`nb2pipe submit`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nb2pipe.commands.places import places, places_of
from nb2pipe.commands.speech import Speech, assignments, common, load, place_text, progress, remarks

if TYPE_CHECKING:
    from nb2pipe.targets.submission import Submission, SubmitOptions


@click.command()
@click.argument("notebook_or_project", type=click.Path(path_type=Path))
@click.option("--target", help="Where to: kfp or vertex (default: what the settings say, kfp).")
@click.option("-p", "--parameter", "given", multiple=True, metavar="NAME=VALUE", help="Set a parameter.")
@click.option("--bucket", metavar="URI", help="Where artifacts and input files go: gs://, s3:// or minio://.")
@click.option("--input", "inputs", multiple=True, metavar="PATH=URI", help="An input file that is already there.")
@click.option("--run-name", help="The run's name, or the schedule's.")
@click.option("--experiment", help="The experiment that the run belongs to.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label of the run.")
@click.option("--cache/--no-cache", "caching", default=None, help="Reuse results of earlier runs, or run all anew.")
@click.option("--service-account", help="The account that the steps run as.")
@click.option("--schedule", metavar="CRON", help="Run at these times, such as '0 6 * * *', instead of now.")
@click.option("--upload", is_flag=True, help="kfp: keep the pipeline there, so that others can start it.")
@click.option("--network", help="vertex: the VPC network.")
@click.option("--cmek", help="vertex: the key that encrypts what is stored.")
@click.option(
    "--failure-policy", type=click.Choice(["slow", "fast"]), help="vertex: start no new step once one failed."
)
@click.option("--wait", is_flag=True, help="Show the steps until the run ends; its result is the exit status.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Stop waiting after this many seconds; the run goes on.")
@click.option("--dry-run", is_flag=True, help="Print the request that would be sent; send nothing.")
@click.option("--image", help="The image with the project in it: components become thin (see `nb2pipe build`).")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The project's folder, when a notebook is given.")
@places
@common
def submit(speech: Speech, notebook_or_project: Path, **words: Any) -> int:
    """Start the pipeline on Kubeflow Pipelines or Vertex AI."""
    options = options_of(words)
    if notebook_or_project.is_dir():
        submission = _project_submitted(speech, notebook_or_project, options, words)
    else:
        conversion = load(notebook_or_project, image=words["image"], target=words["target"])
        remarks(speech, conversion)
        submission = conversion.submit(words["target"], options, out=words["out"], on_event=progress(speech))
    speech.document(submission.to_json(), submission_text(submission))
    return 1 if submission.state in ("failed", "cancelled") else 0


def _project_submitted(speech: Speech, project: Path, options: SubmitOptions, words: dict[str, Any]) -> Submission:
    from nb2pipe.codegen.write import recover
    from nb2pipe.convert import home_of, submit_project
    from nb2pipe.targets.base import read_map

    if words["out"] is not None:
        raise click.UsageError("-o is for a notebook")
    recover(project)
    described = read_map(project)
    image = described["pipeline"].get("image")
    if words["image"] is not None and words["image"] != image:
        raise click.UsageError(f"the project was generated for the image {image}: convert its notebook with --image")
    target = words["target"] or described.get("platform", "kfp")
    return submit_project(project, home_of(project), target, options, on_event=progress(speech))


def options_of(words: dict[str, Any]) -> SubmitOptions:
    """The options of a submission, from the words of the command line. Raises UsageError."""
    from nb2pipe.targets.submission import Patience, SubmitOptions

    plain = ("bucket", "experiment", "caching", "service_account", "schedule", "upload", "wait", "dry_run")
    if words["schedule"] is not None and words["wait"]:
        raise click.UsageError("--schedule starts nothing now, so there is nothing to --wait for")
    return SubmitOptions(
        parameters=assignments(words["given"]),
        inputs=_pairs("--input", "PATH=URI", words["inputs"]),
        labels=_pairs("--label", "NAME=VALUE", words["labels"]),
        name=words["run_name"],
        patience=Patience(wait=words["timeout"]),
        **{name: words[name] for name in plain},
        **places_of(words),
    )


def _pairs(option: str, form: str, texts: Iterable[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, _, value = text.rpartition("=") if "://" not in text else _at_uri(text)
        if not name:
            raise click.UsageError(f"{option} takes {form}, not {text!r}")
        pairs[name] = value
    return pairs


def _at_uri(text: str) -> tuple[str, str, str]:
    """PATH=URI, parted where the URI begins: both may hold further equals signs."""
    head = text[: text.index("://")].rpartition("=")
    return head[0], "=", text[len(head[0]) + 1 :]


def submission_text(submission: Submission) -> str:
    """What came of a submission, for people; a dry run is the request itself."""
    if submission.state == "dry-run":
        return json.dumps(submission.request, indent=2, ensure_ascii=False)
    width = max((len(step.name) for step in submission.steps), default=0)
    lines = []
    for step in submission.steps:
        seconds = "" if step.seconds is None else f"  {step.seconds:6.1f} s"
        lines.append(f"{step.name:<{width}}  {step.state:<10}{seconds}".rstrip())
    lines += [
        f"step {s.name} failed{place_text(s.cell, s.line)}: {s.message}"
        for s in submission.steps
        if s.state == "failed"
    ]
    head = f"{submission.name}: {submission.state}"
    lines.append(f"{head} ({submission.message})" if submission.message else head)
    return "\n".join([*lines, *([submission.url] if submission.url else [])])
