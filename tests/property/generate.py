"""Random notebooks that run: statements from a table of templates, executed as they are chosen, cut into steps.

`program(seed)` gives the same notebook for the same seed. A template's slots are filled with names that hold a value of
the wanted kind at that moment, so that nearly every statement runs; one that raises is left out again.
"""

from __future__ import annotations

import contextlib
import io
import random
import re
import signal
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FrameType, FunctionType
from typing import Any

NAMES = ("a", "b", "c", "d", "e", "g", "h", "p", "q", "r", "s", "t", "u", "v", "w", "x", "y", "z", "max", "list", "id")
FUNCTIONS = ("f", "f1", "f2", "f3", "apply", "make", "sum", "run")
CLASSES = ("Box", "Acc", "Node")
KEYS = ("k", "m", "n")
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


def cells(program: Program) -> list[tuple[str, str]]:
    """The program as (tags, source)."""
    return [(cell.tags, cell.source) for cell in program]


def is_int(value: Any) -> bool:
    return type(value) is int


def is_list(value: Any) -> bool:
    return type(value) is list


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
    "mutable": lambda v: type(v) in (list, dict) or is_instance(v),
    "data": lambda v: type(v) in (int, str, list, dict, tuple, set) or is_instance(v),
    "object": is_instance,
    "function": lambda v: isinstance(v, FunctionType),
    "class": lambda v: isinstance(v, type) and v.__name__ in CLASSES,
}
"""What a slot of a template may be filled with: names whose value is of the kind."""


def size(value: Any, limit: int = LARGEST) -> int:
    """How many values the text of `value` shows, at most `limit`; shared ones count as often as they are shown."""
    todo, count = [(value, ())], 0
    while todo and count < limit:
        item, above = todo.pop()
        count += 1
        if id(item) in above:
            continue
        inner = list(item.values()) if type(item) is dict else [vars(item)] if is_instance(item) else item
        if isinstance(inner, (list, tuple)):
            todo += [(part, (*above, id(item))) for part in inner]
    return count


ASSIGNMENTS = """
<new> = <lit>
<new> = <int> + <lit>
<new> = <int> * <int> - <lit>
<new> = [<lit>, <int>]
<new> = [<list>, [<lit>]]
<new> = [[<lit>], [<int>], [<lit>]]
<new> = {"k": <data>, "m": <lit>}
<new> = {"k": [<lit>], "m": <list>}
<new> = (<data>, <data>)
<new> = <mutable>
<new> = <mutable>
<new> = <data>
<new> = <full>[0]
<new> = <full>[-1]
<new> = <nested>[0]
<new> = <list>[1:]
<new> = <list>[:]
<new> = <list> + [<mutable>]
<new> = [<mutable>] * 2
<new> = list(<list>)
<new> = sorted(<list>, key=str)
<new> = [i for i in <list>]
<new> = [i for i in <nested> if i]
<new> = {str(i): i for i in <list>}
<new> = <lists>["k"]
<new> = <dict>.get("k", <lit>)
<new> = <dict>.setdefault("n", [<lit>])
<new> = dict(<dict>)
<new> = {**<dict>, "n": <data>}
<new> = <list>.copy()
<new> = <full>.pop()
<new> = <data> or <data>
<new> = <data> if <int> > <lit> else <data>
<new>, <new> = <data>, <data>
<new>, *<new> = <full>
<new>, <new> = <tuple>
<new> = <new> = <mutable>
<new> = f"{<int>}-{<data>}"
<new> = str(<data>)
<new> = <str> + "x"
<new> = len(<list>) + <int>
<new> = (<new> := <mutable>)
<new> = {<lit>, <int>}
<new> = tuple(<list>)
<new> = <class>(<data>)
<new> = <object>.v
<new> = list(zip(<list>, <list>))
<new> = list(map(str, <list>))
<new> = next(iter(<full>))
<new> = [*<list>, <data>]
<new> = list(<dict>.values())
<new> = [(i, j) for i, j in <dict>.items()]
<new> = copy.copy(<mutable>)
<new> = copy.deepcopy(<mutable>)
<new>: list = [<int>]
<new> = <data>, [<mutable>]
""".strip().splitlines()

MUTATIONS = """
<list>.append(<data>)
<list>.append(<lit>)
<nested>[0].append(<lit>)
<nested>[-1].extend([<int>])
<list>.extend([<mutable>])
<list>.insert(0, <int>)
<full>[0] = <data>
<list>[:] = [<lit>]
<list>[0:0] = [<int>]
<list> += [<lit>]
<int> += <lit>
<int> -= <int>
<str> += "y"
<tuple> += (<lit>,)
del <full>[0]
<list>.reverse()
<list>.sort(key=str)
<dict>["k"] = <data>
<dict>["n"] = <mutable>
<lists>["k"].append(<lit>)
<lists>["k"] += [<int>]
<dict>.update(m=<data>)
<dict>.pop("k", None)
<dict> |= {"z": <lit>}
<set>.add(<lit>)
<object>.v = <data>
<object>.add(<lit>)
<object>.add(<data>)
<object>[<lit>] = <lit>
<object>.v.append(<lit>)
<class>.count += 1
<class>.items.append(<lit>)
<full>[0].v = <lit>
<list>.clear()
list.append(<list>, <lit>)
[i.append(<lit>) for i in <nested>]
<new> = [i.append(<lit>) for i in <nested>]
<list>.append(<list>)
setattr(<object>, "v", <mutable>)
<object> += <lit>
del <object>.v
""".strip().splitlines()

