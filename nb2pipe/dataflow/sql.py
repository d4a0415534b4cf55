"""Which tables a text of SQL reads and writes, as far as that can be seen without a database."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nb2pipe.dataflow.machine import Template
from nb2pipe.dataflow.tables import FileUse

SCHEME = "bigquery://"
"""A table is followed like a file: `bigquery://dataset.table`, whatever project it is in."""

_NOISE = re.compile(
    r"--[^\n]*|#[^\n]*|/\*.*?\*/|\"[^\"\n]*\"|'[^'\n]*'|\bEXTRACT\s*\(\s*\w+\s+FROM\b", re.DOTALL | re.I
)
_NAME = r"(`[^`\n]+`|\[[\w.:{}$-]+\]|[\w{}-]+(?:\.[\w{}-]+)+)"
_MADE = r"(?:TABLE|VIEW|MODEL|MATERIALIZED\s+VIEW)\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?"
_WRITES = re.compile(
    rf"\b(?:CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMP(?:ORARY)?\s+)?{_MADE}|(?:DROP|ALTER|TRUNCATE)\s+{_MADE}"
    rf"|INSERT\s+(?:INTO\s+)?|MERGE\s+(?:INTO\s+)?|DELETE\s+(?:FROM\s+)?|UPDATE\s+){_NAME}",
    re.IGNORECASE,
)
_READS = re.compile(rf"\b(?:FROM|JOIN|USING)\s+(?:MODEL\s+|TABLE\s+)?{_NAME}|\bMODEL\s+{_NAME}", re.IGNORECASE)


def tables_of(query: str) -> Iterator[tuple[FileUse, str]]:
    """What happens to which table, reads first; nothing for names that are not known, or are patterns.

    >>> list(tables_of("CREATE TABLE shop.day AS SELECT * FROM `my-project.shop.trips`"))
    [('read', 'bigquery://shop.trips'), ('write', 'bigquery://shop.day')]
    >>> list(tables_of("SELECT 1 FROM shop.trips AS t, t.stops, shop.zones z WHERE a IN (1, b.c)"))
    [('read', 'bigquery://shop.trips'), ('read', 'bigquery://shop.zones')]
    """
    text = _NOISE.sub(" ", query)
    written = {match.start(1) for match in _WRITES.finditer(text)}
    for match in _READS.finditer(text):
        group = 1 if match[1] else 2
        if match.start(group) not in written:
            yield from _event("read", match[group], query)
    for name in _listed(text):
        yield from _event("read", name, query)
    for match in _WRITES.finditer(text):
        yield from _event("write", match[1], query)


_FROM = re.compile(
    r"\bFROM\b(.*?)(?=\b(?:WHERE|GROUP|HAVING|ORDER|LIMIT|UNION|QUALIFY|WINDOW|SELECT|FROM)\b|[;()]|\Z)",
    re.DOTALL | re.I,
)
_LISTED = re.compile(rf",\s*{_NAME}")
_ALONE = re.compile(r"(?<![\w.`-])\w+(?![\w.`-])")


def _listed(text: str) -> Iterator[str]:
    """Tables after a comma; not fields of a table before it, by its own name or another: `FROM trips t, t.stops`."""
    for clause in _FROM.finditer(text):
        alone = set(_ALONE.findall(clause[1]))
        for match in _LISTED.finditer(clause[1]):
            if match[1].strip("`").partition(".")[0] not in alone:
                yield match[1]


_QUOTED = re.compile(r"'[^'\n]*\{(\w+)\}[^'\n]*'|\"[^\"\n]*\{(\w+)\}[^\"\n]*\"")


def pasted(query: str) -> list[str]:
    """The parameters of the pipeline that a query holds as quoted texts: a quote in one would end the text.

    >>> pasted(Template("SELECT * FROM {table} WHERE zone = '{zone}'"))
    ['zone']
    """
    return [m[1] or m[2] for m in _QUOTED.finditer(query)] if isinstance(query, Template) else []


def _event(use: FileUse, name: str, query: str) -> Iterator[tuple[FileUse, str]]:
    path = table_path(Template(name) if isinstance(query, Template) else name)
    if path is not None:
        yield use, path


def table_path(name: str) -> str | None:
    """The path that stands for a table; None when its name is not known or means several.

    >>> table_path("`my-project.shop.trips`"), table_path("[my-project:shop.trips$20200102]"), table_path("events_*")
    ('bigquery://shop.trips', 'bigquery://shop.trips', None)
    """
    parts = re.split(r"[.:]", name.strip("` []").replace("`", "").partition("$")[0])
    if len(parts) < 2 or "*" in name or "INFORMATION_SCHEMA" in name.upper():
        return None
    path = SCHEME + ".".join(parts[-2:])
    return Template(path) if isinstance(name, Template) else path
