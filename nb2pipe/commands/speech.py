"""What every command shares: how it speaks, its options, its errors and its exit status."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
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
NOTEBOOKS = click.argument("notebooks", type=click.Path(path_type=Path), nargs=-1, required=True)
Answer = tuple[dict[str, Any], str, int]
"""What a command has to say of one notebook: the JSON document, the text for people, the exit status."""
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
    lines = [f"{head}{where}: {found.message.removeprefix(f'{where.strip()}: ')}"]
    source = _source_line(found, sources)
    if source:
        at, length = pointed(source, found.name)
        mark = click.style("^" * length, fg=COLOURS[found.severity], bold=True)
        lines += [f"  {found.line:>4} | {source}", f"       | {' ' * at}{mark}"]
    return "\n".join([*lines, f"       = {found.hint}"])


def pointed(source: str, name: str | None) -> tuple[int, int]:
    """Where carets stand under a line: (columns before, how many), below `name` where the line has it as a word, else
    below all of its code. Columns are those of a terminal, where a wide letter takes two."""
    match = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", source) if name else None
    start, end = match.span() if match else (len(source) - len(source.lstrip()), len(source))
    return width(source[:start]), max(width(source[start:end]), 1)


def width(text: str) -> int:
    """Columns of a terminal that `text` takes."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def _source_line(found: Finding, sources: Sequence[str]) -> str:
    if found.cell is None or not found.line or found.cell >= len(sources) or found.code == "secret-in-code":
        return ""
    lines = sources[found.cell].split("\n")
    return printable(lines[found.line - 1].expandtabs(4).rstrip()) if found.line <= len(lines) else ""


def printable(text: str) -> str:
    """`text` with what would move the cursor or hide something in a terminal shown as `?`."""
    return "".join(char if char.isprintable() else "?" for char in text)


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
        from nb2pipe.documents import finding_json

        click.echo(json.dumps({"findings": [finding_json(f) for f in error.findings]}, indent=2, ensure_ascii=False))
    speech.findings(error.findings)
    return 2 if type(error).__name__ == "ParameterError" else 1


def of_each(speech: Speech, notebooks: Sequence[Path], answer: Callable[[Path], Answer]) -> int:
    """Say the answer for each notebook, as hooks and CI ask; of several the documents are a list. Returns the worst
    exit status: a notebook that cannot be read does not keep the others from being looked at."""
    if len(notebooks) == 1:
        document, text, status = answer(notebooks[0])
        speech.document(document, text)
        return status
    answers = [_answer(speech, notebook, answer) for notebook in notebooks]
    speech.document([document for document, _, _ in answers], "\n".join(filter(None, (text for _, text, _ in answers))))
    return max(status for _, _, status in answers)


def _answer(speech: Speech, notebook: Path, answer: Callable[[Path], Answer]) -> Answer:
    from nb2pipe.documents import finding_json

    click.echo(f"-- {notebook}", err=True)
    try:
        return answer(notebook)
    except Nb2pipeError as error:
        speech.findings(error.findings)
        return {"notebook": str(notebook), "findings": [finding_json(f) for f in error.findings]}, "", 1


def load(notebook: Path, **overrides: Any) -> Conversion:
    """The notebook, read; the walk is imported only now."""
    from nb2pipe.convert import Conversion

    return Conversion(notebook, overrides)


def sources(conversion: Conversion) -> list[str]:
    """The source text of every cell, for messages."""
    return [c.source for c in conversion.notebook.cells]


def remarks(speech: Speech, conversion: Conversion) -> None:
    """Say what is worth knowing of a notebook; its errors are said by what refuses it."""
    speech.findings([f for f in conversion.findings if f.severity != "error"], sources(conversion))


def place_text(cell: int | None, line: int | None) -> str:
    """ " at cell 3 line 2", as far as it is known, to stand behind what happened there."""
    if cell is None:
        return ""
    return f" at cell {cell}" + (f" line {line}" if line else "")


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
