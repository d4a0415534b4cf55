"""What the text of a cell says: its calls, the functions of the notebook that it uses, loops that search or train."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from nb2pipe.dataflow.scopes import chain
from nb2pipe.suggest.tables import activities_of, hyperparameter, spoken


@dataclass(slots=True)
class Signals:
    """For each activity the weight of what speaks for it, and the call that says it best."""

    speaks: dict[str, float] = field(default_factory=dict)
    calls: dict[str, str] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)

    def add(self, activity: str, weight: float, call: str) -> None:
        """The heaviest counts whole, every other call a little."""
        before = self.best.get(activity, 0.0)
        high, low = max(before, weight), min(before, weight)
        rest = self.speaks.get(activity, 0.0) - before
        self.speaks[activity] = high + min(rest + 0.4 * low, 1.5)
        self.best[activity] = high
        if weight > before:
            self.calls[activity] = call


class Reader:
    """Knows the imports and the functions of a notebook."""

    def __init__(self, nodes: Iterable[ast.stmt]) -> None:
        self.names: dict[str, str] = {}
        self.functions: dict[str, ast.AST] = {}
        self.bound: set[str] = set()
        for node in nodes:
            self._note(node)

    def _note(self, top: ast.stmt) -> None:
        for node in ast.walk(top):
            if isinstance(node, ast.Import):
                self.names.update(
                    {
                        a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0]
                        for a in node.names
                    }
                )
            elif isinstance(node, ast.ImportFrom):
                self.names.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.bound.add(node.id)
        if isinstance(top, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self.functions[top.name] = top

    def path(self, node: ast.expr) -> str:
        """The dotted name of what is called, its root as it was imported; "?" for what is computed.

        >>> reader = Reader(ast.parse("import pandas as pd").body)
        >>> [reader.path(ast.parse(t, mode="eval").body) for t in ("pd.read_csv", "f(x).head", "df.plot.bar")]
        ['pandas.read_csv', '?.head', '?.plot.bar']
        """
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        root = node.id if isinstance(node, ast.Name) else "?"
        if root in self.names:
            root = self.names[root]
        elif names:
            root = "?"
        return ".".join([root, *reversed(names)])

    def signals(self, statements: Iterable[ast.stmt]) -> Signals:
        """What the statements of a cell say; those of its definitions speak where they are called."""
        found = Signals()
        for statement in statements:
            if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                self._listen(statement, found, 1.0, frozenset())
                _loops(statement, found)
        return found

    def _listen(self, top: ast.AST, found: Signals, share: float, inside: frozenset[str]) -> None:
        for node in ast.walk(top):
            if isinstance(node, ast.Call):
                self._call(node, found, share, inside)

    def _call(self, node: ast.Call, found: Signals, share: float, inside: frozenset[str]) -> None:
        path = self.path(node.func)
        short = path.rpartition(".")[2]
        if path in self.functions and path not in inside:
            for activity, weight in spoken(path).items():
                found.add(activity, weight * share, path)
            self._listen(self.functions[path], found, share * 0.5, inside | {path})
            return
        if short == "open" and _writes(node):
            found.add("export", 2.0 * share, "open(..., 'w')")
            return
        for activity, weight in activities_of(path).items():
            found.add(activity, weight * share, f".{short}" if path.startswith("?") else short)


def _writes(node: ast.Call) -> bool:
    modes = [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "mode")]
    return any(isinstance(m, ast.Constant) and isinstance(m.value, str) and m.value[:1] in "wax" for m in modes)


def _loops(top: ast.stmt, found: Signals) -> None:
    """A loop that trains something for each of several values searches; one that changes numbers by a rate trains."""
    for node in ast.walk(top):
        if isinstance(node, (ast.For, ast.ListComp, ast.DictComp)):
            if searched(node):
                found.add("tune", 3.0, "a loop over values to train with")
            elif isinstance(node, ast.For) and _descends(node):
                found.add("train", 2.5, "a loop that goes on by a learning rate")


TRAINS = frozenset("fit train cross_val_score cross_validate fit_predict".split())


def searched(node: ast.AST) -> str | None:
    """The name that a loop over several given values trains with, None if it does no such thing."""
    target = node.target if isinstance(node, ast.For) else None
    over = node.iter if isinstance(node, ast.For) else None
    if isinstance(node, (ast.ListComp, ast.DictComp)):
        target, over = node.generators[0].target, node.generators[0].iter
    if not isinstance(target, ast.Name) or (isinstance(over, ast.Call) and not _plain_range(over)):
        return None
    inner = list(ast.walk(node))
    trains = any(isinstance(n, ast.Call) and _last(n.func) in TRAINS for n in inner)
    used = any(
        isinstance(n, ast.Call)
        and _makes(n)
        and any(_mentions(a, target.id) for a in [*n.args, *(k.value for k in n.keywords)])
        for n in inner
    )
    return target.id if trains and used else None


def _plain_range(node: ast.Call) -> bool:
    return _last(node.func) in ("range", "linspace", "logspace", "arange")


def _makes(node: ast.Call) -> bool:
    """Whether a call looks like one that makes a model: a class, a factory."""
    name = _last(node.func)
    return name[:1].isupper() or name.startswith(("make", "build", "create", "train", "get"))


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _mentions(node: ast.AST, name: str) -> bool:
    return any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(node))


def _descends(node: ast.For) -> bool:
    return any(
        isinstance(n, ast.AugAssign)
        and isinstance(n.op, (ast.Sub, ast.Add))
        and any(isinstance(m, ast.Name) and hyperparameter(m.id) is not None for m in ast.walk(n.value))
        for n in ast.walk(node)
    )


def shows(statement: ast.stmt, reader: Reader) -> bool:
    """Whether a statement only puts something on the screen, or gets ready to."""
    if isinstance(statement, (ast.For, ast.With, ast.If)):
        return all(shows(s, reader) for s in [*statement.body, *getattr(statement, "orelse", [])])
    if isinstance(statement, ast.Expr):
        return _shown(statement.value, reader)
    value = getattr(statement, "value", None)
    return isinstance(statement, (ast.Assign, ast.AugAssign)) and isinstance(value, ast.expr) and _draws(value, reader)


def prints(statement: ast.stmt, reader: Reader) -> bool:
    """Whether a statement prints something that was computed, and not only a look at the data."""
    calls = [n for n in ast.walk(statement) if isinstance(n, ast.Call)]
    printed = [n for n in calls if reader.path(n.func) == "print"]
    return any(not _looks_at_data(a, reader) for n in printed for a in n.args if not isinstance(a, ast.Constant))


def _looks_at_data(node: ast.expr, reader: Reader) -> bool:
    inner = list(ast.walk(node))
    called = any(isinstance(n, ast.Call) and "explore" in activities_of(reader.path(n.func)) for n in inner)
    return called or any(isinstance(n, ast.Attribute) and n.attr in _LOOKS for n in inner)


_LOOKS = ("shape", "dtypes", "columns", "dtype", "ndim", "size", "index", "__version__")


def _shown(node: ast.expr, reader: Reader) -> bool:
    if not isinstance(node, ast.Call):
        return not any(isinstance(n, (ast.Await, ast.NamedExpr, ast.Yield)) for n in ast.walk(node))
    path = reader.path(node.func)
    looks = path in ("print", "display") or "explore" in activities_of(path)
    return looks or _on_axes(node) or _inner_look(node, reader)


def _inner_look(node: ast.Call, reader: Reader) -> bool:
    """`df.isnull().sum()`, `df.groupby("a").mean()`: computed to be seen."""
    if not isinstance(node.func, ast.Attribute) or _changes(node.func.attr):
        return False
    return isinstance(node.func.value, (ast.Call, ast.Subscript)) or chain(node.func.value) not in (None, *reader.names)


def _changes(method: str) -> bool:
    """Methods that do not only look, whatever they belong to."""
    words = "fit train compile append extend update insert pop remove write save dump sort add step backward close"
    return method.startswith(("set_", "to_", "load_", "save_", "fit_")) or method in words.split()


def _on_axes(node: ast.Call) -> bool:
    root = node.func
    while isinstance(root, (ast.Attribute, ast.Subscript, ast.Call)):
        root = root.func if isinstance(root, ast.Call) else root.value
    return isinstance(root, ast.Name) and root.id.rstrip("es0123456789") in ("ax", "fig", "plt", "sns")


def _draws(node: ast.expr, reader: Reader) -> bool:
    return isinstance(node, ast.Call) and "explore" in activities_of(reader.path(node.func))


def literal_names(nodes: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.stmt, object]]:
    """(name, statement, value) of top-level assignments of plain values: numbers, texts, short flat lists."""
    for node in nodes:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if len(targets) != 1 or not isinstance(targets[0], ast.Name) or getattr(node, "value", None) is None:
            continue
        try:
            value = ast.literal_eval(node.value)  # type: ignore[attr-defined]
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        if _is_plain(value):
            yield targets[0].id, node, value


def _is_plain(value: object) -> bool:
    scalar = (int, float, str, bool, type(None))
    if isinstance(value, list):
        return 0 < len(value) <= 6 and all(isinstance(v, scalar) for v in value)
    return isinstance(value, scalar) and not (isinstance(value, str) and len(value) > 120)


def arguments(nodes: Iterable[ast.stmt]) -> Mapping[str, tuple[object, int]]:
    """Hyperparameters that stand as literals in calls: keyword -> (value, line), the first of each."""
    found: dict[str, tuple[object, int]] = {}
    for top in nodes:
        for node in ast.walk(top):
            for keyword in node.keywords if isinstance(node, ast.Call) else ():
                if keyword.arg and hyperparameter(keyword.arg) and isinstance(keyword.value, ast.Constant):
                    found.setdefault(keyword.arg, (keyword.value.value, keyword.value.lineno))
    return found
