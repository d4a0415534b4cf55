"""The `parameters` cells -> Parameters with their search spaces and help."""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from nb2pipe.findings import Finding, finding
from nb2pipe.notebook.model import Layout, Parameter, PyCell, Search

SearchKind = Literal["loguniform", "uniform", "int", "logint", "choice"]
_TUNE = re.compile(r"\btune\s*:\s*(?P<spec>.*)$")
_STRAY = re.compile(r"#.*\btune\s*:\s*\w+\s*\(")
_COLAB = re.compile(r"@param\b\s*(?P<choices>\[[^\]]*\])?\s*(?P<form>\{[^}]*\})?")
_TYPES: Mapping[type, str] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    list: "list",
    dict: "dict",
    type(None): "None",
}
_SETTERS = (ast.Assign, ast.AnnAssign)


class _Bad(Exception):
    """A search space that cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A literal assignment of a parameters cell."""

    parameter: Parameter
    findings: tuple[Finding, ...]


def parameters(cells: Sequence[PyCell], layout: Layout) -> tuple[tuple[Parameter, ...], tuple[Finding, ...]]:
    """The parameters in order of their first assignment, and findings about search spaces and values.

    A parameter is a name that a `parameters` cell assigns a JSON literal at top level; the last such assignment wins.
    Other statements are nobody's parameter: they stay code. A cell that is not Python is passed over.
    """
    found: dict[str, Parameter] = {}
    findings: list[Finding] = []
    read: set[str] = set()
    for cell in cells:
        if layout.roles[cell.cell.index] != "parameters":
            findings += _stray_searches(cell)
            continue
        for item in _of_cell(cell, read, found):
            findings += item.findings
            found[item.parameter.name] = item.parameter
        findings += _not_passed(cell)
    return tuple(found.values()), tuple(findings)


def _stray_searches(cell: PyCell) -> Iterator[Finding]:
    if "tune" not in cell.cell.source:
        return
    for number, line in enumerate(cell.lines, 1):
        if _STRAY.search(line):
            index = cell.cell.index
            message = f"Cell {index} line {number} gives a search space, but the cell is not tagged `parameters`."
            yield finding("stray-search", message, cell=index, line=number)


