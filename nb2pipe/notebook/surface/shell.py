"""`!cmd` and its relatives -> subprocess calls, without a shell where the words are certain."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace

from nb2pipe.notebook.surface import pip
from nb2pipe.notebook.surface.model import Magic, Python, refused, translated
from nb2pipe.notebook.surface.text import Piece, expression, interpolated, quoted

_SAFE = re.compile(r"""(?:[\w@%+=:,./-]|[ \t]|'[^'\n]*'|"[^"$`\\!\n]*")*""")
_ASSIGNMENT = re.compile(r"\w+=")
_BUILTINS = frozenset(
    ". : [ alias bg bind break builtin caller cd command continue declare dirs disown enable eval exec exit export fc"
    " fg for function getopts hash help history if jobs let local logout mapfile popd pushd read readonly return select"
    " set shift shopt source suspend test time times trap type typeset ulimit umask unalias unset until wait while"
    " case".split()
)
_SYSTEM = re.compile(r"\s*(sudo\s+)?(apt|apt-get|yum|dnf|apk|brew)\s")


def shell(magic: Magic) -> Python:
    """`!cmd` prints the command's output, `x = !cmd` is the list of its lines; a failure does not stop it."""
    installed, rest = pip.shell_pip(magic)
    if installed is None:
        return _run(magic)
    if not rest:
        return installed
    python = _run(replace(magic, text=rest))
    return replace(python, requirements=installed.requirements, findings=(*installed.findings, *python.findings))


def _run(magic: Magic) -> Python:
    if not magic.text.strip():
        return Python(why="an empty command")
    if magic.text.rstrip().endswith("&"):
        return refused(magic, "the command runs in the background", code="shell-background")
    capture = bool(magic.target) or magic.name != "!"
    python = translated(magic, output(arguments(magic.text, magic), capture), "import subprocess")
    if _SYSTEM.match(magic.text):
        message = f"`{magic.written}` installs system packages each time the step runs."
        return replace(python, findings=(*python.findings, magic.finding("system-package", message)))
    return python


def output(argv: str, capture: bool) -> str:
    """An expression that runs `argv`: the list of its output's lines if `capture`, else the output is printed."""
    run = f"subprocess.run({argv}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout"
    return f"{run}.splitlines()" if capture else f'print({run}, end="")'


def arguments(command: str, magic: Magic) -> str:
    """The argument list for `command` as Python source: its words where they are certain, else bash and the command."""
    pieces = interpolated(command.strip(), magic)
    words = _words(pieces)
    if words is None:
        return f'["bash", "-c", {expression(pieces)}]'
    return f"[{', '.join(words)}]"


def _words(pieces: tuple[Piece, ...]) -> list[str] | None:
    """The words of the command as Python expressions; None when only a shell knows them.

    An interpolated value is one word only where it stands in quotes: elsewhere the shell splits and expands it.
    """
    fields = [piece for piece in pieces if piece.is_expression]
    if any("\ue000" in piece.text for piece in pieces):
        return None
    text = "".join("\ue000" if piece.is_expression else piece.text for piece in pieces)
    unquoted = re.sub(r"'[^']*'|\"[^\"]*\"", "", text)
    if "\ue000" in unquoted or not _SAFE.fullmatch(text):
        return None
    words = shlex.split(text)
    if not words or words[0] in _BUILTINS or _ASSIGNMENT.match(words[0]) or "\ue000" in words[0]:
        return None
    following = iter(fields)
    return [_word(word, following) for word in words]


def _word(word: str, following: Iterator[Piece]) -> str:
    if "\ue000" not in word:
        return quoted(word)
    pieces: list[Piece] = []
    for index, literal in enumerate(word.split("\ue000")):
        if index:
            pieces.append(next(following))
        pieces.append(Piece(literal))
    return expression(tuple(pieces))
