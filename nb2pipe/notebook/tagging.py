"""Writes tags into a notebook's file and leaves every other byte as it is: .ipynb, and py:percent scripts."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from nb2pipe.findings import NotebookError, finding
from nb2pipe.notebook import jsontext
from nb2pipe.notebook.jsontext import Edit, Member, Span, Style
from nb2pipe.notebook.model import Notebook
from nb2pipe.notebook.read import parsed

BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Change:
    """The tags that a cell's metadata gets and loses. One that is there is not added again."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    def applied(self, tags: Sequence[str]) -> tuple[str, ...]:
        """The tags after the change, the old ones first."""
        kept = [t for t in tags if t not in self.remove]
        return tuple(dict.fromkeys([*kept, *self.add]))


def metadata_tags(notebook: Notebook, cell: int) -> tuple[str, ...]:
    """The tags that stand in a cell's metadata, as written; not its directives."""
    return tuple(t.text for t in notebook.cells[cell].tags if t.line is None)


def write_tags(path: Path, notebook: Notebook, changes: Mapping[int, Change]) -> tuple[int, ...]:
    """Change the tags of cells in the file that `notebook` was read from; gives the cells that changed.

    The file is replaced in one go, or left as it is: NotebookError when it is no longer what was read, when its form
    has no place for tags, or when it cannot be written. Nothing is written when nothing changes.
    """
    try:
        before = path.read_bytes()
        text = before.decode("utf-8")
        after = retagged(str(path), text, notebook, changes)
        if after != text:
            _replace(path, after.encode("utf-8"), before)
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(f"The tags cannot be written to {path}: {getattr(error, 'strerror', None) or error}.") from None
    return changed_cells(notebook, changes)


def changed_cells(notebook: Notebook, changes: Mapping[int, Change]) -> tuple[int, ...]:
    """The cells whose tags the changes change."""
    return tuple(c for c, change in sorted(changes.items()) if _wanted(notebook, c, change) is not None)


def _wanted(notebook: Notebook, cell: int, change: Change) -> tuple[str, ...] | None:
    tags = metadata_tags(notebook, cell)
    wanted = change.applied(tags)
    return None if wanted == tags else wanted


def retagged(path: str, text: str, notebook: Notebook, changes: Mapping[int, Change]) -> str:
    """The file's text with the tags changed. `text` must still be the text of `notebook`, read from `path`."""
    if _content(parsed(path, text.removeprefix(BOM))) != _content(notebook):
        raise _refused(f"{path} has changed since it was read.", "Run the command again.")
    wanted = {c: tags for c, change in changes.items() if (tags := _wanted(notebook, c, change)) is not None}
    if not wanted:
        return text
    body = text.removeprefix(BOM)
    edits = _script_edits(path, body, wanted) if path.endswith(".py") else _json_edits(body, wanted)
    after = jsontext.applied(body, edits)
    _prove(path, body, after, notebook, wanted)
    return text[: len(text) - len(body)] + after


def _refused(message: str, hint: str | None = None) -> NotebookError:
    return NotebookError([finding("cannot-tag", message, hint=hint)])


def _content(notebook: Notebook) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(c.kind, c.source, tuple(t.text for t in c.tags)) for c in notebook.cells]


def _prove(path: str, before: str, after: str, notebook: Notebook, wanted: Mapping[int, tuple[str, ...]]) -> None:
    """What was edited must read as the notebook with exactly the wanted tags, and nothing else may differ."""
    try:
        again = parsed(path, after)
    except NotebookError:
        again = replace(notebook, cells=())
    right = len(again.cells) == len(notebook.cells) and all(
        set(metadata_tags(again, c.index)) == set(wanted.get(c.index, metadata_tags(notebook, c.index)))
        and (c.kind, c.source) == (old.kind, old.source)
        for c, old in zip(again.cells, notebook.cells, strict=True)
    )
    if not right or (not path.endswith(".py") and _untagged(before) != _untagged(after)):
        raise _refused(f"The tags of {path} stand in a place where they cannot be changed safely.")


