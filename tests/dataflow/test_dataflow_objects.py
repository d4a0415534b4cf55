"""What the analysis finds out about functions, classes and views, without running anything."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import doors
import pytest

import nb2pipe
from nb2pipe.dataflow import expressions, statements
from nb2pipe.dataflow.model import Flow, StepFlow

Cells = list[tuple[str, list[str]]]


def flow_of(folder: Path, *sources: str) -> Flow:
    """The flow of a notebook whose cells are the steps a, b, ..."""
    cells: Cells = [(source, [f"step:{name}"]) for name, source in zip("abcd", sources, strict=False)]
    path = folder / "objects.ipynb"
    path.write_text(json.dumps(doors.notebook(cells)))
    return nb2pipe.load(path).flow


def errors(flow: Flow) -> list[str]:
    return sorted({f.code for f in flow.findings if f.severity == "error"})


def step(flow: Flow, name: str) -> StepFlow:
    return next(s for s in flow.steps if s.name == name)


@pytest.mark.parametrize("made", ["t.view(2, 2)", "t.detach()", "t[1:]", "torch.reshape(t, (2, 2))"])
def test_a_tensor_that_shares_memory_is_refused_when_it_changes_later(tmp_path: Path, made: str) -> None:
    head = f"import torch\nt = torch.zeros(4)\nv = {made}"
    assert errors(flow_of(tmp_path, head, "v[0] = 1", "print(t)")) == ["view-across-steps"]


@pytest.mark.parametrize("made", ["t.clone()", "torch.zeros(4)", "t + 1"])
def test_a_tensor_of_its_own_is_not(tmp_path: Path, made: str) -> None:
    head = f"import torch\nt = torch.zeros(4)\nv = {made}"
    flow = flow_of(tmp_path, head, "v[0] = 1", "print(t)")
    assert errors(flow) == []
    assert list(step(flow, "c").inputs) == ["t"]


def test_a_hook_runs_when_the_network_does(tmp_path: Path) -> None:
    head = "import torch\nseen = []\nnet = torch.nn.Linear(1, 1)\n"
    head += "handle = net.register_forward_hook(lambda m, i, o: seen.append(1))"
    flow = flow_of(tmp_path, head, "net(torch.ones(1, 1))", "print(seen)")
    assert errors(flow) == []
    assert "seen" in step(flow, "b").outputs
    assert any({"net", "seen"} <= set(bundle) for bundle in step(flow, "a").bundles)


CLASS = "class C:\n    tags = []\nc = C()"


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ("C.x = 1", True),
        ("setattr(C, 'x', 1)", True),
        ("type(c).x = 1", True),
        ("c.__class__.x = 1", True),
        ("[C][0].x = 1", True),
        ("C.tags.append(1)", True),
        ("C.register(int)", True),
        ("c.x = 1", False),
        ("print(C.__name__)", False),
        ("d = {C: 1}", False),
    ],
)
def test_what_changes_a_class(tmp_path: Path, change: str, changed: bool) -> None:
    flow = flow_of(tmp_path, CLASS, change)
    assert any("C" in s.changes for s in flow.statements if s.step == "b") is changed


def test_a_class_that_an_unknown_function_is_given_is_not_changed(tmp_path: Path) -> None:
    made = "class C:\n    size = 1\nc = C()"
    flow = flow_of(tmp_path, made, "import somewhere\nsomewhere.show(C, c)", "print(C())")
    assert {name for s in flow.statements if s.step == "b" for name in s.changes} == {"c"}


@pytest.mark.parametrize(
    ("table", "kind", "source"),
    [(expressions._EVALUATORS, ast.Set, "x = {1}"), (statements._EXECUTORS, ast.Assert, "assert 1")],
)
def test_syntax_that_is_not_known_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: dict[type, object], kind: type, source: str
) -> None:
    monkeypatch.delitem(table, kind)
    flow = flow_of(tmp_path, source, "print(1)")
    [found] = [f for f in flow.findings if f.severity == "error"]
    assert (found.code, found.cell, found.line) == ("unknown-syntax", 0, 1)
    assert kind.__name__ in found.message


@pytest.mark.skipif(not hasattr(ast, "TemplateStr"), reason="template strings are of Python 3.14")
def test_a_template_string_holds_its_values(tmp_path: Path) -> None:
    flow = flow_of(tmp_path, "xs = [1]\nt = t'{xs} of {len(xs):03d}'", "xs.append(2)", "print(t.values)")
    assert errors(flow) == []
    assert {"t", "xs"} <= set(step(flow, "a").outputs)


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("a = [1]\nb = a\nc = 2", 2),
        ("a = [1]\nd = {}\nd['k'] = a\na.append(2)", 3),
        ("b = 1\na = b = [1]\nprint(a)", 2),
        ("a, c = [1], 2\nif c:\n    b = a\n    c = 3", 3),
        ("a = [1]\ndef f():\n    return a\nb = [f()]\nc = 2", 4),
    ],
)
def test_an_alias_is_told_where_it_is_made(tmp_path: Path, code: str, line: int) -> None:
    name = "d" if "d =" in code else "b"
    flow = flow_of(tmp_path, code, f"a.append(3)\n{name}", f"print(a, {name})")
    found = [f for f in flow.findings if f.code == "alias-across-steps"]
    assert {(f.cell, f.line) for f in found} == {(0, line)}