CALLS = """
<new> = <function>(<data>)
<new> = <function>(<data>)
<new> = <function>(<mutable>)
<new> = <function>(<list>)
<new> = <function>()
<new> = <function>(<function>, <data>)
<new> = <function>(<data>, <data>)
<new> = <function>(*<tuple>)
<new> = list(<function>(<list>))
<new> = [<function>(i) for i in <nested>]
<new> = list(map(<function>, <nested>))
<new> = <function>
<new> = [<function>, <data>]
<new> = <object>.add(<lit>)
<new> = <object>.add
<new> = <list>.append
<new> = <object>.get()
<new> = <object>(<lit>)
<new> = partial(<function>, <mutable>)
<new> = {"k": <function>}
<new> = <dict>["k"](<data>)
""".strip().splitlines()

PRINTS = """
print(<data>)
print(<mutable>)
print(<data>, <data>)
print(f"{<data>}|{len(<list>)}")
print(<mutable> is <mutable>)
print(<data> == <data>)
print(isinstance(<object>, <class>))
print(<class>.count, <class>.items)
print(sum(<ints>))
print("%s" % [<data>])
print(<int> in <list>)
print(len(<object>))
print(<object> + <lit>)
""".strip().splitlines()

FLOWS = """
if <int> > <lit>:
    <body>

if <list>:
    <body>
else:
    <body>

if <int> % 2:
    <body>
    <body>

if not <dict>:
    <body>

for <new> in <nested>:
    <new>.append(<lit>)

for i in <nested>:
    i.append(<lit>)

for i in range(<lit>):
    <body>

for <new> in list(<list>):
    <body>

for <new> in []:
    <body>

for i, j in <dict>.items():
    <new> = j

for i, j in enumerate(<nested>):
    j.append(i)

for i in (<list>, <list>):
    i.append(<lit>)

n = <lit>
while n > 0:
    n -= 1
    <body>

try:
    <body>
    <new> = 1 // 0
except ZeroDivisionError:
    <body>

try:
    <new> = <dict>["missing"]
except KeyError as <new>:
    <body>
else:
    <body>
finally:
    <body>

try:
    print(<any>)
except NameError:
    print("unbound")

with nullcontext(<mutable>) as <new>:
    <body>

match <data>:
    case [<new>, *_]:
        <body>
    case {"k": <new>}:
        <body>
    case _:
        <body>

del <any>

if <int> > <lit>:
    del <any>

exec("<new> = <lit>")

globals()["<new>"] = <mutable>

import math as <new>

from math import floor as <fname>
""".strip().split("\n\n")

DEFINITIONS = """
def <fname>(p):
    return p

def <fname>(p):
    return <data>

def <fname>(p):
    p.append(<lit>)
    return p

def <fname>(p):
    <list>.append(p)
    return len(<list>)

def <fname>(p):
    <list>.append(<lit>)

def <fname>(p, q=<data>):
    return [p, q]

def <fname>(p, q=<mutable>):
    q.append(p)
    return q

def <fname>(p, q=[]):
    q.append(p)
    return q

def <fname>(p=None):
    global <int>
    <int> += 1
    return <int>

def <fname>(p=None):
    global <new>
    <new> = p

def <fname>(p):
    <list> = [p]
    <list>.append(<lit>)
    return <list>

def <fname>(p):
    if p:
        <list>.append(<lit>)
        return <list>
    return p

def <fname>(p):
    return <function>(p)

def <fname>(p):
    <dict>["n"] = p
    return <dict>

def <fname>(p=None):
    return <any>

def <fname>(*args, **kwargs):
    args[0].append(<lit>)
    return args

def <fname>(p, q=None):
    return [p(q), q]

def <fname>(p=0):
    n = p
    items = []
    def inner(x):
        nonlocal n
        n += 1
        items.append(x)
        return [n, items]
    return inner

def <fname>(p):
    def inner(*a):
        <list>.append("called")
        return p(*a)
    return inner

@<function>
def <fname>(p):
    return [p, <data>]

def <fname>(p):
    for i in p:
        <list>.append(i)
        yield i

def <fname>(p):
    p = list(p)
    p.append(<lit>)
    return p

def <fname>(p):
    p[0] = <lit>
    p += [<lit>]
    return p

def <fname>(p):
    q = p
    q.append(<lit>)

def <fname>(p):
    <object>.add(p)
    return <object>

def <fname>(p, n=3):
    return p if n < 1 else <fname>([p], n - 1)

<fname> = lambda p: [p, <data>]

<fname> = lambda p, q=<mutable>: [p, q]

<fname> = lambda p: <list>.append(p)

class <cname>:
    count = 0
    items = []
    def __init__(self, v):
        self.v = v
        <cname>.count += 1
    def add(self, x):
        self.v = [self.v, x]
        return self
    def __repr__(self):
        return f"<cname>({self.v})"

class <cname>:
    count = <int>
    items = <list>
    def __init__(self, v):
        self.v = v
    def add(self, x):
        self.items.append(x)
        return self.v
    def get(self):
        return self
    def __len__(self):
        self.v = [1]
        return 1
    def __repr__(self):
        return f"<cname>({self.v}, {self.items})"

class <cname>:
    count = 1
    items = []
    def __init__(self, v=None):
        self.v = [v]
    def add(self, x):
        self.v.append(x)
        <list>.append(x)
    def get(self):
        return self.v
    def __add__(self, other):
        self.v.append(other)
        return self
    def __iadd__(self, other):
        self.v.append(other)
        return self
    def __setitem__(self, key, value):
        self.v = [key, value]
    def __call__(self, x):
        self.v.append(x)
        return self.v
    def __repr__(self):
        return f"<cname><{self.v}>"

class <cname>(<class>):
    def add(self, x):
        self.w = x
        return self
""".strip().split("\n\n")

