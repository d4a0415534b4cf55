"""Abstract execution of statements."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from nb2pipe.dataflow.assignment import assign_target, delete_target, store
from nb2pipe.dataflow.contents import is_plain_class, rounds
from nb2pipe.dataflow.decorators import decorated, decorator, unstorable
from nb2pipe.dataflow.effects import apply_effect, elements
from nb2pipe.dataflow.events import WORKING_DIRECTORY, Place
from nb2pipe.dataflow.expressions import binary
from nb2pipe.dataflow.machine import UNBOUND, Bound, Frame, Machine
from nb2pipe.dataflow.properties import property_functions
from nb2pipe.dataflow.special import classes_of, library_base, touch
from nb2pipe.dataflow.stars import star_names
from nb2pipe.dataflow.summaries import FunctionFrame, class_members, define_function, peek
from nb2pipe.dataflow.values import IMMUTABLE, Def, Val, constant, join, typed

Executor = Callable[[Machine, Any], None]


def execute(m: Machine, body: Iterable[ast.stmt]) -> None:
    """Run statements in order; after one that leaves the block, nothing more is reached."""
    for statement in body:
        m.place = m.at(statement)
        executor = _EXECUTORS.get(type(statement), _unknown_syntax)
        executor(m, statement)


def _unknown_syntax(m: Machine, node: ast.stmt) -> None:
    """Syntax of a newer Python than this analysis was written for."""
    m.say("unknown-syntax", f"{type(node).__name__} is a statement that is not known here", m.at(node))


def _nothing(m: Machine, node: ast.stmt) -> None:
    """`pass`, and what only has a meaning for the scope around it."""


# --- simple statements ---------------------------------------------------------------------------------------------
def _expr(m: Machine, node: ast.Expr) -> None:
    m.evaluate(node.value)


def _assign(m: Machine, node: ast.Assign) -> None:
    val = _named_value(m, node)
    for target in node.targets:
        assign_target(m, target, val)


def _named_value(m: Machine, node: ast.Assign) -> Val:
    """A lambda that is given a name is a definition like any other."""
    if isinstance(node.value, ast.Lambda) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return define_function(m, node.value, node.targets[0].id)
    return m.evaluate(node.value)


def _ann_assign(m: Machine, node: ast.AnnAssign) -> None:
    if not m.shared.future_annotations and not isinstance(m.frame, FunctionFrame):
        m.evaluate(node.annotation)
    if node.value is not None:
        assign_target(m, node.target, m.evaluate(node.value))


def _aug_assign(m: Machine, node: ast.AugAssign) -> None:
    place = m.at(node)
    if not isinstance(node.target, ast.Name):
        val = m.evaluate(node.value)
        m.mutate(m.evaluate(node.target).objs, place)
        store(m, node.target, val, place)
        return
    before = m.read(node.target.id, place)
    val = m.evaluate(node.value)
    after = binary(m, node.op, before, val)
    if before.objs and before.type not in IMMUTABLE and before.type != "builtins.tuple":
        m.mutate(before.objs, place)
        for index in before.objs:
            for part in m.heap.elements(val.objs):
                m.heap.hold(index, part)
        after = Val(before.objs, before.type, cls=before.cls)
    m.assign(node.target.id, after, place)


def _delete(m: Machine, node: ast.Delete) -> None:
    for target in node.targets:
        delete_target(m, target)


def _return(m: Machine, node: ast.Return) -> None:
    m.frame.returns.append(m.evaluate(node.value) if node.value else constant(None))
    m.frame.ended = True


def _raise(m: Machine, node: ast.Raise) -> None:
    for part in (node.exc, node.cause):
        if part is not None:
            m.record.raised |= m.evaluate(part).objs
    m.frame.ended = True


def _assert(m: Machine, node: ast.Assert) -> None:
    touch(m, [m.evaluate(node.test)], m.at(node))
    if node.msg is not None:
        m.maybe += 1
        m.evaluate(node.msg)
        m.maybe -= 1


# --- imports and definitions ---------------------------------------------------------------------------------------
def _import(m: Machine, node: ast.Import) -> None:
    for alias in node.names:
        ref = alias.name if alias.asname else alias.name.partition(".")[0]
        _imported(m, alias.name, m.at(node))
        before = m.frame.find(alias.asname or ref)
        m.assign(alias.asname or ref, Val(ref=ref), m.at(node))
        if "." in alias.name and not alias.asname and before is not None and before.val.ref == ref:
            _add_submodule(m, ref, before)


def _imported(m: Machine, module: str, place: Place) -> None:
    """A module of the notebook's own runs where it is imported."""
    facts = m.shared.modules.get(module.partition(".")[0])
    for event in facts.on_import if facts is not None else ():
        m.channel(event.channel, event.use, place)


