"""The pages of the documentation that are made from nb2pipe's own tables; mkdocs calls the `on_*` functions.

One page for each code of `findings.CODES`, from the examples of `findings/examples.txt`, which tests check. In a
page of prose `<!-- tags -->`, `<!-- commands -->` and `<!-- findings -->` stand for the tables of those.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import click

import nb2pipe
from nb2pipe.cli import COMMANDS, cli
from nb2pipe.commands.speech import rendered
from nb2pipe.findings import CODES, Finding
from nb2pipe.notebook.vocabulary import TAGS

EXAMPLES = Path(__file__).parent / "findings" / "examples.txt"
MENDED = ", mended"


@dataclass(frozen=True)
class Example:
    """A small notebook that gets a finding, or that shows how it is mended. `cells` are (tags, source) as written."""

    code: str
    mended: bool
    cells: tuple[tuple[str, str], ...]
    kernel: str = ""
    beside: Mapping[str, str] = field(default_factory=dict)

    def notebook(self) -> dict[str, Any]:
        """The notebook as JSON of nbformat 4.5."""
        language = {"name": self.kernel.lower() or "python"}
        return {
            "cells": [_cell(index, tags.split(), source) for index, (tags, source) in enumerate(self.cells)],
            "metadata": {"language_info": language} if self.kernel else {},
            "nbformat": 4,
            "nbformat_minor": 5,
        }

    def findings(self, folder: Path) -> tuple[Finding, ...]:
        """What nb2pipe says of the notebook, written into `folder` with the files beside it."""
        for name, text in self.beside.items():
            (folder / name).write_text(text, encoding="utf-8")
        path = folder / "notebook.ipynb"
        path.write_text(json.dumps(self.notebook()), encoding="utf-8")
        try:
            return nb2pipe.load(path).findings
        except nb2pipe.Nb2pipeError as error:
            return error.findings


def _cell(index: int, tags: list[str], source: str) -> dict[str, Any]:
    own = {"outputs": [], "execution_count": None, "cell_type": "code"}
    kind = {"cell_type": "markdown"} if "markdown" in tags else own
    tags = [tag for tag in tags if tag != "markdown"]
    return {**kind, "id": f"cell-{index}", "metadata": {"tags": tags}, "source": source}


def _example(text: str) -> Example:
    head, *parts = text.rstrip("\n").split("\n--- ")
    pairs = [tuple(part.partition("\n")[::2]) for part in parts]
    special = ("kernel ", "beside ")
    return Example(
        code=head.removesuffix(MENDED),
        mended=head.endswith(MENDED),
        cells=tuple((tags.strip(), source) for tags, source in pairs if not tags.startswith(special)),
        kernel=next((tags.removeprefix("kernel ") for tags, _ in pairs if tags.startswith("kernel ")), ""),
        beside={tags.removeprefix("beside "): f"{text}\n" for tags, text in pairs if tags.startswith("beside ")},
    )


@cache
def examples() -> tuple[Example, ...]:
    """Every example, in the order of the file."""
    return tuple(_example(text) for text in ("\n" + EXAMPLES.read_text(encoding="utf-8")).split("\n=== ")[1:])


# --- pages -----------------------------------------------------------------------------------------------------------
def finding_page(code: str) -> str:
    """The page of a finding: what it means, a notebook that gets it with what is said, and the way out."""
    kind = CODES[code]
    lines = [f"# {code}", "", f"**{kind.severity}.** {kind.meaning}", "", f"The way out: {kind.hint}"]
    for example in (e for e in examples() if e.code == code):
        lines += ["", "## Mended" if example.mended else "## Example", "", *_shown(example)]
        if not example.mended:
            lines += ["", "```text", *_said(example), "```"]
    return "\n".join([*lines, ""])


def _shown(example: Example) -> Iterator[str]:
    for name, text in example.beside.items():
        yield from (f'```text title="{name}"', text.rstrip("\n"), "```", "")
    for index, (tags, source) in enumerate(example.cells):
        title = f"cell {index}" + (f", tagged {' '.join(tags.split())}" if tags else ", without a tag")
        # A line that is only long would push the page out of shape.
        text = "\n".join(line if len(line) <= 120 else f"{line[:60]} ... {line[-20:]}" for line in source.split("\n"))
        yield from (f'```python title="{title}"', text, "```", "")


def _said(example: Example) -> Iterator[str]:
    sources = [source for _, source in example.cells]
    with tempfile.TemporaryDirectory() as folder:
        for found in example.findings(Path(folder)):
            if found.code == example.code:
                text = click.unstyle(rendered(found, sources)).replace(f"{folder}/", "")
                yield from (line if len(line) <= 160 else f"{line[:157]}..." for line in text.split("\n"))
                return


def finding_table() -> str:
    """All findings, each with a link to its page."""
    rows = [f"| [{code}](findings/{code}.md) | {kind.severity} | {kind.meaning} |" for code, kind in CODES.items()]
    return "\n".join(["| code | severity | meaning |", "|---|---|---|", *rows])


def tag_table() -> str:
    """All tags, from the table that reads them."""
    rows = [f"| `{spec.example}` | {spec.doc} |" for spec in TAGS.values()]
    return "\n".join(["| tag | meaning |", "|---|---|", *rows])


def command_texts() -> str:
    """The help of every command."""
    parts = []
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        with click.Context(command, info_name=f"nb2pipe {name}", terminal_width=100, max_content_width=100) as context:
            parts.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```")
    return "\n\n".join(parts)


TABLES = {"tags": tag_table, "commands": command_texts, "findings": finding_table}


def filled(markdown: str) -> str:
    """A page of prose with its tables put in."""
    return re.sub(r"<!-- (\w+) -->", lambda match: TABLES[match[1]](), markdown)


# --- what mkdocs calls ------------------------------------------------------------------------------------------------
def on_files(files: Any, config: Any) -> Any:
    """Add the pages of findings."""
    from mkdocs.structure.files import File

    for code in CODES:
        files.append(File.generated(config, f"findings/{code}.md", content=finding_page(code)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the tables in."""
    return filled(markdown)
