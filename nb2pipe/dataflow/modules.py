"""Modules that are files of the notebook's own: written by `%%writefile`, or lying beside the notebook."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nb2pipe.dataflow.events import ChannelEvent, ModuleFacts
from nb2pipe.dataflow.forward import Forward
from nb2pipe.dataflow.machine import Record
from nb2pipe.dataflow.model import Statement
from nb2pipe.dataflow.paths import located
from nb2pipe.dataflow.stars import written_names
from nb2pipe.dataflow.summaries import mention
from nb2pipe.dataflow.tables import Tables
from nb2pipe.dataflow.values import Def, Val
from nb2pipe.notebook.model import Cell, PyCell

_LARGEST = 1_000_000
"""Bytes up to which a file beside the notebook is taken for a module's source."""

_TAKEN = frozenset({"pipeline", "tests", "conftest", "jobs", "kfp", "pytest"})
"""Names at the top of a project that no module may take."""


@dataclass(frozen=True, slots=True)
class Modules:
    """The texts of module files by path, and the statements that write those that a cell writes."""

    texts: Mapping[str, str]
    writers: Mapping[str, tuple[Statement, ...]]

    def roots(self) -> dict[str, str]:
        """The path of one file of each importable module or package, by its name."""
        return {root_of(path): path for path in self.texts}


def root_of(path: str) -> str:
    """The name by which the module or the package that a file is in is imported.

    >>> root_of("helper.py"), root_of("pkg/part.py")
    ('helper', 'pkg')
    """
    return path.partition("/")[0].removesuffix(".py")


def imported(nodes: Iterable[ast.AST]) -> set[str]:
    """The modules that code imports, dotted; relative imports are of the module's own package."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module)
    return found


def own_modules(statements: Sequence[Statement], cells: Mapping[int, PyCell], here: Path) -> Modules:
    """The modules that the notebook's code imports and that a cell of it writes, or that lie in the folder `here`."""
    writers: dict[str, list[Statement]] = {}
    for statement in statements:
        path = written_module(statement, cells[statement.cell])
        if path is not None and statement.role != "skip":
            writers.setdefault(path, []).append(statement)
    texts: dict[str, str] = {}
    todo = sorted({m.partition(".")[0] for s in statements if s.role != "skip" for m in imported(s.nodes)})
    seen: set[str] = set()
    while todo:
        root = todo.pop()
        if root in seen or root in _TAKEN:
            continue
        seen.add(root)
        found = {p: _text(w[-1]) for p, w in writers.items() if root_of(p) == root} or _beside(here, root)
        trees = [tree for text in found.values() if (tree := _parsed(text)) is not None]
        if len(trees) == len(found):
            texts.update(found)
            todo += [m.partition(".")[0] for tree in trees for m in imported(ast.walk(tree))]
    return Modules(texts, {p: tuple(w) for p, w in writers.items() if p in texts})


def written_module(statement: Statement, cell: PyCell) -> str | None:
    """The path of the module file that a `%%writefile` writes as a whole, None when the statement is none."""
    node = statement.node
    call = node.value if isinstance(node, ast.Expr) else None
    if not cell.files or not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return None
    path = located(cell.files[0]).path
    known = call.func.attr == "write_text" and len(call.args) == 1 and isinstance(call.args[0], ast.Constant)
    inside = path.endswith(".py") and ".." not in path and not located(path).fixed
    importable = all(part.isidentifier() for part in path.removesuffix(".py").split("/"))
    return path if known and inside and importable else None


def _text(statement: Statement) -> str:
    value: str = statement.node.value.args[0].value  # type: ignore[attr-defined]
    return value


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _beside(here: Path, root: str) -> dict[str, str]:
    """The sources of a module, or of a package, in the notebook's folder."""
    if not root.isidentifier():
        return {}
    single, package = here / f"{root}.py", here / root / "__init__.py"
    paths = sorted((here / root).rglob("*.py")) if package.is_file() else [single] if single.is_file() else []
    if any(p.stat().st_size > _LARGEST for p in paths):
        return {}
    return {p.relative_to(here).as_posix(): p.read_text(encoding="utf-8", errors="replace") for p in paths}


def accepted(modules: Modules, statements: Sequence[Statement]) -> dict[str, str]:
    """The module files that can be files of the project: those of which one text holds wherever they are imported."""
    return {p: text for p, text in modules.texts.items() if _holds(p, modules.writers.get(p, ()), statements)}