def _add_submodule(m: Machine, name: str, before: Bound) -> None:
    """`import a.b` after `import a.c`: the name `a` needs both statements."""
    bound = m.frame.find(name)
    assert bound is not None
    m.frame.set(name, Bound(bound.val, bound.binds | before.binds, bound.must))


def _import_from(m: Machine, node: ast.ImportFrom) -> None:
    module = "." * node.level + (node.module or "")
    if module == "__future__":
        m.shared.future_annotations |= any(a.name == "annotations" for a in node.names)
        return
    _imported(m, module, m.at(node))
    for alias in node.names:
        if alias.name == "*":
            _star_import(m, module, node)
        else:
            m.assign(alias.asname or alias.name, Val(ref=f"{module}.{alias.name}"), m.at(node))


def _star_import(m: Machine, module: str, node: ast.ImportFrom) -> None:
    own = m.shared.modules.get(module.partition(".")[0])
    names = own.names.get(module) if own is not None else star_names(module)
    if names is None:
        m.record.stars.setdefault(module, m.at(node))
        message = f"which names `from {module} import *` binds is not known, so no other step could be given them"
        m.say("unknown-star-import", message, m.at(node))
        return
    for name in names:
        m.assign(name, Val(ref=f"{module}.{name}"), m.at(node))


