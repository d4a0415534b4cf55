"""Functions that read parameters of the pipeline become plain functions with arguments.

In a notebook a helper reads `LEARNING_RATE` from the cell above it. Left as it is, it must be defined inside of the
step's function. Where every use of it is a call, it can stand at the top of the file, take what it reads as keyword
arguments, and be tested by itself; its callers pass them on. This is what people do by hand when a notebook becomes a
package.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from nb2pipe.dataflow.machine import BUILTINS
from nb2pipe.pipeline.model import Fragment, Pipeline, Step

if TYPE_CHECKING:
    import libcst as cst

TAKES, PASSES = "takes parameters of the pipeline as arguments", "passes parameters of the pipeline on"
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SEES_ITS_NAMES = {"locals", "vars", "dir", "eval", "exec", "globals"}
"""Functions to which it makes a difference what is an argument."""

ANNOTATIONS = ("int", "float", "str", "bool", "list", "dict")


def lifted(pipeline: Pipeline) -> Pipeline:
    """The pipeline with helper functions that take parameters as arguments, where that keeps their meaning."""
    types = {p.name: p.type if p.type in ANNOTATIONS else "" for p in pipeline.parameters}
    return replace(pipeline, steps=tuple(_lifted_step(step, types) for step in pipeline.steps))


def _lifted_step(step: Step, types: Mapping[str, str]) -> Step:
    if step.form != "function" or not step.parameters:
        return step
    functions = _liftable(_split(step, None))
    if not functions:
        return step
    step = _split(step, functions)
    moved = [f for f in (*step.setup, *step.body) if _defines(f) in functions]
    kept = {name: tuple(f for f in getattr(step, name) if f not in moved) for name in ("setup", "body")}
    rewrite = _Rewrite(functions, types)
    return replace(
        step,
        definitions=tuple(rewrite.fragment(f) for f in sorted([*step.definitions, *moved], key=_place)),
        setup=tuple(map(rewrite.fragment, kept["setup"])),
        body=tuple(map(rewrite.fragment, kept["body"])),
    )


def _place(fragment: Fragment) -> tuple[int, int]:
    return fragment.cell, fragment.line


def _split(step: Step, names: Collection[str] | None) -> Step:
    """The step with each of the named functions (None: every function) in a fragment of its own."""
    setup = tuple(part for fragment in step.setup for part in _parts(fragment, names))
    body = tuple(part for fragment in step.body for part in _parts(fragment, names))
    return replace(step, setup=setup, body=body)


def _parts(fragment: Fragment, names: Collection[str] | None) -> list[Fragment]:
    nodes = [n for n in ast.parse(_text(fragment)).body if isinstance(n, DEFINITIONS)]
    cuts = [0]
    for node in nodes:
        if names is None or node.name in names:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1
            while first > cuts[-1] and fragment.lines[first - 1].startswith("#"):
                first -= 1
            cuts += [first, node.end_lineno or node.lineno]
    cuts.append(len(fragment.lines))
    ranges = [(a, b) for a, b in pairwise(cuts) if any(line.strip() for line in fragment.lines[a:b])]
    return [_cut(fragment, start, stop) for start, stop in ranges] if len(ranges) > 1 else [fragment]


def _cut(fragment: Fragment, start: int, stop: int) -> Fragment:
    """The lines `start` to `stop` of a fragment."""
    inside = range(start, stop)
    last = stop == len(fragment.lines)
    lines = fragment.lines[start:stop]
    return replace(
        fragment,
        line=fragment.line + start,
        lines=lines,
        raw=frozenset(i - start for i in fragment.raw if i in inside),
        changes=tuple((i - start, why) for i, why in fragment.changes if i in inside),
        added=tuple((i - start, new, why) for i, new, why in fragment.added if i in inside or (last and i == stop)),
        moved=frozenset(i - start for i in fragment.moved if i in inside),
        names=tuple(sorted({n.name for n in ast.parse("\n".join(lines)).body if isinstance(n, DEFINITIONS)})),
    )


# --- which functions, and what they take ------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Function:
    """A function that stands alone in a fragment: the names from outside that it reads."""

    name: str
    reads: frozenset[str]


def _liftable(step: Step) -> dict[str, tuple[str, ...]]:
    """The functions inside of the step's function that may leave it, each with the parameters that it is to take."""
    inside = [*step.setup, *step.body]
    trees = [ast.parse(_text(f)) for f in (*step.definitions, *inside)]
    found = {f.name: f for f in map(_function, inside) if f is not None and _only_called(f.name, trees)}
    found = {name: f for name, f in found.items() if name not in {o.name for o in step.outputs}}
    outer = {n for f in (*step.imports, *step.definitions) for n in f.names} | set(step.shared) | BUILTINS
    parameters = set(step.parameters) - _rebound(trees)
    while True:
        good = {n: f for n, f in found.items() if f.reads <= (outer | parameters | set(found)) - SEES_ITS_NAMES}
        if len(good) == len(found):
            break
        found = good
    takes = {name: function.reads & parameters for name, function in found.items()}
    for _ in found:  # what a function calls, it must be able to pass on
        takes = {n: takes[n].union(*(takes[g] for g in found[n].reads & set(found))) for n in found}
    return {name: tuple(p for p in step.parameters if p in taken) for name, taken in takes.items() if taken}


def _text(fragment: Fragment) -> str:
    return "\n".join(fragment.lines)


