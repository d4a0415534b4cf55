"""No random notebook becomes a pipeline that prints anything else: NB2PIPE_PROPERTY says how many (500)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import generate
import pytest
import quick

COUNT = int(os.environ.get("NB2PIPE_PROPERTY", "500"))
CHUNK = 25
TRIES = 120
"""Smaller notebooks that are tried when one goes wrong."""


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    quick.warm()


def compared(program: generate.Program, folder: Path, varied: bool) -> quick.Outcome:
    """The notebook against its pipeline, with the parameters that it has or with others."""
    given = quick.other_parameters(generate.cells(program)) if varied else {}
    return quick.compare(generate.cells(program), folder, given=given)


def wrong_like(first: quick.Outcome, folder: Path, varied: bool) -> Callable[[generate.Program], bool]:
    return lambda program: compared(program, folder, varied).kind == first.kind


def told(seed: int, program: generate.Program, outcome: quick.Outcome) -> str:
    text = "\n".join(f"# --- {tags}\n{source}" for tags, source in generate.cells(program))
    return f"seed {seed}: {outcome.kind}: {outcome.detail}\n\n{text}"


@pytest.mark.parametrize("start", range(0, COUNT, CHUNK))
def test_notebook_and_pipeline_print_the_same(start: int, tmp_path: Path) -> None:
    kinds: Counter[str] = Counter()
    for seed in range(start, min(start + CHUNK, COUNT)):
        program = generate.program(seed)
        varied = seed % 2 == 1
        outcome = compared(program, tmp_path, varied)
        kinds[outcome.kind] += 1
        if outcome.wrong:
            smaller = generate.shrunk(program, wrong_like(outcome, tmp_path, varied), TRIES)
            pytest.fail(told(seed, smaller, compared(smaller, tmp_path, varied)), pytrace=False)
    assert kinds["equal"] >= CHUNK * 2 // 3, f"hardly anything was compared: {kinds}"


def test_a_seed_always_gives_the_same_program() -> None:
    assert generate.program(7) == generate.program(7)
    assert generate.program(7) != generate.program(8)


@pytest.mark.parametrize(
    ("outcome", "cells"),
    [
        ("equal", [("step:a", "x = [1]"), ("step:b", "x.append(2)"), ("step:c", "print(x)")]),
        ("invalid", [("step:a", "x = 1"), ("step:b", "print(x.missing)")]),
        ("refused", [("step:a", "x = (i for i in [1])"), ("step:b", "next(x)"), ("step:c", "print(list(x))")]),
    ],
)
def test_outcomes(outcome: str, cells: list[tuple[str, str]], tmp_path: Path) -> None:
    assert quick.compare(cells, tmp_path).kind == outcome


def test_other_values_of_parameters_reach_notebook_and_pipeline(tmp_path: Path) -> None:
    program = (
        generate.Cell("parameters", ('n = 1; names = ["a"]; more = {\n"k": 1}; word = "x"',)),
        generate.Cell("step:a", ("m = n * 2",)),
        generate.Cell("step:b", ("print(m, names, more, word)",)),
    )
    given = quick.other_parameters(generate.cells(program))
    assert given == {"n": 4, "names": ["another a", 9], "more": {"k": 4, "other": 8}, "word": "another x"}
    assert quick.compare(generate.cells(program), tmp_path, given=given).kind == "equal"
    only_notebook = [*generate.cells(program)[:1], ("step:a", "m = n"), ("step:b", "print(m == 1)")]
    assert quick.compare(only_notebook, tmp_path, given={"n": 2}).kind == "equal"


class TestShrinking:
    def program(self) -> generate.Program:
        cell = generate.Cell
        return (
            cell("shared", ("import copy",)),
            cell("step:a", ("a = 1", "b = 2", "def f(p):\n    q = 1\n    return p")),
            cell("step:b", ("print(a)", "print(b)")),
        )

    def test_keeps_only_what_matters(self) -> None:
        smaller = generate.shrunk(self.program(), lambda p: "print(b)" in str(p) and "return p" in str(p))
        assert smaller == (
            generate.Cell("step:a", ("def f(p):\n    return p",)),
            generate.Cell("step:b", ("print(b)",)),
        )

    def test_stops_after_so_many_tries(self) -> None:
        seen: list[generate.Program] = []
        generate.shrunk(self.program(), lambda p: bool(seen.append(p)), 4)
        assert len(seen) == 4