def _untagged(text: str) -> Any:
    """The notebook's JSON without the tags; constants that equal nothing (NaN) as texts."""
    data = json.loads(text, parse_constant=str)
    for cell in data["cells"]:
        cell.get("metadata", {}).pop("tags", None)
        if not cell.get("metadata", {"": ""}):
            del cell["metadata"]
    return data


# --- .ipynb -----------------------------------------------------------------------------------------------------------
def _json_edits(text: str, wanted: Mapping[int, tuple[str, ...]]) -> list[Edit]:
    top = jsontext.members(text, jsontext.skip(text, 0))
    cells = jsontext.member(top, "cells")
    if cells is None:
        raise _refused("The notebook's format is older than 4, which has no place for tags.", "Save it as nbformat 4.")
    places = jsontext.elements(text, cells.value.start)
    plain = text.isascii()
    return [e for c, tags in wanted.items() for e in _cell_edits(text, places[c].start, tags, plain)]


def _cell_edits(text: str, at: int, tags: tuple[str, ...], plain: bool) -> list[Edit]:
    own = jsontext.members(text, at)
    style = jsontext.object_style(text, at, own)
    inner = jsontext.deeper(style, style.tail)
    metadata = jsontext.member(own, "metadata")
    if metadata is None:
        value = _new_object(inner, tags, style, plain)
        return [jsontext.with_member(text, at, own, "metadata", value)]
    return _object_edits(text, metadata.value, tags, inner, plain)


def _new_object(inner: Style, tags: Iterable[str], outer: Style, plain: bool) -> str:
    array = _new_array(jsontext.deeper(inner, outer.lead), tags, plain)
    return "{" + inner.lead + '"tags"' + inner.colon + array + inner.tail + "}"


def _new_array(style: Style, tags: Iterable[str], plain: bool) -> str:
    return "[" + style.lead + style.comma.join(_shown(t, plain) for t in tags) + style.tail + "]"


def _shown(tag: str, plain: bool) -> str:
    return json.dumps(tag, ensure_ascii=plain)


def _object_edits(text: str, span: Span, tags: tuple[str, ...], inner: Style, plain: bool) -> list[Edit]:
    """The edits of the object with the tags; `inner` is the layout that it gets if it is empty."""
    own = jsontext.members(text, span.start)
    there = jsontext.member(own, "tags")
    outer = replace(inner, lead=inner.tail)
    if not own:
        return [Edit(span.start, span.end, _new_object(inner, tags, outer, plain))]
    style = jsontext.object_style(text, span.start, own)
    below = jsontext.deeper(style, style.tail)
    if there is None:
        return [jsontext.with_member(text, span.start, own, "tags", _new_array(below, tags, plain))]
    if not tags and [m.key for m in own].count("tags") == 1:
        return [jsontext.without(text, span.start, own, there)]
    return _array_edits(text, there, tags, below, plain)


def _array_edits(text: str, there: Member, tags: tuple[str, ...], below: Style, plain: bool) -> list[Edit]:
    """The edits of a list of tags: those that stay are not touched."""
    own = jsontext.elements(text, there.value.start)
    old = [json.loads(text[e.start : e.end]) for e in own]
    kept = [e for e, tag in zip(own, old, strict=True) if tag in tags]
    if not kept:
        whole = _new_array(below, tags, plain) if tags else "[]"
        return [Edit(there.value.start, there.value.end, whole)]
    style = jsontext.array_style(text, there.value.start, own, below.colon)
    edits = _cuts(own, kept)
    new = [style.comma + _shown(t, plain) for t in tags if t not in old]
    return [*edits, Edit(kept[-1].end, kept[-1].end, "".join(new))] if new else edits


def _cuts(own: Sequence[Span], kept: Sequence[Span]) -> list[Edit]:
    """Take out what is not kept: with the comma before it, or, before the first that is kept, with the one after."""
    edits = []
    for index, element in enumerate(own):
        if element not in kept and element.start < kept[0].start:
            edits.append(Edit(element.start, own[index + 1].start, ""))
        elif element not in kept:
            edits.append(Edit(own[index - 1].end, element.end, ""))
    return edits


