"""Texts that are known but for the parameters of a run, or but for some part: what file paths are made of."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from string import Formatter
from typing import Final

from nb2pipe.dataflow.machine import Template

ANYTHING: Final = Template("{*}")
"""A part of a text of which nothing is known."""


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


def is_name(text: str) -> bool:
    """Whether a text may be the path of a file: of some letters, on one line, with something known in it."""
    return 0 < len(text) < 500 and text.isprintable() and bool(re.search(r"\w", text.replace(ANYTHING, "")))


_PERCENT = re.compile(r"%(?:\(\w+\))?[#0 +-]*[\d*]*(?:\.\d+)?[a-zA-Z]")
_BRACES = re.compile(r"\{[^{}]*\}")


def formatted(text: str, *, percent: bool) -> Template:
    """What a format string gives, with nothing known of what is put into it.

    >>> formatted("part-%02d.csv", percent=True)
    'part-{*}.csv'
    """
    marks = _PERCENT if percent else _BRACES
    return Template(ANYTHING.join(escaped(piece) for piece in marks.split(text)))


def with_suffix(path: str, suffix: str, *, only_without: bool = False) -> str:
    """The path that a function writes which adds its suffix; `only_without`: to paths that have no suffix at all.

    >>> with_suffix("weights", ".npy"), with_suffix("a.pdf", ".png", only_without=True)
    ('weights.npy', 'a.pdf')
    """
    has_one = "." in path.rpartition("/")[2].lstrip(".")
    return path if path.endswith(suffix) or (only_without and has_one) else concatenated(path, suffix)


@dataclass(frozen=True, slots=True)
class Location:
    """Where a file is, as far as it is known: `path` as a Template's text (braces doubled), "." for the working folder.

    `pattern` is "" for the file or folder `path` itself; else something in the folder `path` is meant, and `pattern`
    is what its whole path matches, in the terms of fnmatch.
    """

    path: str
    pattern: str = ""

    @property
    def fixed(self) -> bool:
        """Whether the place is one of the machine, or a URL, not one beside the notebook."""
        return "://" in self.path or self.path.startswith(("/", "~"))


def located(text: str) -> Location:
    """The location that a known path means.

    >>> located("./out/")
    Location(path='out', pattern='')
    >>> located(Template("out/part-{*}.csv"))
    Location(path='out', pattern='out/part-*.csv')
    """
    path = text if isinstance(text, Template) else escaped(text)
    path = path if "://" in path else posixpath.normpath(path)
    wild = _first_wild(path)
    if wild < 0:
        return Location(path)
    return Location(path[:wild].rpartition("/")[0] or ("/" if path.startswith("/") else "."), glob_of(path))


def _first_wild(path: str) -> int:
    found = [i for mark in (ANYTHING, "*", "?") if (i := path.find(mark)) >= 0]
    return min(found, default=-1)


def glob_of(path: str) -> str:
    """The fnmatch pattern of a Template's text: a parameter may be anything.

    >>> glob_of("out/{name}-{*}.csv")
    'out/*-*.csv'
    """
    pieces = Formatter().parse(path)
    return "".join(text.replace("[", "[[]") + ("*" if name is not None else "") for text, name, _, _ in pieces)


def placeholders(path: str) -> list[str]:
    """The parameters in a Template's text."""
    return [name for _, name, _, _ in Formatter().parse(path) if name and name != "*"]


def overlap(one: str, other: str) -> bool:
    """Whether two fnmatch patterns may match the same path; `True` when that cannot be excluded."""
    if fnmatchcase(one, other) or fnmatchcase(other, one):
        return True
    heads = [re.split(r"[*?]", p, maxsplit=1)[0] for p in (one, other)]
    tails = [re.split(r"[*?]", p)[-1] for p in (one, other)]
    wild = all(any(mark in p for mark in "*?") for p in (one, other))
    heads_fit = heads[0].startswith(heads[1]) or heads[1].startswith(heads[0])
    return wild and heads_fit and (tails[0].endswith(tails[1]) or tails[1].endswith(tails[0]))


def is_inside(path: str, folder: str) -> bool:
    """Whether `path` is the folder or lies in it."""
    return path == folder or path.startswith(folder + "/")