WEIGHTS = ((ASSIGNMENTS, 30), (MUTATIONS, 28), (CALLS, 14), (PRINTS, 8), (FLOWS, 10), (DEFINITIONS, 10))
IMPORTS = "import copy\nfrom contextlib import nullcontext\nfrom functools import partial"
SHARED_DEFINITIONS = DEFINITIONS + ["<new> = <lit>", "<new> = [<lit>, <lit>]", '<new> = {"k": <lit>}']


class _Timeout(BaseException):
    """A statement that does not end."""


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _Timeout

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
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
            with _limited(0.5), contextlib.redirect_stdout(io.StringIO()):
                exec(compile(statement, "<statement>", "exec"), self.values)
                data = [value for _, value in self.data()]
                return size(data) < LARGEST and " at 0x" not in repr(data)
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
        """A name for a slot; where no value is of the kind, one that will most likely be rejected."""
        if slot in ("new", "any"):
            return self.random.choice(NAMES)
        if slot in ("fname", "cname"):
            return self.random.choice(FUNCTIONS if slot == "fname" else CLASSES)
        fitting = [name for name, value in self.values.items() if name[0] != "_" and KINDS[slot](value)]
        return self.random.choice(fitting or NAMES)

    def some(self, count: int, table: Sequence[str] | None = None) -> list[str]:
        """`count` statements that run, from the given table or all of them."""
        found: list[str] = []
        for _ in range(count * 6):
            if len(found) == count:
                break
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
            owner = rng.randint(0, step) if rng.random() < 0.06 else step
            made.append(Cell(f"step:s{owner}", tuple(writer.some(rng.randint(1, 5)))))
    shown = [f'print("{name}", {name})' for name, _ in writer.data()]
    made.append(Cell(f"step:s{steps - 1}", tuple(shown)))
    return tuple(cell for cell in made if cell.statements)


def shrunk(program: Program, still: Callable[[Program], bool], tries: int = 150) -> Program:
    """A smaller program for which `still` holds: cells, then statements, then inner lines are left out while it does."""
    smaller, left = program, tries
    progress = True
    while progress and left > 0:
        progress = False
        for candidate in _smaller(smaller):
            left -= 1
            if left <= 0:
                break
            if still(candidate):
                smaller, progress = candidate, True
                break
    return smaller


def _smaller(program: Program) -> Iterator[Program]:
    for index in reversed(range(len(program))):
        yield program[:index] + program[index + 1 :]
    for index, cell in enumerate(program):
        for at in reversed(range(len(cell.statements))):
            fewer = cell.statements[:at] + cell.statements[at + 1 :]
            if fewer:
                yield program[:index] + (replace(cell, statements=fewer),) + program[index + 1 :]
    for index, cell in enumerate(program):
        for at, statement in enumerate(cell.statements):
            for lines in _fewer_lines(statement):
                changed = (*cell.statements[:at], lines, *cell.statements[at + 1 :])
                yield program[:index] + (replace(cell, statements=changed),) + program[index + 1 :]


def _fewer_lines(statement: str) -> Iterator[str]:
    lines = statement.split("\n")
    for at in range(1, len(lines)):
        text = "\n".join(lines[:at] + lines[at + 1 :])
        try:
            compile(text, "<cell>", "exec")
        except SyntaxError:
            continue
        yield text
