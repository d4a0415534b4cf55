"""Keras on TensorFlow: models made in the scope of the workers' strategy, batches shared by rows."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from nb2pipe.dataflow.tables import has_keras_3
from nb2pipe.findings import Finding, finding
from nb2pipe.pipeline.model import Requirement
from nb2pipe.pipeline.requirements import requirements
from nb2pipe.training.building import Building, blocks
from nb2pipe.training.edits import Edit, around
from nb2pipe.training.keras_rules import KERAS, findings, keras_path
from nb2pipe.training.model import Code, Companion, Key, Rewrite
from nb2pipe.training.names import called, path_of

SCOPE = "with keras_workers.scope():"
MADE_IN_SCOPE = "models and what belongs to them are made in the scope of all workers"
SPREAD = "each batch is shared between the workers"
OWN_PLACE = "only the chief writes to a place that all workers have in common"
OWN_COPY = "each worker reads what it has written"

STARTS = frozenset({"fit", "train_on_batch", "apply_gradients"})
"""Methods that say that a step trains."""

MAKERS = ("layers", "models", "optimizers", "applications", "losses", "saving", "Sequential", "Model", "Input")
"""Parts of Keras that hold what has variables; `metrics` too, unless they are used by hand."""

OTHER_MAKERS = ("tensorflow.Variable", "tensorflow.saved_model.load", "tensorflow_hub.KerasLayer")
METHODS = frozenset({"compile", "build", "adapt", "load_weights", "set_weights"})
"""Methods of models and layers that make variables or have to see those of the scope."""

BY_HAND = frozenset({"update_state", "result", "reset_state", "reset_states"})

Places = Mapping[str, tuple[int, tuple[str, ...]]]
WRITES: Places = {
    "models.save_model": (1, ("filepath",)),
    "saving.save_model": (1, ("filepath",)),
    "callbacks.ModelCheckpoint": (0, ("filepath",)),
    "callbacks.BackupAndRestore": (0, ("backup_dir",)),
    "callbacks.TensorBoard": (0, ("log_dir",)),
    "callbacks.CSVLogger": (0, ("filename",)),
    "tensorflow.saved_model.save": (1, ("export_dir",)),
    ".save": (0, ("filepath",)),
    ".save_weights": (0, ("filepath",)),
    ".export": (0, ("filepath",)),
}
READS: Places = {
    "models.load_model": (0, ("filepath",)),
    "saving.load_model": (0, ("filepath",)),
    "tensorflow.saved_model.load": (0, ("export_dir",)),
    ".load_weights": (0, ("filepath",)),
}
"""Where a call has the path that it writes or reads: which argument, and its name."""


class Keras:
    """`tensorflow.keras`, which on several workers is tf_keras."""

    name = "keras"

    def trains(self, code: Code) -> bool:
        """Whether something of Keras is used, and something is trained."""
        trained = any(isinstance(n, ast.Attribute) and n.attr in STARTS for n in _nodes(code))
        return trained and _uses_keras(code)

    def rewrite(self, code: Code) -> Rewrite:
        """Scopes, `spread` at every training, and the predecessor of Keras 3 for the whole pipeline."""
        code = replace(code, imports=with_aliases(code))
        found = (*findings(code), *_other_keras(code))
        edits = {} if _refused(found) else _Rewriter(code).edits()
        return Rewrite(edits, found, companions=(Companion("tensorflow", _legacy(code), ENV),))


ENV = (("TF_USE_LEGACY_KERAS", "1"),)


def _refused(found: Iterable[Finding]) -> bool:
    return any(f.severity == "error" for f in found)


def _legacy(code: Code) -> tuple[Requirement, ...]:
    """tf_keras, of the version that is installed; otherwise the one that goes with the step's TensorFlow."""
    why = "training on several workers: Keras 3 has none"
    resolved = requirements({}, {}, [("tf_keras", why)]).requirements
    versions = [r.spec.partition("==")[2] for r in code.step.requirements if r.spec.startswith("tensorflow")]
    if "==" not in resolved[0].spec and any(versions):
        minor = ".".join(next(filter(None, versions)).split(".")[:2])
        return (Requirement(f"tf_keras~={minor}.0", why),)
    return resolved


def _other_keras(code: Code) -> Iterator[Finding]:
    """A warning for a notebook that trains with Keras 3 what the workers train with its predecessor."""
    asked = any("TF_USE_LEGACY_KERAS" in line for f in code.step.prelude for line in f.lines)
    if asked or not has_keras_3():
        return
    for piece in code.pieces:
        for node in ast.walk(piece.tree):
            if isinstance(node, ast.Attribute) and path_of(node, code.imports).startswith("tensorflow.keras."):
                message = "The workers train with Keras 2 (tf_keras), which shuffles and rounds otherwise than Keras 3."
                line = piece.fragment.line + node.lineno - 1
                hint = LEGACY_HINT
                yield finding("workers-differ", message, cell=piece.fragment.cell, line=line, name="keras", hint=hint)
                return


LEGACY_HINT = (
    'Begin the notebook with `import os` and `os.environ["TF_USE_LEGACY_KERAS"] = "1"`, and it trains with what the '
    "workers train with; or nothing, if results that are equal only in the mean will do."
)


