"""The comparison of values: what is equal, close, different, and what is not proved."""

from __future__ import annotations

import collections
import copy
import datetime as dt
import functools
import math
import pickle
import random
import re
import sys
import threading
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nb2pipe.verify.compare.engine import Comparison, heads


@dataclass
class Point:
    x: float
    tags: list[str]


Point.__module__ = "__main__"  # as in a notebook


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a: int) -> None:
        self.a = a


class Named(collections.OrderedDict):  # type: ignore[type-arg]
    pass


def verdict(a: Any, b: Any, **options: Any) -> str:
    return Comparison("project", **options)(a, b, "x").verdict


def frame(**changes: Any) -> pd.DataFrame:
    columns = {"n": [1, 2, 3], "f": [0.5, np.nan, 2.0], "s": ["a", None, "c"], "d": pd.to_datetime(["2020-01-01"] * 3)}
    return pd.DataFrame({**columns, **changes})


def drawn(generator: Any, count: int) -> Any:
    for _ in range(count):
        generator.random()
    return generator


EQUAL = {
    "int": (3, 3),
    "text": ("a", "a"),
    "nan": (math.nan, math.nan),
    "infinity": (math.inf, math.inf),
    "complex": (1 + 2j, 1 + 2j),
    "list": ([1, [2.0, "x"]], [1, [2.0, "x"]]),
    "dict": ({"a": 1, (1, 2): None}, {"a": 1, (1, 2): None}),
    "set": ({"a", "b", 3}, {3, "b", "a"}),
    "default dict": (collections.defaultdict(list, a=[1]), collections.defaultdict(list, a=[1])),
    "deque": (collections.deque([1, 2], 5), collections.deque([1, 2], 5)),
    "dataclass": (Point(1.0, ["a"]), Point(1.0, ["a"])),
    "slots": (Slotted(1), Slotted(1)),
    "date": (dt.date(2020, 1, 1), dt.date(2020, 1, 1)),
    "pattern": (re.compile("a+"), re.compile("a+")),
    "range": (range(3), range(3)),
    "partial": (functools.partial(print, 1), functools.partial(print, 1)),
    "frame": (frame(), frame()),
    "series": (frame()["s"], frame()["s"]),
    "index": (pd.Index([1, 2], name="k"), pd.Index([1, 2], name="k")),
    "multi-index": (frame().set_index(["n", "s"]), frame().set_index(["n", "s"])),
    "category": (frame(c=pd.Categorical(list("aba"))), frame(c=pd.Categorical(list("aba")))),
    "nullable": (pd.Series([1, None], dtype="Int64"), pd.Series([1, None], dtype="Int64")),
    "objects in a frame": (frame(o=[[1], {"a": 2}, None]), frame(o=[[1], {"a": 2}, None])),
    "groups": (frame().groupby("n"), frame().groupby("n")),
    "array": (np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(2, 3)),
    "array of objects": (np.array([[1], None], object), np.array([[1], None], object)),
    "structured array": (np.zeros(2, "i4,f8"), np.zeros(2, "i4,f8")),
    "array scalar": (np.float32(0.1), np.float32(0.1)),
    "NaT": (np.array(["NaT"], "M8[s]"), np.array(["NaT"], "M8[s]")),
    "masked": (np.ma.masked_array([1, 2], [0, 1]), np.ma.masked_array([1, 2], [0, 1])),
    "generator": (np.random.default_rng(1), np.random.default_rng(1)),
    "old generator": (np.random.RandomState(1), np.random.RandomState(1)),
    "Python's generator": (random.Random(1), random.Random(1)),
    "module": (math, math),
    "library class": (collections.OrderedDict, collections.OrderedDict),
    "library function": (math.sqrt, math.sqrt),
}