# --- py:percent -------------------------------------------------------------------------------------------------------
_MARKER = re.compile(r"^\s*# ?%%(?:%*)(?:[ \t].*)?$|^\s*# (?:<codecell>|In\[[0-9 ]*\]:?)\s*$")
_TAGS = re.compile(r"""(?<![\w])tags\s*=\s*(?=\[)|["']tags["']\s*:\s*(?=\[)""")
_PROBE = "nb2pipe_probe"


def _script_edits(path: str, text: str, wanted: Mapping[int, tuple[str, ...]]) -> list[Edit]:
    lines = text.splitlines(keepends=True)
    starts = [0, *accumulate(map(len, lines))]
    markers = _markers(path, text, lines)
    edits = []
    for cell, tags in wanted.items():
        number = markers.get(cell)
        if number is None:
            edits.append(_opened(text, lines, starts, markers, cell, tags))
        else:
            body = lines[number].rstrip("\r\n")
            edits += [Edit(starts[number], starts[number] + len(body), _header(body, tags))]
    return edits


def _markers(path: str, text: str, lines: Sequence[str]) -> dict[int, int]:
    """The line of each cell's marker, as jupytext sees it: every line that looks like one gets a number to find."""
    import jupytext

    def probed(number: int, line: str) -> str:
        body = line.rstrip("\r\n")
        if not _MARKER.match(body):
            return line
        if "{" in body:
            return line.replace("{", f'{{"{_PROBE}": {number}, ', 1)
        return f"{body.rstrip()} {_PROBE}={number}{line[len(body) :]}"

    probe = "".join(probed(i, line) for i, line in enumerate(lines))
    data = jupytext.reads(probe, fmt={"extension": ".py", "format_name": "percent"})
    numbers = [cell["metadata"].get(_PROBE) for cell in data["cells"]]
    return {cell: int(n) for cell, n in enumerate(numbers) if n is not None}


def _opened(
    text: str,
    lines: Sequence[str],
    starts: Sequence[int],
    markers: Mapping[int, int],
    cell: int,
    tags: tuple[str, ...],
) -> Edit:
    """The marker line that a cell before the first marker needs to have tags."""
    if cell != 0 or not markers:
        raise _refused(f"Cell {cell} of the script has no `# %%` line, which is where tags stand.")
    end = "\r\n" if "\r\n" in text else "\n"
    header = 0
    if lines[0].strip() == "# ---":
        header = next((i + 1 for i, line in enumerate(lines) if i and line.strip() == "# ---"), 0)
    first = next(i for i in range(header, len(lines)) if lines[i].strip())
    return Edit(starts[first], starts[first], f"# %% tags={json.dumps(list(tags))}{end}")


def _header(line: str, tags: tuple[str, ...]) -> str:
    """A marker line with its tags changed."""
    match = _TAGS.search(line)
    if match is None:
        kept = _title_words(line, tags)
        new = [t for t in tags if t not in kept[1]]
        return f"{kept[0]} tags={json.dumps(new, ensure_ascii=False)}" if new else kept[0]
    own = jsontext.elements(line, match.end())
    after = _list_end(line, match.end(), own)
    if not tags:
        return (line[: match.start()].rstrip() + line[after:]).rstrip()
    title = _title_words(line[: match.start()], tags)
    rest = [t for t in tags if t not in title[1]]
    member = Member("tags", match.start(), Span(match.end(), after))
    edits = _array_edits(line, member, tuple(rest), Style("", ", ", "", ": "), line.isascii())
    return jsontext.applied(line, edits)


def _list_end(line: str, at: int, own: Sequence[Span]) -> int:
    return jsontext.skip(line, own[-1].end if own else at + 1) + 1


def _title_words(line: str, tags: Iterable[str]) -> tuple[str, list[str]]:
    """The line, and which of the tags are words of its title: those stay there."""
    words = line.split()
    return line.rstrip(), [t for t in tags if t in words]


# --- the file ---------------------------------------------------------------------------------------------------------
def _replace(path: Path, content: bytes, before: bytes) -> None:
    """The file gets the content in one go: whoever reads it sees the old or the new, never half of it."""
    target = path.resolve()
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(target.stat().st_mode & 0o7777)
        if target.read_bytes() != before:
            raise _refused(f"{path} has changed since it was read.", "Run the command again.")
        Path(name).replace(target)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()
