"""Random notebooks that run: statements from a table of templates, executed as they are chosen, cut into steps.

`program(seed)` gives the same notebook for the same seed. A template's slots are filled with names that hold a value of
the wanted kind at that moment, so that nearly every statement runs; one that raises is left out again.
"""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import random
import re
import signal
import textwrap
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import FrameType, FunctionType
from typing import Any, TypeVar

from definitions import DEFINITIONS

from templates import ASSIGNMENTS, CALLS, FLOWS, MUTATIONS, PRINTS

NAMES = ("a", "b", "c", "d", "e", "g", "h", "p", "q", "r", "s", "t", "u", "v", "w", "x", "y", "z", "max", "list", "id")
FUNCTIONS = ("f", "f1", "f2", "f3", "apply", "make", "sum", "run")
CLASSES = ("Box", "Acc", "Node")
ALL_NAMES = frozenset((*NAMES, *FUNCTIONS, *CLASSES))
LARGEST = 300
"""Values inside values, in all; statements that let them grow beyond it are left out."""


@dataclass(frozen=True)
class Cell:
    """Statements of one cell, and its tags."""

    tags: str
    statements: tuple[str, ...]

    @property
    def source(self) -> str:
        return "\n".join(self.statements)


Program = tuple[Cell, ...]
Holds = Callable[[Program], bool]


def cells(program: Program) -> list[tuple[str, str]]:
    """The program as (tags, source)."""
    return [(cell.tags, cell.source) for cell in program]


def is_int(value: Any) -> bool:
    return type(value) is int


def is_list(value: Any) -> bool:
    return type(value) is list


@lru_cache
def is_cached() -> bool:
    return True


def is_nested(value: Any) -> bool:
    return type(value) is list and bool(value) and type(value[0]) is list


def is_instance(value: Any) -> bool:
    return type(value).__name__ in CLASSES


KINDS: Mapping[str, Callable[[Any], bool]] = {
    "int": is_int,
    "list": is_list,
    "full": lambda v: type(v) is list and len(v) > 0,
    "ints": lambda v: type(v) is list and all(map(is_int, v)),
    "nested": is_nested,
    "dict": lambda v: type(v) is dict,
    "lists": lambda v: type(v) is dict and bool(v) and all(type(x) is list for x in v.values()),
    "tuple": lambda v: type(v) is tuple and len(v) > 1,
    "str": lambda v: type(v) is str,
    "set": lambda v: type(v) is set,
    "queue": lambda v: type(v) is deque,
    "groups": lambda v: type(v) is defaultdict,
    "mutable": lambda v: type(v) in (list, dict, deque, defaultdict) or is_instance(v),
    "data": lambda v: type(v) in (int, str, list, dict, tuple, set, deque, defaultdict) or is_instance(v),
    "object": is_instance,
    "function": lambda v: isinstance(v, (FunctionType, type(is_cached))),
    "class": lambda v: isinstance(v, type) and v.__name__ in CLASSES,
}
"""What a slot of a template may be filled with: names whose value is of the kind."""


def parts_of(instance: Any) -> list[Any]:
    """The attributes of an instance, in `__slots__` or not."""
    slots = [getattr(instance, name) for name in getattr(type(instance), "__slots__", ()) if hasattr(instance, name)]
    return [getattr(instance, "__dict__", {}), *slots]


def size(value: Any, limit: int = LARGEST) -> int:
    """How many values the text of `value` shows, at most `limit`; shared ones count as often as they are shown."""
    todo, count = [(value, ())], 0
    while todo and count < limit:
        item, above = todo.pop()
        count += 1
        if id(item) in above:
            continue
        inner = list(item.values()) if isinstance(item, dict) else parts_of(item) if is_instance(item) else item
        if isinstance(inner, (list, tuple, deque)):
            todo += [(part, (*above, id(item))) for part in inner]
    return count


WEIGHTS = ((ASSIGNMENTS, 30), (MUTATIONS, 28), (CALLS, 14), (PRINTS, 8), (FLOWS, 10), (DEFINITIONS, 10))
IMPORTS = """import copy
import heapq
from collections import defaultdict, deque
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial, reduce, wraps
from itertools import chain, groupby, tee"""
SHARED_DEFINITIONS = DEFINITIONS + ["<new> = <lit>", "<new> = [<lit>, <lit>]", '<new> = {"k": <lit>}']
SHARED_CHANGES = ["<list>.append(<lit>)", "<new> = [<list>]", "<new> = <list>", "<int> += <lit>"]
SHARED_BETWEEN = SHARED_DEFINITIONS + SHARED_CHANGES * 5


class _Timeout(BaseException):
    """A statement that does not end."""


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _Timeout

    before = signal.signal(signal.SIGALRM, stop)
    gc.disable()  # what is raised while garbage is collected is lost, and a loop goes on until the memory is full
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.enable()
        signal.signal(signal.SIGALRM, before)


