"""What tags alone cannot do: literals that deserve to be parameters, searches by hand; and a tuning's objective."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence

from nb2pipe.dataflow.model import Statement
from nb2pipe.findings import Finding, errors, finding
from nb2pipe.notebook.model import Notebook
from nb2pipe.suggest.model import Attempt, Facts, Labels, Try
from nb2pipe.suggest.signals import arguments, literal_names, searched
from nb2pipe.suggest.tables import goal_of, hyperparameter


def advice(facts: Facts, labels: Labels, attempt: Attempt) -> Iterator[Finding]:
    """Notes about what a person could do besides."""
    by_cell = _by_cell(attempt)
    for cell in facts.cells:
        statements = by_cell.get(cell.cell, [])
        label = labels.get(cell.cell, "")
        yield from _by_hand(cell.cell, statements, attempt)
        if label.startswith("step:") or label == "shared":
            yield from _literals(cell.cell, statements)


def _by_cell(attempt: Attempt) -> dict[int, list[Statement]]:
    found: dict[int, list[Statement]] = {}
    for statement in attempt.flow.statements:
        found.setdefault(statement.cell, []).append(statement)
    return found


def _literals(cell: int, statements: Sequence[Statement]) -> Iterator[Finding]:
    """Hyperparameters that stand among other code, where no run can change them."""
    nodes = [s.node for s in statements]
    for name, node, value in literal_names(nodes):
        space = hyperparameter(name)
        if space is not None:
            yield _literal(cell, node.lineno, f"{name} = {value!r}", f"{name} = {value!r}", space)
    for name, (value, line) in arguments(nodes).items():
        yield _literal(cell, line, f"{name}={value!r}", f"{name} = {value!r}", hyperparameter(name) or "")


def _literal(cell: int, line: int, written: str, assigned: str, space: str) -> Finding:
    message = f"`{written}` would be a parameter in a cell of its own"
    tuned = f"  # tune: {space}" if space else ""
    hint = f"Split it off: `{assigned}{tuned}` in a cell tagged `parameters`, and its name here."
    return finding("literal-in-code", message, cell=cell, line=line, name=written.split("=")[0].strip(), hint=hint)


def _by_hand(cell: int, statements: Sequence[Statement], attempt: Attempt) -> Iterator[Finding]:
    for node in (n for s in statements for n in ast.walk(s.node)):
        name = searched(node)
        if name is not None:
            yield _search(cell, node, name, _values(node))
        elif isinstance(node, ast.Call) and _last(node.func).endswith("SearchCV"):
            for key, values in _grid(node, attempt.flow.statements):
                yield _search(cell, node, key.rpartition("__")[2], values)


def _search(cell: int, node: ast.AST, name: str, values: str) -> Finding:
    space = f"choice({values})" if values else hyperparameter(name) or "uniform(LOW, HIGH)"
    hint = (
        f"Write `{name} = ...  # tune: {space}` in a `parameters` cell and train once with it: `nb2pipe tune` searches."
    )
    line = getattr(node, "lineno", 1)
    return finding(
        "tuned-by-hand", f"The cell searches for the best {name} by itself", cell=cell, line=line, name=name, hint=hint
    )


def _values(node: ast.AST) -> str:
    over = node.iter if isinstance(node, ast.For) else getattr(node, "generators", [None])[0]
    over = over.iter if isinstance(over, ast.comprehension) else over
    plain = isinstance(over, (ast.List, ast.Tuple)) and all(isinstance(e, ast.Constant) for e in over.elts)
    return ", ".join(ast.unparse(e) for e in over.elts) if plain and isinstance(over, (ast.List, ast.Tuple)) else ""


def _grid(call: ast.Call, statements: Sequence[Statement]) -> Iterator[tuple[str, str]]:
    """The keys of a literal grid with their values; the grid may stand in the call or before it."""
    named = {k.arg: k.value for k in call.keywords}
    grid = call.args[1] if len(call.args) > 1 else named.get("param_grid") or named.get("param_distributions")
    if isinstance(grid, ast.Name):
        grid = next((getattr(s.node, "value", None) for s in statements if grid.id in s.writes), None)
    for key, value in zip(grid.keys, grid.values, strict=True) if isinstance(grid, ast.Dict) else ():
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            constants = isinstance(value, (ast.List, ast.Tuple)) and all(
                isinstance(e, ast.Constant) for e in value.elts
            )
            yield key.value, ", ".join(ast.unparse(e) for e in value.elts) if constants else ""  # type: ignore[attr-defined]


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def objective(
    notebook: Notebook, facts: Facts, labels: Labels, attempt: Attempt, tried: Try
) -> Mapping[int, tuple[str, ...]]:
    """The tag for what a tuning would optimise, where the notebook tunes by hand or has search spaces: on the last
    cell that assigns a metric once and for all, if the notebook converts with it."""
    by_cell = _by_cell(attempt)
    tunes = any(True for c, several in by_cell.items() for _ in _by_hand(c, several, attempt))
    spaces = any("tune:" in c.source for c in notebook.cells)
    if not (tunes or spaces) or attempt.layout.objectives:
        return {}
    for cell, name in _metrics(by_cell, labels):
        tag = f"objective:{goal_of(name)}:{name}"
        if not errors(tried({**labels, cell: f"{labels[cell]} {tag}"}).findings):
            return {cell: (tag,)}
    return {}


def _metrics(by_cell: Mapping[int, Sequence[Statement]], labels: Labels) -> Iterator[tuple[int, str]]:
    """Names of metrics that one step cell assigns at top level and nothing assigns again, the last first."""
    writers: dict[str, list[Statement]] = {}
    for several in by_cell.values():
        for statement in several:
            for name in statement.writes:
                writers.setdefault(name, []).append(statement)
    for name, several in sorted(writers.items(), key=lambda item: -item[1][-1].index):
        only = several[0]
        simple = isinstance(only.node, (ast.Assign, ast.AnnAssign)) and labels.get(only.cell, "").startswith("step:")
        if len(several) == 1 and simple and goal_of(name):
            yield only.cell, name