def _function(m: Machine, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    decorators = [decorator(m, d) for d in node.decorator_list]
    defined = define_function(m, node, node.name)
    defined.defs[0].by_name = next(filter(None, (unstorable(m, d) for d in node.decorator_list)), "")
    val = decorated(m, decorators, defined, node)
    m.assign(node.name, val, m.at(node))
    if val.objs:
        m.frame.closures += [(o, frozenset(_names_in(node))) for o in val.objs]


def _names_in(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _class(m: Machine, node: ast.ClassDef) -> None:
    bases = [m.evaluate(b) for b in node.bases]
    keywords = {k.arg: m.evaluate(k.value) for k in node.keywords}
    decorators = [decorator(m, d) for d in node.decorator_list]
    made = Def(node.name, node, m.cell)
    made.bases = tuple(d for b in bases for d in b.defs if isinstance(d.node, ast.ClassDef))
    made.library_bases = tuple(m.tables.canonical(b.ref) for b in bases if b.ref)
    made.metaclasses = keywords.get("metaclass", Val()).defs
    made.methods = _class_body(m, node, made)
    m.record.defined.append(made)
    for maker in made.metaclasses:
        m.heap.hold(m.heap.definition(made), m.heap.definition(maker))
    m.shared.special.update(dict.fromkeys(made.special_methods()))
    if library_base(made) is not None:
        m.shared.subclasses[made] = None
    for name, method in made.methods.items():
        m.shared.methods.setdefault(name, []).append(method)
    objs = frozenset([m.heap.definitions[made]]) if made in m.heap.definitions else frozenset()
    m.assign(node.name, decorated(m, decorators, Val(objs, "class", defs=(made,)), node), m.at(node))


class ClassFrame(Frame):
    """The scope of a class body: not visible to the functions and comprehensions in it."""

    def __init__(self, around: Machine) -> None:
        super().__init__()
        self.around: Machine = around

    def find(self, name: str) -> Bound | None:
        if self.hidden:
            inner = self.layers[min(self.hidden) :]
            return next((layer[name] for layer in reversed(inner) if name in layer), None)
        return super().find(name)

    def outside(self, name: str) -> Bound | None:
        return peek(self.around, name)


def _class_body(m: Machine, node: ast.ClassDef, made: Def) -> dict[str, Def]:
    frame = ClassFrame(m)
    inner = Machine(m.tables, frame, m.heap, m.shared)
    inner.cell, inner.lines, inner.place, inner.bind, inner.maybe = m.cell, m.lines, m.place, m.bind, m.maybe
    inner.execute(node.body)
    for name, place in inner.outside_reads.items():
        m.read(name, place)
    m.record.class_rebinds |= {n for n in inner.outside_reads if n in frame.env}
    _take_over(m, inner)
    members, names = class_members(m, node, frame)
    made.properties = property_functions(inner, node)
    for (name, use), function in made.properties.items():
        m.shared.properties.setdefault(use, []).append((name, function))
    for method in inner.record.defined:
        method.owner = method.owner or made
    fields = dict(f for n in node.body if isinstance(n, ast.AnnAssign) and (f := _factory(n)) is not None)
    makers = [inner.evaluate(f) for f in fields.values()]
    if not made.bases and not made.library_bases and is_plain_class(node):
        made.literals = {n: b.val for n in sorted(names - set(members)) if (b := frame.find(n)) and _is_literal(b)}
        m.shared.with_literals.append(made)
    made.factories = tuple(Val(ref=f.ref, defs=f.defs) for f in makers)
    kept = sorted(names - set(members) - set(fields))  # what a field's default makes belongs to each instance
    attributes = [b.val.objs for n in kept if (b := frame.find(n)) is not None]
    attributes.append(frozenset(m.heap.definition(f) for f in members.values() if f.captures or f.owner is not made))
    for part in frozenset().union(*attributes):
        m.heap.hold(m.heap.definition(made), part)
    return members


def _is_literal(bound: Bound) -> bool:
    return bound.must and bound.val.is_const and not bound.val.objs


def _factory(field: ast.AnnAssign) -> tuple[str, ast.expr] | None:
    """A dataclass's field and what makes its default: `x: list = field(default_factory=list)`."""
    if not isinstance(field.value, ast.Call) or not isinstance(field.target, ast.Name):
        return None
    made = next((k.value for k in field.value.keywords if k.arg in ("default_factory", "factory")), None)
    return None if made is None else (field.target.id, made)


def _take_over(m: Machine, inner: Machine) -> None:
    mine, its = m.record, inner.record
    mine.mutated.update({k: v for k, v in its.mutated.items() if k not in mine.mutated})
    mine.channels += its.channels
    mine.files += its.files
    mine.findings += its.findings
    mine.undefined.update(its.undefined)
    mine.builtins |= its.builtins
    mine.defined += its.defined
    mine.compared |= its.compared
    mine.equalled |= its.equalled
    mine.raised |= its.raised
    mine.dynamic |= its.dynamic
    mine.shown = {**its.shown, **mine.shown}


# --- compound statements ---------------------------------------------------------------------------------------------
def _block(m: Machine, body: list[ast.stmt]) -> tuple[dict[str, Bound], bool]:
    """Run a branch; what it binds and whether it leaves the function or the notebook."""
    before, m.frame.ended = m.frame.ended, False
    with m.frame.layer() as branch:
        execute(m, body)
    ended, m.frame.ended = m.frame.ended, before
    return branch, ended


def _join(m: Machine, branches: list[tuple[dict[str, Bound], bool]]) -> None:
    going_on = [b for b, ended in branches if not ended]
    if not going_on:
        m.frame.ended = True
    m.frame.merge(going_on or [b for b, _ in branches])


def _if(m: Machine, node: ast.If) -> None:
    test = m.evaluate(node.test)
    touch(m, [test], m.at(node))
    if _is_main_guard(node.test) or (test.is_const and test.const is True):
        execute(m, node.body)
        return
    m.maybe += 1
    before, m.found = m.found, _found_file(m, node.test)
    branches = [_block(m, node.body)]
    m.found = before
    branches.append(_block(m, node.orelse))
    m.maybe -= 1
    _join(m, branches)


def _found_file(m: Machine, test: ast.expr) -> tuple[str, int] | None:
    """The file that `if os.path.exists(path):` asks for and nothing else."""
    last = m.record.files[-1] if m.record.files else None
    if last is None or last.use != "probe" or last.path is None or last.place != m.at(test):
        return None
    return (last.path, m.maybe) if _is_existence(test) else None


def _is_existence(test: ast.expr) -> bool:
    if not isinstance(test, ast.Call) or any(isinstance(n, ast.Call) for a in test.args for n in ast.walk(a)):
        return False
    return ast.unparse(test.func).rpartition(".")[2] in ("exists", "lexists", "isfile", "is_file", "isdir", "is_dir")


def _is_main_guard(test: ast.expr) -> bool:
    return ast.dump(test) == _GUARD


_GUARD = ast.dump(ast.parse("__name__ == '__main__'", mode="eval").body)


def _loop(m: Machine, body: list[ast.stmt], bind: Callable[[], None], orelse: list[ast.stmt], *, runs: bool) -> None:
    """A loop body is run twice, so that what one round leaves is seen by the next."""
    before, m.frame.ended = m.frame.ended, False
    m.maybe += 0 if runs else 1
    for _ in range(2):
        with m.frame.loop() as left, m.frame.layer() as branch:
            bind()
            execute(m, body)
        rounds = left if m.frame.ended and left else [*left, branch]
        m.frame.ended = False
        m.frame.merge(rounds if runs else [*rounds, {}])
    m.maybe -= 0 if runs else 1
    m.frame.ended = before
    if orelse:
        _join(m, [_block(m, orelse), ({}, False)])


def _for(m: Machine, node: ast.For | ast.AsyncFor) -> None:
    source = m.evaluate(node.iter)
    one_by_one = rounds(m, node, source)
    if one_by_one is not None:
        _unrolled(m, node, one_by_one)
        return
    _loop(
        m,
        node.body,
        lambda: assign_target(m, node.target, elements(m, source)),
        node.orelse,
        runs=_never_empty(node.iter, source),
    )


def _unrolled(m: Machine, node: ast.For | ast.AsyncFor, values: list[Val]) -> None:
    """A loop whose rounds are known is what it does round after round."""
    m.unrolled *= len(values)
    for val in values:
        assign_target(m, node.target, val)
        execute(m, node.body)
    m.unrolled //= len(values)
    execute(m, node.orelse)


def _leave(m: Machine, node: ast.Break | ast.Continue) -> None:
    m.frame.leave()


def _never_empty(node: ast.expr, source: Val) -> bool:
    if source.items:
        return True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        numbers = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, int)]
        return len(numbers) == len(node.args) and len(range(*numbers)) > 0 if numbers else False
    return False


