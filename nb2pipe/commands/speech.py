"""What every command shares: how it speaks, its options, its errors and its exit status."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nb2pipe.findings import Finding, Nb2pipeError

if TYPE_CHECKING:
    from nb2pipe.convert import Conversion
    from nb2pipe.targets.base import Event, OnEvent

NOTEBOOK = click.argument("notebook", type=click.Path(path_type=Path))
COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


class Speech:
    """How much is said on standard error, and whether the document on standard output is JSON."""

    def __init__(self, *, as_json: bool, quiet: bool, verbose: bool) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose

    def say(self, text: str) -> None:
        """A line for people."""
        if not self.quiet:
            click.echo(text, err=True)

    def document(self, content: Any, text: str) -> None:
        """The result: one JSON document, or its text for people."""
        click.echo(json.dumps(content, indent=2, ensure_ascii=False) if self.as_json else text)

    def findings(self, found: Iterable[Finding], sources: Sequence[str] = ()) -> None:
        """Findings for people; notes only when asked for."""
        for one in found:
            if one.severity == "error" or (not self.quiet and (self.verbose or one.severity == "warning")):
                click.echo(rendered(one, sources), err=True)


def rendered(found: Finding, sources: Sequence[str] = ()) -> str:
    """A finding with its place, the source line and the way out."""
    where = "" if found.cell is None else f" cell {found.cell}" + (f" line {found.line}" if found.line else "")
    head = click.style(f"{found.severity}[{found.code}]", fg=COLOURS[found.severity], bold=True)
    lines = [f"{head}{where}: {found.message}"]
    source = _source_line(found, sources)
    if source:
        lines += [f"  {found.line:>4} | {source}"]
    return "\n".join([*lines, f"       = {found.hint}"])


def _source_line(found: Finding, sources: Sequence[str]) -> str:
    if found.cell is None or not found.line or found.cell >= len(sources):
        return ""
    lines = sources[found.cell].split("\n")
    return lines[found.line - 1].rstrip() if found.line <= len(lines) else ""


def common(command: Callable[..., int]) -> Callable[..., None]:
    """The options of every command, its errors and its exit status."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
    @click.option("-q", "--quiet", is_flag=True, help="Say errors only.")
    @click.option("-v", "--verbose", is_flag=True, help="Say notes too.")
    @wraps(command)
    def wrapped(*args: Any, as_json: bool, quiet: bool, verbose: bool, **words: Any) -> None:
        speech = Speech(as_json=as_json, quiet=quiet, verbose=verbose)
        try:
            status = command(speech, *args, **words)
        except Nb2pipeError as error:
            status = _failed(speech, error)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            status = 130
        sys.exit(status)

    return wrapped


def _failed(speech: Speech, error: Nb2pipeError) -> int:
    """Say an error; 2 for wrong usage, 1 for everything else."""
    if speech.as_json:
        from nb2pipe.convert import finding_json

        click.echo(json.dumps({"findings": [finding_json(f) for f in error.findings]}, indent=2, ensure_ascii=False))
    speech.findings(error.findings)
    return 2 if type(error).__name__ == "ParameterError" else 1


def load(notebook: Path, **overrides: Any) -> Conversion:
    """The notebook, read; the walk is imported only now."""
    from nb2pipe.convert import Conversion

    return Conversion(notebook, overrides)


def sources(conversion: Conversion) -> list[str]:
    """The source text of every cell, for messages."""
    return [c.source for c in conversion.notebook.cells]


def assignments(given: Iterable[str]) -> dict[str, str]:
    """NAME=VALUE words by name; raises UsageError for another form."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"-p takes NAME=VALUE, not {text!r}")
        found[name.strip()] = value
    return found


def progress(speech: Speech) -> OnEvent:
    """Events of a run, each line with its step."""

    def show(event: Event) -> None:
        step = f"[{event.step}] " if event.step else ""
        if event.kind == "log":
            speech.say(f"{step}{event.text}")
        elif event.kind == "started":
            speech.say(f"{step}started")
        elif event.kind == "finished":
            speech.say(f"{step}{event.status} in {event.seconds or 0:.1f} s")
        else:
            speech.say(f"{step}{event.text}")

    return show
