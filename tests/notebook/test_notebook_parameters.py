"""Parameters: which assignments are some, their search spaces and help."""

from __future__ import annotations

from typing import Any

import pytest

from nb2pipe.notebook.model import Cell, Layout, Parameter, Search
from nb2pipe.notebook.parameters import parameters
from nb2pipe.notebook.surface import pythonize


def taken(*sources: str, roles: tuple[str, ...] = ()) -> tuple[dict[str, Parameter], list[str]]:
    cells = [pythonize(Cell(i, f"c{i}", "code", source)) for i, source in enumerate(sources)]
    layout = Layout(roles or ("parameters",) * len(sources), (), {})  # type: ignore[arg-type]
    found, findings = parameters(cells, layout)
    return {p.name: p for p in found}, [f.code for f in findings]


@pytest.mark.parametrize(
    ("source", "type_", "default"),
    [
        ("x = 1", "int", 1),
        ("x = -1", "int", -1),
        ("x = +2.5", "float", 2.5),
        ("x = -1e-3", "float", -0.001),
        ("x: float = 0.1", "float", 0.1),
        ("x: 'Literal[1]' = 1", "int", 1),
        ("x = 'a'", "str", "a"),
        ("x = 'a' 'b'", "str", "ab"),
        ("x = True", "bool", True),
        ("x = None", "None", None),
        ("x = [1, -2, [3]]", "list", [1, -2, [3]]),
        ("x = {'a': [1, None]}", "dict", {"a": [1, None]}),
        ("x = [\n  1,\n  2,\n]", "list", [1, 2]),
        ("%env A=1\nx = 1", "int", 1),
    ],
)
def test_literals(source: str, type_: str, default: Any) -> None:
    found, codes = taken(source)
    assert (found["x"].type, found["x"].default) == (type_, default)
    assert type(found["x"].default) is type(default)
    assert not codes


@pytest.mark.parametrize(
    "source",
    [
        "x = 2 * 3",
        "x = f(1)",
        "x = y",
        "x: int",
        "x += 1",
        "x.y = 1",
        "x[0] = 1",
        "x, y = 1, 2",
        "if z:\n    x = 1",
        "x = f'{1}'",
    ],
)
def test_code_is_no_parameter_and_no_finding(source: str) -> None:
    assert taken(source) == ({}, [])


@pytest.mark.parametrize("value", ["(1, 2)", "{1, 2}", "b'a'", "1j", "{1: 2}", "[(1,)]", "1e999", "...", "'\\ud800'"])
def test_not_json(value: str) -> None:
    assert taken(f"x = {value}") == ({}, ["not-a-parameter"])


def test_places() -> None:
    found, _ = taken("a = b = 1", "\nc = [\n  1]")
    assert [(p.name, p.cell, p.line, p.source) for p in found.values()] == [
        ("a", 0, 1, "1"),
        ("b", 0, 1, "1"),
        ("c", 1, 2, "[\n  1]"),
    ]


def test_the_last_assignment_wins() -> None:
    found, codes = taken("x = 1\ny = 2", "x = 3")
    assert list(found) == ["x", "y"]
    assert (found["x"].default, found["x"].cell) == (3, 1)
    assert not codes


def test_read_in_between() -> None:
    assert taken("x = 1\ny = 2 * x\nx = 3")[1] == ["parameter-reassigned"]
    assert taken("x = 1\ny = 2 * x\nx = 1")[1] == []
    assert taken("x = 1\nx = 3\ny = 2 * x")[1] == []


def test_other_cells_are_not_looked_at() -> None:
    assert taken("x = 1", roles=("shared",)) == ({}, [])
    assert taken("x = 1  # tune: int(1, 2)", roles=("step",)) == ({}, ["stray-search"])
    assert taken("x = 1  # fine tune: later", roles=("step",)) == ({}, [])


