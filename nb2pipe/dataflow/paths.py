"""Texts that are known but for the parameters of a run: what file paths are made of."""

from __future__ import annotations

from collections.abc import Iterable

from nb2pipe.dataflow.machine import Template


def escaped(text: str) -> str:
    """The text as a part of a Template."""
    return text.replace("{", "{{").replace("}", "}}")


def concatenated(*texts: str) -> str:
    """Texts joined; a Template when one of them is.

    >>> concatenated("data/", Template("{name}"), ".csv")
    'data/{name}.csv'
    """
    if any(isinstance(t, Template) for t in texts):
        return Template("".join(t if isinstance(t, Template) else escaped(t) for t in texts))
    return "".join(texts)


def path_joined(texts: Iterable[str]) -> str:
    """Path parts joined as pathlib and os.path do.

    >>> path_joined(["out", "model.pkl"])
    'out/model.pkl'
    """
    joined = ""
    for text in texts:
        if not joined or text.startswith("/"):
            joined = text
        elif text:
            joined = concatenated(joined, "" if joined.endswith("/") else "/", text)
    return joined