def _while(m: Machine, node: ast.While) -> None:
    test = m.evaluate(node.test)
    _loop(m, node.body, lambda: None, node.orelse, runs=test.is_const and test.const is True)
    m.evaluate(node.test)


def _with(m: Machine, node: ast.With | ast.AsyncWith) -> None:
    swallows = moves = False
    for item in node.items:
        val = m.evaluate(item.context_expr)
        special = touch(m, [val], m.at(node))
        known = m.tables.method(val.type, "__enter__") if val.type else None
        if known:
            restoring = replace(known, sets=())  # what it sets for its block it puts back
            entered = apply_effect(m, restoring, val, [], {}, m.at(node))
        else:
            entered = _entered(m, val)
        if item.optional_vars is not None:
            assign_target(m, item.optional_vars, join([entered, special]) if special.objs else entered)
        swallows = swallows or _swallows(m, item.context_expr, val)
        moves = moves or val.type == "contextlib.chdir"
    if not swallows:
        execute(m, node.body)
        _moved_back(m, node, moves=moves)
        return
    m.maybe += 1
    with m.frame.trail() as trail:
        body, ended = _block(m, node.body)
    m.maybe -= 1
    _join(m, [(body, ended), (_left_anywhere(m, trail), False)])
    _moved_back(m, node, moves=moves)


def _moved_back(m: Machine, node: ast.With | ast.AsyncWith, *, moves: bool) -> None:
    """The end of `with contextlib.chdir(...)`."""
    if moves:
        m.channel(WORKING_DIRECTORY, "back", m.at(node))


def _swallows(m: Machine, node: ast.expr, val: Val) -> bool:
    """Whether a context manager may end its block at an exception and go on behind it."""
    if val.type == "contextlib.suppress":
        return True
    exits = [own.node for c in classes_of(m, val) if (own := c.method("__exit__")) is not None]
    if any(_returns_true(n) for n in exits):
        return True
    callee = peek(m, node.func.id) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
    made = [d.node for d in callee.val.defs] if callee is not None else []
    return any(isinstance(n, ast.Try) and n.handlers for d in made for n in ast.walk(d))


def _returns_true(node: ast.AST) -> bool:
    values = [n.value for n in ast.walk(node) if isinstance(n, ast.Return) and n.value is not None]
    return any(not (isinstance(v, ast.Constant) and not v.value) for v in values)


def _entered(m: Machine, val: Val) -> Val:
    return Val(val.objs | m.heap.elements(val.objs), val.type, cls=val.cls)


