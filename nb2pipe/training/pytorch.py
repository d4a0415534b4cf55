"""PyTorch: models are called through `torch_workers.replicated`, loaders of the training through `torch_workers.share`.

The generated module computes on every worker what the notebook computes, and divides only the work on a batch. So the
rewrite need not understand the loop: what it does not find is computed whole by each worker, which is right as well.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from nb2pipe.findings import Finding, finding
from nb2pipe.training.edits import Edit, around
from nb2pipe.training.model import Code, Key, Piece, Rewrite
from nb2pipe.training.modules import module_names, terminal
from nb2pipe.training.names import called

ROWS = "each worker computes its rows of the batch; the outputs are those of all"
BATCHES = "all workers take the same batches, and load them together"
WRAPPERS = {"enumerate": 1, "tqdm": 1, "track": 1, "islice": 1, "zip": 99}
"""Functions around a loader in a loop, and how many of their first arguments may be one."""

LOADER = re.compile(r"load|batch|data|(^|_)dl($|_)|iter", re.IGNORECASE)
TRAINERS = re.compile(
    r"(lightning|pytorch_lightning|accelerate|fastai|ignite|deepspeed|skorch|horovod|composer|trl)\b"
    r"|transformers\.(Seq2Seq)?Trainer\b"
)
PROCESSES = re.compile(
    r"torch\.(distributed|multiprocessing)\b|torch\.nn\.parallel\.DistributedDataParallel|torch\.utils\.data\.distributed\b"
)
CLOCK = re.compile(
    r"time\.(time|perf_counter|monotonic|process_time)(_ns)?$|datetime\.(datetime\.)?(now|utcnow|today)$"
)
RANDOM_LAYERS = re.compile(r"torch\.nn\.(MultiheadAttention|Transformer\w*|LSTM|GRU|RNN)$")
RANDOM_TRANSFORMS = re.compile(
    r"torchvision\.transforms\.(v2\.)?(Random\w+|ColorJitter|AutoAugment|TrivialAugmentWide|AugMix)$"
)


class PyTorch:
    """Training loops with `.backward()`."""

    name = "torch"

    def trains(self, code: Code) -> bool:
        """Whether something is trained by `.backward()`, or by a library on top of torch."""
        if not any(path.split(".")[0] == "torch" or TRAINERS.match(path) for path in code.imports.values()):
            return False
        calls = [(piece, call) for piece in code.pieces for call in _calls(piece.tree)]
        return any(_is_backward(call) or TRAINERS.match(called(call, code.imports)) for _, call in calls)

    def rewrite(self, code: Code) -> Rewrite:
        """Calls of models and loops over loaders in the training, wrapped."""
        refused = [found for check in CHECKS for found in check(code)]
        if any(found.severity == "error" for found in refused):
            return Rewrite({}, tuple(refused))
        edits: dict[Key, tuple[Edit, ...]] = {}
        modules = module_names(code)
        for region in _regions(code):
            for edit in (*_forwards(region, modules), *_loaders(region)):
                known = edits.get(region.piece.key, ())
                edits[region.piece.key] = known if edit in known else (*known, edit)
        if not any(edit.reason == ROWS for group in edits.values() for edit in group):
            refused.append(_no_model(code))
        return Rewrite(edits, tuple(refused), env=(("PYTHONHASHSEED", "0"),))


# --- where something is trained ---------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Region:
    """A loop or a function that trains, or is called by what trains."""

    piece: Piece
    node: ast.AST


def _regions(code: Code) -> list[Region]:
    """Every place where `.backward()` is called, and the notebook's functions that are called there."""
    found = [Region(piece, node) for piece in code.pieces for node in _training(piece.tree)]
    functions = [
        (node, Region(piece, node))
        for piece in code.pieces
        for node in ast.walk(piece.tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("__")
    ]
    for region in found:
        names = {terminal(call.func) for call in _learning_calls(region.node)} - {"forward", "backward"}
        known = {id(other.node) for other in found}
        found += [other for node, other in functions if node.name in names and id(node) not in known]
    return found


def _training(tree: ast.Module) -> Iterator[ast.AST]:
    """The outermost function or loop around each `.backward()`; the whole cell for one that stands alone."""
    for node in _outermost(tree):
        if any(map(_is_backward, _calls(node))):
            yield node
    if any(_is_backward(call) for call in _calls_outside(tree)):
        yield tree


def _outermost(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.For, ast.AsyncFor, ast.While)):
            yield child
        else:
            yield from _outermost(child)


