"""The rows of the effect tables against what the libraries do: calls are run, and what they change is measured."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import lru_cache
from importlib import import_module
from typing import Any

import pytest

from nb2pipe.dataflow import effects
from nb2pipe.dataflow.flow import analyse
from nb2pipe.dataflow.model import Flow
from nb2pipe.notebook.model import Cell, Layout, Notebook, PyCell, StepTags
from nb2pipe.options import Options

cloudpickle = pytest.importorskip("cloudpickle")
np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")

SETUP = """\
import bisect, collections, copy, csv, datetime, functools, heapq, io, itertools, json
import math, operator, pickle, random, re, statistics
import numpy as np
import pandas as pd
import nobody
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, mean_squared_error, roc_curve
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler, scale
a = np.array([[3.0, 1.0, 2.0], [6.0, 5.0, 4.0]])
v = np.array([3.0, 1.0, 2.0])
w = np.array([1.0, 1.0, 1.0])
mask = np.array([True, False, True])
df = pd.DataFrame({"n": [3, 1, 2], "x": [1.0, np.nan, 2.0], "t": ["u", "v", "u"]})
other = pd.DataFrame({"n": [3, 1], "z": [7.0, 8.0]})
nums = pd.DataFrame({"p": [1.0, 2.0, 3.0], "q": [4.0, 5.0, 6.0]})
s = pd.Series([3.0, 1.0, 2.0])
when = pd.Series(pd.to_datetime(["2024-01-01", "2024-01-02"]))
words = pd.Series(["ab", "cd"])
ls = [3, 1, 2]
nested = [[1], [2]]
d = {"k": [1], "m": [2]}
text = "some text"
dq = collections.deque([1, 2])
counter = collections.Counter(["u", "v", "u"])
groups = collections.defaultdict(list)
heap = [1, 3, 2]
gen = np.random.default_rng(0)
old = np.random.RandomState(0)
rnd = random.Random(0)
buffer = io.StringIO("l,m")
X, y = make_classification(n_samples=40, random_state=0)
frame = pd.DataFrame(X)
labels = pd.Series(y)
clf = LogisticRegression()
fitted = LogisticRegression().fit(X, y)
forest = RandomForestClassifier(n_estimators=3, random_state=0)
knn = KNeighborsClassifier()
scaler = StandardScaler()
ready = StandardScaler().fit(X)
same = FunctionTransformer()
pipe = Pipeline([("scale", scaler), ("model", clf)])
search = GridSearchCV(forest, {"max_depth": [2]}, cv=2)
uncopied = StandardScaler(copy=False)
"""

FRESH = """\
np.array(a)
np.copy(a)
np.sum(a)
np.mean(a, axis=0)
np.exp(a)
np.add(v, w)
np.where(a > 1, a, 0)
np.concatenate([v, w])
np.vstack([v, w])
np.sort(v)
np.argsort(v)
np.unique(v)
np.append(v, 1.0)
np.delete(v, 0)
np.insert(v, 0, 9.0)
np.cumsum(v)
np.clip(v, 0, 2)
np.nan_to_num(v)
np.round(v)
np.dot(v, w)
np.linalg.norm(v)
np.linalg.inv(np.eye(2))
np.zeros_like(a)
np.percentile(v, 50)
np.histogram(v)
np.tile(v, 2)
np.roll(v, 1)
np.isnan(v)
np.allclose(v, w)
np.resize(v, 2)
a.copy()
a.flatten()
a.astype(int)
a.sum()
a.mean(axis=0)
a.argmax()
a.tolist()
v[mask]
v[[0, 1]]
a.dot(v)
a.cumsum()
a.round()
a.repeat(2)
a.tobytes()
a + 1
a > 1
a.shape
len(a)
df.copy()
df.describe()
df.dropna()
df.fillna(0)
df.drop(columns=["n"])
df.rename(columns={"n": "k"})
df.sort_values("n")
df.drop_duplicates()
df.merge(other, on="n")
df.groupby("t")["n"].mean()
df.groupby("t").agg({"n": "sum"})
df.groupby("t").size()
df[df["n"] > 1]
df.query("n > 1")
df.assign(k=1)
df.isna()
df.select_dtypes("number").sum()
df["n"].mean()
df["n"].value_counts()
df["t"].unique()
df["t"].str.upper()
df["t"].map({"u": 1, "v": 2})
df["n"].apply(float)
df["n"].tolist()
df.to_dict()
df.to_csv()
df.nunique()
df.pivot_table(index="t", values="n")
df.melt()
df.corr(numeric_only=True)
df.astype({"n": float})
df.reset_index()
df.isin([1])
df.shape
df.memory_usage()
df.duplicated()
df.equals(other)
df.quantile(0.5, numeric_only=True)
pd.concat([df, other])
pd.get_dummies(df)
pd.merge(df, other)
pd.isna(df)
pd.cut(s, 2)
pd.crosstab(df["n"], df["t"])
pd.DataFrame({"k": [1, 2]})
pd.Series([1, 2])
s.abs()
s.sum()
s.rank()
s.shift(1)
s.diff()
s.cumsum()
s.to_list()
s.between(1, 2)
s.rolling(2).mean()
when.dt.year
when.dt.strftime("%Y")
words.str.len()
train_test_split(X, y, random_state=0)
accuracy_score(y, y)
confusion_matrix(y, y)
mean_squared_error(y, y)
roc_curve(y, y)
cross_val_score(clf, X, y, cv=2)
fitted.predict(X)
fitted.predict_proba(X)
fitted.score(X, y)
fitted.decision_function(X)
ready.transform(X)
ready.inverse_transform(X)
ready.get_feature_names_out()
RandomForestClassifier(n_estimators=2, random_state=0)
scale(X)
sorted(ls)
sum(ls)
json.dumps(d)
pickle.dumps(d)
copy.deepcopy(d)
statistics.mean(ls)
math.sqrt(2)
re.findall("e", text)
re.compile("e")
text.upper()
text.split()
counter.total()
heapq.nlargest(2, heap)
bisect.bisect(ls, 2)
ls.count(1)
ls.copy()
datetime.datetime(2024, 1, 1)
collections.Counter(ls)
"""

SHARING = """\
a | a.T
a | a.reshape(3, 2)
a | a.ravel()
a | a[0]
a | a[:, 1]
a | a[0:1]
a | a.transpose()
a | a.swapaxes(0, 1)
a | a.squeeze()
a | a.view()
a | a.real
a | a.flat
a | np.asarray(a)
a | np.ravel(a)
a | np.reshape(a, (3, 2))
a | np.transpose(a)
a | np.squeeze(a)
a | np.expand_dims(a, 0)
a | np.atleast_2d(a)
a | np.flip(a)
a | np.diagonal(a)
a | np.split(a, 2)
a | np.array_split(a, 2)[0]
a | np.broadcast_to(a, (2, 2, 3))
a | np.swapaxes(a, 0, 1)
a | np.array(a, copy=False)
a | a.astype(float, copy=False)
a | next(iter(a))
a | list(a)
a | a.diagonal()
df | df["n"]
df | df.x
df | df.loc[:, "n"]
df | df["n"].values
df | df.n.to_numpy()
df | df.index
df | df.columns
df | df.head()
nums | nums.values
nums | nums.T
nums | nums.to_numpy()
nums | nums.iloc[0:2]
s | s.values
s | s.to_frame()
s | s.head(2)
s | np.asarray(s)
ls | [ls]
nested | nested[0]
nested | nested.copy()
nested | list(nested)
nested | sorted(nested)
nested | copy.copy(nested)
nested | random.Random(0).choice(nested)
nested | random.sample(nested, 2)
nested | functools.reduce(max, nested)
nested | collections.deque(nested)
nested | pd.Series(nested)
nested | list(itertools.chain(nested))
nested | max(nested)
d | d["k"]
d | d.get("k")
d | list(d.values())
d | dict(d)
d | d.items()
d | operator.itemgetter("k")(d)
X | same.fit_transform(X)
X | KNeighborsClassifier().fit(X, y)
X | KNNImputer().fit(X)
clf | pipe.named_steps["model"]
clf | pipe[-1]
clf | Pipeline([("model", clf)])
fitted | fitted.coef_
fitted | fitted.get_params
forest | search.estimator
"""

CHANGING = """\
v | v.sort()
v | v.fill(0)
v | v.put([0], 9.0)
v | v.partition(1)
v | np.put(v, [0], 9.0)
v | np.copyto(v, w)
v,w | np.copyto(dst=v, src=w)
v | np.place(v, mask, [0.0])
v | np.putmask(v, mask, 0.0)
v | np.add.at(v, [0], 1.0)
v | np.random.default_rng(0).shuffle(v)
v | np.random.shuffle(v)
v | np.add(v, w, out=v)
v | np.exp(w, out=v)
v | np.cumsum(w, out=v)
v | np.nan_to_num(v, copy=False)
a | np.fill_diagonal(a, 0)
a | np.asarray(a).fill(0)
a | a.T.fill(0)
a | a[0].fill(0)
gen | gen.normal(size=2)
gen | gen.integers(3)
gen | gen.permutation(3)
old | old.rand(2)
old | train_test_split(X, random_state=old)
rnd | rnd.random()
rnd,ls | rnd.shuffle(ls)
ls | random.shuffle(ls)
ls | random.shuffle(x=ls)
df | df.drop(columns=["n"], inplace=True)
df | df.dropna(inplace=True)
df | df.rename(columns={"n": "k"}, inplace=True)
df | df.sort_values("n", inplace=True)
df | df.reset_index(inplace=True)
df | df.set_index("n", inplace=True)
df | df.fillna(0, inplace=True)
df | df.eval("k = n + 1", inplace=True)
df | df.query("n > 1", inplace=True)
df | df.insert(0, "k", 1)
df | df.pop("n")
df | df.update(other)
df | df.loc.__setitem__((0, "n"), 9)
df | df.__setitem__("k", 1)
s | s.sort_values(inplace=True)
s | s.replace(1.0, 9.0, inplace=True)
s | s.update(pd.Series([9.0]))
s | s.pop(0)
ls | ls.append(1)
ls | ls.sort()
ls | ls.pop()
ls | list.reverse(ls)
ls | heapq.heapify(ls)
heap | heapq.heappush(heap, 0)
heap | heapq.heappop(heap)
ls | bisect.insort(ls, 2)
d | d.update(k=1)
d | d.setdefault("z", [])
d | d.pop("k")
dq | dq.appendleft(0)
dq | dq.popleft()
dq | dq.rotate(1)
counter | counter.update(["z"])
counter | counter.subtract(["u"])
groups | groups["new"]
groups | groups["new"].append(1)
buffer | buffer.read()
buffer | json.dump([1], buffer)
buffer | csv.writer(buffer).writerow([1])
clf,pipe | clf.fit(X, y)
forest,search | forest.fit(X, y)
knn | knn.fit(X, y)
scaler,pipe | scaler.fit(X)
scaler,pipe | scaler.fit_transform(X)
clf,pipe | clf.set_params(C=2.0)
pipe,scaler,clf | pipe.fit(X, y)
X,frame | scale(X, copy=False)
X,frame,uncopied | uncopied.fit_transform(X)
d | [x.append(1) for x in d.values()]
nested | list(map(lambda one: one.append(1), nested))
groups | words.apply(groups["k"].append)
ls | words.apply(ls.append)
"""


def _table(text: str) -> list[tuple[str, str]]:
    rows = [line.partition(" | ")[::2] for line in text.splitlines()]
    return [(names.strip(), expression.strip()) for names, expression in rows]


class _Nobody:
    @staticmethod
    def touch(value: Any) -> None:
        """Stands for a library without a table."""


@lru_cache(maxsize=1)
def _start() -> bytes:
    """The namespace after the set-up, pickled, so that each case has a fresh one."""
    sys.modules["nobody"] = _Nobody  # type: ignore[assignment]
    namespace: dict[str, Any] = {}
    exec(SETUP, namespace)
    namespace.pop("__builtins__")
    modules = {n for n, value in namespace.items() if type(value).__name__ == "module" or value is _Nobody}
    return bytes(cloudpickle.dumps({n: value for n, value in namespace.items() if n not in modules}))


def _namespace() -> dict[str, Any]:
    state = cloudpickle.loads(_start())
    names: dict[str, Any] = {}
    exec(SETUP.split("a = np.array")[0], names)
    return {**names, **state}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _digest(value: Any) -> bytes:
    return bytes(cloudpickle.dumps(value.getvalue() if isinstance(value, io.StringIO) else value))


def _run(expression: str) -> tuple[set[str], Any, dict[str, Any]]:
    """Run the expression: the names of the set-up whose value changed, the result, and the namespace."""
    names = _namespace()
    data = [n for n in cloudpickle.loads(_start()) if not isinstance(names[n], type) and not callable(names[n])]
    before = {n: _digest(names[n]) for n in data}
    position = names["buffer"].tell()
    result = eval(expression, names)
    changed = {n for n in data if _digest(names[n]) != before[n]}
    return changed | ({"buffer"} if names["buffer"].tell() != position else set()), result, names


def _analysed(expression: str) -> tuple[set[str], set[str], Any]:
    """What the tables say: the names changed, the names that share something with the result, the result's value."""
    cell = Cell(0, "c0", "code", f"{SETUP}r = {expression}\nnobody.touch(r)")
    layout = Layout(("step",), (StepTags("one", (0,)),), {0: "one"})
    cells = [PyCell(cell, tuple(cell.source.split("\n")))]
    flow: Flow = analyse(Notebook("none.ipynb", (cell,), {}), layout, cells, (), Options())
    call, touch = flow.statements[-2:]
    return set(call.changes) - {"r"}, set(touch.changes) - {"r"}, call.values["r"]


