"""What kind of statement a statement is: which may be repeated as source in another step, and which compute data."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable

from nb2pipe.dataflow.model import Kind, Statement
from nb2pipe.dataflow.scopes import chain
from nb2pipe.dataflow.tables import is_known_module

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_CONSTANT_CALLS = frozenset(
    ["re.compile", "typing.TypeVar", "typing.NamedTuple", "collections.namedtuple", "pathlib.Path", "os.path.join"]
    + ["datetime.timedelta", "datetime.date", "datetime.datetime", "decimal.Decimal", "fractions.Fraction"]
    + ["logging.getLogger", "os.getcwd", "os.path.abspath", "os.path.realpath", "pathlib.Path.cwd", "Path.cwd"]
)
_CONSTANT_METHODS = ("resolve", "absolute")


def changed_modules(statements: Iterable[Statement]) -> frozenset[str]:
    """The channels of modules whose variables statements change; of libraries with a table these are but options."""
    channels = {c.channel for s in statements for c in s.record.channels if c.use == "set"}
    return frozenset(c for c in channels if c.startswith("module:") and not is_known_module(c))


def kind(statement: Statement, changed: Collection[str]) -> Kind:
    """The kind of a top-level statement, from its form and its record; `changed` as of `changed_modules`."""
    node = statement.node
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        return "future"
    if isinstance(node, _IMPORTS):
        return "import"
    if sets_option(node):
        return "setup"
    if _touches_data(statement) or any(c.channel.startswith("accessor:") for c in statement.record.channels):
        return "data"
    if is_definition(node):
        return "definition"
    if isinstance(node, (ast.If, ast.Try)) and _only_defines(node):
        return "import" if _imports(node) else "definition"
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and _is_constant(statement, node, changed):
        return "constant"
    if isinstance(node, ast.Expr):
        return "show" if _only_shows(node.value) else "setup"
    return "data"


def is_definition(node: ast.stmt) -> bool:
    """Whether a statement defines a function or class, `name = lambda` included."""
    if isinstance(node, _DEFINITIONS):
        return True
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Lambda)
        and len(node.targets) == 1
        and isinstance(node.targets[0], ast.Name)
    )


def sets_option(node: ast.stmt) -> bool:
    """`pd.options.display.max_rows = 5`, `plt.rcParams["figure.dpi"] = 100`."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    if (
        not targets
        or not isinstance(node, ast.Assign)
        or not isinstance(node.value, (ast.Constant, ast.Tuple, ast.List))
    ):
        return False
    return all(_is_option(t) for t in targets)


def _is_option(target: ast.expr) -> bool:
    while isinstance(target, (ast.Attribute, ast.Subscript)):
        if isinstance(target, ast.Attribute) and target.attr in ("options", "rcParams"):
            return isinstance(target.value, ast.Name)
        target = target.value
    return False


def _touches_data(statement: Statement) -> bool:
    """A definition that changes an object on the way (a registry) is no mere definition."""
    return bool(set(statement.changes) - set(statement.writes)) and not isinstance(statement.node, ast.Expr)


def _only_defines(node: ast.If | ast.Try) -> bool:
    blocks = [node.body, node.orelse]
    if isinstance(node, ast.Try):
        blocks += [node.finalbody, *(h.body for h in node.handlers)]
    return all(_defines(s) for block in blocks for s in block) and any(
        _imports(s) or is_definition(s) for s in node.body
    )


def _defines(node: ast.stmt) -> bool:
    if isinstance(node, (ast.If, ast.Try)):
        return _only_defines(node)
    if isinstance(node, ast.Assign):
        return is_definition(node) or isinstance(node.value, (ast.Constant, ast.Name, ast.Attribute))
    return isinstance(node, (*_IMPORTS, *_DEFINITIONS, ast.Pass))


def _imports(node: ast.AST) -> bool:
    return any(isinstance(n, _IMPORTS) for n in ast.walk(node))


def _is_constant(statement: Statement, node: ast.Assign | ast.AnnAssign, changed: Collection[str]) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    if node.value is None or not all(_plain(t) for t in targets):
        return False
    record = statement.record
    if record.files or record.mutated:
        return False
    if any(c.use in ("draw", "set", "seed") or c.channel in changed for c in record.channels):
        return False
    return _constant_expression(node.value, statement)


def _plain(target: ast.expr) -> bool:
    if isinstance(target, (ast.Tuple, ast.List)):
        return all(isinstance(e, ast.Name) for e in target.elts)
    return isinstance(target, ast.Name)


def _constant_expression(node: ast.expr, statement: Statement) -> bool:
    """Literals, names, arithmetic on them, and calls that only build a value."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CONSTANT_METHODS:
        return not node.args and not node.keywords and _constant_expression(node.func.value, statement)
    if isinstance(node, ast.Call):
        return chain(node.func) in _CONSTANT_NAMES and all(
            _constant_expression(a, statement) for a in [*node.args, *(k.value for k in node.keywords)]
        )
    if isinstance(node, (ast.Constant, ast.Name)):
        return True
    if isinstance(node, (ast.Attribute, ast.BinOp, ast.UnaryOp, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Compare)):
        inner = [c for c in ast.iter_child_nodes(node) if isinstance(c, ast.expr)]
        return all(_constant_expression(c, statement) for c in inner)
    if isinstance(node, (ast.JoinedStr, ast.FormattedValue, ast.IfExp, ast.BoolOp, ast.Starred, ast.Subscript)):
        inner = [c for c in ast.iter_child_nodes(node) if isinstance(c, ast.expr)]
        return all(_constant_expression(c, statement) for c in inner)
    return False


_CONSTANT_NAMES = _CONSTANT_CALLS | {path.rpartition(".")[2] for path in _CONSTANT_CALLS}


def _only_shows(node: ast.expr) -> bool:
    """A value shown at the end of a cell, a docstring, a print."""
    if isinstance(node, ast.Call):
        return chain(node.func) in ("print", "display")
    return not any(isinstance(n, (ast.Call, ast.Await, ast.NamedExpr)) for n in ast.walk(node))
