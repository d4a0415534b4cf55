"""`nb2pipe run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nb2pipe.commands.speech import Speech, assignments, common, load, place_text, progress, remarks

if TYPE_CHECKING:
    from nb2pipe.targets.base import RunResult


@click.command()
@click.argument("notebook_or_project", type=click.Path(path_type=Path))
@click.option("-p", "--parameter", "given", multiple=True, metavar="NAME=VALUE", help="Set a parameter.")
@click.option("--jobs", type=click.IntRange(min=1), help="How many steps may run at a time.")
@click.option("--no-cache", is_flag=True, help="Run every step anew.")
@click.option("--engine", type=click.Choice(["process", "kfp"]), default="process", help="What runs the steps.")
@click.option("--workers", type=click.IntRange(min=1), help="How many workers a step gets that has `workers:`.")
@common
def run(
    speech: Speech,
    notebook_or_project: Path,
    given: tuple[str, ...],
    jobs: int | None,
    no_cache: bool,
    engine: str,
    workers: int | None,
) -> int:
    """Run the pipeline on this machine."""
    parameters = assignments(given)
    options: dict[str, Any] = {"jobs": jobs, "cache": not no_cache, "engine": engine, "workers": workers}
    options["on_event"] = progress(speech)
    if notebook_or_project.is_dir():
        from nb2pipe.codegen.write import recover
        from nb2pipe.convert import home_of, run_project

        recover(notebook_or_project)
        result = run_project(notebook_or_project, home_of(notebook_or_project), parameters, **options)
    else:
        conversion = load(notebook_or_project)
        remarks(speech, conversion)
        result = conversion.run(parameters, **options)
    speech.document(result.to_json(), run_text(result))
    return 0 if result.status == "succeeded" else 1


def run_text(result: RunResult) -> str:
    """The outcome of a run for people."""
    lines = [f"{step.name:<20} {step.status:<10} {step.seconds:6.1f} s" for step in result.steps]
    lines += [f"{name} = {value}" for name, value in result.metrics.items()]
    if result.error is not None:
        where = place_text(result.error.cell, result.error.line)
        lines.append(f"step {result.error.step} failed{where}: {result.error.message}")
    return "\n".join([*lines, f"{result.status} in {result.seconds:.1f} s; logs in {result.run_dir}"])
