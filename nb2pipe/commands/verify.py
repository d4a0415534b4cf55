"""`nb2pipe verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nb2pipe.commands.speech import NOTEBOOK, Speech, assignments, common, load, place_text, remarks


@click.command()
@NOTEBOOK
@click.option("-p", "--parameter", "given", multiple=True, metavar="NAME=VALUE", help="Set a parameter.")
@click.option("--vary", is_flag=True, help="Compare with other values of the parameters too.")
@click.option("--repeat", type=click.IntRange(min=1), default=1, help="How many times the notebook runs.")
@click.option("--write-test", is_flag=True, help="Write the outcome as a test into the project, if they are equal.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The project for --write-test.")
@common
def verify(
    speech: Speech,
    notebook: Path,
    given: tuple[str, ...],
    vary: bool,
    repeat: int,
    write_test: bool,
    out: Path | None,
) -> int:
    """Run notebook and pipeline, compare them at every step boundary."""
    if write_test and given:
        raise click.UsageError("--write-test keeps what the defaults give: leave out -p")
    conversion = load(notebook)
    remarks(speech, conversion)
    project = (out or conversion.folder) if write_test else None
    found = conversion.verify(assignments(given), vary=vary, repeat=repeat, test_in=project, on_note=speech.say)
    document = found.to_json()
    speech.document(document, verify_text(document))
    return 0 if found.verdict == "equal" else 1


def verify_text(document: dict[str, Any]) -> str:
    """The outcome of a verification for people."""
    rows = [*document["compared"], *document["stdout"]]
    width = max((len(f"{row['step']}.{row['name']}") for row in rows), default=0)
    lines = [f"{row['step']}.{row['name']}".ljust(width) + f"  {row['verdict']:<10}  {row['detail']}" for row in rows]
    lines += [f"with {_given_text(one['parameters'])}: {one['verdict']}" for one in document["varied"]]
    for row in document["workers"]:
        lines.append(
            f"{row['step']}.{row['name'] or 'run'} with {row['workers']} workers: {row['verdict']}  {row['detail']}"
        )
    first, error = document["first_difference"], document["error"]
    if first:
        place = place_text(first["cell"], first["line"])
        lines.append(f"first difference: {first['name']} of step {first['step']}{place}: {first['detail']}")
    if error:
        lines.append(f"the {error['where']} failed{place_text(error['cell'], error['line'])}: {error['message']}")
    lines.append(f"{document['verdict']} in {document['seconds']:.1f} s")
    return "\n".join(line.rstrip() for line in lines)


def _given_text(parameters: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in parameters.items())
