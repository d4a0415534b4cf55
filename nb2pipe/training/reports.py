"""The pass that lets a training report to its trial, epoch by epoch, so that a hopeless trial ends early.

The reports only watch: with or without them the training computes the same.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from nb2pipe.pipeline.model import Pipeline, Step
from nb2pipe.training.distribute import code_of, edited
from nb2pipe.training.edits import Block, Edit, Insert, Lines, around
from nb2pipe.training.model import Code, Key, Piece
from nb2pipe.training.names import path_of

REASON = "reports to the trial"
KERAS_WORDS = frozenset({"epochs", "callbacks", "validation_data", "validation_split", "steps_per_epoch"})
LOSS = re.compile(r"(^|_)loss(es)?($|_)")
VALIDATION = re.compile(r"(^|_)(val|valid|validation|test|dev)($|_)")


def reporting(pipeline: Pipeline) -> Pipeline:
    """The pipeline whose trainings report to their trial; unchanged where nothing is tuned."""
    if not pipeline.objectives or not any(p.search for p in pipeline.parameters):
        return pipeline
    for step in pipeline.steps:
        pipeline = _reporting_step(pipeline, step)
    return pipeline


def _reporting_step(pipeline: Pipeline, step: Step) -> Pipeline:
    """A step with one training reports it; of several it is not known which tells about the objective."""
    code = code_of(step, pipeline.shared)
    objective = pipeline.objectives[0].name
    sites = [site for piece in code.pieces for find in FINDERS for site in find(code, piece, objective)]
    if len(sites) != 1:
        return pipeline
    key, edits = sites[0].key, sites[0].edits
    if key[0] == "shared":
        definitions = edited("shared", pipeline.shared.definitions, {key: edits})
        return replace(pipeline, shared=replace(pipeline.shared, definitions=definitions, reports=True))
    changed = replace(
        step,
        definitions=edited("definitions", step.definitions, {key: edits}),
        setup=edited("setup", step.setup, {key: edits}),
        body=edited("body", step.body, {key: edits}),
        reports=True,
    )
    return replace(pipeline, steps=tuple(changed if s is step else s for s in pipeline.steps))


@dataclass(frozen=True, slots=True)
class Site:
    """One training: the fragment that it stands in, and the edits that let it report."""

    key: Key
    edits: tuple[Edit, ...]


# --- Keras ------------------------------------------------------------------------------------------------------------
def keras_sites(code: Code, piece: Piece, objective: str) -> Iterator[Site]:
    """Calls of `fit` with what only Keras takes."""
    if not any(path.split(".")[0] in ("tensorflow", "keras", "tf_keras") for path in code.imports.values()):
        return
    for call in _calls(piece):
        words = {keyword.arg for keyword in call.keywords}
        if isinstance(call.func, ast.Attribute) and call.func.attr == "fit" and words & KERAS_WORDS:
            for site in _with_callbacks(piece, call, "trial_reports.keras_callbacks"):
                yield replace(site, edits=(*_some_steps(call), *site.edits))


def _some_steps(call: ast.Call) -> Iterator[Edit]:
    """A computed `steps_per_epoch` is looked at: with a tuned batch size it may come out as 0."""
    for keyword in call.keywords:
        if keyword.arg == "steps_per_epoch" and not isinstance(keyword.value, ast.Constant):
            yield from around(keyword.value, "trial_reports.steps(", ")", REASON)


# --- XGBoost ----------------------------------------------------------------------------------------------------------
def xgboost_sites(code: Code, piece: Piece, objective: str) -> Iterator[Site]:
    """`xgboost.train` with evals, and `fit` with an eval_set of a model of its scikit-learn interface."""
    if not any(path.split(".")[0] == "xgboost" for path in code.imports.values()):
        return
    for statement, call in _called_in(piece):
        words, function = {keyword.arg for keyword in call.keywords}, _unspread(call.func)
        if path_of(function, code.imports) in ("xgboost.train", "xgboost.training.train") and "evals" in words:
            yield from _with_callbacks(piece, call, "trial_reports.xgboost_callbacks")
        elif _fits(function) and "eval_set" in words and _alone(piece, statement):
            assert isinstance(function, ast.Attribute)
            head = f"with trial_reports.xgboost_reports({ast.unparse(function.value)}):"
            assert statement.end_lineno is not None
            yield Site(piece.key, (Block(statement.lineno, statement.end_lineno, head, REASON),))


def _unspread(function: ast.expr) -> ast.expr:
    """A function, without what spreads it over workers around it."""
    spread = isinstance(function, ast.Call) and ast.unparse(function.func) == "xgboost_workers.spread"
    return function.args[0] if spread and isinstance(function, ast.Call) else function


def _fits(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr == "fit" and isinstance(function.value, ast.Name)


# --- PyTorch ----------------------------------------------------------------------------------------------------------
def torch_sites(code: Code, piece: Piece, objective: str) -> Iterator[Site]:
    """Loops over epochs: the outermost `for` in which something is trained by `.backward()`, also by a function."""
    if not any(path.split(".")[0] == "torch" for path in code.imports.values()):
        return
    trainers = {
        node.name
        for other in code.pieces
        for node in ast.walk(other.tree)
        if isinstance(node, ast.FunctionDef) and _trains(node, frozenset())
    }
    for loop in _outermost_loops(piece.tree.body):
        inner = [node for statement in loop.body for node in ast.walk(statement)]
        nested = any(isinstance(n, ast.For) and _trains(n, frozenset()) for n in inner)
        if not (nested or any(_trains(s, frozenset(trainers), only_calls=True) for s in loop.body)):
            continue
        name = _telling(_assigned(loop.body), objective)
        if name and isinstance(loop.target, ast.Name):
            yield Site(
                piece.key, (_line_at_end(piece, loop, f'trial_reports.report({loop.target.id}, "{name}", {name})'),)
            )


def _trains(node: ast.AST, trainers: frozenset[str], *, only_calls: bool = False) -> bool:
    """Whether `.backward()` is called in it, or one of `trainers`."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            if isinstance(call.func, ast.Attribute) and call.func.attr == "backward" and not only_calls:
                return True
            if isinstance(call.func, ast.Name) and call.func.id in trainers:
                return True
    return False


