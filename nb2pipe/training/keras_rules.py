"""What in a Keras training cannot be spread over workers, or depends on how many there are."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from nb2pipe.findings import Finding, finding
from nb2pipe.training.model import Code, Piece
from nb2pipe.training.names import called, path_of

KERAS = ("tensorflow.keras", "tf_keras")
"""The Keras that can be trained on several workers, by the dotted paths that it is imported from."""

KERAS_3_ONLY = frozenset({"ops", "random", "tree", "distribution", "quantizers", "dtype_policies", "Variable"})
KERAS_3_HARMLESS = ("keras.datasets.", "keras.utils.", "keras.preprocessing.")
OWN_STEPS = frozenset({"train_step", "test_step", "compute_loss", "make_train_function"})

TENSORFLOW: tuple[tuple[str, str], ...] = (
    ("tensorflow.distribute.", "it has a strategy of its own; take that away, workers get theirs"),
    ("tensorflow.config.threading.", "threads cannot be set when the workers have met; take it away"),
    ("tensorflow.config.set_visible_devices", "devices cannot be hidden when the workers have met; take it away"),
    ("tensorflow.config.set_logical_device", "devices cannot be split when the workers have met; take it away"),
    ("tensorflow.config.experimental.set_virtual", "devices cannot be split when the workers have met; take it away"),
    ("tensorflow.compat.v1.disable_", "workers need TensorFlow 2; take it away"),
    ("tensorflow.compat.v1.Session", "workers need TensorFlow 2; use Keras"),
    ("tensorflow.estimator.", "estimators are gone from TensorFlow; use Keras"),
    ("keras_tuner.", "its trials are trainings of their own; use search spaces of nb2pipe (`# tune:`)"),
    ("kerastuner.", "its trials are trainings of their own; use search spaces of nb2pipe (`# tune:`)"),
    ("scikeras.", "it needs Keras 3, which cannot be trained on several workers; use `tensorflow.keras`"),
)
"""Beginnings of dotted paths that a step with workers must not use, and why."""

BY_HAND = frozenset({"train_on_batch", "test_on_batch"})
RANDOM = ("layers.Dropout", "layers.SpatialDropout", "layers.Gaussian", "layers.AlphaDropout", "layers.Random")
DROPS = frozenset({"dropout", "recurrent_dropout"})
CLOCKS = ("time.", "datetime.")
MEANS = frozenset({"reduce_mean", "mean"})
REDUCTIONS = MEANS | {"reduce_sum", "sum", "reduce_max", "max", "reduce_min", "min", "reduce_std", "std", "norm"}


def keras_path(path: str) -> str:
    """The part of Keras that a dotted path names, "" for what is none of it.

    >>> keras_path("tensorflow.keras.layers.Dense"), keras_path("keras.layers.Dense")
    ('layers.Dense', '')
    """
    for root in KERAS:
        if path.startswith(f"{root}."):
            return path.removeprefix(f"{root}.")
    return ""


def findings(code: Code) -> tuple[Finding, ...]:
    """Everything to say about a step, in the order of its code; each line once for each reason."""
    found = [f for piece in code.pieces for f in _Rules(code, piece).found()]
    return tuple(dict.fromkeys(found))


class _Rules:
    """The findings of one fragment."""

    def __init__(self, code: Code, piece: Piece) -> None:
        self.code, self.piece = code, piece
        self.functions: dict[str, ast.FunctionDef | ast.Lambda] = {
            node.name: node
            for other in code.pieces
            for node in ast.walk(other.tree)
            if isinstance(node, ast.FunctionDef)
        }
        self.functions |= {
            target.id: node.value
            for other in code.pieces
            for node in ast.walk(other.tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    def found(self) -> Iterator[Finding]:
        """The findings, in the order of the lines."""
        nodes = [node for node in ast.walk(self.piece.tree) if isinstance(node, (ast.expr, ast.stmt))]
        for node in sorted(nodes, key=lambda n: (n.lineno, n.col_offset)):
            if isinstance(node, (ast.Name, ast.Attribute)):
                yield from self._name(node)
            elif isinstance(node, ast.Call):
                yield from self._call(node)
            elif isinstance(node, ast.ClassDef):
                yield from self._class(node)

    def _unsound(self, node: ast.AST, message: str) -> Finding:
        return self._finding("workers-unsound", node, message)

    def _finding(self, kind: str, node: ast.AST, message: str) -> Finding:
        fragment = self.piece.fragment
        line = fragment.line + getattr(node, "lineno", 1) - 1
        return finding(kind, message, cell=fragment.cell, line=line, name=self.code.step.name)

    def _name(self, node: ast.Name | ast.Attribute) -> Iterator[Finding]:
        path = path_of(node, self.code.imports)
        text = ast.unparse(node)
        if path.startswith("keras.") and not f"{path}.".startswith(KERAS_3_HARMLESS):
            message = (
                f"{text} is of Keras 3, which cannot be trained on several workers: `from tensorflow import keras`."
            )
            yield self._unsound(node, message)
        elif keras_path(path).split(".")[0] in KERAS_3_ONLY and "." in keras_path(path):
            yield self._unsound(node, f"{text} is only in Keras 3, which cannot be trained on several workers.")
        for start, why in TENSORFLOW:
            if path.startswith(start):
                yield self._unsound(node, f"{text}: {why}.")

    def _call(self, node: ast.Call) -> Iterator[Finding]:
        path = called(node, self.code.imports)
        part, words = keras_path(path), {k.arg: k.value for k in node.keywords}
        method = node.func.attr if isinstance(node.func, ast.Attribute) and not path else ""
        if method in BY_HAND:
            yield self._unsound(node, f"`{method}` trains by hand, batch by batch: use `fit`.")
        elif method == "apply_gradients" or (method == "minimize" and self._has_tape()):
            yield self._unsound(node, "A training loop with GradientTape cannot be spread: use `compile` and `fit`.")
        elif method == "compile":
            yield from self._compile({"loss": node.args[1], **words} if len(node.args) > 1 else words)
        elif part.startswith(RANDOM) or (part.startswith("layers.") and set(words) & DROPS):
            message = f"{part}: each worker draws its own random numbers, so the loss varies with their number."
            yield self._finding("workers-differ", node, message)
        elif part.startswith("losses.") and "reduction" in words and _is_sum(words["reduction"]):
            message = (
                f"{part}: a sum over a batch that workers cannot share evenly is shown larger or smaller than it is."
            )
            yield self._finding("workers-differ", node, message)
        if _is(words.get("deterministic"), False):
            yield self._unsound(node, "deterministic=False: each worker would see other batches; take it away.")

    def _has_tape(self) -> bool:
        paths = (path_of(n, self.code.imports) for n in ast.walk(self.piece.tree) if isinstance(n, ast.Attribute))
        return any(path.endswith("GradientTape") for path in paths)

    def _compile(self, words: dict[str | None, ast.expr]) -> Iterator[Finding]:
        if _is(words.get("jit_compile"), True):
            yield self._unsound(
                words["jit_compile"], "jit_compile=True: XLA cannot sum gradients of workers; leave it out."
            )
        for node in ast.walk(words.get("loss", ast.Constant(None))):
            if self._is_no_mean(node):
                what = ast.unparse(node)
                yield self._unsound(node, f"{what} is no mean over the rows of a batch: let it give one loss a row.")

    def _is_no_mean(self, node: ast.AST) -> bool:
        function = self.functions.get(node.id) if isinstance(node, ast.Name) else node
        return isinstance(function, (ast.FunctionDef, ast.Lambda)) and not _is_mean(function)

    def _class(self, node: ast.ClassDef) -> Iterator[Finding]:
        methods = {m.name: m for m in node.body if isinstance(m, ast.FunctionDef)}
        bases = [keras_path(path_of(base, self.code.imports)) for base in node.bases]
        derived = any(bases)
        if any(base.startswith("losses.") for base in bases) and "call" in methods and not _is_mean(methods["call"]):
            message = f"{node.name}.call is no mean over the rows of a batch: let it give one loss a row."
            yield self._unsound(methods["call"], message)
        for name in sorted(OWN_STEPS & set(methods)) if derived else ():
            why = "replaces what Keras does with a batch, which workers share: use `fit` as it is."
            yield self._unsound(methods[name], f"{node.name}.{name} {why}")
        for method in methods.values():
            yield from self._stop_by_clock(method)

    def _stop_by_clock(self, method: ast.FunctionDef) -> Iterator[Finding]:
        inside = list(ast.walk(method))
        stops = [n for n in inside if isinstance(n, ast.Attribute) and n.attr == "stop_training"]
        timed = any(called(n, self.code.imports).startswith(CLOCKS) for n in inside)
        if stops and timed:
            message = (
                "Training ends by the clock, which is not the same on all workers: end it by epochs or by the loss."
            )
            yield self._unsound(stops[0], message)


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _is_sum(node: ast.expr) -> bool:
    return (isinstance(node, ast.Constant) and node.value == "sum") or ast.unparse(node).endswith(".SUM")


def _is_mean(function: ast.FunctionDef | ast.Lambda) -> bool:
    """Whether a loss is one number a row, or their mean; then the workers' means, weighed, give that of the batch."""
    returned = [n.value for n in ast.walk(function) if isinstance(n, ast.Return)]
    returned += [function.body] if isinstance(function, ast.Lambda) else []
    whole = [n for n in ast.walk(function) if isinstance(n, ast.Call) and _reduces_batch(n)]
    last = {id(value) for value in returned}
    return all(id(call) in last and _function_name(call) in MEANS for call in whole)


def _function_name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _reduces_batch(call: ast.Call) -> bool:
    """Whether a call makes one number of all rows: a reduction without an axis, or over the first one."""
    if _function_name(call) not in REDUCTIONS or len(call.args) > 1:
        return False
    axes = [k.value for k in call.keywords if k.arg == "axis"]
    return not axes or any(isinstance(a, ast.Constant) and a.value in (0, None) for a in axes)