def _try(m: Machine, node: Any) -> None:
    m.maybe += 1
    with m.frame.trail() as trail:
        body, ended = _block(m, node.body)
    started = _left_anywhere(m, trail)
    branches = [_followed(m, body, ended, node.orelse)]
    branches += [_handled(m, started, handler) for handler in node.handlers]
    m.maybe -= 1
    _join(m, branches)
    execute(m, node.finalbody)


def _left_anywhere(m: Machine, trail: Mapping[str, list[Bound]]) -> dict[str, Bound]:
    """What names may be when the code that binds them is left at any point."""
    found: dict[str, Bound] = {}
    for name, bounds in trail.items():
        several = [m.frame.find(name) or UNBOUND, *bounds]
        present = [b for b in several if b.binds or b.must] or several
        binds = frozenset().union(*(b.binds for b in several))
        found[name] = Bound(join([b.val for b in present]), binds, all(b.must for b in several))
    return found


def _followed(m: Machine, branch: dict[str, Bound], ended: bool, more: list[ast.stmt]) -> tuple[dict[str, Bound], bool]:
    before, m.frame.ended = m.frame.ended, ended
    with m.frame.layer() as layer:
        layer.update(branch)
        execute(m, more)
    ended, m.frame.ended = m.frame.ended, before
    return layer, ended


def _handled(m: Machine, started: dict[str, Bound], handler: ast.ExceptHandler) -> tuple[dict[str, Bound], bool]:
    if handler.type is not None:
        m.evaluate(handler.type)
    before, m.frame.ended = m.frame.ended, False
    with m.frame.layer() as layer:
        layer.update(started)
        if handler.name:
            m.assign(handler.name, m.unknown(m.record.raised), m.at(handler))
        execute(m, handler.body)
        if handler.name:
            m.delete(handler.name, m.at(handler))
    ended, m.frame.ended = m.frame.ended, before
    return layer, ended


def _match(m: Machine, node: ast.Match) -> None:
    subject = m.evaluate(node.subject)
    m.maybe += 1
    branches = []
    for case in node.cases:
        with m.frame.layer() as captured:
            _pattern(m, case.pattern, subject)
            if case.guard is not None:
                m.evaluate(case.guard)
        branches.append(_followed(m, captured, False, case.body))
    m.maybe -= 1
    last = node.cases[-1]
    if not (last.guard is None and isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None):
        branches.append(({}, False))
    _join(m, branches)


def _pattern(m: Machine, pattern: ast.pattern, subject: Val) -> None:
    parts = m.heap.elements(subject.objs)
    inside = Val(objs=subject.objs | parts)
    for child in ast.iter_child_nodes(pattern):
        if isinstance(child, ast.pattern):
            _pattern(m, child, inside)
        elif isinstance(child, ast.expr):
            m.evaluate(child)
    if isinstance(pattern, ast.MatchStar) and pattern.name:
        m.assign(pattern.name, m.fresh("builtins.list", inside.objs), m.at(pattern))
    elif isinstance(pattern, ast.MatchMapping) and pattern.rest:
        m.assign(pattern.rest, m.fresh("builtins.dict", parts), m.at(pattern))
    elif isinstance(pattern, ast.MatchAs) and pattern.name:
        m.assign(pattern.name, inside, m.at(pattern))


def _type_alias(m: Machine, node: Any) -> None:
    m.assign(node.name.id, typed("typing.TypeAliasType"), m.at(node))


_EXECUTORS: dict[type, Executor] = {
    ast.Expr: _expr,
    ast.Assign: _assign,
    ast.AnnAssign: _ann_assign,
    ast.AugAssign: _aug_assign,
    ast.Delete: _delete,
    ast.Return: _return,
    ast.Raise: _raise,
    ast.Assert: _assert,
    ast.Import: _import,
    ast.ImportFrom: _import_from,
    ast.FunctionDef: _function,
    ast.AsyncFunctionDef: _function,
    ast.ClassDef: _class,
    ast.If: _if,
    ast.For: _for,
    ast.AsyncFor: _for,
    ast.While: _while,
    ast.With: _with,
    ast.AsyncWith: _with,
    ast.Try: _try,
    ast.Match: _match,
    ast.Break: _leave,
    ast.Continue: _leave,
    **dict.fromkeys((ast.Pass, ast.Global, ast.Nonlocal), _nothing),
}
for _newer, _run in (("TryStar", _try), ("TypeAlias", _type_alias)):
    if hasattr(ast, _newer):
        _EXECUTORS[getattr(ast, _newer)] = _run
