"""Functions and classes: their code, their defaults and the values that they read from outside."""

from __future__ import annotations

import builtins
import dis
from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Any

from nb2pipe.verify.compare.outcome import EQUAL, Outcome, Within, different, said, worst

# A function of a cell reads globals where the same function inside a step's function reads a closure.
_SILENT = frozenset(["CACHE", "COPY_FREE_VARS", "EXTENDED_ARG", "MAKE_CELL", "NOP", "PRECALL", "PUSH_NULL", "RESUME"])
_OUTER = {
    "LOAD_GLOBAL": "LOAD",
    "LOAD_DEREF": "LOAD",
    "LOAD_CLASSDEREF": "LOAD",
    "LOAD_FROM_DICT_OR_DEREF": "LOAD",
    "LOAD_FROM_DICT_OR_GLOBALS": "LOAD",
    "LOAD_NAME": "LOAD",
    "STORE_GLOBAL": "STORE",
    "STORE_DEREF": "STORE",
    "STORE_NAME": "STORE",
    "DELETE_GLOBAL": "DELETE",
    "DELETE_DEREF": "DELETE",
    "DELETE_NAME": "DELETE",
}
_CLASS_OWN = frozenset(
    "__module__ __dict__ __weakref__ __doc__ __qualname__ __firstlineno__ __static_attributes__ __annotations__ "
    "__annotate__ __annotate_func__ __annotations_cache__ __abstractmethods__ _abc_impl __slotnames__ "
    "__parameters__ __orig_bases__ __match_args__ __dataclass_params__ __dataclass_fields__".split()
)


def compare_functions(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Two functions: what they do, their defaults, and the outer values that both have bound."""
    if a.__module__ == b.__module__ and a.__qualname__ == b.__qualname__ and within.is_library(a):
        return EQUAL
    return worst(_function(a, b, path, within))


def _function(a: Any, b: Any, path: str, within: Within) -> Iterator[Outcome]:
    yield compare_code(a.__code__, b.__code__, path, within)
    yield within(a.__defaults__, b.__defaults__, f"{path} defaults")
    yield within(a.__kwdefaults__, b.__kwdefaults__, f"{path} keyword defaults")
    mine, other = _outer_values(a), _outer_values(b)
    for name in sorted(mine.keys() & other.keys()):
        yield within(mine[name], other[name], f"{path} reads {name}")
    yield within(_attributes(a), _attributes(b), f"{path}.__dict__")


def _attributes(function: Any) -> dict[str, Any]:
    """What was set on the function; a wrapped function is compared, functools' cache is not."""
    return dict(vars(function))


def compare_code(a: CodeType, b: CodeType, path: str, within: Within) -> Outcome:
    """Two code objects, line numbers and file names aside."""
    for what in ("co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_varnames"):
        mine, other = getattr(a, what), getattr(b, what)
        if what == "co_varnames":
            count = a.co_argcount + a.co_kwonlyargcount
            mine, other = mine[:count], other[:count]
        if mine != other:
            return different(path, said(f"{what[3:]} {mine}"), said(f"{other}"))
    steps, others = _instructions(a), _instructions(b)
    for (name, value), (other_name, other_value) in zip(steps, others, strict=False):
        if name != other_name:
            return different(path, said(f"code {name} {_shown(value)}"), said(f"{other_name} {_shown(other_value)}"))
        found = _operand(value, other_value, path, within)
        if found.verdict == "different":
            return found
    if len(steps) != len(others):
        return different(path, said(f"code of {len(steps)} instructions"), said(f"{len(others)}"))
    return EQUAL


def _operand(value: Any, other: Any, path: str, within: Within) -> Outcome:
    if isinstance(value, CodeType) and isinstance(other, CodeType):
        return compare_code(value, other, f"{path}.{value.co_name}", within)
    return within(value, other, f"{path} code")


def _shown(value: Any) -> str:
    return value.co_name if isinstance(value, CodeType) else repr(value)


def _instructions(code: CodeType) -> list[tuple[str, Any]]:
    """The instructions with names for outer variables and relative places for jumps."""
    found: list[dis.Instruction] = []
    place: dict[int, int] = {}
    closure = False
    for instruction in dis.get_instructions(code):
        place[instruction.offset] = len(found)
        closure, builds = _loads_closure(instruction, code), closure and instruction.opname == "BUILD_TUPLE"
        if instruction.opname not in _SILENT and not closure and not builds and not _sets_closure(instruction):
            found.append(instruction)
    jumps = {*dis.hasjrel, *dis.hasjabs}
    return [_one(i, place, jumps) for i in found]


def _loads_closure(instruction: dis.Instruction, code: CodeType) -> bool:
    """Whether a variable itself, not its value, is loaded: to be given to a nested function."""
    names = instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)
    shared = {*code.co_cellvars, *code.co_freevars}
    fast = instruction.opname.startswith("LOAD_FAST") and all(name in shared for name in names)
    return fast or instruction.opname == "LOAD_CLOSURE"