def _holds(path: str, writers: Sequence[Statement], statements: Sequence[Statement]) -> bool:
    if len({_text(w) for w in writers}) > 1:
        return False
    others = [s for s in statements if s not in writers]
    changed = any(
        f.use in ("write", "remove") and f.path is not None and located(f.path).path == path
        for s in others
        for f in s.record.files
    )
    first = min((w.index for w in writers), default=-1)
    root = root_of(path)
    early = any(s.index < first and root in {m.partition(".")[0] for m in imported(s.nodes)} for s in others)
    return not changed and not early


# --- what they do -----------------------------------------------------------------------------------------------------
def module_facts(texts: Mapping[str, str], tables: Tables) -> dict[str, ModuleFacts]:
    """What importing each module, and calling what it defines, does beyond values, by the module's name."""
    found: dict[str, ModuleFacts] = {}
    for path, text in texts.items():
        facts, before = _facts(path, text, tables), found.get(root_of(path), ModuleFacts())
        found[root_of(path)] = ModuleFacts(
            (*before.on_import, *facts.on_import),
            (*before.on_call, *facts.on_call),
            (*before.files, *facts.files),
            before.stateful or facts.stateful,
            {**before.names, **facts.names},
            {**before.variables, **facts.variables},
            {**before.constants, **facts.constants},
            {**before.aliases, **facts.aliases},
        )
    return found


def _facts(path: str, text: str, tables: Tables) -> ModuleFacts:
    lines = tuple(text.split("\n"))
    cell = PyCell(Cell(0, "", "code", text), lines)
    forward = Forward({0: cell}, tables, ())
    on_import: list[ChannelEvent] = []
    called = Record()
    stateful = False
    for index, node in enumerate(ast.parse(text).body):
        statement = Statement(index, 0, "shared", None, node, node.lineno, node.end_lineno or node.lineno)
        forward.run([statement])
        on_import += statement.record.channels
        stateful |= _called(forward, statement.record.defined, called)
    public = tuple(n for n in forward.frame.env if not n.startswith("_"))
    names = written_names(text) if "__all__" in forward.frame.env else public
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    bound = {f"{module}.{n}": v for n in forward.frame.env if (v := forward.value(n)) is not None}
    variables = {n: v.type for n, v in bound.items() if _can_change(v)} | _class_variables(forward, module)
    package = module if path.endswith("__init__.py") else module.rpartition(".")[0]
    constants = {n: v for n, v in bound.items() if v.is_const and not v.objs}
    aliases = {n: _absolute(package, v.ref) for n, v in bound.items() if v.ref is not None}
    return ModuleFacts(
        tuple(on_import),
        tuple(called.channels),
        tuple(called.files),
        stateful,
        {module: names},
        variables,
        constants,
        aliases,
    )


def _can_change(val: Val) -> bool:
    """Whether a module's variable is one in the sense of the word: neither a definition nor something imported."""
    return bool(val.objs) and not val.defs and val.ref is None


def _class_variables(forward: Forward, module: str) -> dict[str, str | None]:
    """What can change of what the bodies of a module's classes assign, by import path, with types."""
    found: dict[str, str | None] = {}
    classes = [d for v in map(forward.value, forward.frame.env) if v is not None for d in v.defs]
    for node in (d.node for d in classes if isinstance(d.node, ast.ClassDef)):
        assigned = [(n.targets[0], n.value) for n in node.body if isinstance(n, ast.Assign)]
        assigned += [(n.target, n.value) for n in node.body if isinstance(n, ast.AnnAssign) and n.value is not None]
        for target, value in assigned:
            if isinstance(target, ast.Name) and isinstance(value, (ast.Dict, ast.List, ast.Set, ast.Call)):
                val = forward.machine.evaluate(value)
                found |= {f"{module}.{node.name}.{target.id}": val.type} if _can_change(val) else {}
    return found


def _absolute(package: str, ref: str) -> str:
    """An import path that may be relative to `package`.

    >>> _absolute("pkg.sub", "..tools.rows"), _absolute("pkg", "numpy.mean")
    ('pkg.tools.rows', 'numpy.mean')
    """
    path = ref.lstrip(".")
    above = package.split(".")[: len(package.split(".")) + 1 - (len(ref) - len(path))]
    return ".".join([*above, path]) if path != ref else ref


def _called(forward: Forward, defined: Iterable[Def], called: Record) -> bool:
    """Note what the functions do when they are called; whether they change the module's own variables."""
    m = forward.machine
    names = set(forward.frame.env)
    before, m.record = m.record, Record()
    for made in defined:
        mention(m, Val(defs=(made,)), m.place)
    record, m.record = m.record, before
    called.channels += record.channels
    called.files += record.files
    held = {o for n in names if (b := forward.frame.find(n)) is not None for o in forward.heap.reach(b.val.objs)}
    classes = forward.heap.defined.keys() & record.patched.keys()
    return bool(record.written or classes or held & set(record.mutated))
