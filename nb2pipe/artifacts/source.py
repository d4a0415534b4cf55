"""The text of a generated project's artifacts.py: this package's own functions, only those that can be called."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Collection, Iterable
from types import ModuleType

from nb2pipe.artifacts import format as format_module
from nb2pipe.artifacts import store as store_module
from nb2pipe.artifacts.kinds import lookup
from nb2pipe.artifacts.registry import format_of, modules

HEADER = '''"""How values are stored between steps: `save(path, {name: value})` and `load(path)`.

An artifact is a folder: data files, and artifact.json with the format, the versions of the
libraries and a digest of every file. A value is stored in the first format of FORMATS that
gives back an equal value of the same type; cloudpickle is the last.
"""
'''

ALWAYS = ("json", "pickle")
COMMON = ("npy", "parquet", "sklearn")


def source(types: Collection[str | None], libraries: Collection[str] | None = None) -> str:
    """The text of artifacts.py for values of these static types, e.g. "pandas.DataFrame"; None is an unknown one.

    `libraries` are the import names that the pipeline's code uses ("sklearn.linear_model" counts as "sklearn"): what
    is unknown can only come from them. Without it, an unknown value may be a plain value, frame, array or estimator.
    """
    chosen = [m for m in modules() if _can_occur(m, types, libraries)]
    texts = [_Text(module) for module in (format_module, store_module, *chosen)]
    _check_names(texts)
    table = ", ".join(format_of(module)[0] for module in chosen)
    blocks = [block for text in texts for block in text.blocks]
    head = f"{HEADER}\nfrom __future__ import annotations\n\n{_imports(texts)}"
    return "\n\n\n".join([head, *blocks, f"FORMATS = ({table})"]) + "\n"


def _can_occur(
    module: ModuleType, types: Collection[str | None], libraries: Collection[str] | None
) -> bool:
    format = format_of(module)[1]
    if format.name in ALWAYS or any(lookup(name)[0] is module for name in types if name):
        return True
    inside = hasattr(module, "REDUCERS") and any(_may_hold(name) for name in types)
    if None not in types and not (inside and libraries is not None):
        return False
    if libraries is None:
        return format.name in COMMON
    used = {name.partition(".")[0] for name in libraries}
    own = {*format.libraries, *(name.partition(".")[0] for name in format.types)}
    return bool(own & (used | {"numpy"}))


PLAIN = frozenset(f"builtins.{name}" for name in ("bool", "float", "int", "NoneType", "str"))


def _may_hold(type_name: str | None) -> bool:
    """Whether a value of that type may hold others, which are then pickled as their libraries need."""
    return type_name not in PLAIN and format_of(lookup(type_name)[0])[1].name in ALWAYS


class _Text:
    """The parts of a module that are copied: its imports of the standard library and its definitions as text."""

    def __init__(self, module: ModuleType) -> None:
        self.name = module.__name__
        self.imports: list[ast.Import | ast.ImportFrom] = []
        self.blocks: list[str] = []
        self.names: list[str] = []
        text = inspect.getsource(module)
        is_format = module not in (format_module, store_module)
        self.title = (module.__doc__ or "").partition("\n")[0] if is_format else ""
        for node in ast.parse(text).body:
            self._add(node, text.splitlines())

    def _add(self, node: ast.stmt, lines: list[str]) -> None:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            if not (
                isinstance(node, ast.ImportFrom)
                and (node.module or "").startswith(("nb2pipe", "__future__"))
            ):
                self.imports.append(node)
            return
        names = _defined(node)
        if not names or names[0] in ("STATIC", "StaticTypes"):
            return
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        title = [f"# {self.title}"] if self.title and not self.blocks else []
        self.names += names
        self.blocks.append("\n".join([*title, *lines[first - 1 : node.end_lineno]]))


def _defined(node: ast.stmt) -> list[str]:
    """The name that a statement of the module defines; none for docstrings and for what fills tables of ours."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [ast.unparse(node.target)]
    return [ast.unparse(target) for target in node.targets] if isinstance(node, ast.Assign) else []


def _check_names(texts: Iterable[_Text]) -> None:
    owners: dict[str, str] = {}
    for text in texts:
        for name in text.names:
            if owners.setdefault(name, text.name) != text.name:
                raise ValueError(f"the formats {owners[name]} and {text.name} both define {name}")


def _imports(texts: Iterable[_Text]) -> str:
    """The imports of all parts, merged: modules first, then names, both in alphabetical order."""
    plain: set[str] = set()
    names: dict[str, set[str]] = {}
    for node in (node for text in texts for node in text.imports):
        spelled = {
            alias.name if not alias.asname else f"{alias.name} as {alias.asname}"
            for alias in node.names
        }
        if isinstance(node, ast.Import):
            plain |= spelled
        else:
            names.setdefault(node.module or "", set()).update(spelled)
    lines = [f"import {name}" for name in sorted(plain)]
    return "\n".join(
        lines
        + [f"from {module} import {', '.join(sorted(names[module]))}" for module in sorted(names)]
    )