DIFFERENT = {
    "int": (3, 4),
    "int and float": (3, 3.0),
    "int and bool": (1, True),
    "float": (1.0, 1.0001),
    "nan": (math.nan, 1.0),
    "infinity": (math.inf, 1.0),
    "text": ("a", "b"),
    "list length": ([1, 2], [1, 2, 3]),
    "list order": ([1, 2], [2, 1]),
    "deep in a list": ([1, [2, {"a": 3}]], [1, [2, {"a": 4}]]),
    "list and tuple": ([1], (1,)),
    "dict value": ({"a": 1}, {"a": 2}),
    "dict key": ({"a": 1}, {"b": 1}),
    "dict order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "set": ({1, 2}, {1, 3}),
    "default factory": (collections.defaultdict(list), collections.defaultdict(dict)),
    "deque length": (collections.deque([1], 5), collections.deque([1], 6)),
    "dataclass": (Point(1.0, ["a"]), Point(1.0, ["b"])),
    "slots": (Slotted(1), Slotted(2)),
    "date": (dt.date(2020, 1, 1), dt.date(2020, 1, 2)),
    "pattern": (re.compile("a+"), re.compile("a+", re.IGNORECASE)),
    "partial": (functools.partial(print, 1), functools.partial(print, 2)),
    "frame value": (frame(), frame(n=[1, 2, 4])),
    "frame missing value": (frame(), frame(s=["a", "b", "c"])),
    "frame dtype": (frame(), frame(n=[1.0, 2.0, 3.0])),
    "frame column": (frame(), frame().rename(columns={"n": "m"})),
    "frame column order": (frame(), frame()[["f", "n", "s", "d"]]),
    "frame row order": (frame(), frame().iloc[::-1]),
    "frame index": (frame(), frame().set_axis([0, 1, 3])),
    "frame rows": (frame(), frame().head(2)),
    "frame attributes": (frame(), frame().rename_axis(index="k")),
    "frame and series": (frame()[["n"]], frame()["n"]),
    "series name": (frame()["n"], frame()["n"].rename("m")),
    "categories": (frame(c=pd.Categorical(list("aba"))), frame(c=pd.Categorical(list("aba"), list("ba")))),
    "nullable": (pd.Series([1, None], dtype="Int64"), pd.Series([None, 1], dtype="Int64")),
    "objects in a frame": (frame(o=[[1], {"a": 2}, None]), frame(o=[[1], {"a": 3}, None])),
    "array value": (np.arange(3), np.array([0, 1, 3])),
    "array dtype": (np.arange(3), np.arange(3.0)),
    "array shape": (np.arange(6), np.arange(6).reshape(2, 3)),
    "array missing": (np.array([1.0, np.nan]), np.array([1.0, 2.0])),
    "array infinity": (np.array([np.inf]), np.array([-np.inf])),
    "mask": (np.ma.masked_array([1, 2], [0, 1]), np.ma.masked_array([1, 2], [1, 0])),
    "array of objects": (np.array([[1], None], object), np.array([[2], None], object)),
    "seed": (np.random.default_rng(1), np.random.default_rng(2)),
    "draws": (np.random.default_rng(1), drawn(np.random.default_rng(1), 1)),
    "Python's draws": (random.Random(1), drawn(random.Random(1), 1)),
    "library class": (collections.OrderedDict, collections.Counter),
    "library function": (math.sqrt, math.exp),
    "attribute of a container": (Named(a=1), Named(a=2)),
}

CLOSE = {
    "float": (0.1 + 0.2, 0.3),
    "array": (np.array([0.1 + 0.2, 1]), np.array([0.3, 1])),
    "frame": (frame(f=[0.1 + 0.2, np.nan, 1]), frame(f=[0.3, np.nan, 1])),
    "float32": (np.array([0.1], "f4"), np.array([np.nextafter(np.float32(0.1), np.float32(1))])),
    "deep": ({"a": [0.1 + 0.2]}, {"a": [0.3]}),
    "signed zero": (0.0, -0.0),
}

NOT_PROVED = {
    "lock": (threading.Lock(), threading.Lock()),
    "in a list": ([threading.Lock()], [threading.Lock()]),
}


@pytest.mark.parametrize(
    ("expected", "a", "b"),
    [
        pytest.param(expected, *pair, id=f"{expected}: {name}")
        for expected, table in (
            ("equal", EQUAL),
            ("different", DIFFERENT),
            ("close", CLOSE),
            ("not proved", NOT_PROVED),
        )
        for name, pair in table.items()
    ],
)
def test_verdict(expected: str, a: Any, b: Any) -> None:
    assert verdict(a, b) == expected
    assert verdict(b, a) == expected


def test_a_difference_is_graver_than_what_is_not_proved() -> None:
    assert verdict([threading.Lock(), 1], [threading.Lock(), 2]) == "different"


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ({"a": [1, 2]}, {"a": [1, 3]}, "x['a'][1]: 2 in the notebook, 3 in the pipeline"),
        (frame(), frame(n=[1, 2, 4]), "x['n'][2]: 3 in the notebook, 4 in the pipeline (1 of 3 values differ)"),
        (Point(1.0, []), Point(2.0, []), "x.x: 1.0 in the notebook, 2.0 in the pipeline"),
        (3, 3.0, "x: int 3 in the notebook, float 3.0 in the pipeline"),
        (np.zeros(3), np.array([0, 1.0, 0]), "x[1]: 0.0 in the notebook, 1.0 in the pipeline (1 of 3 values differ)"),
    ],
)
def test_detail_names_the_place(a: Any, b: Any, words: str) -> None:
    assert Comparison()(a, b, "x").detail == words


