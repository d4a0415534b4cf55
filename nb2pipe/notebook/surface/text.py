"""Texts of magics as Python source: literals, and IPython's interpolation of `{expression}` and `$name`."""

from __future__ import annotations

import ast
import builtins
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass

from nb2pipe.notebook.surface.model import Magic

_DOLLAR = re.compile(r"(.*?)\$(\$?[\w.]+)(?=([^']*'[^']*')*[^']*$)")
_PLAIN_FIELD = re.compile(r"[\w.\[\]()+*/ ,-]+")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an interpolated text: literal `text`, or the expression `text` whose value stands there."""

    text: str
    is_expression: bool = False


def quoted(text: str) -> str:
    """`text` as a Python string literal on one line, in double quotes where that needs no more escapes."""
    literal = repr(text)
    return f'"{literal[1:-1]}"' if literal[0] == "'" and '"' not in text else literal


def interpolated(text: str, magic: Magic) -> tuple[Piece, ...]:
    """What IPython makes of `text` before the magic sees it.

    Like IPython, all or nothing: when one field cannot be evaluated, because it is no expression or Python knows no
    such name, the whole text stays as it is (so `$HOME` is left to the shell).
    """
    try:
        pieces = tuple(_pieces(text))
    except ValueError:
        return (Piece(text),)
    if all(_evaluates(piece.text, magic) for piece in pieces if piece.is_expression):
        return pieces
    return (Piece(text),)


def _pieces(text: str) -> Iterator[Piece]:
    """IPython's DollarFormatter: `{{` is a brace, `{a:b}` a slice or dict, `$$x` is `$x`, no `$` in single quotes."""
    for literal, name, spec, conversion in string.Formatter().parse(text):
        rest = 0
        plain = ""
        for match in _DOLLAR.finditer(literal):
            before, field = match.group(1, 2)
            if field.startswith("$"):
                plain += before + field
            else:
                yield Piece(plain + before)
                yield Piece(field, True)
                plain = ""
            rest = match.end()
        yield Piece(plain + literal[rest:])
        if name is not None:
            yield Piece(_field(f"{name}:{spec}" if spec else name, conversion), True)


def _field(expression: str, conversion: str | None) -> str:
    function = {"r": "repr", "s": "str", "a": "ascii"}.get(conversion or "")
    return f"{function}({expression})" if function else expression.strip()


def _evaluates(expression: str, magic: Magic) -> bool:
    try:
        tree = ast.parse(expression, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    nodes = list(ast.walk(tree))
    own = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)} - own
    return "\n" not in expression and all(magic.bound(name) or hasattr(builtins, name) for name in used)


def expression(pieces: tuple[Piece, ...]) -> str:
    """A Python expression of type str for the text that `pieces` make: a literal, an f-string or a concatenation."""
    pieces = tuple(piece for piece in pieces if piece.text)
    if not any(piece.is_expression for piece in pieces):
        return quoted("".join(piece.text for piece in pieces))
    if all(_PLAIN_FIELD.fullmatch(piece.text) for piece in pieces if piece.is_expression):
        return _f_string(pieces)
    parts = (f"format({piece.text})" if piece.is_expression else quoted(piece.text) for piece in pieces)
    return " + ".join(parts)


def _f_string(pieces: tuple[Piece, ...]) -> str:
    literal = "".join("" if piece.is_expression else piece.text for piece in pieces)
    quote = "'" if '"' in literal and "'" not in literal else '"'
    out = []
    for piece in pieces:
        if piece.is_expression:
            out.append(f"{{{piece.text}}}")
        else:
            text = repr(f'"{piece.text}')[2:-1].replace("\\'", "'")  # the leading " makes repr choose '
            out.append(text.replace(quote, f"\\{quote}").replace("{", "{{").replace("}", "}}"))
    return f"f{quote}{''.join(out)}{quote}"


def block(opening: str, lines: tuple[str, ...], closing: str) -> tuple[str, ...]:
    """`lines` as a triple-quoted text, line for line: `opening` ends the first line, `closing` follows the text.

    The value is the lines joined by newlines, with one at the end. There is one line more than `lines`.
    """
    *inner, last = (_escaped(line) for line in lines)
    if last.endswith('"') and not last.endswith('\\"'):
        last = f'{last[:-1]}\\"'
    return (f'{opening}"""\\', *inner, f'{last}\\n"""{closing}')


def _escaped(line: str) -> str:
    text = line.replace("\\", "\\\\")
    if '"""' in text:
        text = text.replace('"', '\\"')
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]", lambda m: repr(m[0])[1:-1], text)
