"""`%%writefile` -> Python that writes the same file, line for line."""

from __future__ import annotations

import re

from nb2pipe.notebook.surface.model import Magic, Python, refused
from nb2pipe.notebook.surface.text import block, expression, interpolated

_ARGUMENTS = re.compile(
    r"\s*(?P<append>(?:-a|--append)\s+)?(?P<path>\"[^\"]*\"|'[^']*'|.+?)(?P<late>\s+(?:-a|--append))?\s*"
)

_WRITE = ("pathlib.Path(PATH).write_text(", ', encoding="utf-8")')
_APPEND = ('with open(PATH, "a", encoding="utf-8") as _file: _file.write(', ")")


def writefile(magic: Magic) -> Python:
    """`%%writefile [-a] PATH`: the path may be interpolated, the text is taken as it is."""
    match = _ARGUMENTS.fullmatch(magic.text)
    if match is None or not match["path"].strip():
        return refused(magic, "it names no file", "Write `%%writefile PATH`.")
    written = match["path"].strip()
    pieces = interpolated(written[1:-1] if written[0] in "\"'" else written, magic)
    path = expression(pieces)
    if written.startswith("~"):
        path = f"os.path.expanduser({path})"
    append = bool(match["append"] or match["late"])
    opening, closing = _APPEND if append else _WRITE
    opening = opening.replace("PATH", path)
    lines = block(opening, magic.body, closing) if magic.body else (f'{opening}""{closing}',)
    literal = not any(piece.is_expression for piece in pieces) and not written.startswith("~")
    note = magic.finding("magic-translated", f"`{magic.written}` was written as Python that writes the file.")
    return Python(
        why="file written by Python",
        lines=lines,
        imports=(*(() if append else ("import pathlib",)), *(("import os",) if written.startswith("~") else ())),
        files=("".join(piece.text for piece in pieces),) if literal else (),
        findings=(note,),
    )