def test_cycles_end() -> None:
    a: list[Any] = [1]
    a.append(a)
    b: list[Any] = [1]
    b.append(b)
    assert verdict(a, b) == "equal"
    b[0] = 2
    assert verdict(a, b) == "different"


def test_deep_nesting_proves_nothing() -> None:
    a: list[Any] = []
    b: list[Any] = []
    for _ in range(sys.getrecursionlimit()):
        a, b = [a], [b]
    assert verdict(a, b) == "not proved"


@pytest.mark.parametrize("make", [lambda: [1], lambda: {"k": 1}, frame, lambda: Point(1.0, [])])
def test_shared_objects_must_be_shared(make: Any) -> None:
    one, other, third = make(), make(), make()
    assert verdict([one, one], [other, other]) == "equal"
    assert verdict([one, one], [other, third]) == "different"
    assert verdict([one, make()], [other, other]) == "different"


# --- functions and classes ------------------------------------------------------------------------------------------
def defined(code: str, name: str, module: str = "__main__", **values: Any) -> Any:
    space: dict[str, Any] = {"__name__": module, **values}
    exec(code, space)
    return space[name]


NESTED = "def make(k):\n    def f(x):\n        return x * k + g(x)\n    return f\ndef g(x): return x\nf = make(3)"
PLAIN = "def g(x): return x\nk = 3\ndef f(x):\n    return x * k + g(x)"


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("def f(x): return x + 1", "\n\ndef f(x):\n    return x + 1", "equal"),
        ("def f(x): return x + 1", "def f(x): return x + 2", "different"),
        ("def f(x): return x + 1", "def f(y): return y + 1", "different"),
        ("def f(x): return x + 1", "def f(x): return x - 1", "different"),
        ("def f(x=1): return x", "def f(x=2): return x", "different"),
        ("def f(*, x=1): return x", "def f(*, x=2): return x", "different"),
        ("k = 1\ndef f(): return k", "k = 1\ndef f(): return k", "equal"),
        ("k = 1\ndef f(): return k", "k = 2\ndef f(): return k", "different"),
        ("k = 1\ndef f(): return k", "def f(): return k", "equal"),
        (PLAIN, NESTED, "equal"),
        (PLAIN, NESTED.replace("make(3)", "make(4)"), "different"),
        (
            "k = 3\ndef f(xs):\n    return sorted(xs, key=lambda x: -x * k)",
            "def m(k):\n    def f(xs):\n        return sorted(xs, key=lambda x: -x * k)\n    return f\nf = m(3)",
            "equal",
        ),
        (
            "k = 3\ndef f(xs):\n    j = 1\n    return [lambda x: x * k * j]",
            "def m(k):\n    def f(xs):\n        j = 1\n        return [lambda x: x + k * j]\n    return f\nf = m(3)",
            "different",
        ),
        ("def f(a, b=(1, 2)):\n    return lambda: (a, b)", "def f(a, b=(1, 2)):\n    return lambda: (a, b)", "equal"),
        ("def f(a, b):\n    return lambda: (a, b)", "def f(a, b):\n    return lambda: (b, a)", "different"),
        ("def f(xs): return [x for x in xs if x]", "def f(xs): return [x for x in xs if x]", "equal"),
        ("def f(xs): return [x for x in xs if x]", "def f(xs): return [x for x in xs if not x]", "different"),
        ("f = lambda x: x", "f = lambda x: -x", "different"),
        ("def f(n): return f(n - 1) if n else 0", "def f(n): return f(n - 1) if n else 0", "equal"),
        ("import math\ndef f(x): return math.sqrt(x)", "import math\ndef f(x): return math.sqrt(x)", "equal"),
        (
            "import functools\n@functools.cache\ndef f(x): return x",
            "import functools\n@functools.cache\ndef f(x): return x",
            "equal",
        ),
        ("class f:\n    k = 1\n    def m(self): return 1", "class f:\n    k = 1\n    def m(self): return 1", "equal"),
        ("class f:\n    k = 1", "class f:\n    k = 2", "different"),
        ("class f:\n    def m(self): return 1", "class f:\n    def m(self): return 2", "different"),
        ("class f:\n    def m(self): pass", "class f: pass", "different"),
        ("class f(dict): pass", "class f(list): pass", "different"),
        (
            "class C:\n    def m(self): return 1\nf = C().m",
            "class C:\n    def m(self): return 2\nf = C().m",
            "different",
        ),
        (
            "class C:\n    def __init__(self): self.a = [1]\nf = C()",
            "class C:\n    def __init__(self): self.a = [1]\nf = C()",
            "equal",
        ),
        (
            "class C:\n    def __init__(self): self.a = [1]\nf = C()",
            "class C:\n    def __init__(self): self.a = [2]\nf = C()",
            "different",
        ),
        ("class C(list): pass\nf = C([1])", "class C(list): pass\nf = C([1])", "equal"),
        ("class C(list): pass\nf = C([1])", "class C(list): pass\nf = C([2])", "different"),
        ("class C(list): pass\nf = C([1]); f.a = 1", "class C(list): pass\nf = C([1]); f.a = 2", "different"),
        (
            "import enum\nclass E(enum.Enum):\n    A = 1\nf = E.A",
            "import enum\nclass E(enum.Enum):\n    A = 1\nf = E.A",
            "equal",
        ),
        (
            "import enum\nclass E(enum.Enum):\n    A = 1; B = 2\nf = E.A",
            "import enum\nclass E(enum.Enum):\n    A = 1; B = 2\nf = E.B",
            "different",
        ),
        ("from collections import namedtuple\nP = namedtuple('P', 'a b')\nf = P(1, 2)",) * 2 + ("equal",),
    ],
)
def test_functions_and_classes(a: str, b: str, expected: str) -> None:
    mine, other = defined(a, "f"), defined(b, "f", "project.shared")
    assert Comparison("project")(mine, other, "f").verdict == expected, Comparison("project")(mine, other, "f")


