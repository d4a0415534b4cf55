"""What was printed: line by line, numbers as numbers, memory addresses and elapsed times aside."""

from __future__ import annotations

import re
from itertools import zip_longest

from nb2pipe.verify.compare.outcome import EQUAL, Outcome, close, different, said

RELATIVE = 1e-9
"""Numbers that differ by less are the same number."""

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])")
_VOLATILE = (
    (re.compile(r"^(?:<Figure size .*>|Figure\(\S+\))\n", re.M), ""),  # a notebook shows the picture
    (re.compile(r"\x1b\[2K\r?"), ""),  # how IPython's clear_output prints where no notebook listens
    # What `%%bigquery` says while it waits; in a step the client is called, which says nothing.
    (re.compile(r"^(?:Executing query with job ID: \S+\n|(?:\r?Query executing: [\d.]+s)+\n?)", re.M), ""),
    (re.compile(r"^\r?Job ID \S+ successfully executed\n", re.M), ""),
    (re.compile(r"\b0x[0-9a-fA-F]{6,}\b"), "0x..."),
    (re.compile(r"\b\d+(?:\.\d+)?(?:ns|us|µs|ms|s)/(?:step|it|epoch|sample)\b"), "TIME/step"),
    (re.compile(r"^(CPU times|Wall time):.*$", re.M), r"\1"),
)


def compare_text(notebook: str, pipeline: str, package: str) -> tuple[Outcome, int]:
    """The outcome for two texts, and the number of lines before the first that differs (the number of all if none)."""
    if notebook == pipeline:
        return EQUAL, notebook.count("\n")
    mine, other = (_settled(text, package).splitlines() for text in (notebook, pipeline))
    for number, (a, b) in enumerate(zip_longest(mine, other)):
        if a is None or b is None or not _same_line(a, b):
            shown = [said("nothing more") if line is None else line for line in (a, b)]
            return different(f"line {number + 1}", *shown), number
    if notebook.rstrip("\n") == pipeline.rstrip("\n") and mine == other:
        return different("the end", notebook[-20:], pipeline[-20:]), len(mine)
    return close(f"the same but for memory addresses, times, names of modules or relative {RELATIVE:g}"), len(mine)


def _settled(text: str, package: str) -> str:
    """The text without what differs from run to run; the notebook's classes have no module here."""
    text = re.sub(rf"\b(?:__main__|{re.escape(package)}(?:\.\w+)*)\.(?=\w)(?:\w+\.<locals>\.)?", "", text)
    for pattern, constant in _VOLATILE:
        text = pattern.sub(constant, text)
    return text


def _same_line(a: str, b: str) -> bool:
    if a == b:
        return True
    if _NUMBER.sub("#", a) != _NUMBER.sub("#", b):
        return False
    pairs = zip(_NUMBER.findall(a), _NUMBER.findall(b), strict=True)
    return all(_same_number(x, y) for x, y in pairs)


def _same_number(a: str, b: str) -> bool:
    if a == b:
        return True
    if a.lstrip("+-").isdigit() or b.lstrip("+-").isdigit():
        return False
    return abs(float(a) - float(b)) <= RELATIVE * max(abs(float(a)), abs(float(b)))