def _parsed(cell: PyCell) -> list[ast.stmt]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(cell.text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _of_cell(cell: PyCell, read: set[str], before: Mapping[str, Parameter]) -> Iterator[_Found]:
    comments = _comments(cell.text)
    for statement in _parsed(cell):
        value = _literal(statement)
        if value is None:
            read |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
            continue
        for name in _names(statement):
            item = _parameter(cell, statement, name, value[0], comments)
            yield replace(item, findings=(*item.findings, *_reassigned(item.parameter, read, before)))


def _reassigned(new: Parameter, read: set[str], before: Mapping[str, Parameter]) -> Iterator[Finding]:
    """A run that changes the parameter could not give both values to the code between the assignments."""
    if new.name in read and new.name in before and before[new.name].default != new.default:
        message = f"The parameter {new.name} is read before cell {new.cell} line {new.line} gives it another value."
        yield finding("parameter-reassigned", message, cell=new.cell, line=new.line, name=new.name)


def _names(statement: ast.stmt) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    return names if len(names) == len(targets) else []


def _literal(statement: ast.stmt) -> tuple[Any] | None:
    """The JSON value that the statement assigns to plain names, in a tuple of one; None when it is anything else."""
    if not isinstance(statement, _SETTERS) or statement.value is None or not _names(statement):
        return None
    try:
        value = ast.literal_eval(statement.value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    return (value,) if _is_json(value) else None


def _is_json(value: object) -> bool:
    """Whether JSON gives back an equal value of the same types."""
    if isinstance(value, list):
        return all(_is_json(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(_is_json(item) for item in value.values())
    if isinstance(value, float):
        return math.isfinite(value)
    return type(value) in _TYPES and _encodable(value)


def _encodable(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:  # lone surrogates
        return False
    return True


def _not_passed(cell: PyCell) -> Iterator[Finding]:
    """Literals that JSON cannot carry: tuples, sets, bytes, dicts with keys that are no texts."""
    for statement in _parsed(cell):
        if not isinstance(statement, _SETTERS) or statement.value is None or _literal(statement) is not None:
            continue
        try:
            value = ast.literal_eval(statement.value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        for name in _names(statement):
            index, line = cell.cell.index, statement.lineno
            message = f"{name} (cell {index} line {line}) stays a constant: JSON cannot carry this {_kind(value)}."
            yield finding("not-a-parameter", message, cell=index, line=line, name=name)


def _kind(value: object) -> str:
    return (
        type(value).__name__
        if type(value) not in (list, dict, float, str)
        else f"{type(value).__name__} of these values"
    )


def _comments(text: str) -> dict[int, str]:
    """The comment of each line (from 1) that has one."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return {}
    return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}


def _parameter(cell: PyCell, statement: ast.stmt, name: str, value: Any, comments: Mapping[int, str]) -> _Found:
    index, line, last = cell.cell.index, statement.lineno, statement.end_lineno or statement.lineno
    node = cast(ast.Assign, statement).value
    comment = comments.get(last, "").lstrip("#").strip()
    above = comments.get(line - 1, "") if line > 1 and cell.lines[line - 2].lstrip().startswith("#") else ""
    parameter = Parameter(
        name=name,
        type=_TYPES[type(value)],
        default=value,
        source=ast.get_source_segment(cell.text, node) or repr(value),
        cell=index,
        line=line,
        help=_help(comment) or _help(above.lstrip("#").strip()),
    )
    try:
        parameter = replace(parameter, search=_search(comment, parameter))
    except _Bad as error:
        message = f"The search space of {name} (cell {index} line {last}) cannot be used: {error}."
        return _Found(parameter, (finding("bad-search", message, cell=index, line=last, name=name),))
    return _Found(parameter, tuple(_outside(parameter)))


def _help(comment: str) -> str:
    """The comment without search space, Colab form and papermill's type."""
    text = _COLAB.sub("", _TUNE.sub("", comment))
    text = re.sub(r"^\s*type:\s*\S+|^@title\b|^%%.*|^\|.*", "", text)
    return text.strip(" \t#;,-")


def _search(comment: str, parameter: Parameter) -> Search | None:
    tune = _TUNE.search(comment)
    if tune:
        search = _grammar(tune["spec"].strip())
        _fits(search, parameter)
        return search
    colab = _COLAB.search(comment)
    return _colab(colab, parameter) if colab else None


def _grammar(spec: str) -> Search:
    call = _call(spec)
    kind = call.func.id if isinstance(call.func, ast.Name) else ""
    if kind not in get_args(SearchKind):
        raise _Bad(f"{kind or spec!r} is none of {', '.join(get_args(SearchKind))}")
    try:
        values = [ast.literal_eval(argument) for argument in call.args]
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (ValueError, TypeError, SyntaxError):
        raise _Bad("its arguments are not literals") from None
    if kind == "choice":
        return _choice(values, named)
    return _range(cast(SearchKind, kind), values, named)


def _call(spec: str) -> ast.Call:
    """The call at the start of `spec`; words may follow it."""
    end = len(spec)
    while (end := spec.rfind(")", 0, end)) != -1:
        try:
            call = ast.parse(spec[: end + 1], mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        if isinstance(call, ast.Call):
            return call
    raise _Bad(f"{spec[:60]!r} is not like loguniform(1e-4, 1e-1)")


def _choice(values: list[Any], named: Mapping[str | None, Any]) -> Search:
    if len(values) == 1 and isinstance(values[0], (list, tuple)):
        values = list(values[0])
    if named or not values:
        raise _Bad("choice takes the values to choose from")
    if not all(_is_json(value) for value in values):
        raise _Bad("choice takes values that JSON can carry")
    return Search("choice", values=tuple(values))


def _range(kind: SearchKind, values: list[Any], named: Mapping[str | None, Any]) -> Search:
    if named and set(named) <= {"low", "high"}:
        values = [*values, *(named[key] for key in ("low", "high") if key in named)]
    elif named:
        raise _Bad(f"{kind} takes a low and a high bound")
    if len(values) != 2 or not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        raise _Bad(f"{kind} takes two numbers")
    low, high = values
    if not low < high:
        raise _Bad("the low bound is not below the high bound")
    if kind in ("int", "logint") and not all(isinstance(value, int) for value in values):
        raise _Bad(f"{kind} takes two whole numbers")
    if kind in ("loguniform", "logint") and low <= 0:
        raise _Bad("a logarithmic space begins above 0")
    return Search(kind, low, high)


def _fits(search: Search, parameter: Parameter) -> None:
    """A trial's values must be of the default's type, or the steps would be given what they were not written for."""
    wanted = {"int": ("int",), "logint": ("int",), "uniform": ("float",), "loguniform": ("float",)}.get(search.kind)
    if wanted is None:
        kinds = {_TYPES[type(value)] for value in search.values}
        if parameter.type != "None" and kinds - {parameter.type, "None"}:
            raise _Bad(f"the default is of type {parameter.type}, the choices of {', '.join(sorted(kinds))}")
    elif parameter.type not in (*wanted, "None"):
        way = f"; write the default as {float(parameter.default)!r}" if parameter.type == "int" else ""
        raise _Bad(f"{search.kind} gives {wanted[0]} values, the default is of type {parameter.type}{way}")


def _outside(parameter: Parameter) -> Iterator[Finding]:
    search, value = parameter.search, parameter.default
    if search is None or value is None:
        return
    if search.kind == "choice":
        inside = value in search.values
    else:
        inside = search.low is not None and search.high is not None and search.low <= value <= search.high
    if not inside:
        message = f"The default of {parameter.name} ({parameter.source}) lies outside its search space."
        yield finding("default-outside-search", message, cell=parameter.cell, line=parameter.line, name=parameter.name)


def _colab(match: re.Match[str], parameter: Parameter) -> Search | None:
    """Colab's form as a search space, when it is one that fits: a slider's range, a list's choices."""
    try:
        if match["choices"]:
            search = _choice(ast.literal_eval(match["choices"]), {})
        else:
            search = _slider(_form(match["form"] or ""), parameter)
        _fits(search, parameter)
    except (_Bad, ValueError, TypeError, SyntaxError):
        return None
    return search


def _form(text: str) -> dict[str, Any]:
    """Colab's `{type:"slider", min:0, max:10}`, whose keys are not quoted."""
    form = ast.literal_eval(re.sub(r"(?<=[{,])\s*([A-Za-z-]+)\s*:", r'"\1":', text))
    return form if isinstance(form, dict) else {}


def _slider(form: Mapping[str, Any], parameter: Parameter) -> Search:
    if form.get("type") != "slider":
        raise _Bad("no slider")
    kind: SearchKind = "int" if parameter.type == "int" else "uniform"
    return _range(kind, [form.get("min"), form.get("max")], {})