def _sets_closure(instruction: dis.Instruction) -> bool:
    return instruction.opname == "SET_FUNCTION_ATTRIBUTE" and instruction.arg == 8


def _one(instruction: Any, place: Mapping[int, int], jumps: set[int]) -> tuple[str, Any]:
    name, value = instruction.opname, instruction.argval
    if instruction.opcode in jumps:
        return name, place.get(value)
    if name in ("LOAD_CONST", "RETURN_CONST") and isinstance(value, str) and ".<locals>." in value:
        value = value.rpartition(".<locals>.")[2]
    if name == "MAKE_FUNCTION":
        return name, (instruction.arg or 0) & ~8
    return _OUTER.get(name, name), value


def _outer_values(function: Any) -> dict[str, Any]:
    """The values that the function reads from outside, as far as they are bound now."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    values = {name: function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__}
    for name, cell in cells:
        try:
            values[name] = cell.cell_contents
        except ValueError:
            continue
    return values


def _names(code: CodeType) -> set[str]:
    """The global names in the code and in what is nested in it, builtins aside."""
    nested = [const for const in code.co_consts if isinstance(const, CodeType)]
    loads = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return {name for name in loads if not hasattr(builtins, name)}.union(*map(_names, nested))


def compare_methods(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Bound methods: the object and the function."""
    return worst(within(getattr(a, part), getattr(b, part), f"{path}.{part}") for part in ("__func__", "__self__"))


def compare_classes(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Two classes: the same one of a library, or the same bases and members of the notebook's own."""
    if a is b:
        return EQUAL
    if a.__name__ != b.__name__ or within.is_library(a) or within.is_library(b):
        return different(path, a, b)
    return worst(_class(a, b, path, within))


def _class(a: Any, b: Any, path: str, within: Within) -> Iterator[Outcome]:
    yield within(list(a.__bases__), list(b.__bases__), f"{path} bases")
    mine, other = ({k: v for k, v in vars(c).items() if k not in _CLASS_OWN} for c in (a, b))
    gone = sorted(mine.keys() ^ other.keys())
    if gone:
        yield different(path, said(f"members {sorted(mine)}"), said(f"{sorted(other)}"))
    for name in mine:
        if not _is_descriptor(mine[name]):
            yield within(_plain(mine[name]), _plain(other[name]), f"{path}.{name}")


def _is_descriptor(value: object) -> bool:
    return type(value).__name__ in ("member_descriptor", "getset_descriptor")


def _plain(value: Any) -> Any:
    """The function in a static method, a class method or a property."""
    if isinstance(value, (staticmethod, classmethod)):
        return value.__func__
    return (value.fget, value.fset, value.fdel) if isinstance(value, property) else value


def compare_modules(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Modules, by name."""
    return EQUAL if a.__name__ == b.__name__ else different(path, a.__name__, b.__name__)
