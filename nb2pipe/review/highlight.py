"""Source text as HTML, line by line, coloured by what its tokens are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from nb2pipe.review.html import Html, escaped

if TYPE_CHECKING:
    from pygments.lexer import Lexer

LONGEST = 200_000
"""Characters beyond which a text is shown without colours."""

CLASSES: Mapping[str, str] = {
    "Keyword": "k",
    "Operator.Word": "k",
    "Name.Function": "f",
    "Name.Class": "f",
    "Name.Decorator": "d",
    "Name.Tag": "k",
    "Literal.String": "s",
    "Literal.Number": "n",
    "Comment": "c",
}
"""Class in the page by kind of token; kinds below one of them are meant too."""

LEXERS: Mapping[str, tuple[str, str]] = {
    ".py": ("pygments.lexers.python", "PythonLexer"),
    ".yaml": ("pygments.lexers.data", "YamlLexer"),
    ".json": ("pygments.lexers.data", "JsonLexer"),
}


def highlighted(text: str, suffix: str = ".py") -> list[Html]:
    """One HTML text for each line of `text` (as `split("\\n")` cuts it), coloured if its file's suffix is known."""
    if suffix not in LEXERS or len(text) > LONGEST:
        return [escaped(line) for line in text.split("\n")]
    lines: list[list[str]] = [[]]
    for kind, value in _tokens(text, suffix):
        name = _class(kind)
        for number, part in enumerate(value.split("\n")):
            if number:
                lines.append([])
            if part:
                shown = escaped(part)
                lines[-1].append(f"<span class={name}>{shown}</span>" if name and not part.isspace() else shown)
    return [Html("".join(parts)) for parts in lines]


def _tokens(text: str, suffix: str) -> Iterator[tuple[Any, str]]:
    """The tokens, those of one kind that follow each other as one; lines stay as they are."""
    last, parts = None, list[str]()
    for _, kind, value in _lexer(suffix).get_tokens_unprocessed(text):
        if parts and _class(kind) != _class(last):
            yield last, "".join(parts)
            parts = []
        last = kind
        parts.append(value)
    if parts:
        yield last, "".join(parts)


@cache
def _lexer(suffix: str) -> Lexer:
    from importlib import import_module

    module, name = LEXERS[suffix]
    lexer: Lexer = getattr(import_module(module), name)()
    return lexer


@cache
def _class(kind: Any) -> str:
    words = str(kind).split(".")[1:]
    names = (".".join(words[:count]) for count in range(len(words), 0, -1))
    return next((CLASSES[name] for name in names if name in CLASSES), "")
