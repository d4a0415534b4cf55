"""Suggested tags convert, say why, keep what people tagged, and cut where a person would."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import quick
import untagged

import nb2pipe
from nb2pipe.convert import Conversion
from nb2pipe.findings import errors
from nb2pipe.suggest import graph, signals, tables

BOOKS = {book.name: book for book in untagged.own()}
RUN = (
    "numpy gradient descent",
    "seeds and augmentation",
    "anomaly detection with generator and file handle",
    "pandas report without a model",
    "inventory with dictionaries",
)
"""Those that are run here both ways; benchmarks/suggest.py runs all."""


def book(folder: Path, cells: Sequence[str | tuple[str, str]]) -> Conversion:
    """A notebook of code cells, or (tags, code); a cell that begins with `#` and a space and no line end is text."""
    pairs = [c if isinstance(c, tuple) else ("", c) for c in cells]
    kinds = ["markdown" if c.startswith("# ") and "\n" not in c else "code" for _, c in pairs]
    made = untagged.Book("", "", tuple((k, c) for k, (_, c) in zip(kinds, pairs, strict=True)), (), {})
    path = folder / "book.ipynb"
    path.write_text(json.dumps(made.document({i: t.split() for i, (t, _) in enumerate(pairs) if t})))
    return nb2pipe.load(path)


def test_there_are_notebooks_of_many_kinds() -> None:
    assert len(BOOKS) >= 40
    held_out = [b for b in BOOKS.values() if b.corpus == "held out"]
    assert len(held_out) * 3 >= len(BOOKS)
    assert all(len(b.choice) == len(b.code()) for b in BOOKS.values())


@pytest.mark.parametrize(("corpus", "least"), [("tuned", 0.8), ("held out", 0.8)])
def test_all_convert_and_boundaries_are_near_a_persons(corpus: str, least: float, tmp_path: Path) -> None:
    totals, same, cells = [0, 0, 0], 0, 0
    for one in (b for b in BOOKS.values() if b.corpus == corpus):
        suggestion = untagged.suggested(one, tmp_path)
        assert not errors(suggestion.findings), f"{one.name}: {suggestion.findings}"
        assert set(suggestion.why) == set(suggestion.labels)
        assert all(suggestion.why.values())
        labels = untagged.roles_of(one, suggestion.labels)
        totals = [a + b for a, b in zip(totals, untagged.boundaries(one, labels), strict=True)]
        same += sum(untagged.kind(a) == untagged.kind(b) for a, b in zip(labels, one.choice, strict=True))
        cells += len(labels)
    hits, made, wanted = totals
    assert 2 * hits / (made + wanted) >= least
    assert same / cells >= 0.9


@pytest.mark.parametrize("name", RUN)
@pytest.mark.filterwarnings("ignore")
def test_the_pipeline_computes_what_the_notebook_computes(name: str, tmp_path: Path) -> None:
    quick.warm()
    kind, detail = untagged.outcome(BOOKS[name], untagged.suggested(BOOKS[name], tmp_path))
    assert kind == "equal", detail


def test_the_measures_of_agreement() -> None:
    one = untagged.Book("", "", (("code", "x"),) * 5, ("load", "skip", "train", "train", "evaluate"), {})
    assert untagged.boundaries(one, one.choice) == (2, 2, 2)
    assert untagged.boundaries(one, ["load", "train", "train", "train", "train"]) == (1, 1, 2)
    assert untagged.boundaries(one, ["load", "load", "load", "train", "train"]) == (0, 1, 2)
    assert untagged.window_diff(one.choice, one.choice) == 0
    assert untagged.window_diff(["load"] * 5, one.choice) >= 0.5


# --- roles ------------------------------------------------------------------------------------------------------------
def test_roles(tmp_path: Path) -> None:
    conversion = book(
        tmp_path,
        [
            "import json",
            "lr = 0.1\nepochs = 3",
            "def f(x):\n    return x + lr",
            "xs = [f(i) for i in range(9)]",
            "xs[:3]",
            "xs.append(4)",
            "total = sum(xs)\nprint('total', total, epochs)",
            "",
            "# only a comment\n",
        ],
    )
    labels = conversion.suggestion.labels
    assert [labels.get(i) for i in (0, 1, 2, 4, 7, 8)] == ["shared", "parameters", "shared", "skip", None, None]
    assert all(labels[i].startswith("step:") for i in (3, 5, 6))
    assert "lr, epochs" in conversion.suggestion.why[1]


@pytest.mark.parametrize(
    "needed", ["ys = xs", "xs.reverse()", "import math", "open('f', 'w').write('a')", "import random; random.seed(1)"]
)
def test_what_is_needed_is_never_skipped(needed: str, tmp_path: Path) -> None:
    uses = (
        "print(len(xs))\ny = 1\nprint(ys, y)"
        if needed.startswith("ys")
        else "import random\nprint(xs, random.random())"
    )
    uses = uses if "math" not in needed else "print('pi', math.pi, len(xs))"
    conversion = book(tmp_path, ["xs = [i * 2 for i in range(3)]", f"{needed}\nxs", uses])
    assert conversion.suggestion.labels[1] != "skip"
    assert not errors(conversion.suggestion.findings)


def test_a_list_that_is_filled_is_no_parameter(tmp_path: Path) -> None:
    labels = book(
        tmp_path, ["log = []\nn = 3", "for i in range(n):\n    log.append(i)", "print(log)"]
    ).suggestion.labels
    assert labels[0].startswith("step:")


def test_a_seed_and_its_draws(tmp_path: Path) -> None:
    cells = ["import random\nrandom.seed(3)", "# Load", "a = [random.random() for _ in range(5)]"]
    cells += ["# Train", "b = [x + random.random() for x in a]", "# Evaluate", "score = sum(b)\nprint(score)"]
    conversion = book(tmp_path, cells)
    labels = conversion.suggestion.labels
    assert labels[2] == labels[4] != labels[6]
    assert not errors(conversion.suggestion.findings)


# --- repair -----------------------------------------------------------------------------------------------------------
def test_what_cannot_be_stored_stays_in_one_step(tmp_path: Path) -> None:
    cells = ["# Load", "rows = (i for i in range(9))", "# Train", "model = [r + 1 for r in rows]"]
    conversion = book(tmp_path, [*cells, "# Evaluate", "score = sum(model)\nprint(score)"])
    labels = conversion.suggestion.labels
    assert labels[1] == labels[3] != labels[5]


def test_an_unreadable_cell_is_skipped_with_the_reason(tmp_path: Path) -> None:
    suggestion = book(tmp_path, ["x = [1, 2]", "this prose", "print('sum', sum(x))"]).suggestion
    assert suggestion.labels[1] == "skip"
    assert "not Python" in suggestion.why[1]
    assert not errors(suggestion.findings)


def test_a_notebook_that_cannot_convert_says_why(tmp_path: Path) -> None:
    conversion = book(tmp_path, ["x = [1, 2]\nprint(x, undefined_thing)", "y = sum(x)\nprint(y)"])
    assert [f.code for f in errors(conversion.suggestion.findings)] == ["undefined-name", "cannot-suggest"]


def test_one_step_is_the_last_resort(tmp_path: Path) -> None:
    cells = ["# Load", "gen = (i for i in range(100))\nfirst = next(gen)", "# Prepare", "second = next(gen)"]
    cells += ["# Train", "third = next(gen)", "# Evaluate", "print('sum', first + second + third + next(gen))"]
    conversion = book(tmp_path, cells)
    assert not errors(conversion.suggestion.findings)
    assert len({v for v in conversion.suggestion.labels.values() if v.startswith("step:")}) == 1


def test_every_second_cell_breaks_it_and_yet_it_converts(tmp_path: Path) -> None:
    """Boundaries that the analysis finds wrong are moved, whatever the weights say."""
    cells: list[str] = []
    for name in ("load", "prepare", "train", "evaluate", "export"):
        cells += [
            f"# {name}",
            f"{name}_it = iter([1, 2])\n{name} = 1",
            f"# {name} more",
            f"{name}_next = next({name}_it)",
        ]
    cells += ["# Test", "print('done', export_next + load_next)"]
    assert not errors(book(tmp_path, cells).suggestion.findings)


# --- names ------------------------------------------------------------------------------------------------------------
def test_names_are_readable_and_unique(tmp_path: Path) -> None:
    cells = ["# Über", "# 1. Load", "x = [int(c) for c in '123']", "# Simulate the coin", "y = [a * 2 for a in x]"]
    cells += [
        "# Simulate the coin",
        "z = [a * 3 for a in y]",
        "# filter",
        "w = [a for a in z if a]",
        "# Ende",
        "print('w', w)",
    ]
    labels = book(tmp_path, cells).suggestion.labels
    names = list(dict.fromkeys(v.removeprefix("step:") for v in labels.values()))
    assert all(name.isidentifier() and name.islower() for name in names)
    assert "simulate_coin" in names
    assert "filter" not in names


# --- tagged notebooks -------------------------------------------------------------------------------------------------
PARTLY = [
    "import json",
    "import random\nxs = [random.random() for i in range(5)]",
    ("step:model", "fitted = [x * 2 for x in xs]"),
    "fitted.append(1)",
    ("skip", "fitted"),
    "score = sum(fitted)\nprint('score', score)",
]


def test_tags_that_are_there_are_kept(tmp_path: Path) -> None:
    conversion = book(tmp_path, PARTLY)
    assert conversion.wants_tags, "a cell before the first step computes"
    suggestion = conversion.suggestion
    assert (suggestion.labels[2], suggestion.labels[4]) == ("step:model", "skip")
    assert suggestion.labels[1] not in ("step:model", "shared")
    assert (suggestion.why[2], set(conversion.new_tags) & {2, 4}) == ("tagged", set())


def test_a_contradiction_is_nobodys_to_settle(tmp_path: Path) -> None:
    assert not book(tmp_path, [("step:a skip", "x = 1"), "y = 2"]).wants_tags


@pytest.mark.parametrize(
    "name", ["churn by the book", "bandit simulation in pure python", "word counts in plain python"]
)
def test_once_written_there_is_nothing_more_to_write(name: str, tmp_path: Path) -> None:
    written = untagged.written(BOOKS[name], untagged.suggested(BOOKS[name], tmp_path), tmp_path)
    assert not written.wants_tags
    assert written.new_tags == {}


def test_strict_notebooks_get_a_tag_on_every_cell(tmp_path: Path) -> None:
    conversion = book(tmp_path, ["xs = [i for i in range(5)]", "xs.append(1)", "print('sum', sum(xs))"])
    strict = Conversion(conversion.path, {"strict": True})
    assert set(conversion.new_tags) < set(strict.new_tags) == {0, 1, 2}


# --- advice -----------------------------------------------------------------------------------------------------------
def test_searches_by_hand_and_hidden_literals_are_said(tmp_path: Path) -> None:
    suggestion = untagged.suggested(BOOKS["grid search by hand"], tmp_path)
    said = {(f.code, f.cell, f.name): f.hint for f in suggestion.findings}
    assert "choice(0.001, 0.01, 0.1, 1.0)" in said["tuned-by-hand", 6, "alpha"]
    assert suggestion.extra == {8: ("objective:maximize:r2",)}
    grid = untagged.suggested(BOOKS["grid search cv"], tmp_path)
    assert any(f.code == "tuned-by-hand" and f.name == "C" for f in grid.findings)
    houses = untagged.suggested(BOOKS["house prices with helper functions"], tmp_path)
    assert houses.extra == {}, "nothing is tuned by hand: no objective"


def test_signals() -> None:
    import ast

    nodes = ast.parse(
        "import pandas as pd\ndef train_it(d):\n    return M().fit(d)\nx = pd.read_csv('a')\nm = train_it(x)"
    ).body
    said = signals.Reader(nodes).signals(nodes)
    assert said.calls["load"] == "read_csv"
    assert said.calls["train"] in (".fit", "train_it")
    assert tables.spoken("3.2 Data *loading*") == {"load": 1.5}
    assert tables.spoken("Rocket science") == {}
    assert (tables.goal_of("val_rmse"), tables.goal_of("test_accuracy"), tables.goal_of("x")) == (
        "minimize",
        "maximize",
        None,
    )


def test_graph() -> None:
    text = graph.graph_text([("a", [1, 2, 5]), ("b", [3])], {("a", "b"): list("uvwxyzq")})
    assert text == "a  (cells 1-2, 5)\n  └─ u, v, w, x, y, z and 1 more ─▶ b\nb  (cell 3)"
