"""What a notebook file holds besides its cells: saved outputs and attachments, as far as they can be shown safely."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nb2pipe.notebook.read import read_json

MOST_TEXT, MOST_LINES = 20_000, 200
"""Characters and lines of one output that are kept."""
MOST_IMAGE, MOST_IMAGES = 2_000_000, 12_000_000
"""Bytes of one image, and of all images of a notebook, that are kept."""

SIGNATURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff", "image/gif": b"GIF8"}
"""The kinds of image that are kept, and how their bytes begin: SVG and HTML could hold scripts."""
OVERWRITTEN = re.compile(r"^[^\n]*\r", re.MULTILINE)
"""What a progress bar wrote before it wrote over it."""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\].*?(?:\x07|\x1b\\)")


@dataclass(frozen=True, slots=True)
class Output:
    """A saved output: text (`left_out` says what is missing of it), or an image as a data URI with `text` for it."""

    kind: Literal["text", "error", "image"]
    text: str
    image: str = ""
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class Saved:
    """What is saved with a cell: its outputs, and its attachments as data URIs by name."""

    outputs: tuple[Output, ...] = ()
    attachments: Mapping[str, str] = field(default_factory=dict)


def saved(path: str | Path) -> dict[int, Saved]:
    """What is saved with the cells of the `.ipynb` file at `path`, by index; nothing for scripts.

    What is malformed is passed over. Raises NotebookError when the file cannot be read.
    """
    if Path(path).suffix == ".py":
        return {}
    budget = _Budget()
    cells = read_json(Path(path))["cells"]
    found = {index: _saved(cell, budget) for index, cell in enumerate(cells) if isinstance(cell, dict)}
    return {index: kept for index, kept in found.items() if kept != Saved()}


@dataclass
class _Budget:
    left: int = MOST_IMAGES

    def image(self, mime: str, data: object) -> str | None:
        """The image as a data URI; None if it is not what it says, or too much."""
        text = _joined(data)
        if len(text) > MOST_IMAGE * 4 // 3 + 4:
            return None
        try:
            content = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            return None
        return self.uri(mime, content)

    def uri(self, mime: str, content: bytes) -> str | None:
        """The same for bytes."""
        if not content.startswith(SIGNATURES[mime]) or len(content) > min(MOST_IMAGE, self.left):
            return None
        self.left -= len(content)
        return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def image_uri(content: bytes, mime: str = "image/png") -> str | None:
    """The bytes of an image as a data URI; None if they are not one of that kind, or too many."""
    return _Budget().uri(mime, content)


def _saved(cell: Mapping[str, Any], budget: _Budget) -> Saved:
    outputs, attachments = cell.get("outputs"), cell.get("attachments")
    rows = [row for row in outputs if isinstance(row, dict)] if isinstance(outputs, list) else []
    shown = tuple(output for row in rows for output in _outputs(row, budget))
    named = attachments.items() if isinstance(attachments, dict) else ()
    images = {str(name): uri for name, bundle in named if (uri := _image(bundle, budget)) is not None}
    return Saved(_merged(shown), images)


def _outputs(row: Mapping[str, Any], budget: _Budget) -> Iterator[Output]:
    kind = row.get("output_type")
    if kind == "stream":
        yield _text(_joined(row.get("text")))
    elif kind == "error":
        trace = row.get("traceback")
        lines = [str(line) for line in trace] if isinstance(trace, list) else []
        yield _text("\n".join(lines) or f"{row.get('ename')}: {row.get('evalue')}", "error")
    elif isinstance(row.get("data"), dict):
        yield _shown(row["data"], budget)


def _shown(bundle: Mapping[str, Any], budget: _Budget) -> Output:
    """The best of a bundle that is certainly harmless."""
    text = _joined(bundle.get("text/plain"))
    image = _image(bundle, budget)
    if image is not None:
        return Output("image", text[:300], image)
    others = sorted(str(mime) for mime in bundle if mime != "text/plain")
    return _text(text) if text else Output("text", "", left_out=f"{', '.join(others) or 'an output'}: not shown")


def _image(bundle: object, budget: _Budget) -> str | None:
    if not isinstance(bundle, dict):
        return None
    uris = (budget.image(mime, bundle[mime]) for mime in SIGNATURES if mime in bundle)
    return next((uri for uri in uris if uri is not None), None)


def _text(text: str, kind: Literal["text", "error"] = "text") -> Output:
    plain = OVERWRITTEN.sub("", ESCAPES.sub("", text[: 2 * MOST_TEXT]).replace("\r\n", "\n")).rstrip("\n")
    lines = plain[:MOST_TEXT].split("\n")
    shown = "\n".join(lines[:MOST_LINES])
    missing = len(text.rstrip("\n").split("\n")) - min(len(lines), MOST_LINES)
    cut = f"{missing} more lines" if missing > 0 else "cut" if len(plain) > MOST_TEXT else ""
    return Output(kind, shown, left_out=cut)


def _merged(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    """Whole texts that follow each other as one: kernels send what is printed in pieces."""
    found: list[Output] = []
    for output in outputs:
        last = found[-1] if found else None
        if last and (last.kind, output.kind, last.left_out) == ("text", "text", ""):
            found[-1] = Output("text", f"{last.text}\n{output.text}".strip("\n"), left_out=output.left_out)
        else:
            found.append(output)
    return tuple(found)


def _joined(value: object) -> str:
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""