@pytest.mark.parametrize(
    ("line", "search"),
    [
        ("x = 0.1  # tune: loguniform(1e-4, 1e-1)", Search("loguniform", 1e-4, 1e-1)),
        ("x = 0.1  # tune: uniform(-1, 1.5)", Search("uniform", -1, 1.5)),
        ("x = 0.1  # tune: uniform(low=0, high=1)", Search("uniform", 0, 1)),
        ("x = 5  # tune: int(1, 10)", Search("int", 1, 10)),
        ("x = 64  #tune:logint(16, 512)", Search("logint", 16, 512)),
        ("x = 'a'  # tune: choice('a', 'b')", Search("choice", values=("a", "b"))),
        ("x = [1]  # tune: choice([1], [1, 2])", Search("choice", values=([1], [1, 2]))),
        ("x = 1  # tune: choice([1, 2])", Search("choice", values=(1, 2))),
        ("x = None  # tune: choice(None, 'a')", Search("choice", values=(None, "a"))),
        ("x = None  # tune: int(1, 3)", Search("int", 1, 3)),
        ("x = [\n 1]  # tune: choice([1], [2])", Search("choice", values=([1], [2]))),
        ("x = 5  # depth; tune: int(1, 10) see (1)", Search("int", 1, 10)),
        ("x = '# tune: int(1, 2)'", None),
        ('x = 5  #@param {type:"slider", min:0, max:10, step:1}', Search("int", 0, 10)),
        ('x = 0.5  #@param {type:"slider", min:0, max:1, step:0.1}', Search("uniform", 0, 1)),
        ('x = \'a\'  #@param ["a", "b"]', Search("choice", values=("a", "b"))),
        ('x = \'a\'  #@param ["a", "b"] {allow-input: true}', Search("choice", values=("a", "b"))),
        ('x = 5  #@param {type:"number"}', None),
        ("x = 5  #@param", None),
        ("x = 5  #@param {broken", None),
    ],
)
def test_search(line: str, search: Search | None) -> None:
    found, codes = taken(line)
    assert found["x"].search == search
    assert not codes


@pytest.mark.parametrize(
    "line",
    [
        "x = 0.1  # tune:",
        "x = 0.1  # tune: yes",
        "x = 0.1  # tune: normal(0, 1)",
        "x = 0.1  # tune: uniform(0)",
        "x = 0.1  # tune: uniform(0, 1, 2)",
        "x = 0.1  # tune: uniform(1, 0)",
        "x = 0.1  # tune: uniform(0, n)",
        "x = 0.1  # tune: uniform('a', 'b')",
        "x = 0.1  # tune: uniform(0, True)",
        "x = 0.1  # tune: uniform(0, 1e999)",
        "x = 0.1  # tune: uniform(0, step=1)",
        "x = 0.1  # tune: loguniform(0, 1)",
        "x = 5  # tune: int(1.5, 3)",
        "x = 5  # tune: logint(0, 3)",
        "x = 5  # tune: choice()",
        "x = 5  # tune: choice((1,), (2,))",
        "x = 5  # tune: choice(5, 'a')",
        "x = 1  # tune: uniform(0, 2)",
        "x = 1.5  # tune: int(1, 2)",
        "x = 'a'  # tune: int(1, 2)",
        "x = True  # tune: int(0, 1)",
        "x = 1  # tune: __import__('os').system('x')",
    ],
)
def test_bad_search(line: str) -> None:
    found, codes = taken(line)
    assert codes == ["bad-search"]
    assert found["x"].search is None


@pytest.mark.parametrize("line", ["x = 0.5  # tune: loguniform(1e-4, 1e-1)", "x = 'c'  # tune: choice('a', 'b')"])
def test_default_outside(line: str) -> None:
    found, codes = taken(line)
    assert codes == ["default-outside-search"]
    assert found["x"].search is not None


@pytest.mark.parametrize(
    ("source", "help_"),
    [
        ("x = 1  # number of trees", "number of trees"),
        ("x = 1  # trees; tune: int(1, 2)", "trees"),
        ("# number of trees\nx = 1", "number of trees"),
        ("# number of trees\nx = 1  # tune: int(1, 2)", "number of trees"),
        ("# trees\n\nx = 1", ""),
        ("y = 2  # other\nx = 1", ""),
        ("x = 1  # type: int", ""),
        ('x = 1 #@param {type:"integer"}', ""),
        ("x = '#'", ""),
    ],
)
def test_help(source: str, help_: str) -> None:
    assert taken(source)[0]["x"].help == help_


def test_a_cell_that_is_not_python_is_passed_over() -> None:
    assert taken("x = (", "y = 1")[0].keys() == {"y"}
