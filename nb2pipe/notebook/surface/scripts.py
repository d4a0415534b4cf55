"""`%%bash`, `%%sh`, `%%script` and other languages' cells -> a subprocess that is given the script, line for line."""

from __future__ import annotations

import re
import shlex

from nb2pipe.notebook.surface.model import Magic, Python, dropped, refused
from nb2pipe.notebook.surface.text import Piece, block, expression, interpolated

_SWITCHED_OFF = frozenset(("false", "true", "echo", "skip"))
_PROGRAMS = {"!": "bash", "sx": "bash", "system": "bash", "python3": "python3", "python": "python3", "pypy": "pypy"}


def script(magic: Magic) -> Python:
    """The script's standard output is printed, or bound by `--out NAME`; a failure stops the step, as in IPython."""
    try:
        words = shlex.split(magic.text, posix=False)
    except ValueError:
        return refused(magic, "its arguments cannot be read")
    options, words = _options(words)
    if options is None:
        return refused(magic, f"the option {words[0]} has no counterpart", "Use `subprocess` in Python.")
    program = words.pop(0) if magic.name == "script" and words else _PROGRAMS.get(magic.name, magic.name)
    if program in _SWITCHED_OFF or program == "script":
        return dropped(magic, "the cell is switched off")
    if not any(line.strip() for line in magic.body):
        return dropped(magic, "the script is empty")
    argv = ", ".join(_argument(word, magic) for word in [program, *words])
    lines = _call(magic, argv, options)
    note = magic.finding("magic-translated", f"`{magic.written}` was written as a subprocess.")
    return Python("script run by a subprocess", lines=lines, imports=("import subprocess",), findings=(note,))


def _call(magic: Magic, argv: str, options: dict[str, str]) -> tuple[str, ...]:
    check = "" if "no-raise-error" in options or magic.name in ("!", "sx", "system") else ", check=True"
    error = ", stderr=subprocess.STDOUT" if magic.name in ("!", "sx", "system") else ""
    closing = f", stdout=subprocess.PIPE{error}, text=True{check}).stdout"
    if "out" in options:
        return block(f"{options['out']} = subprocess.run([{argv}], input=", magic.body, closing)
    return block(f"print(subprocess.run([{argv}], input=", magic.body, f'{closing}, end="")')


def _argument(word: str, magic: Magic) -> str:
    plain = word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'" else word
    return expression(interpolated(plain, magic) or (Piece(""),))


def _options(words: list[str]) -> tuple[dict[str, str] | None, list[str]]:
    """IPython's own options, and the words that are left; (None, [option]) for one that cannot be converted."""
    options: dict[str, str] = {}
    rest: list[str] = []
    following = iter(words)
    for word in following:
        name, _, value = word.partition("=")
        if name == "--no-raise-error":
            options["no-raise-error"] = ""
        elif name == "--out":
            value = value or next(following, "")
            if not re.fullmatch(r"[A-Za-z_]\w*", value):
                return None, [word]
            options["out"] = value
        elif name in ("--err", "--bg", "--proc"):
            return None, [word]
        else:
            rest.append(word)
    return options, rest