def test_classes_of_different_libraries_are_different() -> None:
    mine, other = defined("class C: pass", "C", "one"), defined("class C: pass", "C", "other")
    sys.modules["one"] = ModuleType("one")
    assert verdict(mine, other) == "different"
    assert verdict(mine(), other()) == "different"


# --- models ---------------------------------------------------------------------------------------------------------
def data() -> tuple[pd.DataFrame, pd.Series]:
    generator = np.random.default_rng(0)
    X = pd.DataFrame(generator.normal(size=(60, 3)), columns=list("abc"))
    return X, (X["a"] + X["b"] > 0).astype(int)


def models() -> dict[str, Any]:
    from lightgbm import LGBMClassifier
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from xgboost import XGBClassifier

    return {
        "logistic": LogisticRegression(),
        "forest": RandomForestClassifier(5, random_state=0),
        "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
        "columns": make_pipeline(make_column_transformer((StandardScaler(), ["a", "b"])), LogisticRegression()),
        "neighbours": KNeighborsClassifier(),
        "xgboost": XGBClassifier(n_estimators=3, max_depth=2),
        "lightgbm": LGBMClassifier(n_estimators=3, verbose=-1),
    }


@pytest.mark.parametrize("name", ["logistic", "forest", "pipeline", "columns", "neighbours", "xgboost", "lightgbm"])
def test_models(name: str) -> None:
    X, y = data()
    fitted = models()[name].fit(X, y)
    again = pickle.loads(pickle.dumps(fitted))
    other = models()[name].fit(X, 1 - y)
    seen = heads([X])
    assert verdict(fitted, again, seen=seen) == "equal"
    assert verdict(fitted, other, seen=seen) == "different"
    assert verdict(fitted, models()[name], seen=seen) == "different"


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
def test_boosters(name: str) -> None:
    X, y = data()
    part = {"xgboost": lambda m: m.get_booster(), "lightgbm": lambda m: m.booster_}[name]
    fitted, other = part(models()[name].fit(X, y)), part(models()[name].fit(X, 1 - y))
    assert verdict(fitted, copy.deepcopy(fitted)) == "equal"
    assert verdict(fitted, other) == "different"


def test_predictions_are_compared() -> None:
    X, _ = data()
    code = (
        "from sklearn.base import BaseEstimator\n"
        "class M(BaseEstimator):\n"
        "    n_features_in_ = 3\n"
        "    def __getstate__(self): return {}\n"
        "    def predict(self, X): return X['a'] * self.k"
    )
    mine, other = defined(code, "M")(), defined(code, "M")()
    mine.k, other.k = 2, 3
    assert verdict(mine, other) == "equal"
    assert verdict(mine, other, seen=heads([X])) == "different"


def test_figures() -> None:
    from matplotlib.figure import Figure

    def drawn(values: list[float], title: str = "", colour: str = "red") -> Figure:
        figure = Figure()
        axes = figure.subplots()
        axes.plot(values, color=colour)
        axes.set_title(title)
        return figure

    assert verdict(drawn([1, 2]), drawn([1, 2])) == "equal"
    for other in (drawn([1, 3]), drawn([1, 2], "t"), drawn([1, 2], colour="blue")):
        assert verdict(drawn([1, 2]), other) == "different"
