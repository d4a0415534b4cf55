"""Cells laid out as step files: every line stays what it was, and means what it meant."""

from __future__ import annotations

import ast
import io
import tokenize
from typing import Any

import pytest
from build_ir import fragment, parameter, pipeline, step
from hypothesis import given, settings
from hypothesis import strategies as st

from nb2pipe.codegen.body import Context, Source, function_name, hidden_names, shared_file, step_file
from nb2pipe.pipeline.model import Fragment, Input, Metric, Output, Shared, Step

CONTEXT = Context("taxi_fare", "taxi_fare.ipynb")


def raw_lines(text: str) -> frozenset[int]:
    """The indexes of lines that begin inside a string, by the tokenizer."""
    inside: set[int] = set()
    open_at: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        name = tokenize.tok_name[token.type]
        if name in ("FSTRING_START", "TSTRING_START"):
            open_at.append(token.start[0])
        elif name in ("FSTRING_END", "TSTRING_END"):
            inside.update(range(open_at.pop(), token.end[0]))
        elif name == "STRING":
            inside.update(range(token.start[0], token.end[0]))
    return frozenset(inside)


def cell(index: int, text: str) -> Fragment:
    lines = tuple(text.split("\n"))
    return Fragment(index, 1, lines, raw_lines(text.replace("\r\n", "\n")))


def assert_mapped(source: Source, fragments: list[Fragment]) -> None:
    """Every mapped line is its cell's line, every line with text of every fragment is mapped exactly once."""
    lines = source.text.split("\n")
    cells = {(f.cell, f.line + i): text for f in fragments for i, text in enumerate(f.lines)}
    seen = []
    for start, count, index, cell_line, indent in source.rows:
        for offset in range(count):
            text = lines[start - 1 + offset]
            assert text.strip() == cells[index, cell_line + offset].strip()
            assert not text or text == " " * indent + cells[index, cell_line + offset].lstrip("\f").rstrip("\r")
            seen.append((index, cell_line + offset))
    assert len(seen) == len(set(seen))
    assert {place for place, text in cells.items() if text.strip()} <= set(seen)


NASTY = {
    "text": 'text = """one\n  two\n\n\tthree\n"""',
    "text in a call": 'rows = str.split("""a\n b\n""")\nn = len(rows)',
    "continued text": "text = 'one\\\n   two'",
    "f-string": 'k = 3\ntext = f"""{k}\n  {k:>{k}}\n   {"x" * k}\n"""',
    "tabs": "total = 0\nfor i in range(3):\n\tif i:\n\t\ttotal += i\n\telse:\n\t\ttotal -= 1",
    "decorator": "import functools\n@functools.cache\ndef f(x):\n    '''doc\n  more'''\n    return x\nn = f(2)",
    "comments": "# first\nx = 1  # same line\n\n\n    # indented comment\ny = x",
    "crlf": "x = 1\r\nif x:\r\n    y = '''a\r\n  b'''\r\n",
    "backslash": "x = 1 + \\\n  2 + \\\n3\ny = x",
    "backslash at the end": "x = 1 \\\n\n",
    "backslash then comment": "x = 1 \\\n\n# end",
    "unicode": "größe = '数 é'\nπ = 3.14\nx = '\u2028\x0b'",
    "form feed": "x = 1\n\fy = 2\n",
    "semicolons": "x = 1; y = 2;",
    "blank ends": "\n\n\nx = 1\n\n\n",
    "only a comment": "# nothing else",
    "empty": "",
    "brackets": "x = [\n1,\n  2,\n]\ny = {\n}",
    "match": "x = 3\nmatch x:\n    case 3:\n        y = 'three'\n    case _:\n        y = ''",
    "class": "class A:\n    x = 1\n\n    def f(self):\n        return '''\nleft\n'''\na = A().f()",
    "walrus": "if (n := 10) > 5: m = n",
    "bytes": "b = b'''\n x\n'''",
    "raw": "r = r'''\\d\n  \\w'''",
    "lambda": "f = lambda x: (\n    x +\n  1\n)\ny = f(1)",
    "triple quotes in a comment": "x = 1  # '''\ny = 2",
}


