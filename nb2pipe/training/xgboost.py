"""XGBoost: `xgboost.train` and the fits of its estimators are called through `xgboost_workers.spread`.

The generated module looks again when it runs: what turns out not to be XGBoost's, or what its workers would compute
differently, every worker computes whole. So a name too many does no harm here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from nb2pipe.findings import Finding, finding
from nb2pipe.training.edits import Edit, around
from nb2pipe.training.model import Code, Key, Piece, Rewrite
from nb2pipe.training.names import called, path_of

ROWS = "each worker grows the trees from its own rows; XGBoost adds up what they find"
TRAIN = re.compile(r"xgboost\.(training\.)?train$")
ESTIMATOR = re.compile(r"xgboost\.(sklearn\.)?XGB(RF)?(Classifier|Regressor|Ranker|Model)$")
FITTING = re.compile(r"sklearn\.model_selection\.(cross_val_score|cross_validate|cross_val_predict)$")
METHODS = ("fit", "fit_transform", "fit_predict")
Node = TypeVar("Node", bound=ast.AST)


class XGBoost:
    """`xgboost.train`, and the estimators for scikit-learn."""

    name = "xgboost"

    def trains(self, code: Code) -> bool:
        """Whether a model of XGBoost's is trained in one call."""
        return any(path.split(".")[0] == "xgboost" for path in code.imports.values()) and any(
            True for piece in code.pieces for _ in _trainings(piece, code, _model_names(code))
        )

    def rewrite(self, code: Code) -> Rewrite:
        """The calls that train, wrapped."""
        found = [one for piece in code.pieces for one in _findings(piece, code)]
        if any(one.severity == "error" for one in found):
            return Rewrite({}, tuple(found))
        names = _model_names(code)
        edits: dict[Key, tuple[Edit, ...]] = {}
        for piece in code.pieces:
            for function in _trainings(piece, code, names):
                wrapped = around(function, "xgboost_workers.spread(", ")", ROWS)
                edits[piece.key] = (*edits.get(piece.key, ()), *wrapped)
        return Rewrite(edits, tuple(found), env=(("PYTHONHASHSEED", "0"),))


def _trainings(piece: Piece, code: Code, names: frozenset[str]) -> Iterator[ast.expr]:
    """The functions of the calls that train."""
    for call in _nodes([piece.tree], ast.Call):
        path, function = called(call, code.imports), call.func
        fits = (
            isinstance(function, ast.Attribute) and function.attr in METHODS and _mentions(function.value, code, names)
        )
        crosses = FITTING.match(path) and any(_mentions(value, code, names) for value in _values(call))
        if TRAIN.match(path) or fits or crosses:
            yield function


def _values(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(word.value for word in call.keywords)]


# --- which names hold a model -----------------------------------------------------------------------------------------
def _model_names(code: Code) -> frozenset[str]:
    """Names and attributes that may hold an estimator of XGBoost's, alone or inside of another object.

    Names count by themselves, wherever they stand: `model` and `self.model` are one.
    """
    trees = [piece.tree for piece in code.pieces]
    names = {i.name for i in code.step.inputs if i.type.startswith(("xgboost.", "sklearn."))}
    while more := {name for tree in trees for rule in RULES for name in rule(tree, code, frozenset(names))} - names:
        names |= more
    return frozenset(names - {""})


def _assigned(tree: ast.AST, code: Code, names: frozenset[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _mentions(node.value, code, names):
            yield from (name for target in node.targets for name in _targets(target))
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr, ast.AugAssign)):
            if node.value is not None and _mentions(node.value, code, names):
                yield from _targets(node.target)
        elif isinstance(node, (ast.For, ast.comprehension)) and _mentions(node.iter, code, names):
            yield from _targets(node.target)


def _returned(tree: ast.AST, code: Code, names: frozenset[str]) -> Iterator[str]:
    """Functions that return one, and classes that derive from one."""
    for function in _nodes([tree], ast.FunctionDef):
        if any(node.value and _mentions(node.value, code, names) for node in _nodes([function], ast.Return)):
            yield function.name
    yield from (c.name for c in _nodes([tree], ast.ClassDef) if any(_mentions(b, code, names) for b in c.bases))


