"""Which names of a notebook are PyTorch modules, by how they are made and used.

Names count by themselves, wherever they stand: `model` and `self.model` are one. A name too many does no harm, since
the generated code looks at the value again when it runs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from nb2pipe.training.model import Code
from nb2pipe.training.names import called, path_of

MAKERS = re.compile(
    r"torch\.nn\.(modules\.\w+\.)?(?!functional\b|init\b|utils\b)[A-Z]\w*$|torch\.(compile|hub\.load)$|torchvision\.models\."
    r"|timm\.create_model$|transformers\.\w+\.from_(pretrained|config)$|segmentation_models_pytorch\.|copy\.(deep)?copy$"
)
NO_MODEL = re.compile(r"Loss$|\.Parameter(List|Dict)?$|\.DataParallel$")
SAME_MODULE = frozenset({"to", "cuda", "cpu", "train", "eval", "float", "double", "half", "requires_grad_", "apply"})
Node = TypeVar("Node", bound=ast.AST)
ONLY_MODULES_HAVE = frozenset({"parameters", "named_parameters", "eval", "named_modules"})


def module_names(code: Code) -> frozenset[str]:
    """The names (and attributes) that hold a module, or several of them in a list or a dict."""
    trees = [piece.tree for piece in code.pieces]
    made = _Makers(code)
    methods = [c.func for c in _nodes(trees, ast.Call) if isinstance(c.func, ast.Attribute)]
    names = {terminal(method.value) for method in methods if method.attr in ONLY_MODULES_HAVE}
    names |= {name for node in _nodes(trees, ast.ClassDef) for name in _self_of(node, made)}
    while found := {*_assigned(trees, made, names), *_passed(trees, made, names)} - names:
        names |= found
    return frozenset(names - {""})


def terminal(node: ast.AST) -> str:
    """The last name of `model`, `self.model`, `models["a"]`; "" for any other expression."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


class _Makers:
    """What makes a module: constructors of libraries, classes and functions of the notebook."""

    def __init__(self, code: Code) -> None:
        self.imports: Mapping[str, str] = code.imports
        trees = [piece.tree for piece in code.pieces]
        self.classes: set[str] = set()
        self.functions: set[str] = set()
        definitions = [*_nodes(trees, ast.ClassDef)]
        for _ in definitions:
            self.classes |= {c.name for c in definitions if any(self.is_base(base) for base in c.bases)}
        self.functions = {f.name for f in _nodes(trees, ast.FunctionDef) if self._returns_module(f)}

    def is_base(self, node: ast.expr) -> bool:
        """Whether a class with this base is a module that has weights."""
        path = path_of(node, self.imports)
        return terminal(node) in self.classes or bool(MAKERS.match(path) and not NO_MODEL.search(path))

    def _returns_module(self, function: ast.FunctionDef) -> bool:
        own = {t for a in _nodes([function], ast.Assign) if self.makes(a.value, ()) for t in map(terminal, a.targets)}
        returned = [node.value for node in _nodes([function], ast.Return)]
        return any(value is not None and self.makes(value, own) for value in returned)

    def makes(self, node: ast.AST, names: Iterable[str]) -> bool:
        """Whether the expression gives a module, or a list or dict of them; `names` are known to hold some."""
        if isinstance(node, (ast.List, ast.Tuple)):
            return any(self.makes(item, names) for item in node.elts)
        if isinstance(node, ast.Dict):
            return any(self.makes(value, names) for value in node.values)
        if isinstance(node, (ast.ListComp, ast.DictComp)):
            return self.makes(node.elt if isinstance(node, ast.ListComp) else node.value, names)
        if isinstance(node, ast.IfExp):
            return self.makes(node.body, names) or self.makes(node.orelse, names)
        return self._calls_maker(node, names) if isinstance(node, ast.Call) else terminal(node) in names

    def _calls_maker(self, node: ast.Call, names: Iterable[str]) -> bool:
        path, name = called(node, self.imports), terminal(node.func)
        if isinstance(node.func, ast.Attribute) and name in SAME_MODULE:
            return self.makes(node.func.value, names)
        if path in ("copy.copy", "copy.deepcopy"):
            return bool(node.args) and self.makes(node.args[0], names)
        known = isinstance(node.func, ast.Name) and name in self.classes | self.functions
        return known or bool(MAKERS.match(path) and not NO_MODEL.search(path))


def _assigned(trees: Iterable[ast.AST], made: _Makers, names: set[str]) -> Iterator[str]:
    """Names that are given a module by an assignment or a loop."""
    for node in (n for tree in trees for n in ast.walk(tree)):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _bound(target, node.value, made, names)
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            yield from _bound(node.target, node.value, made, names)
        elif isinstance(node, (ast.For, ast.comprehension)) and made.makes(node.iter, names):
            yield terminal(node.target)


def _bound(target: ast.expr, value: ast.expr, made: _Makers, names: set[str]) -> Iterator[str]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, other in zip(target.elts, value.elts, strict=False):
            yield from _bound(one, other, made, names)
    elif made.makes(value, names):
        yield terminal(target)


def _passed(trees: Iterable[ast.AST], made: _Makers, names: set[str]) -> Iterator[str]:
    """Parameters of the notebook's functions that are given a module."""
    trees = [*trees]
    functions = {node.name: node.args for node in _nodes(trees, ast.FunctionDef)}
    for call in _nodes(trees, ast.Call):
        arguments = functions.get(terminal(call.func))
        if arguments is None:
            continue
        order = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
        order = order[1:] if isinstance(call.func, ast.Attribute) else order
        yield from (name for name, value in zip(order, call.args, strict=False) if made.makes(value, names))
        yield from (word.arg for word in call.keywords if word.arg and made.makes(word.value, names))


def _self_of(node: ast.ClassDef, made: _Makers) -> list[str]:
    """The name that the methods of a module class give the module itself."""
    methods = [m for m in node.body if isinstance(m, ast.FunctionDef) and m.args.args]
    return [method.args.args[0].arg for method in methods] if node.name in made.classes else []


def _nodes(trees: Iterable[ast.AST], kind: type[Node]) -> Iterator[Node]:
    return (node for tree in trees for node in ast.walk(tree) if isinstance(node, kind))