def values(namespace: dict[str, Any]) -> dict[str, str]:
    plain = (int, float, str, bytes, list, dict)
    return {name: repr(value) for name, value in namespace.items() if isinstance(value, plain) and name[0] != "_"}


def run_function(made: Source, name: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(compile(made.text, "step.py", "exec"), namespace)
    return dict(namespace[name]())


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
@pytest.mark.parametrize("form", ["function", "module"])
def test_a_cell_means_the_same_in_a_step(text: str, form: str) -> None:
    expected: dict[str, Any] = {}
    exec(compile(text, "cell", "exec"), expected)
    ending = Fragment(9, 1, ("everything = dict(locals())",))
    body = [cell(4, text), ending]
    outputs = (Output("everything", "everything", "", ""),)
    made = step_file(step(form=form, body=tuple(body), outputs=outputs), CONTEXT)
    if form == "function":
        got = run_function(made, "train")
    else:
        got = {}
        exec(compile(made.text, "step.py", "exec"), got)
        got.pop("everything")
    assert values(got) == values(expected)
    assert_mapped(made, body)


STATEMENTS = st.sampled_from(
    [
        "a = 1",
        "b = '''x\n  y\n\nz'''",
        "if True:\n    c = [1,\n 2]\n\n    d = 3",
        "def f():\n\treturn 5\n",
        "# a comment",
        "",
        "   ",
        "e = 4 \\\n + 5",
        'g = f"""{1}\n {2}"""',
        "for i in range(2):\n    h = '''\n''' * i",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(STATEMENTS, max_size=5).map("\n".join), min_size=1, max_size=4), st.booleans())
def test_any_cells_keep_their_lines_and_meaning(texts: list[str], as_function: bool) -> None:
    body = [cell(index, text) for index, text in enumerate(texts)]
    ending = Fragment(len(texts), 1, ("everything = dict(locals())",))
    form = "function" if as_function else "module"
    outputs = (Output("everything", "everything", "", ""),)
    made = step_file(step(form=form, body=(*body, ending), outputs=outputs), CONTEXT)
    assert_mapped(made, [*body, ending])
    expected: dict[str, Any] = {}
    exec(compile("\n".join(texts), "cells", "exec"), expected)
    namespace: dict[str, Any] = {}
    exec(compile(made.text, "step.py", "exec"), namespace)
    got = namespace["train"]() if as_function else namespace["everything"]
    assert values(got) == {k: v for k, v in values(expected).items() if k in values(got) or as_function}


def test_a_whole_step_file() -> None:
    made = step_file(
        step(
            name="fit",
            cells=(7, 8),
            title="Fit the model",
            imports=(
                fragment(0, "import pandas as pd  # frames\nfrom __future__ import annotations"),
                fragment(2, "import pandas as pd  # frames\nfrom math import (\n    pi,\n    e)"),
            ),
            extra_imports=("import copy",),
            shared=("zeta", "ALPHA"),
            definitions=(fragment(5, "def half(a):\n    return a / 2", names=["half"]),),
            setup=(fragment(6, "seed = 1"),),
            body=(fragment(7, "\nmodel = half(features)\n"), fragment(8, "score = 3", line=4)),
            inputs=(Input("features", "load", "features", "pandas.DataFrame", ""),),
            outputs=(Output("model", "model", "sklearn.linear_model.Ridge", ""),),
            parameters=("rate", "layers"),
            metrics=(Metric("rmse", "score", 8, 4),),
            metrics_output="metrics",
        ),
        Context(
            "taxi_fare",
            "taxi_fare.ipynb",
            {
                "rate": parameter("rate", "float", "1e-3", 1e-3),
                "layers": parameter("layers", "list", "[1, 2]", [1, 2]),
            },
            {7: "The *model*"},
        ),
    )
    assert (
        made.text
        == '''"""Step `fit` of the pipeline `taxi_fare`.

Generated by nb2pipe from taxi_fare.ipynb.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pandas as pd  # frames
from math import (
    pi,
    e)

from taxi_fare.shared import ALPHA, zeta

if TYPE_CHECKING:
    from sklearn.linear_model import Ridge


# Cell 5
def half(a):
    return a / 2


def fit(
    features: pd.DataFrame,
    layers: list[Any],
    rate: float = 1e-3,
) -> tuple[Ridge, dict[str, float]]:
    """Fit the model.

    Cells 7 and 8 of taxi_fare.ipynb. Takes `features` from `load`. Gives `model`, `metrics`.
    """
    # Cell 6
    seed = 1

    # Cell 7: The *model*
    model = half(features)

    # Cell 8
    score = 3

    metrics = {"rmse": score}
    return model, metrics
'''
    )


def signature(**fields: Any) -> str:
    text = step_file(step(**fields), CONTEXT).text
    function = next(n for n in ast.parse(text).body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return ast.unparse(function).partition("\n")[0]


def taken(kind: str) -> tuple[Input, ...]:
    return (Input("x", "load", "x", kind, ""),)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "def train() -> None:"),
        ({"inputs": taken("")}, "def train(x: Any) -> None:"),
        ({"inputs": taken("builtins.int")}, "def train(x: int) -> None:"),
        ({"inputs": taken("dict[str, builtins.list]")}, "def train(x: dict[str, list]) -> None:"),
        ({"inputs": taken("Unknown")}, "def train(x: Any) -> None:"),
        ({"inputs": taken("a.b.C")}, "def train(x: 'C') -> None:"),
        ({"inputs": taken("C"), "shared": ("C",)}, "def train(x: C) -> None:"),
        ({"inputs": taken("a.b.C"), "shared": ("C",)}, "def train(x: 'a.b.C') -> None:"),
        ({"inputs": taken("a.b.C"), "imports": (fragment(0, "import a.b as q"),)}, "def train(x: q.C) -> None:"),
        ({"inputs": taken("a.b.C"), "imports": (fragment(0, "import a"),)}, "def train(x: a.b.C) -> None:"),
        ({"inputs": taken("a.C"), "imports": (fragment(0, "from a import C as D"),)}, "def train(x: D) -> None:"),
        ({"inputs": taken("int | None")}, "def train(x: int | None) -> None:"),
        ({"outputs": (Output("y", "y", "", ""),)}, "def train() -> Any:"),
        ({"outputs": (Output("y", "y", "int", ""), Output("z", "z", "", ""))}, "def train() -> tuple[int, Any]:"),
        ({"is_async": True}, "async def train() -> None:"),
        ({"inputs": taken("int") * 2}, "def train(x: int) -> None:"),
    ],
)
def test_signatures(fields: dict[str, Any], line: str) -> None:
    fields = {"body": (fragment(1, "y = z = 1"),)} | fields
    assert signature(**fields) == line


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"body": "model = fit()"}, "train"),
        ({"body": "# train the model\nprint('train')"}, "train"),
        ({"body": "train = [1]\nprint(train)"}, "train"),
        ({"body": "model = train(3)"}, "train_step"),
        ({"body": "def inner():\n    return train(3)"}, "train_step"),
        ({"body": "x = model.train()"}, "train"),
        ({"body": "x = [train for train in range(3)]"}, "train"),
        ({"body": "pass", "shared": ("train",)}, "train_step"),
        ({"body": "pass", "imports": (fragment(0, "from lib import train"),)}, "train_step"),
        ({"body": "pass", "definitions": (fragment(0, "def train(): pass", names=["train"]),)}, "train_step"),
        ({"body": "print(train)", "inputs": (Input("train", "load", "train", "", ""),)}, "train"),
        ({"body": "print(train)", "form": "module"}, "train"),
    ],
)
def test_the_function_hides_nothing_of_the_notebook(fields: dict[str, Any], name: str) -> None:
    assert function_name(step(**(fields | {"body": (fragment(3, fields["body"]),)}))) == name