def _nodes(code: Code) -> Iterator[ast.AST]:
    return (node for piece in code.pieces for node in ast.walk(piece.tree))


def _uses_keras(code: Code) -> bool:
    imports = with_aliases(code)
    named = {n.id for n in _nodes(code) if isinstance(n, ast.Name)}
    used = (path for name, path in imports.items() if name in named)
    types = (i.type for i in code.step.inputs)
    return any(text.split(".")[0] in ("tensorflow", "keras", "tf_keras") for text in (*used, *types))


def with_aliases(code: Code) -> Mapping[str, str]:
    """The imports, and names like `layers` in `layers = tf.keras.layers`."""
    known = dict(code.imports)
    assigned = [n for n in _nodes(code) if isinstance(n, ast.Assign) and isinstance(n.value, (ast.Name, ast.Attribute))]
    for _ in range(3):  # an alias of an alias may stand in an earlier piece
        for node in assigned:
            path = path_of(node.value, known)
            if path.startswith(("tensorflow", *KERAS)):
                known |= {t.id: path for t in node.targets if isinstance(t, ast.Name)}
    return known


class _Rewriter:
    """The edits of one step."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.by_hand = {
            ast.unparse(n.value) for n in _nodes(code) if isinstance(n, ast.Attribute) and n.attr in BY_HAND
        }
        self.others = frozenset(self._others())
        self.building = Building([p.tree for p in code.pieces], self.makes, self.is_model_class)

    def edits(self) -> dict[Key, tuple[Edit, ...]]:
        """All edits, by fragment."""
        found: dict[Key, tuple[Edit, ...]] = {}
        for piece in self.code.pieces:
            calls = [n for n in ast.walk(piece.tree) if isinstance(n, ast.Call)]
            edits: list[Edit] = [edit for call in calls for edit in self._in_call(call)]
            scopes = blocks(piece.tree, self.building, piece.fragment.lines, SCOPE, MADE_IN_SCOPE)
            if edits or scopes:
                found[piece.key] = (*edits, *scopes)
        return found

    # --- what makes models --------------------------------------------------------------------------------------------
    def makes(self, call: ast.Call, targets: frozenset[str]) -> bool:
        """Whether a call makes or changes variables of a model; `targets` are the names that its value is bound to."""
        path = called(call, self.code.imports)
        part = keras_path(path)
        if part:
            head = part.split(".")[0]
            return head in MAKERS or (head == "metrics" and not targets & self.by_hand)
        if path:
            return path in OTHER_MAKERS
        return isinstance(call.func, ast.Attribute) and call.func.attr in METHODS

    def is_model_class(self, base: ast.expr) -> bool:
        """Whether a base of a class is one of Keras's, so that its methods run in the scope that it is made in."""
        return keras_path(path_of(base, self.code.imports)) != ""

    # --- edits of calls -----------------------------------------------------------------------------------------------
    def _in_call(self, call: ast.Call) -> Iterator[Edit]:
        if isinstance(call.func, ast.Attribute) and call.func.attr == "fit" and self._may_be_model(call.func.value):
            yield from around(call.func.value, "keras_workers.spread(", ")", SPREAD)
        name = self._name(call)
        for table, function, reason in ((WRITES, "place", OWN_PLACE), (READS, "written", OWN_COPY)):
            path = _path(call, *table[name]) if name in table else None
            if path is not None and not _is_relative(path):
                yield from around(path, f"keras_workers.{function}(", ")", reason)

    def _name(self, call: ast.Call) -> str:
        """The part of Keras, the function of TensorFlow, or the `.method` that is called."""
        path = called(call, self.code.imports)
        if path or not isinstance(call.func, ast.Attribute):
            return keras_path(path) or path
        return f".{call.func.attr}"

    def _may_be_model(self, value: ast.expr) -> bool:
        """Not what is certainly none: `keras_workers.spread` leaves that alone, but readers would wonder."""
        made = called(value, self.code.imports)
        if made:
            return made.split(".")[0] in ("tensorflow", "keras", "tf_keras", "tensorflow_hub")
        return not (isinstance(value, ast.Name) and value.id in self.others)

    def _others(self) -> Iterator[str]:
        """Names of values that other libraries make."""
        for node in _nodes(self.code):
            if isinstance(node, ast.Assign):
                root = called(node.value, self.code.imports).split(".")[0]
                if root and root not in ("tensorflow", "keras", "tf_keras", "tensorflow_hub"):
                    yield from (t.id for t in node.targets if isinstance(t, ast.Name))


def _path(call: ast.Call, index: int, names: tuple[str, ...]) -> ast.expr | None:
    """The argument of a call that is a path."""
    named = [k.value for k in call.keywords if k.arg in names]
    plain = call.args[: index + 1]
    if len(plain) > index and not any(isinstance(a, ast.Starred) for a in plain):
        return plain[index]
    return named[0] if named else None


def _is_relative(path: ast.expr) -> bool:
    """Whether a path is certainly one in the working folder, of which each worker has its own."""
    parts = path.values if isinstance(path, ast.JoinedStr) else [path]
    first = parts[0] if parts else path
    if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
        return False
    return not first.value.startswith(("/", "~")) and "://" not in first.value