class Writer:
    """Chooses statements one after the other; each runs at once, so that the next can be chosen by what there is."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.accepted: list[str] = []
        self.values: dict[str, Any] = {}
        self.add(IMPORTS)

    def add(self, statement: str) -> bool:
        """Run the statement and keep it; or, when it fails or its values grow too large, forget it."""
        if self._runs(statement):
            self.accepted.append(statement)
            return True
        self.values = {}
        for earlier in self.accepted:
            self._runs(earlier)
        return False

    def _runs(self, statement: str) -> bool:
        try:
            printed = io.StringIO()
            code = compile(statement, "<statement>", "exec")
            with _limited(0.5), contextlib.redirect_stdout(printed):
                exec(code, self.values)
                data = [value for _, value in self.data()]
                return size(data) < LARGEST and " at 0x" not in repr(data) + printed.getvalue()
        except (Exception, _Timeout, SyntaxError):
            return False

    def data(self) -> list[tuple[str, Any]]:
        """The names with printable values."""
        return [(n, v) for n, v in self.values.items() if n in NAMES and KINDS["data"](v)]

    def statement(self, depth: int = 0) -> str:
        """One statement from the tables."""
        tables, weights = zip(*(WEIGHTS if depth == 0 else WEIGHTS[:4]), strict=True)
        return self.filled(self.random.choice(self.random.choices(tables, weights)[0]), depth)

    def filled(self, template: str, depth: int = 0) -> str:
        """The template with every slot filled; a `<new>` may stand several times for one name in a block."""
        chosen: dict[str, str] = {}
        block = "\n" in template

        def fill(match: re.Match[str]) -> str:
            slot = match[1]
            if slot == "lit":
                return str(self.random.randint(0, 4))
            if slot == "body":
                indent = " " * (match.start() - template.rfind("\n", 0, match.start()) - 1)
                return textwrap.indent(self.statement(depth + 1), indent).lstrip()
            if slot not in chosen or not (block or slot in ("fname", "cname")):
                chosen[slot] = self.name(slot)
            return chosen[slot]

        return re.sub(r"<(\w+)>", fill, template)

    def name(self, slot: str) -> str:
        """A name for a slot. Raises LookupError where no value is of the kind."""
        if slot in ("new", "any"):
            return self.random.choice(NAMES)
        if slot in ("fname", "cname"):
            return self.random.choice(FUNCTIONS if slot == "fname" else CLASSES)
        fitting = [name for name, value in self.values.items() if name in ALL_NAMES and KINDS[slot](value)]
        return self.random.choice(fitting)

    def some(self, count: int, table: Sequence[str] | None = None) -> list[str]:
        """`count` statements that run, from the given table or all of them."""
        found: list[str] = []
        for _ in range(count * 8):
            if len(found) == count:
                break
            with contextlib.suppress(LookupError):
                statement = self.filled(self.random.choice(table)) if table else self.statement()
                if self.add(statement):
                    found.append(statement)
        return found


def program(seed: int) -> Program:
    """A random notebook of two to five steps, perhaps with parameters and shared cells."""
    writer = Writer(seed)
    rng = writer.random
    made: list[Cell] = [Cell("shared", (IMPORTS,))]
    if rng.random() < 0.4:
        literals = ["<new> = <lit>", "<new> = [<lit>, <lit>]", '<new> = "text"', '<new> = {"k": [<lit>]}']
        made.append(Cell("parameters", tuple(writer.some(rng.randint(1, 3), literals))))
    if rng.random() < 0.4:
        made.append(Cell("shared", tuple(writer.some(rng.randint(1, 3), SHARED_DEFINITIONS))))
    steps = rng.randint(2, 5)
    for step in range(steps):
        for _ in range(rng.randint(1, 2)):
            if rng.random() < 0.06:
                made.append(Cell("shared", tuple(writer.some(rng.randint(1, 2), SHARED_BETWEEN))))
            owner = rng.randint(0, step) if rng.random() < 0.06 else step
            made.append(Cell(f"step:s{owner}", tuple(writer.some(rng.randint(1, 5)))))
    shown = ['print("end")', *(f'print("{name}", {name})' for name, _ in writer.data())]
    made.append(Cell(f"step:s{steps - 1}", tuple(shown)))
    return tuple(cell for cell in made if cell.statements)


def shrunk(program: Program, still: Callable[[Program], bool], tries: int = 200) -> Program:
    """A smaller program for which `still` holds: cells, then statements, then lines are left out, many at once."""
    left = [tries]

    def holds(candidate: Program) -> bool:
        left[0] -= 1
        return left[0] >= 0 and bool(candidate) and still(candidate)

    program = _without(program, tuple, holds)
    return _without_lines(_without_statements(program, holds), holds)


Parts = TypeVar("Parts")


def _without(parts: Sequence[Parts], build: Callable[[Sequence[Parts]], Program], holds: Holds) -> Program:
    """Leave out ever smaller runs of parts while it holds."""
    kept, length = list(parts), max(1, len(parts) // 2)
    while True:
        start = len(kept) - length
        while start > -length:
            fewer = kept[: max(start, 0)] + kept[start + length :]
            if len(fewer) < len(kept) and holds(build(fewer)):
                kept = fewer
            start -= length
        if length == 1:
            return build(kept)
        length //= 2


def _without_statements(program: Program, holds: Holds) -> Program:
    flat = [(index, cell.tags, text) for index, cell in enumerate(program) for text in cell.statements]

    def build(kept: Sequence[tuple[int, str, str]]) -> Program:
        rows = itertools.groupby(kept, key=lambda row: row[:2])
        return tuple(Cell(tags, tuple(text for _, _, text in row)) for (_, tags), row in rows)

    return _without(flat, build, holds)


def _without_lines(program: Program, holds: Holds) -> Program:
    for index, cell in enumerate(program):
        for at in range(len(cell.statements)):
            statements = program[index].statements
            for lines in _fewer_lines(statements[at]):
                changed = replace(cell, statements=(*statements[:at], lines, *statements[at + 1 :]))
                candidate = (*program[:index], changed, *program[index + 1 :])
                if holds(candidate):
                    program = candidate
                    break
    return program


def _fewer_lines(statement: str) -> Iterator[str]:
    lines = statement.split("\n")
    for at in range(1, len(lines)):
        text = "\n".join(lines[:at] + lines[at + 1 :])
        try:
            compile(text, "<cell>", "exec")
        except SyntaxError:
            continue
        yield text
