"""Whatever hypothesis thinks of comes back the same."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 3) | st.booleans(), inner, max_size=4)
    ),
    max_leaves=12,
)
CELLS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(width=32) | st.text("ab", max_size=2)
COLUMNS = st.lists(CELLS, min_size=3, max_size=3)
LABELS = st.lists(st.text("abc", max_size=2) | st.integers(0, 3), min_size=1, max_size=3)
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def there_and_back(artifacts: ModuleType, value: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        artifacts.save(Path(folder) / "x", {"x": value})
        return artifacts.load(Path(folder) / "x")["x"]


@few
@given(value=PLAIN)
def test_plain_values(artifacts: ModuleType, value: Any) -> None:
    assert repr(there_and_back(artifacts, value)) == repr(value)


@few
@given(columns=st.lists(COLUMNS, min_size=1, max_size=3), labels=LABELS, index=st.lists(CELLS, min_size=3, max_size=3))
def test_frames(artifacts: ModuleType, columns: list[list[Any]], labels: list[Any], index: list[Any]) -> None:
    width = min(len(columns), len(labels))
    frame = pd.concat([pd.Series(column) for column in columns[:width]], axis=1)
    frame.columns = pd.Index(labels[:width])
    frame.index = pd.Index(index)
    loaded = there_and_back(artifacts, frame)
    assert repr(loaded.dtypes.tolist()) == repr(frame.dtypes.tolist())
    assert repr(loaded.index) == repr(frame.index)
    assert repr(loaded.columns) == repr(frame.columns)
    assert [repr([*column]) for _, column in loaded.items()] == [repr([*column]) for _, column in frame.items()]


@few
@given(
    shape=st.lists(st.integers(0, 3), max_size=3),
    dtype=st.sampled_from(["f8", "f4", "i1", "u8", "?", "c8", "U2", "S2", "M8[D]", ">i4", "O"]),
    order=st.sampled_from("CF"),
)
def test_arrays(artifacts: ModuleType, shape: list[int], dtype: str, order: Any) -> None:
    array = np.ones(shape, dtype="i8").astype(dtype, order=order)
    loaded = there_and_back(artifacts, array)
    assert type(loaded) is type(array)
    assert loaded.dtype == array.dtype
    assert loaded.shape == array.shape
    assert loaded.flags.f_contiguous == array.flags.f_contiguous
    assert repr(loaded) == repr(array)
