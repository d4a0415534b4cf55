"""`nb2pipe tag`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nb2pipe.commands.speech import NOTEBOOK, Speech, common, load, sources
from nb2pipe.findings import NotebookError, errors, finding
from nb2pipe.notebook.tagging import Change, metadata_tags, write_tags
from nb2pipe.notebook.tags import ROLES
from nb2pipe.notebook.vocabulary import TAGS, TagSpec, read_tag
from nb2pipe.suggest.graph import graph_text

if TYPE_CHECKING:
    from nb2pipe.convert import Conversion


@click.command()
@NOTEBOOK
@click.argument("tags", nargs=-1)
@click.option("--write", is_flag=True, help="Write the suggested tags into the notebook.")
@click.option("--suggest", is_flag=True, help="Suggest tags for untagged cells, although the notebook converts.")
@click.option(
    "--cell", "cells", multiple=True, metavar="NUMBER|ID", help="Put TAGS on this cell (from 0), or take off."
)
@click.option("--remove", is_flag=True, help="Take TAGS off the --cell.")
@click.option("-i", "--interactive", is_flag=True, help="Move the boundaries of steps in the terminal.")
@common
def tag(
    speech: Speech,
    notebook: Path,
    tags: tuple[str, ...],
    write: bool,
    suggest: bool,
    cells: tuple[str, ...],
    remove: bool,
    interactive: bool,
) -> int:
    """Show which cells belong to which step; suggest that for a notebook without tags. Runs nothing.

    nb2pipe tag NB --cell 3 step:train  puts the tag on cell 3 and leaves every other byte of the file as it is.
    """
    _check_usage(tags, cells, write, suggest, remove, interactive, as_json=speech.as_json)
    conversion = load(notebook)
    if cells:
        return _by_hand(speech, conversion, cells, tags, remove=remove)
    if interactive:
        from nb2pipe.commands.boundaries import move_boundaries

        return move_boundaries(speech, conversion)
    if suggest or conversion.wants_tags:
        return _suggested(speech, conversion, write=write)
    return _listed(speech, conversion)


def _check_usage(
    tags: Sequence[str],
    cells: Sequence[str],
    write: bool,
    suggest: bool,
    remove: bool,
    interactive: bool,
    *,
    as_json: bool,
) -> None:
    if bool(tags) != bool(cells):
        raise click.UsageError("--cell says where, TAGS say what: give both or none")
    if remove and not cells:
        raise click.UsageError("--remove takes TAGS off a --cell")
    if cells and (write or suggest or interactive):
        raise click.UsageError("--cell writes at once: leave out --write, --suggest and --interactive")
    if interactive and as_json:
        raise click.UsageError("--interactive needs the terminal: leave out --json")


def _listed(speech: Speech, conversion: Conversion) -> int:
    document = conversion.tags()
    speech.findings(conversion.layout.findings, sources(conversion))
    speech.document(document, tag_text(document))
    return 1 if errors(conversion.layout.findings) else 0


# --- suggested tags ---------------------------------------------------------------------------------------------------
def _suggested(speech: Speech, conversion: Conversion, *, write: bool) -> int:
    document = conversion.suggested_tags()
    suggestion = conversion.suggestion
    failed = errors(suggestion.findings)
    speech.findings(suggestion.findings, sources(conversion))
    written: Sequence[int] = ()
    if write and not failed:
        changes = {c: Change(tags) for c, tags in conversion.new_tags.items()}
        written = write_tags(conversion.path, conversion.notebook, changes)
    text = "\n\n".join(filter(None, [tag_text(document), graph_text(_steps(document), suggestion.arrows)]))
    speech.document({**document, "written": list(written)}, text)
    if not failed:
        _say_what_next(speech, suggestion.findings, written, write=write, path=conversion.path)
    return 1 if failed else 0


def _say_what_next(speech: Speech, findings: Sequence[Any], written: Sequence[int], *, write: bool, path: Path) -> None:
    notes = sum(f.severity == "note" for f in findings)
    if notes and not speech.verbose:
        speech.say(f"{notes} {'note' if notes == 1 else 'notes'} on parameters and tuning: -v shows them.")
    if written:
        speech.say(f"Tagged {len(written)} cells of {path}.")
    elif write:
        speech.say(f"{path} has these tags already.")
    else:
        speech.say("Nothing was written: --write does that, --interactive lets you move the boundaries first.")


def _steps(document: Mapping[str, Any]) -> list[tuple[str, Sequence[int]]]:
    return [(s["name"], s["cells"]) for s in document["steps"]]


def tag_text(document: Mapping[str, Any]) -> str:
    """One line a cell."""
    rows = [(f"cell {c['cell']}", c["step"] or c["role"], _remark(c)) for c in document["cells"]]
    widths = [max((len(r[i]) for r in rows), default=0) for i in range(2)]
    return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows)


def _remark(cell: Mapping[str, Any]) -> str:
    words = ", ".join(cell["tags"])
    return words if words and cell["why"] == "tagged" else cell["why"]


# --- tags by hand -----------------------------------------------------------------------------------------------------
def _by_hand(speech: Speech, conversion: Conversion, cells: Sequence[str], tags: Sequence[str], *, remove: bool) -> int:
    notebook = conversion.notebook
    _check_tags(tags)
    numbers = [_cell_number(conversion, text) for text in cells]
    changes = {n: _change(metadata_tags(notebook, n), tags, remove=remove) for n in numbers}
    written = write_tags(conversion.path, notebook, changes)
    for number in numbers:
        before = metadata_tags(notebook, number)
        after = changes[number].applied(before)
        speech.say(f"cell {number}: {', '.join(before) or 'no tags'} -> {', '.join(after) or 'no tags'}")
    again = load(conversion.path)
    document = {**again.tags(), "written": list(written)}
    speech.findings(again.layout.findings, sources(again))
    speech.document(document, tag_text(document))
    return 0


def _change(before: Sequence[str], tags: Sequence[str], *, remove: bool) -> Change:
    """The change of one cell. A cell has one role: a new one takes the place of the old."""
    if remove:
        return Change(remove=tuple(tags))
    roles = any(read_tag(t).kind in ROLES for t in tags)
    old = tuple(t for t in before if read_tag(t).kind in ROLES and t not in tags) if roles else ()
    return Change(tuple(tags), old)


def _cell_number(conversion: Conversion, text: str) -> int:
    cells = conversion.notebook.cells
    found = [c.index for c in cells if text in (str(c.index), c.id)]
    if not found:
        message = f"There is no cell {text!r}; the notebook has the cells 0 to {len(cells) - 1}."
        raise NotebookError([finding("unknown-cell", message)])
    return found[0]


def _check_tags(tags: Sequence[str]) -> None:
    """Tags of ours must be right; others are nobody's business, as long as they are tags."""
    for text in tags:
        known = read_tag(text)
        if not text.strip() or "," in text or "\0" in text:
            raise click.UsageError(f"{text!r} is no tag: a tag is a text without commas, and not empty")
        if known.kind == "near":
            raise NotebookError(
                [finding("unknown-tag", f"The tag `{text}` is not known.", hint=f"Write `{known.value}`.")]
            )
        spec = TAGS.get(known.kind)
        if spec is not None and spec.value is not None:
            _check_value(text, known.value, spec)


def _check_value(text: str, value: str, spec: TagSpec) -> None:
    try:
        (spec.value or str)(value)
    except ValueError as error:
        problem = finding("bad-tag", f"The tag `{text}` is wrong: {error}.", hint=f"Write it like `{spec.example}`.")
        raise NotebookError([problem]) from None
