"""`nb2pipe check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nb2pipe.commands.speech import NOTEBOOKS, Answer, Speech, common, load, of_each, sources
from nb2pipe.findings import errors


@click.command()
@NOTEBOOKS
@common
def check(speech: Speech, notebooks: tuple[Path, ...]) -> int:
    """Show steps, inputs, outputs and findings of notebooks. Runs nothing."""

    def checked(notebook: Path) -> Answer:
        conversion = load(notebook)
        document = conversion.check()
        speech.findings(conversion.findings, sources(conversion))
        return document, check_text(document, reasons=speech.verbose), 1 if errors(conversion.findings) else 0

    return of_each(speech, notebooks, checked)


def check_text(document: dict[str, Any], *, reasons: bool = False) -> str:
    """The steps for people; `reasons` says too why a step becomes a script instead of a function."""
    lines = [f"{document['pipeline']}: {len(document['steps'])} steps, {len(document['parameters'])} parameters"]
    for step in document["steps"]:
        lines.append(f"  {step['name']} (cells {', '.join(map(str, step['cells']))})")
        if reasons and step.get("form_reason"):
            lines.append(f"    a script, not a function: {step['form_reason']}")
        lines += [f"    takes {i['name']} from {i['from']}   [{i['why']}]" for i in step["inputs"]]
        lines += [f"    gives {o['name']}   [{o['why']}]" for o in step["outputs"]]
        for word, key in (("parameters", "parameters"), ("reads files", "files_in"), ("writes files", "files_out")):
            if step[key]:
                lines.append(f"    {word}: {', '.join(step[key])}")
    return "\n".join(lines)