def _outermost_loops(body: Iterable[ast.stmt]) -> Iterator[ast.For]:
    for statement in body:
        if isinstance(statement, ast.For):
            yield statement
        else:
            for name in ("body", "orelse", "finalbody"):
                yield from _outermost_loops(getattr(statement, name, ()))


def _assigned(body: Iterable[ast.stmt]) -> list[str]:
    """The names that are assigned for certain in a block, in order."""
    found: list[str] = []
    for statement in body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            found += [n.id for t in targets if t is not None for n in ast.walk(t) if isinstance(n, ast.Name)]
    return found


def _telling(names: list[str], objective: str) -> str:
    """Of the numbers of an epoch the one that tells most about the objective: itself, else a loss, else ""."""
    losses = [name for name in names if LOSS.search(name)]
    validated = [name for name in losses if VALIDATION.search(name)]
    ranked = [n for n in names if n in (objective, f"val_{objective}")] + validated[-1:] + losses[-1:]
    return ranked[0] if ranked else ""


def _line_at_end(piece: Piece, loop: ast.For, text: str) -> Lines:
    last = loop.body[-1]
    first_line = piece.fragment.lines[loop.body[0].lineno - 1]
    indent = first_line[: len(first_line) - len(first_line.lstrip())]
    assert last.end_lineno is not None
    return Lines(last.end_lineno + 1, (indent + text,), REASON)


FINDERS: tuple[Callable[[Code, Piece, str], Iterator[Site]], ...] = (keras_sites, xgboost_sites, torch_sites)


# --- calls and their callbacks ----------------------------------------------------------------------------------------
def _calls(piece: Piece) -> Iterator[ast.Call]:
    return (node for node in ast.walk(piece.tree) if isinstance(node, ast.Call))


def _called_in(piece: Piece) -> Iterator[tuple[ast.stmt, ast.Call]]:
    """Every call with the innermost statement that it stands in."""
    for statement in ast.walk(piece.tree):
        if isinstance(statement, ast.stmt):
            waiting = [node for node in ast.iter_child_nodes(statement) if not isinstance(node, ast.stmt)]
            while waiting:
                node = waiting.pop()
                waiting += [n for n in ast.iter_child_nodes(node) if not isinstance(n, ast.stmt)]
                if isinstance(node, ast.Call):
                    yield statement, node


def _alone(piece: Piece, statement: ast.stmt) -> bool:
    """Whether a statement has its lines to itself."""
    lines = piece.fragment.lines
    assert statement.end_lineno is not None
    before = lines[statement.lineno - 1].encode()[: statement.col_offset]
    after = lines[statement.end_lineno - 1].encode()[statement.end_col_offset :]
    return not before.strip() and not after.split(b"#")[0].strip()


def _with_callbacks(piece: Piece, call: ast.Call, function: str) -> Iterator[Site]:
    """The call with its callbacks through `function`; a call with `**` may have them in there, and is left alone."""
    given = [keyword for keyword in call.keywords if keyword.arg == "callbacks"]
    if given:
        yield Site(piece.key, around(given[0].value, f"{function}(", ")", REASON))
    elif all(keyword.arg for keyword in call.keywords):
        yield Site(piece.key, (_argument(piece, call, f"callbacks={function}()"),))


def _argument(piece: Piece, call: ast.Call, text: str) -> Insert:
    """One argument more at the end of a call that has one: behind its last comma, or before its bracket."""
    assert call.end_lineno is not None
    assert call.end_col_offset is not None
    last = max([*call.args, *(k.value for k in call.keywords)], key=_end)
    line, column = _end(last)
    end = call.end_lineno, call.end_col_offset - 1
    while (line, column) < end:
        row = piece.fragment.lines[line - 1].encode()
        rest = row[column : end[1] if line == end[0] else None].split(b"#")[0]
        if b"," in rest:
            return Insert(line, column + rest.index(b",") + 1, f" {text},", REASON)
        line, column = line + 1, 0
    return Insert(*end, f", {text}", REASON)


def _end(node: ast.expr) -> tuple[int, int]:
    return node.end_lineno or 0, node.end_col_offset or 0