def _passed(tree: ast.AST, code: Code, names: frozenset[str]) -> Iterator[str]:
    """Parameters of the notebook's functions that are called with one."""
    functions = {f.name: f.args for piece in code.pieces for f in _nodes([piece.tree], ast.FunctionDef)}
    for call in _nodes([tree], ast.Call):
        arguments = functions.get(_terminal(call.func))
        if arguments is not None and any(_mentions(value, code, names) for value in _values(call)):
            yield from (a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs))


RULES: tuple[Callable[[ast.AST, Code, frozenset[str]], Iterator[str]], ...] = (_assigned, _returned, _passed)


def _mentions(node: ast.AST, code: Code, names: frozenset[str]) -> bool:
    """Whether an estimator, or a name that holds one, stands anywhere in the expression."""
    for part in ast.walk(node):
        if isinstance(part, (ast.Name, ast.Attribute)) and (
            _terminal(part) in names or ESTIMATOR.match(path_of(part, code.imports))
        ):
            return True
    return False


def _targets(target: ast.expr) -> Iterator[str]:
    if isinstance(target, (ast.Tuple, ast.List)):
        for one in target.elts:
            yield from _targets(one)
    else:
        yield _terminal(target)


def _terminal(node: ast.AST) -> str:
    """The last name of `model`, `self.model`, `models["a"]`; "" for any other expression."""
    while isinstance(node, (ast.Subscript, ast.Starred)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


# --- what cannot be, or is not the same -------------------------------------------------------------------------------
UNSOUND: dict[str, tuple[tuple[object, ...], str, str]] = {
    "booster": (("gblinear",), "updates its weights in another order on each worker", "Use a tree booster."),
    "tree_method": (("exact", "approx"), "does not find the splits of one process", 'Use `tree_method="hist"`.'),
    "objective": (
        ("reg:absoluteerror", "reg:quantileerror", "survival:cox"),
        "needs the order of all rows, of which a worker has a part",
        "Use another objective (reg:pseudohubererror comes close to an absolute error).",
    ),
    "process_type": (("update",), "changes trees that are there, for which workers have no common way", ""),
    "lambdarank_unbiased": ((True,), "counts the positions of one worker's rows only", ""),
    "lambdarank_pair_method": (("mean",), "draws pairs of one worker's rows", 'Use `lambdarank_pair_method="topk"`.'),
    "enable_categorical": ((True,), "makes categories that XGBoost's workers do not share", "Encode them as numbers."),
}
"""Settings, with their values, that workers compute differently: why, and what to do."""

DRAWN = ("subsample",)
"""Settings that draw rows at random: each worker draws from its own."""

TAKE_AWAY = "Take the setting or the `workers:` tag away."


def _findings(piece: Piece, code: Code) -> Iterator[Finding]:
    for name, value in _settings(piece.tree):
        values, why, hint = UNSOUND.get(name, ((), "", ""))
        if isinstance(value, ast.Constant) and any(value.value is v or value.value == v for v in values):
            yield _found("workers-unsound", piece, value, f"{name}={value.value!r} {why}.", hint or TAKE_AWAY)
        elif name in DRAWN and not (isinstance(value, ast.Constant) and value.value in (1, None)):
            yield _found("workers-differ", piece, value, f"With {name} each worker draws its own rows at random.")
    for call in _nodes([piece.tree], ast.Call):
        if re.match(r"xgboost\.(sklearn\.)?XGBRF", called(call, code.imports)):
            if "subsample" not in {word.arg for word in call.keywords}:
                message = "A random forest draws 80 % of the rows for each tree, and each worker draws its own."
                yield _found("workers-differ", piece, call, message)


def _settings(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """What is set by a keyword, in a dict, or as `params["name"] = value`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from ((word.arg, word.value) for word in node.keywords if word.arg)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, value
        elif isinstance(node, ast.Assign):
            keys = [t.slice for t in node.targets if isinstance(t, ast.Subscript)]
            yield from ((k.value, node.value) for k in keys if isinstance(k, ast.Constant) and isinstance(k.value, str))


def _found(code: str, piece: Piece, node: ast.expr, message: str, hint: str | None = None) -> Finding:
    line = piece.fragment.line + node.lineno - 1
    return finding(code, message, cell=piece.fragment.cell, line=line, hint=hint)


def _nodes(trees: Iterable[ast.AST], kind: type[Node]) -> Iterator[Node]:
    return (node for tree in trees for node in ast.walk(tree) if isinstance(node, kind))