def _calls_outside(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls in neither function nor loop."""
    inside = {id(call) for node in _outermost(tree) for call in _calls(node)}
    return (call for call in _calls(tree) if id(call) not in inside)


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    return (child for child in ast.walk(node) if isinstance(child, ast.Call))


def _is_backward(call: ast.Call) -> bool:
    """`loss.backward()`, and `torch.autograd.backward(losses)`."""
    return isinstance(call.func, ast.Attribute) and call.func.attr == "backward"


def _learning_calls(node: ast.AST) -> Iterator[ast.Call]:
    return (child for child in _learning(node) if isinstance(child, ast.Call))


def _learning(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes where gradients are taken: neither under `torch.no_grad()`, nor in a module's `forward`."""
    if not (_without_gradients(node) or (isinstance(node, ast.FunctionDef) and node.name == "forward")):
        yield node
        for child in ast.iter_child_nodes(node):
            yield from _learning(child)


def _without_gradients(node: ast.AST) -> bool:
    if isinstance(node, (ast.With, ast.AsyncWith)):
        around = [item.context_expr for item in node.items]
    else:
        around = node.decorator_list if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else []
    bare = [expression.func if isinstance(expression, ast.Call) else expression for expression in around]
    return any(terminal(expression) in ("no_grad", "inference_mode") for expression in bare)


# --- what is changed there --------------------------------------------------------------------------------------------
def _forwards(region: Region, modules: frozenset[str]) -> Iterator[Edit]:
    """`model(x)` becomes `torch_workers.replicated(model)(x)`, and so does `model.forward(x)`."""
    for call in _learning_calls(region.node):
        is_forward = isinstance(call.func, ast.Attribute) and call.func.attr == "forward"
        function = call.func.value if isinstance(call.func, ast.Attribute) and is_forward else call.func
        if terminal(function) in modules and (call.args or call.keywords):
            yield from around(function, "torch_workers.replicated(", ")", ROWS)


def _loaders(region: Region) -> Iterator[Edit]:
    """`for x, y in loader` becomes `for x, y in torch_workers.share(loader)`, where the loop trains."""
    for loop in _learning(region.node):
        if isinstance(loop, (ast.For, ast.AsyncFor)):
            for node in _looped_over(loop.iter):
                if LOADER.search(terminal(node)):
                    yield from around(node, "torch_workers.share(", ")", BATCHES)


def _looped_over(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.Call):
        for argument in node.args[: WRAPPERS.get(terminal(node.func), 0)]:
            yield from _looped_over(argument)
    elif isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
        yield node


# --- what cannot be, or is not the same -------------------------------------------------------------------------------
def _other_trainers(code: Code) -> Iterator[Finding]:
    for piece, call in _all_calls(code):
        path = called(call, code.imports)
        if TRAINERS.match(path):
            library = path.split(".")[0]
            message = f"{library} has its own way to run on many workers, with other batches than one worker has."
            hint = "Write the training loop out, or take the `workers:` tag away and let the library use one machine."
            yield _found("workers-unsound", piece, call, message, hint)
        elif PROCESSES.match(path):
            message = f"{path} sets up workers of its own."
            hint = "Take it out and leave the workers to the `workers:` tag, or take the tag away."
            yield _found("workers-unsound", piece, call, message, hint)


MODULE_HOOKS = frozenset(
    f"register_{kind}_hook"
    for kind in ("forward", "forward_pre", "full_backward", "full_backward_pre", "backward", "module_forward")
)


def _own_gradients(code: Code) -> Iterator[Finding]:
    """What would compute a gradient, or a number, of one worker's rows."""
    for piece, call in _all_calls(code):
        path, words = called(call, code.imports), {word.arg: word.value for word in call.keywords}
        if path.startswith(("torch.func.", "functorch.")):
            message = f"{path} takes gradients of one worker's rows only."
            yield _found("workers-unsound", piece, call, message, "Call the model as it is and use `.backward()`.")
        elif terminal(call.func) in ("register_hook", "register_post_accumulate_grad_hook"):
            message = "The hook would see, and change, the gradient of one worker's rows only."
            yield _found("workers-unsound", piece, call, message, "Work on `.grad` after `.backward()` instead.")
        elif terminal(call.func) in MODULE_HOOKS:
            message = "The hook would see what the model computes of one worker's rows only."
            hint = "Return what you want to see from `forward()`, or look at it outside of the training."
            yield _found("workers-unsound", piece, call, message, hint)
        elif re.match(r"torch\.nn\.Embedding(Bag)?$", path) and _is_true(words.get("sparse")):
            message = "Sparse gradients cannot be averaged over workers."
            yield _found("workers-unsound", piece, call, message, "Take `sparse=True` out.")
        elif re.match(r"torchmetrics\.(?!functional)", path) and not _is_false(words.get("sync_on_compute")):
            message = "Each worker counts the whole batch, and torchmetrics would add the workers up."
            yield _found("workers-unsound", piece, call, message, "Give it `sync_on_compute=False`.")


def _clocks(code: Code) -> Iterator[Finding]:
    """Decisions by the time, which each worker would take at another moment."""
    for region in _regions(code):
        timed = {
            terminal(target)
            for node in ast.walk(region.piece.tree)
            if isinstance(node, ast.Assign) and _reads_clock(node.value, code)
            for target in node.targets
        }
        for test in _ways_out(region.node):
            if _reads_clock(test, code) or timed & {terminal(node) for node in ast.walk(test)}:
                message = "A decision of the training depends on the time, which is another on each worker."
                hint = "Decide by a number of epochs or batches, or take the `workers:` tag away."
                yield _found("workers-unsound", region.piece, test, message, hint)


def _ways_out(tree: ast.AST) -> Iterator[ast.expr]:
    """What `while` goes on by, and what decides whether a loop or function is left."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and any(isinstance(n, LEAVING) for s in node.body for n in ast.walk(s)):
            yield node.test
        elif isinstance(node, ast.While):
            yield node.test


LEAVING = (ast.Break, ast.Continue, ast.Return, ast.Raise)


def _reads_clock(node: ast.AST, code: Code) -> bool:
    return any(CLOCK.match(called(call, code.imports)) for call in _calls(node))


def _drawn_by_part(code: Code) -> Iterator[Finding]:
    """Random numbers that each worker draws for its own rows."""
    augmented = any(RANDOM_TRANSFORMS.match(called(call, code.imports)) for _, call in _all_calls(code))
    for piece, call in _all_calls(code):
        path, words = called(call, code.imports), {word.arg: word.value for word in call.keywords}
        layer = RANDOM_LAYERS.match(path)
        if layer and not _is_zero(words.get("dropout", DROPOUT.get(layer[1], ast.Constant(0.1)))):
            message = f"The dropout inside {path} draws other random numbers on many workers than on one."
            yield _found("workers-differ", piece, call, message)
        elif augmented and path.endswith("DataLoader") and not _is_zero(words.get("num_workers", ast.Constant(0))):
            message = "Random transforms in the loader's processes draw other random numbers on many workers."
            yield _found("workers-differ", piece, call, message)


DROPOUT = {
    name: ast.Constant(0)
    for name in ("MultiheadAttention", "LSTM", "GRU", "RNN", "TransformerEncoder", "TransformerDecoder")
}
"""Layers that have no dropout by default."""

CHECKS: tuple[Callable[[Code], Iterator[Finding]], ...] = (_other_trainers, _own_gradients, _clocks, _drawn_by_part)


def _no_model(code: Code) -> Finding:
    places = [(piece, call) for piece, call in _all_calls(code) if _is_backward(call)]
    message = "No module is called in this training, so that there is nothing that workers could share."
    hint = "Compute the prediction with a torch.nn.Module that is called in the loop, or take the `workers:` tag away."
    return _found("workers-unsound", *places[0], message, hint)


def _found(code: str, piece: Piece, node: ast.expr, message: str, hint: str | None = None) -> Finding:
    line = piece.fragment.line + node.lineno - 1
    return finding(code, message, cell=piece.fragment.cell, line=line, hint=hint)


def _all_calls(code: Code) -> Iterable[tuple[Piece, ast.Call]]:
    return [(piece, call) for piece in code.pieces for call in _calls(piece.tree)]


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _is_false(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _is_zero(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == 0