def _defines(fragment: Fragment) -> str:
    """The name of the function that is all of a fragment, "" if there is more or less in it."""
    body = ast.parse(_text(fragment)).body
    only = body[0] if len(body) == 1 else None
    return only.name if isinstance(only, DEFINITIONS) else ""


def _function(fragment: Fragment) -> _Function | None:
    """The function of a fragment, if nothing of it happens before it is called."""
    if not _defines(fragment) or fragment.added:
        return None
    node = ast.parse(_text(fragment)).body[0]
    assert isinstance(node, DEFINITIONS)
    defaults = [d for d in (*node.args.defaults, *node.args.kw_defaults) if d is not None]
    early = [*defaults, *_annotations(node)]
    if node.decorator_list or any(isinstance(n, ast.Name) for d in early for n in ast.walk(d)):
        return None
    table = symtable.symtable(_text(fragment), fragment.lines[0], "exec").get_children()[0]
    return _Function(node.name, frozenset(_outer_reads(table)))


def _annotations(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr]:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    more = [a for a in (node.args.vararg, node.args.kwarg) if a is not None]
    return [a.annotation for a in (*arguments, *more) if a.annotation] + ([node.returns] if node.returns else [])


def _outer_reads(table: symtable.SymbolTable) -> Iterable[str]:
    yield from (s.get_name() for s in table.get_symbols() if s.is_global())
    for child in table.get_children():
        yield from _outer_reads(child)


def _only_called(name: str, trees: Iterable[ast.Module]) -> bool:
    """Whether `name` is bound by one definition, and used in nothing but calls."""
    uses = calls = definitions = 0
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Name) and node.id == name:
            uses += 1
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            calls += 1
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name == name:
            definitions += 1
        elif _binds(node, name):
            return False
    return definitions == 1 and uses == calls


def _binds(node: ast.AST, name: str) -> bool:
    """Whether a node other than a name or a definition binds `name`."""
    if isinstance(node, (ast.Global, ast.Nonlocal)):
        return name in node.names
    if isinstance(node, ast.alias):
        return (node.asname or node.name.partition(".")[0]) == name
    bound = getattr(node, "arg", None) if isinstance(node, ast.arg) else getattr(node, "name", None)
    return bound == name


def _rebound(trees: Iterable[ast.Module]) -> set[str]:
    """The names that are assigned anywhere, or that something other than a plain name binds."""
    found: set[str] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            found.update(node.names)
        elif isinstance(getattr(node, "name", None), str):
            found.add(getattr(node, "name", ""))
    return found


# --- the rewrite ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Rewrite:
    """Gives lifted functions their arguments, and calls of them what to pass."""

    functions: Mapping[str, tuple[str, ...]]
    types: Mapping[str, str]

    def fragment(self, fragment: Fragment) -> Fragment:
        """The fragment with the same lines, but for those that take or pass parameters."""
        text = _text(fragment)
        if not any(name in text for name in self.functions):
            return fragment
        import libcst as cst

        lines = tuple(cst.parse_module(text).visit(self._transformer()).code.split("\n"))
        assert len(lines) == len(fragment.lines)
        lifted = _defines(fragment) in self.functions
        changed = [i for i, (old, new) in enumerate(zip(fragment.lines, lines, strict=True)) if old != new]
        reasons = {i: TAKES if lifted and i == changed[0] else PASSES for i in changed}
        return replace(fragment, lines=lines, changes=tuple(sorted({**dict(fragment.changes), **reasons}.items())))

    def _transformer(self) -> cst.CSTTransformer:
        import libcst as cst

        functions, types = self.functions, self.types

        class Transformer(cst.CSTTransformer):
            def leave_FunctionDef(self, original: cst.FunctionDef, updated: cst.FunctionDef) -> cst.FunctionDef:
                wanted = functions.get(updated.name.value, ())
                return (
                    updated.with_changes(params=_with_parameters(updated.params, wanted, types)) if wanted else updated
                )

            def leave_Call(self, original: cst.Call, updated: cst.Call) -> cst.Call:
                wanted = functions.get(updated.func.value, ()) if isinstance(updated.func, cst.Name) else ()
                return updated.with_changes(args=_with_arguments(updated.args, wanted)) if wanted else updated

        return Transformer()


def _with_parameters(given: cst.Parameters, names: Iterable[str], types: Mapping[str, str]) -> cst.Parameters:
    """The parameters of a function with keyword-only ones more."""
    import libcst as cst

    def annotation(name: str) -> cst.Annotation | None:
        return cst.Annotation(cst.Name(types[name])) if types[name] else None

    more = [cst.Param(cst.Name(name), annotation(name)) for name in names]
    star = given.star_arg if isinstance(given.star_arg, (cst.Param, cst.ParamStar)) else cst.ParamStar()
    return given.with_changes(star_arg=star, kwonly_params=[*given.kwonly_params, *more])


def _with_arguments(given: Iterable[cst.Arg], names: Iterable[str]) -> list[cst.Arg]:
    """The arguments of a call with keyword arguments more."""
    import libcst as cst

    equal = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
    more = [cst.Arg(cst.Name(name), keyword=cst.Name(name), equal=equal) for name in names]
    return [*map(_in_brackets, given), *more]


def _in_brackets(argument: cst.Arg) -> cst.Arg:
    """A generator that is the only argument needs brackets when it no longer is."""
    import libcst as cst

    value = argument.value
    if isinstance(value, cst.GeneratorExp) and not value.lpar:
        return argument.with_changes(value=value.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()]))
    return argument