DEFINED = {"definitions": (fragment(0, "def clean(x): return x", names=["clean"]),)}


@pytest.mark.parametrize(
    ("fields", "hidden"),
    [
        ({"body": "y = clean(2)"}, ()),
        ({"body": "clean = clean(2)"}, ("clean",)),
        ({"body": "for clean in [1]: pass"}, ("clean",)),
        ({"body": "y = [clean for clean in [1]]"}, ()),
        ({"body": "def f():\n    clean = 2"}, ()),
        ({"body": "y = [z for z in [1] if (clean := z)]"}, ("clean",)),
        ({"body": "try:\n    pass\nexcept OSError as clean:\n    pass"}, ("clean",)),
        ({"body": "match 1:\n    case clean:\n        pass"}, ("clean",)),
        ({"body": "class clean:\n    pass"}, ("clean",)),
        ({"body": "import clean.deep"}, ("clean",)),
        ({"body": "f = lambda clean: clean"}, ()),
        ({"body": "y = ALPHA = ALPHA + 1", "shared": ("ALPHA",)}, ("ALPHA",)),
        ({"body": "math = math.pi", "imports": (fragment(0, "import math"),)}, ("math",)),
        ({"body": "clean += 1", "definitions": (), "inputs": (Input("clean", "load", "clean", "", ""),)}, ()),
        ({"body": "train = 1\nprint(train)"}, ()),
    ],
)
def test_what_a_function_would_hide(fields: dict[str, Any], hidden: tuple[str, ...]) -> None:
    assert hidden_names(step(**(DEFINED | fields | {"body": (fragment(3, fields["body"]),)}))) == hidden


