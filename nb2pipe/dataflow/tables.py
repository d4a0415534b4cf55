"""Effect tables: what calls of known libraries do, as data files that a user can read and extend.

A table (`tables/*.toml`) has `[functions]`, keyed by import path, and `[methods."TYPE"]`, keyed by method name;
`"numpy.*"` and `"*"` stand for what has no row of its own, `"scipy.stats.*.rvs"` for that function of anything there.
A row is a short text of clauses separated by commas:

    returns TYPE          a fresh value of that type ("builtins.int", "pandas.DataFrame")
    makes                 a fresh value whose type is the called path (classes: the last name begins with a capital)
    scalar                an immutable value: a number, a text, a key, None
    elementwise           a fresh value of the type of the first argument that is an array, a series or a frame
    each TYPE             what the result holds is of that type; several such clauses give the items of a tuple in order
    returns self | arg N  the receiver or an argument itself
    returns part of self | arg N    something that it holds
    view of [items of] self | arg N    a fresh value that shares memory with it (with its items, if it is a list or
                          tuple); so does what it holds
    inside self           what is made is in the receiver as it is: what changes it changes the receiver, not vice versa
    around NAME=          the keyword argument is inside of what is made, in that way
    out arg N             an argument at that place, or `out=`, is changed and returned
    copies arg N [twice | leaves]   the result holds what the argument holds (twice: what that holds; leaves: what lists
                          of lists and arrays hold in the end)
    like arg N            a fresh value of that argument's type
    twins arg N           what the argument holds twice is one thing in the result, too
    mutates self | arg N | NAME=    changes the receiver, an argument or a keyword argument
    mutates parts [of arg N]    changes the models and generators that the receiver (or argument) is or holds, not data;
                          at rest: without using them, so that nothing is drawn and nothing of the notebook runs
    uses parts of PLACE   trains or uses copies of them: they draw, and generators change that copies share
    inplace               mutates self when called with inplace=True, the first argument when called with copy=False
    keeps [with PREFIX]   the receiver holds on to the arguments (when it holds something of such a type)
    apart                 the result holds nothing of what functions of the notebook give that the call is given
    holds [self]          the result holds on to the arguments, or to the receiver
    gathers [all]         the result holds what the receiver holds; rows: in tuples; all: also what shares its memory
    draws GENERATOR [unless NAME=] [when NAME=] [but NAME=]  draws from a global random generator: unless another one or
                          a seed is given, only when NAME is given and not False, None or 0, but not when it is False;
                          `unless A=/B=`: or B, of which a release has one; `when NAME=x/y`, `but NAME=x/y`: when it
                          may be, but not when it is, one of these words. A constructor also marks what it makes, and
                          `mutates parts` draws then
    advances GENERATOR [...]  draws from it likewise, but the result does not depend on what is drawn
    marks GENERATOR [...] only marks what it makes: dropout draws when it is used, not when made
    learns                from now on `backward` changes the receiver, a tensor
    retunes self | arg N  settings of a model, or of models in it, become others, those that keywords name, or
                          the keys of the next argument: what draws with some settings only may now
    rests | wakes         from now on the parts of the receiver that are marked do not draw when it is used, or do again
    seeds GENERATOR       seeds it
    reads arg N | NAME=   reads the file of that path;   writes ... writes it;   removes ... removes it
    probes arg N | NAME=  only looks whether the file of that path is there
    tables read | write | query PLACE    reads or writes the table of that name, or what the SQL of that text names
    or here               the working folder is meant when no path is given
    suffix .EXT [if none]  the path that is written gets this suffix, unless it has it (has any)
    takes urls            what is read may also be a URL, which is read where it is
    shards                the path that is written is only how the names of several files begin
    sets CHANNEL          changes state of the process;  uses CHANNEL reads it
    external              talks to something outside of the process
    unstorable            gives a value that cannot be stored between steps
    shows                 makes text of the arguments
    unknown               nothing is known: it may change and keep every argument

`arg N` is also found when it is given by keyword. A row may have cases, separated by `|`: `TYPE TYPE: clauses | ...` is
for a first argument of one of those types, or, where `NAME=` stands for a type, for a keyword argument that is given;
`NAME=None`: that may be None or a list; `positional`: for any argument without a keyword. The last case is for all
others. With `copy=False` a result shares the memory of what it is made from, and what a constructor makes is of the
type "uncopied.LIBRARY.CLASS"; `out=` is changed.
A row without `mutates` changes nothing; a call without a row may change, keep and return its arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


FileUse = Literal["read", "write", "remove", "probe", "folder"]


@dataclass(frozen=True, slots=True)
class Named:
    """Keywords, any of which may be given, and the words that count for them: all when there are none."""

    names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Draw:
    """A global generator, and the keywords that decide whether a call draws from it."""

    generator: str
    unless: Named = Named()
    when: Named = Named()
    but: Named = Named()


@dataclass(frozen=True, slots=True)
class Effect:
    """One row of a table, parsed. Argument places are positions (int) or keyword names (str); -1 is the receiver."""

    returns: str | None = None
    returns_self: bool = False
    returns_args: tuple[int, ...] = ()
    parts_of: tuple[int, ...] = ()
    view: int | None = None
    view_items: bool = False
    out: int | None = None
    inside: bool = False
    around: str = ""
    like: int | None = None
    mutates: tuple[int | str, ...] = ()
    inplace: bool = False
    keeps: bool = False
    holds: bool = False
    apart: bool = False
    holds_self: bool = False
    draws: tuple[Draw, ...] = ()
    advances: tuple[Draw, ...] = ()
    marks: tuple[Draw, ...] = ()
    retunes: int | None = None
    learns: bool = False
    rests: bool = False
    wakes: bool = False
    seeds: tuple[str, ...] = ()
    files: tuple[tuple[FileUse, int | str], ...] = ()
    tables: tuple[tuple[str, int | str], ...] = ()
    or_here: bool = False
    suffix: str = ""
    suffix_if_none: bool = False
    takes_urls: bool = False
    shards: bool = False
    sets: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    external: bool = False
    unstorable: bool = False
    unknown: bool = False
    splits: bool = False
    gathers: bool = False
    gathers_all: bool = False
    shows: bool = False
    rows: bool = False
    makes: bool = False
    scalar: bool = False
    elementwise: bool = False
    each: tuple[str, ...] = ()
    copies: tuple[tuple[int, int], ...] = ()
    twins: int | None = None
    mutates_parts: bool = False
    at_rest: bool = False
    mutates_parts_of: tuple[int, ...] = ()
    uses_parts_of: tuple[int | str, ...] = ()
    keeps_with: tuple[str, ...] = ()
    cases: tuple[tuple[frozenset[str], Effect], ...] = ()

    def given(self, type_name: str | None, words: Collection[str] = ()) -> Effect:
        """The case for a first argument of that type, and keyword arguments that are given as `words`."""
        return next((e for types, e in self.cases if type_name in types or not types.isdisjoint(words)), self)


SELF = -1


class TableError(ValueError):
    """A row of an effect table does not follow the grammar."""


def _place(words: list[str]) -> int | str:
    if words == ["self"]:
        return SELF
    if len(words) == 2 and words[0] == "arg" and words[1].isdigit():
        return int(words[1])
    if len(words) == 1 and words[0].endswith("="):
        return words[0][:-1]
    raise TableError(f"not a place: {' '.join(words)!r} (say `self`, `arg N` or `NAME=`)")


def _returns(effect: Effect, words: list[str]) -> Effect:
    if words == ["self"]:
        return replace(effect, returns_self=True)
    if words[0] == "arg":
        return replace(effect, returns_args=(*effect.returns_args, int(words[1])))
    if words[:2] == ["part", "of"]:
        return replace(effect, parts_of=(*effect.parts_of, _number(words[2:])))
    return replace(effect, returns=words[0])


def _mutates(effect: Effect, words: list[str]) -> Effect:
    if words in (["parts"], ["parts", "at", "rest"]):
        return replace(effect, mutates_parts=True, at_rest=len(words) > 1)
    if words[:2] == ["parts", "of"]:
        return replace(effect, mutates_parts_of=(*effect.mutates_parts_of, _number(words[2:])))
    return replace(effect, mutates=(*effect.mutates, _place(words)))


def _uses(effect: Effect, words: list[str]) -> Effect:
    if words[:2] == ["parts", "of"]:
        return replace(effect, uses_parts_of=(*effect.uses_parts_of, _place(words[2:])))
    return replace(effect, uses=(*effect.uses, " ".join(words)))


def _keeps(effect: Effect, words: list[str]) -> Effect:
    return replace(effect, keeps_with=(*effect.keeps_with, words[1])) if words else replace(effect, keeps=True)


def _holds(effect: Effect, words: list[str]) -> Effect:
    return replace(effect, holds_self=True) if words == ["self"] else replace(effect, holds=True)


def _draw(words: list[str]) -> Draw:
    named = dict(zip(words[1::2], map(_named, words[2::2]), strict=True))
    if not named.keys() <= {"unless", "when", "but"}:
        raise TableError("say `GENERATOR [unless NAME=] [when NAME=] [but NAME=]`")
    return Draw(words[0], **named)


def _named(text: str) -> Named:
    """`A=`, `A=/B=` or `A=x/y`."""
    if text.endswith("="):
        return Named(tuple(name.rstrip("=") for name in text.split("/")))
    name, _, words = text.partition("=")
    return Named((name,), tuple(words.split("/")))


def _uses_file(effect: Effect, use: FileUse, words: list[str]) -> Effect:
    return replace(effect, files=(*effect.files, (use, _place(words))))


def _copies(effect: Effect, words: list[str]) -> Effect:
    depth = {"twice": 2, "leaves": 0}.get(words[-1], 1)
    return replace(effect, copies=(*effect.copies, (int(words[1]), depth)))


def _number(words: list[str]) -> int:
    place = _place(words)
    if isinstance(place, str):
        raise TableError("say `self` or `arg N`")
    return place


_CLAUSES: Mapping[str, Any] = {
    "returns": _returns,
    "view": lambda e, w: replace(e, view=_number(w[-1:] if w[-1] == "self" else w[-2:]), view_items="items" in w),
    "inside": lambda e, w: replace(e, inside=w == ["self"]),
    "around": lambda e, w: replace(e, around=w[0].rstrip("=")),
    "out": lambda e, w: replace(e, out=_number(w)),
    "like": lambda e, w: replace(e, like=_number(w)),
    "mutates": _mutates,
    "inplace": lambda e, w: replace(e, inplace=True),
    "keeps": _keeps,
    "holds": _holds,
    "draws": lambda e, w: replace(e, draws=(*e.draws, _draw(w))),
    "advances": lambda e, w: replace(e, advances=(*e.advances, _draw(w))),
    "marks": lambda e, w: replace(e, marks=(*e.marks, _draw(w))),
    "apart": lambda e, w: replace(e, apart=True),
    "retunes": lambda e, w: replace(e, retunes=_number(w)),
    "learns": lambda e, w: replace(e, learns=True),
    "rests": lambda e, w: replace(e, rests=True),
    "wakes": lambda e, w: replace(e, wakes=True),
    "seeds": lambda e, w: replace(e, seeds=(*e.seeds, w[0])),
    "reads": lambda e, w: _uses_file(e, "read", w),
    "writes": lambda e, w: _uses_file(e, "write", w),
    "removes": lambda e, w: _uses_file(e, "remove", w),
    "probes": lambda e, w: _uses_file(e, "probe", w),
    "tables": lambda e, w: replace(e, tables=(*e.tables, (w[0], _place(w[1:])))),
    "or": lambda e, w: replace(e, or_here=w == ["here"]),
    "suffix": lambda e, w: replace(e, suffix=w[0], suffix_if_none=w[1:] == ["if", "none"]),
    "takes": lambda e, w: replace(e, takes_urls=w == ["urls"]),
    "shards": lambda e, w: replace(e, shards=True),
    "sets": lambda e, w: replace(e, sets=(*e.sets, " ".join(w))),
    "uses": _uses,
    "external": lambda e, w: replace(e, external=True),
    "unstorable": lambda e, w: replace(e, unstorable=True),
    "unknown": lambda e, w: replace(e, unknown=True),
    "splits": lambda e, w: replace(e, splits=True),
    "gathers": lambda e, w: replace(e, gathers=True, gathers_all=w == ["all"]),
    "rows": lambda e, w: replace(e, gathers=True, rows=True, gathers_all=w == ["all"]),
    "makes": lambda e, w: replace(e, makes=True),
    "scalar": lambda e, w: replace(e, scalar=True),
    "elementwise": lambda e, w: replace(e, elementwise=True),
    "each": lambda e, w: replace(e, each=(*e.each, w[0])),
    "copies": _copies,
    "twins": lambda e, w: replace(e, twins=int(w[1])),
    "shows": lambda e, w: replace(e, shows=True),
    "pure": lambda e, w: e,
}


@lru_cache(maxsize=4096)
def effect(row: str) -> Effect:
    """Parse one row. Raises TableError when it does not follow the grammar.

    >>> effect("mutates self, returns self").returns_self
    True
    """
    *special, general = row.split("|")
    cases = []
    for case in special:
        types, _, clauses = case.partition(":")
        cases.append((frozenset(types.split()), _clauses(clauses, row)))
    return replace(_clauses(general, row), cases=tuple(cases))


def _clauses(text: str, row: str) -> Effect:
    result = Effect()
    for clause in filter(None, (c.strip() for c in text.split(","))):
        word, *rest = clause.split()
        if word not in _CLAUSES:
            raise TableError(f"unknown clause {word!r} in {row!r}")
        try:
            result = _CLAUSES[word](result, rest)
        except (IndexError, ValueError) as error:
            raise TableError(f"clause {clause!r} in {row!r}: {error}") from error
    return result


@lru_cache(maxsize=64)
def _library(root: str) -> Mapping[str, Any]:
    path = resources.files(__package__) / "tables" / f"{root}.toml"
    if not path.is_file():
        return {}
    sections: Mapping[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    return sections


def has_table(root: str) -> bool:
    """Whether a library has an effect table of ours."""
    return bool(_library(root))


def is_known_module(channel: str) -> bool:
    """Whether a channel is the state of a library that has an effect table of ours: its options."""
    return channel.startswith("module:") and has_table(channel.removeprefix("module:"))


@lru_cache(maxsize=1)
def has_keras_3() -> bool:
    """Whether `tensorflow.keras` is Keras 3 here, unless a notebook asks for its predecessor."""
    from importlib import metadata

    try:
        return int(metadata.version("keras").partition(".")[0]) >= 3
    except (metadata.PackageNotFoundError, ValueError):
        return True


_BEAM_FILES = {f"apache_beam.io.{kind}io.": "apache_beam.io." for kind in ("avro", "parquet", "text", "tfrecord")}
"""Modules whose names their package has too."""


class Tables:
    """All effect tables: a library's file is read when its first name is looked up; the user's rows win.

    `old_keras`: the notebook asks for Keras 2, so that `tensorflow.keras` is tf_keras; it is, too, where no Keras 3 is
    installed.
    """

    def __init__(self, extra: Mapping[str, Any] | None = None, *, old_keras: bool = False) -> None:
        self._extra = extra or {}
        modern = has_keras_3()
        keras = "keras." if modern and not old_keras else "tf_keras."
        self._homes = {"tensorflow.keras.": keras, "tensorflow.initializers.": keras + "initializers.", **_BEAM_FILES}
        if not modern:
            self._homes["keras."] = "tf_keras."
        self._cache: dict[tuple[str, str], Effect | None] = {}

    def canonical(self, path: str) -> str:
        """The path under which the tables have it: the one of the Keras that is meant."""
        prefix = next((p for p in self._homes if path.startswith(p)), None)
        return path if prefix is None else self._homes[prefix] + path.removeprefix(prefix)

    def function(self, path: str) -> Effect | None:
        """The effect of calling the import path `path`; None when nothing is known."""
        path = self.canonical(path)
        known = self._lookup("", path, lambda section: _most_specific(section.get("functions", {}), path), path)
        if known is None or not known.makes:
            return known
        return replace(known, returns=path) if path.rpartition(".")[2][:1].isupper() else None

    def names(self, path: str) -> bool:
        """Whether a row is for that very function, not for a pattern."""
        path = self.canonical(path)
        return any(path in s.get("functions", {}) for s in (self._extra, _library(path.partition(".")[0])))

    def method(self, type_name: str | None, name: str) -> Effect | None:
        """The effect of calling method `name` on a value of that type; None when nothing is known."""
        if type_name is None:
            return self._lookup("*", name, lambda section: _row(section.get("methods", {}).get("*", {}), name), "any")
        owner = self.canonical(type_name)
        return self._lookup(owner, name, lambda s: _method(s.get("methods", {}), owner, name), owner)

    def attribute(self, type_name: str | None, name: str) -> Effect | None:
        """The effect of reading attribute `name` of a value of that type; None when nothing is known."""
        if type_name is None:
            return self._lookup(
                "*.", name, lambda section: _row(section.get("attributes", {}).get("*", {}), name), "any"
            )
        owner = self.canonical(type_name)
        return self._lookup(owner + ".", name, lambda s: _method(s.get("attributes", {}), owner, name), owner)

    def _lookup(self, kind: str, name: str, find: Any, path: str) -> Effect | None:
        key = (kind, name)
        if key not in self._cache:
            row = find(self._extra)
            if row is None:
                row = find(_library(path.partition(".")[0]))
            self._cache[key] = None if row is None else effect(row)
        return self._cache[key]


def _row(section: Mapping[str, str], name: str) -> str | None:
    return section.get(name)


def _most_specific(section: Mapping[str, str], path: str) -> str | None:
    if path in section:
        return section[path]
    head = path
    last = path.rpartition(".")[2]
    while "." in head:
        head = head.rpartition(".")[0]
        row = section.get(f"{head}.*.{last}", section.get(head + ".*"))
        if row is not None:
            return row
    return None


def _method(section: Mapping[str, Mapping[str, str]], type_name: str, name: str) -> str | None:
    """The row of the most specific type pattern that has one for `name` or for all (`*`)."""
    patterns = [type_name]
    head = type_name
    while "." in head:
        head = head.rpartition(".")[0]
        patterns.append(head + ".*")
    for pattern in patterns:
        rows = section.get(pattern)
        if rows is not None and name in rows:
            return rows[name]
    if name.startswith("__"):
        return None
    for pattern in patterns:
        rows = section.get(pattern)
        if rows is not None and "*" in rows:
            return rows["*"]
    return None