def _class(type_name: str) -> Any:
    module, _, name = type_name.rpartition(".")
    try:
        return getattr(import_module(module), name, None)
    except ImportError:
        return None


def _check_type(value: Any, result: Any) -> None:
    expected = _class(value.type) if value.type else None
    if isinstance(expected, type) and value.type != "builtins.list":
        assert isinstance(result, expected), value.type


@pytest.mark.parametrize("expression", FRESH.splitlines())
def test_fresh(expression: str) -> None:
    changed, result, _ = _run(expression)
    said_changed, said_shared, value = _analysed(expression)
    assert (changed, said_changed) == (set(), set())
    assert said_shared == set()
    _check_type(value, result)


@pytest.mark.parametrize(("name", "expression"), _table(SHARING))
def test_sharing(name: str, expression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "_pandas_copies", lambda: False)  # as before pandas 3
    changed, result, _ = _run(expression)
    said_changed, said_shared, value = _analysed(expression)
    assert changed <= said_changed
    assert name in said_shared
    _check_type(value, result)


@pytest.mark.parametrize(("changing", "expression"), _table(CHANGING))
def test_changing(changing: str, expression: str) -> None:
    changed, result, _ = _run(expression)
    said_changed, _, value = _analysed(expression)
    assert changed <= said_changed
    assert said_changed == set(changing.split(","))
    _check_type(value, result)