def test_a_prelude_stands_before_the_imports() -> None:
    prelude = (fragment(0, "import os\nos.environ['A'] = '1'"),)
    text = step_file(step(prelude=prelude, imports=(fragment(1, "import json"),), shared=("f",)), CONTEXT).text
    assert text.index("os.environ") < text.index("import json") < text.index("from taxi_fare.shared")
    assert "from taxi_fare.shared import f  # noqa: E402\n" in text


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["import a\nimport b", "import b\nimport c"], "import a\nimport b\nimport c\n"),
        (["try:\n    import a\nexcept OSError:\n    a = 0"] * 2, "try:\n    import a\nexcept OSError:\n    a = 0\n"),
        (["import a; import b", "import a"], "import a; import b\nimport a\n"),
        (["# why\nimport a"], "# why\nimport a\n"),
    ],
)
def test_imports_appear_once(lines: list[str], expected: str) -> None:
    made = shared_file(Shared(imports=tuple(fragment(i, text) for i, text in enumerate(lines))), CONTEXT)
    assert made.text.endswith('"""\n\n' + expected)


HOSTILE = ['a """ b', "back\\", 'end"', "line\nend\r\x0b", "\x00nul", "{{ 7 * 7 }}", "{% raw %}", "\u202eright", "'''"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_titles_stay_text(text: str) -> None:
    context = Context("taxi_fare", text, {}, {3: text})
    made = step_file(step(title=text, cells=(3,), body=(fragment(3, "x = 1"),)), context)
    tree = ast.parse(made.text)
    assert [type(node).__name__ for node in tree.body] == ["Expr", "FunctionDef"]


def test_long_lists_are_wrapped() -> None:
    names = tuple(f"a_rather_long_name_{i}" for i in range(8))
    inputs = tuple(Input(name, "load", name, "int", "") for name in names)
    outputs = tuple(Output(name, name, "int", "") for name in names)
    made = step_file(step(shared=names, inputs=inputs, outputs=outputs), CONTEXT)
    ast.parse(made.text)
    assert max(map(len, made.text.split("\n"))) <= 100


def test_lines_of_one_cell_stay_together() -> None:
    body = (fragment(3, "a = 1\nb = 2"), fragment(3, "c = 3", line=3), fragment(3, "d = 4", line=9))
    text = step_file(step(body=body), CONTEXT).text
    assert "    # Cell 3\n    a = 1\n    b = 2\n    c = 3\n\n    d = 4\n" in text


def test_nothing_of_a_pipeline_changes_its_step_files() -> None:
    made: list[Step] = [step(body=(fragment(1, "x = 1"),))]
    assert pipeline(*made).steps[0] is made[0]
    assert step_file(made[0], CONTEXT) == step_file(made[0], CONTEXT)
