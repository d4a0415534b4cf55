"""Code that sets state of the process and puts back what it found: `old = sys.stdout`, ..., `sys.stdout = old`."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from nb2pipe.dataflow.events import WORKING_DIRECTORY, ChannelEvent
from nb2pipe.dataflow.machine import Record
from nb2pipe.dataflow.values import Def

Block = Sequence[tuple[int, ast.stmt]]
"""Statements that run one after the other, each with its cell."""

Lines = frozenset[tuple[int, int]]
"""Lines of the notebook, by cell."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """`holder = value`, at a place in the block."""

    place: tuple[int, int]
    value: ast.expr


def settled(record: Record, block: Block) -> None:
    """What the block sets and puts back is only used: nothing of it is left when the block has run."""
    if not any(e.use == "set" for e in record.channels):
        return
    between, back = restored_lines(block)
    record.channels = [_calm(e, between, back) for e in record.channels] if back else record.channels


def _calm(event: ChannelEvent, between: Lines, back: Lines) -> ChannelEvent:
    place = (event.place.cell, event.place.line)
    if event.use != "set" or place not in between | back:
        return event
    if event.channel == WORKING_DIRECTORY:  # files that are named in between lie elsewhere
        return replace(event, use="back") if place in back else event
    return replace(event, use="use")


def body_of(made: Def) -> Block:
    """The body of a function; of `__enter__` and `__exit__` both, which run one after the other."""
    owner = made.owner.node if made.owner is not None else None
    together = [made.node]
    if isinstance(owner, ast.ClassDef) and made.name in ("__enter__", "__exit__"):
        methods = {n.name: n for n in owner.body if isinstance(n, ast.FunctionDef)}
        together = [methods[n] for n in ("__init__", "__enter__", "__exit__") if n in methods]
    return [(made.cell, s) for node in together if isinstance(node.body, list) for s in node.body]


def restored_lines(block: Block) -> tuple[Lines, Lines]:
    """The lines of a block that set what it puts back, and those that put it back."""
    kept = dict(_kept(block))
    found: set[tuple[int, int]] = set()
    ends: set[tuple[int, int]] = set()
    for index, (cell, statement) in enumerate(block):
        for back in _certain(statement):
            for holder in _holders(back) & kept.keys():
                if _gives_back(back, kept[holder].value):
                    ends.add((cell, back.lineno))
                    found |= _between(block, kept[holder].place, (index, back.lineno), back, holder)
    return frozenset(found), frozenset(ends)


def _kept(block: Block) -> Iterator[tuple[str, _Kept]]:
    """What names and attributes of `self` are set to once in the block."""
    nodes = [(i, n) for i, (_, s) in enumerate(block) for n in ast.walk(s)]
    stores = Counter(ast.unparse(n) for _, n in nodes if isinstance(getattr(n, "ctx", None), ast.Store))
    for index, node in nodes:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and not isinstance(node.targets[0], ast.Subscript):
            holder = ast.unparse(node.targets[0])
            if stores[holder] == 1:
                yield holder, _Kept((index, node.lineno), node.value)


def _certain(node: ast.stmt) -> Iterator[ast.stmt]:
    """The statement, and those in it that run whenever it has run."""
    yield node
    inner: list[ast.stmt] = []
    if isinstance(node, (ast.With, ast.AsyncWith)):
        inner = node.body
    elif isinstance(node, ast.Try):
        inner = node.finalbody
    for one in inner:
        yield from _certain(one)


def _holders(node: ast.stmt) -> set[str]:
    """The names and attributes whose value the statement sets something to."""
    values: Iterable[ast.expr] = ()
    if isinstance(node, ast.Assign):
        values = [node.value]
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        values = [*node.value.args, *(k.value for k in node.value.keywords)]
    bare = [v.value if isinstance(v, ast.Starred) else v for v in values]
    return {ast.unparse(v) for v in bare} | {ast.unparse(v.value) for v in bare if isinstance(v, ast.Subscript)}


def _gives_back(back: ast.stmt, value: ast.expr) -> bool:
    """Whether `back` sets what `value` has read."""
    if isinstance(back, ast.Assign):
        return len(back.targets) == 1 and ast.unparse(back.targets[0]) == ast.unparse(value)
    if not (isinstance(back, ast.Expr) and isinstance(back.value, ast.Call) and isinstance(value, ast.Call)):
        return False
    setter, getter = ast.unparse(back.value.func), ast.unparse(value.func)
    return _stem(setter) == _stem(getter)


def _stem(function: str) -> tuple[str, str]:
    """What a function sets or gets: `numpy.set_printoptions` and `numpy.get_printoptions` have one.

    >>> _stem("sys.setrecursionlimit") == _stem("sys.getrecursionlimit")
    True
    """
    owner, _, name = function.rpartition(".")
    name = {"getcwd": "chdir"}.get(name, name)
    return owner, name.removeprefix("set").removeprefix("get").removeprefix("_")


def _between(
    block: Block, start: tuple[int, int], end: tuple[int, int], back: ast.stmt, holder: str
) -> set[tuple[int, int]]:
    """The lines from `start` to `end` that set the same as `back`."""
    return {
        (cell, node.lineno)
        for index, (cell, statement) in enumerate(block)
        for node in ast.walk(statement)
        if isinstance(node, (ast.Assign, ast.Call)) and start <= (index, node.lineno) <= end
        if _sets_the_same(node, back, holder)
    }


def _sets_the_same(node: ast.Assign | ast.Call, back: ast.stmt, holder: str) -> bool:
    if isinstance(node, ast.Assign) or isinstance(back, ast.Assign):
        return (
            isinstance(node, ast.Assign)
            and isinstance(back, ast.Assign)
            and ast.unparse(back.targets[0]) in [ast.unparse(t) for t in node.targets]
        )
    call = back.value if isinstance(back, ast.Expr) else None
    if not isinstance(call, ast.Call) or ast.unparse(node.func) != ast.unparse(call.func):
        return False
    if any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords):
        return True
    given, again = _given(node), _given(call)
    return given.keys() == again.keys() and all(
        ast.unparse(given[k]) == ast.unparse(v) for k, v in again.items() if ast.unparse(v).partition("[")[0] != holder
    )


def _given(call: ast.Call) -> dict[str, ast.expr]:
    """The arguments of a call by position or name."""
    positional = {str(i): a for i, a in enumerate(call.args)}
    return {**positional, **{k.arg: k.value for k in call.keywords if k.arg is not None}}
