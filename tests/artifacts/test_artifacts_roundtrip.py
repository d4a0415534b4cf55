"""Every value comes back equal, of the same type and layout, whatever format it ended in."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

RNG = np.random.default_rng(0)


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    __slots__ = ()


@dataclasses.dataclass
class Point:
    x: float


Pair = collections.namedtuple("Pair", "a b")


def shared_list() -> list[list[int]]:
    inner = [1, 2]
    return [inner, inner]


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


JSON_VALUES: dict[str, Any] = {
    "none": None,
    "true": True,
    "int": -7,
    "big": 10**300,
    "float": 0.1,
    "tiny": 5e-324,
    "minus zero": -0.0,
    "text": "a\nb\0\u2028ä😀",
    "nested": {"b": [1, 1.0, True, None, {"": []}], "a": "x"},
    "list of lists": [[1, 2], [1, 2]],
    "empty": {},
    "deep": deep(300),
    "same text twice": ["abcdef" * 3] * 3,
}
OTHER_VALUES: dict[str, Any] = {
    "tuple": (1, 2),
    "tuple inside": {"a": (1,)},
    "int keys": {1: "a", "1": "b"},
    "none key": {None: 1},
    "subclass key": {Text("a"): 1},
    "nan": float("nan"),
    "inf inside": [1.0, -math.inf],
    "lone surrogate": "\ud800",
    "surrogate pair": "\ud83d\ude00",
    "huge int": 10**5000,
    "shared": shared_list(),
    "cycle": cycle(),
    "ordered": collections.OrderedDict(b=1, a=2),
    "default": collections.defaultdict(list, {"a": [1]}),
    "counter": collections.Counter("abca"),
    "enum": Colour.RED,
    "int enum": Level.LOW,
    "int enum inside": [Level.LOW],
    "str subclass": Text("x"),
    "named tuple": Pair(1, 2),
    "set": {1, 2},
    "bytes": b"\0\xff",
    "complex": 1j,
    "decimal": decimal.Decimal("1.10"),
    "date": dt.date(2026, 1, 2),
    "dataclass": Point(1.5),
    "path": Path("a/b"),
    "range": range(3),
    "numpy number inside": {"rmse": np.float64(1.5)},
    "class": Point,
}
ARRAYS: dict[str, Any] = {
    "float": RNG.random((3, 4)),
    "fortran": np.asfortranarray(RNG.random((3, 4))),
    "view": RNG.random((6, 8))[::2, 1:4],
    "view of fortran": np.asfortranarray(RNG.random((6, 8)))[1:4],
    "reversed": np.arange(5)[::-1],
    "broadcast": np.broadcast_to(np.arange(3), (2, 3)),
    "bool": np.array([True, False]),
    "big endian": np.arange(3, dtype=">i4"),
    "text": np.array(["a", "bcd"]),
    "bytes": np.array([b"a\0b"]),
    "times": np.array(["2026-01-01", "NaT"], "datetime64[s]"),
    "half": np.arange(3, dtype="f2"),
    "complex": np.array([1j, np.nan]),
    "empty": np.empty((0, 3)),
    "number": np.float64(0.1),
    "small int": np.int8(3),
    "bool number": np.bool_(True),
    "time": np.datetime64("2026-01-01"),
}
OTHER_ARRAYS: dict[str, Any] = {
    "object": np.array([1, "a", None], dtype=object),
    "structured": np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "aligned": np.zeros(2, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "masked": np.ma.masked_array([1, 2], [True, False]),
    "matrix": np.ones((2, 2)).view(np.matrix),
    "recarray": np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "no dimension": np.array(3.0),
    "metadata": np.zeros(2, dtype=np.dtype("f8", metadata={"unit": "m"})),
    "text number": np.str_("a"),
    "generator": np.random.default_rng(3),
}


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns)


PARQUET_VALUES: dict[str, Any] = {
    "plain": frame(a=[1, 2], b=[0.5, math.nan], c=["x", "y"], d=[True, False]),
    "missing text": frame(a=["x", None, "z"]),
    "times": frame(a=pd.to_datetime(["2026-01-01", None]), b=pd.to_datetime(["2026-01-01", None], utc=True)),
    "zone": frame(a=pd.to_datetime(["2026-01-01"]).tz_localize("Europe/Berlin")),
    "category": frame(a=pd.Categorical(["b", "a", None], categories=["c", "b", "a"], ordered=True)),
    "nullable": frame(a=pd.array([1, None], dtype="Int64"), b=pd.array([True, None], dtype="boolean")),
    "small numbers": frame(a=np.array([1], "i1"), b=np.array([1], "u4"), c=np.array([1], "f4")),
    "label index": frame(a=[1, 2]).set_axis(["r", "s"]).rename_axis("row"),
    "filtered": frame(a=range(6), b=range(6)).query("a % 3 == 1"),
    "two levels": frame(a=[1, 2], b=["x", "y"], c=[0.1, 0.2]).set_index(["a", "b"]),
    "no rows": frame(a=pd.Series([], dtype="int64")),
    "timedelta": frame(a=pd.to_timedelta(["1s", None])),
    "period": frame(a=pd.period_range("2026-01", periods=2, freq="M")),
    "minus zero": frame(a=[-0.0, 0.0]),
    "view": frame(a=np.arange(9.0), b=np.arange(9.0)).iloc[2:7],
    "from array": pd.DataFrame(RNG.random((5, 3)), columns=list("abc")),
    "wide": pd.DataFrame(RNG.random((3, 300)), columns=[f"c{i}" for i in range(300)]),
    "bool in object": frame(a=pd.Series([True, None], dtype=object)),
    "tuple columns": pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])),
    "interval": frame(a=pd.interval_range(0, 2)),
    "series": pd.Series([1.5, 2.5], name="y"),
    "series without name": pd.Series(["x", "y"]),
    "series int name": pd.Series([1, 2], name=0),
    "series with index": pd.Series([1, 2], index=pd.Index([5, 3], name="id"), name="values"),
    "category series": pd.Series(["b", "a"], dtype="category", name="k"),
}


def with_attrs() -> pd.DataFrame:
    value = frame(a=[1])
    value.attrs["unit"] = ("m", 1)
    return value


OTHER_FRAMES: dict[str, Any] = {
    "object text": frame(a=pd.Series(["x", "y"], dtype=object)),
    "object none": frame(a=pd.Series(["x", None], dtype=object)),
    "gaps in index": frame(a=range(6))[::2],
    "no columns": pd.DataFrame(index=range(3)),
    "mixed": frame(a=[1, "x"]),
    "none and nan": frame(a=pd.Series(["x", None, math.nan], dtype=object)),
    "nan in object": frame(a=pd.Series(["x", math.nan], dtype=object)),
    "lists": frame(a=[[1], [2]]),
    "tuples": frame(a=[(1,), (2,)]),
    "dicts": frame(a=[{"a": 1}, {"b": 2}]),
    "decimals": frame(a=[decimal.Decimal("1.0"), decimal.Decimal("2.00")]),
    "dates": frame(a=[dt.date(2026, 1, 1)]),
    "arrays": frame(a=[np.zeros(2), np.ones(2)]),
    "twice a name": pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "numbered columns": pd.DataFrame(np.ones((2, 2))),
    "mixed columns": pd.DataFrame([[1, 2]], columns=["a", 1]),
    "object columns": pd.DataFrame([[1]], columns=pd.Index(["a"], dtype=object)),
    "freq": pd.DataFrame({"a": [1, 2]}, index=pd.date_range("2026", periods=2, freq="D")),
    "interval categories": frame(a=pd.cut([1, 5], [0, 2, 6])),
    "sparse": frame(a=pd.arrays.SparseArray([0, 1])),
    "complex": frame(a=[1j]),
    "attrs": with_attrs(),
    "flags": frame(a=[1]).set_flags(allows_duplicate_labels=False),
    "unused level": pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_product([["x", "y"], [1]])).iloc[:1],
    "strided": pd.DataFrame(RNG.random((5, 3)), columns=list("abc"), copy=False),
    "category of numbers": frame(a=pd.Categorical([2.5, 1.5])).rename_axis(columns="kind"),
    "tuple name": pd.Series([1, 2], name=("a", 1)),
    "bool name": pd.Series([1, 2], name=True),
    "index": pd.Index([1, 2], name="i"),
    "group": frame(a=[1, 1], b=[1, 2]).groupby("a"),
}


def same(a: Any, b: Any) -> bool:
    """A strict comparison that shares no code with the formats."""
    if type(a) is not type(b):
        return False
    if isinstance(a, pd.DataFrame):
        return same_labels(a.index, b.index) and same_labels(a.columns, b.columns) and same_columns(a, b)
    if isinstance(a, pd.Series):
        return repr(a.name) == repr(b.name) and same_labels(a.index, b.index) and same_column(a, b)
    if isinstance(a, pd.Index):
        return same_labels(a, b)
    if isinstance(a, np.ma.MaskedArray):
        return same(a.data, b.data) and same(a.mask, b.mask)
    if isinstance(a, (np.ndarray, np.generic)):
        return same_array(a, b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a), list(b)) and same(list(a.values()), list(b.values()))
    if isinstance(a, (float, complex)):
        return repr(a) == repr(b)
    if isinstance(a, np.random.Generator):
        return bool(a.bit_generator.state == b.bit_generator.state)
    return bool(a == b)


def same_array(a: Any, b: Any) -> bool:
    kind = [(x.dtype, x.dtype.char, x.dtype.metadata, x.dtype.isalignedstruct, x.shape) for x in (a, b)]
    order = [(x.flags.c_contiguous, x.flags.f_contiguous) for x in (a, b)]
    contiguous = any(order[0])
    if kind[0] != kind[1] or (contiguous and order[0] != order[1]):
        return False
    return same(a.tolist(), b.tolist()) if a.dtype == object else a.tobytes() == b.tobytes()


def same_labels(a: Any, b: Any) -> bool:
    if type(a) is not type(b) or repr(a.names) != repr(b.names) or repr(a.dtype) != repr(b.dtype):
        return False
    if isinstance(a, pd.MultiIndex):
        return len(a.levels) == len(b.levels) and all(map(same_labels, a.levels, b.levels)) and a.equals(b)
    return getattr(a, "freq", None) == getattr(b, "freq", None) and same_items(list(a), list(b))


def same_items(a: list[Any], b: list[Any]) -> bool:
    spelled = [[repr((type(item), item)) for item in items] for items in (a, b)]
    return spelled[0] == spelled[1]


def same_columns(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    if a.shape != b.shape or a.attrs != b.attrs or a.flags != b.flags:
        return False
    if len({*map(str, a.dtypes)}) == 1 and isinstance(a.dtypes.iloc[0], np.dtype):
        flags = [(x.to_numpy().flags.c_contiguous, x.to_numpy().flags.f_contiguous) for x in (a, b)]
        if any(flags[0]) and flags[0] != flags[1]:
            return False
    return all(same_column(a.iloc[:, i], b.iloc[:, i]) for i in range(a.shape[1]))


def same_column(a: pd.Series, b: pd.Series) -> bool:
    if repr(a.dtype) != repr(b.dtype) or a.dtype != b.dtype:
        return False
    if isinstance(a.dtype, np.dtype) and a.to_numpy().flags.contiguous and not b.to_numpy().flags.contiguous:
        return False
    return same_items(list(a), list(b))


def cases(**tables: dict[str, Any]) -> list[Any]:
    return [pytest.param(v, f, id=f"{f}-{n}") for f, table in tables.items() for n, v in table.items()]


ROWS = [
    *cases(json=JSON_VALUES, pickle=OTHER_VALUES),
    *cases(npy=ARRAYS, pickle=OTHER_ARRAYS),
    *cases(parquet=PARQUET_VALUES, pickle=OTHER_FRAMES),
]
INCOMPARABLE = (type(frame(a=[1]).groupby("a")),)


@pytest.mark.parametrize(("value", "format"), ROWS)
def test_value_comes_back(artifacts: ModuleType, tmp_path: Path, value: Any, format: str) -> None:
    record = artifacts.save(tmp_path / "x", {"x": value})
    loaded = artifacts.load(tmp_path / "x")
    assert list(loaded) == ["x"]
    assert record["format"] == format
    if isinstance(value, list) and value and value[0] is value:
        assert loaded["x"][0] is loaded["x"]
    elif not isinstance(value, INCOMPARABLE):
        assert same(value, loaded["x"]), (value, loaded["x"])


def test_the_comparison_can_fail() -> None:
    assert same(frame(a=[1.0]), frame(a=[1.0]))
    for other in (frame(a=[1]), frame(b=[1.0]), frame(a=[1.0]).set_axis([1]), frame(a=[2.0]), frame(a=[1.0])["a"]):
        assert not same(frame(a=[1.0]), other)


def test_sharing_inside_a_value_is_kept(artifacts: ModuleType, tmp_path: Path) -> None:
    artifacts.save(tmp_path / "x", {"x": {"a": (inner := [1]), "b": inner}})
    value = artifacts.load(tmp_path / "x")["x"]
    assert value["a"] is value["b"]


@pytest.mark.parametrize("make", [lambda: frame(a=[1.0, 2.0]), lambda: pd.Series([1.0, 2.0], name="a").to_frame()])
def test_a_loaded_frame_can_be_changed(artifacts: ModuleType, tmp_path: Path, make: Callable[[], pd.DataFrame]) -> None:
    artifacts.save(tmp_path / "x", {"x": make()})
    value = artifacts.load(tmp_path / "x")["x"]
    value.loc[0, "a"] = 7.0
    value["a"] += 1
    assert value["a"].tolist() == [8.0, 3.0]


def test_sums_of_a_strided_array_stay_the_same_to_the_last_bit(artifacts: ModuleType, tmp_path: Path) -> None:
    view = RNG.random((9000, 9)).T[1:5]
    for name, array in {"c": view.copy(), "f": np.asfortranarray(view), "v": view}.items():
        artifacts.save(tmp_path / name, {name: array})
        loaded = artifacts.load(tmp_path / name)[name]
        assert (loaded.sum(0) == array.sum(0)).all(), name
        assert (loaded.sum(1) == array.sum(1)).all(), name
        assert loaded.sum() == array.sum(), name


def test_pickle_of_a_frame_agrees(artifacts: ModuleType, tmp_path: Path) -> None:
    value = OTHER_FRAMES["strided"]
    artifacts.save(tmp_path / "x", {"x": value})
    assert (artifacts.load(tmp_path / "x")["x"].sum() == pickle.loads(pickle.dumps(value)).sum()).all()
