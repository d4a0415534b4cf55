"""Printed text: numbers as numbers, what changes from run to run aside; and other values for parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nb2pipe.notebook.model import Parameter, Search
from nb2pipe.verify.text import compare_text
from nb2pipe.verify.vary import varied


@pytest.mark.parametrize(
    ("notebook", "pipeline", "verdict"),
    [
        ("a\nb\n", "a\nb\n", "equal"),
        ("", "", "equal"),
        ("a\n", "b\n", "different"),
        ("a\nb\n", "a\n", "different"),
        ("a\n", "a", "different"),
        ("0.30000000000000004\n", "0.3\n", "close"),
        ("0.981\n", "0.982\n", "different"),
        ("12 rows\n", "13 rows\n", "different"),
        ("1\n", "1.0\n", "different"),
        ("x -1.5e-3\n", "x -1.5e-3\n", "equal"),
        ("x -1.5e-3\n", "x 1.5e-3\n", "different"),
        ("<__main__.A object at 0x7f12ab34cd50>\n", "<project.shared.A object at 0x7f99ab34cd50>\n", "close"),
        ("<__main__.A object at 0x7f12ab34cd50>\n", "<__main__.B object at 0x7f12ab34cd50>\n", "different"),
        ("<class '__main__.A'>\n", "<class 'project.steps.train.A'>\n", "close"),
        ("5/5 - 1s 3ms/step - loss: 0.5\n", "5/5 - 1s 4ms/step - loss: 0.5\n", "close"),
        ("5/5 - 1s 3ms/step - loss: 0.5\n", "5/5 - 1s 4ms/step - loss: 0.6\n", "different"),
        ("v1.2.3\n", "v1.2.4\n", "different"),
    ],
)
def test_text(notebook: str, pipeline: str, verdict: str) -> None:
    assert compare_text(notebook, pipeline, "project")[0].verdict == verdict


def test_the_first_line_that_differs_is_counted() -> None:
    found, lines = compare_text("a\nb\nc\n", "a\nx\nc\n", "project")
    assert lines == 1
    assert found.detail == "line 2: 'b' in the notebook, 'x' in the pipeline"


def parameter(default: Any, search: Search | None = None) -> Parameter:
    return Parameter("p", type(default).__name__, default, repr(default), 0, 1, search)


@pytest.mark.parametrize(
    ("default", "search", "other"),
    [
        (3, None, 4),
        (0.2, None, 0.1),
        (1.5, None, 3.0),
        (0.0, None, 1.0),
        (True, None, False),
        ("all", None, None),
        (None, None, None),
        ([1, 2], None, [1]),
        ([1], None, None),
        ({"a": 1, "b": "x"}, None, {"a": 2, "b": "x"}),
        (8, Search("int", 2, 8), 7),
        (0.1, Search("loguniform", 0.1, 1.0), 0.2),
        (2.0, Search("uniform", 2.0, 2.0), None),
        ("a", Search("choice", values=("a", "b")), "b"),
        ("a", Search("choice", values=("a",)), None),
    ],
)
def test_varied(default: Any, search: Search | None, other: Any) -> None:
    assert varied((parameter(default, search),), {}) == ({} if other is None else {"p": other})


def test_given_values_are_varied() -> None:
    assert varied((parameter(3),), {"p": 7}) == {"p": 8}


def test_what_only_the_pipeline_has_is_not_varied() -> None:
    assert varied((replace(parameter(3), option=True),), {}) == {}
