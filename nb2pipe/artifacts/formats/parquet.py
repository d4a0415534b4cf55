"""Parquet: pandas frames and series, readable by most data tools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nb2pipe.artifacts.format import Format, StaticTypes

UNCHANGEABLE = {bool, bytes, float, int, str, type(None)}


def save_parquet(value: Any, folder: Path) -> None:
    """Write a frame, or a series as a frame of one column."""
    if value.attrs or not value.flags.allows_duplicate_labels:
        raise ValueError("Parquet would not keep attrs and flags")
    if value.ndim == 2:
        value.to_parquet(folder / "frame.parquet", engine="pyarrow", compression="zstd")
    elif value.name is None or type(value.name) in (int, str):
        frame = value.to_frame("values")
        frame.attrs = {"name": value.name}
        frame.to_parquet(folder / "series.parquet", engine="pyarrow", compression="zstd")
    else:
        raise ValueError(f"Parquet would not keep the name {value.name!r}")


def load_parquet(folder: Path) -> Any:
    """Read what `save_parquet` wrote."""
    import pandas as pd

    if (folder / "frame.parquet").exists():
        return pd.read_parquet(folder / "frame.parquet", engine="pyarrow")
    frame = pd.read_parquet(folder / "series.parquet", engine="pyarrow")
    series = frame["values"].rename(frame.attrs["name"])
    series.attrs = {}
    return series


def same_pandas(saved: Any, loaded: Any) -> bool:
    """Whether two frames or series are equal to the last detail: types, order, index, layout."""
    from pandas import testing

    if saved.ndim == 1:
        testing.assert_series_equal(saved, loaded, check_exact=True, check_index_type=True)
    else:
        testing.assert_frame_equal(
            saved, loaded, check_exact=True, check_index_type=True, check_column_type=True
        )
    pairs = zip(_parts(saved), _parts(loaded), strict=True)
    return all(_same_details(*pair) for pair in pairs)


def _parts(value: Any) -> Iterator[Any]:
    """The columns, and the levels of the labels."""
    for labels in value.axes:
        yield from labels.levels if labels.nlevels > 1 else [labels]
    yield from [value] if value.ndim == 1 else (column for _, column in value.items())


def _same_details(saved: Any, loaded: Any) -> bool:
    """What pandas does not compare: kinds of missing values, names, how numbers lie in memory."""
    if repr(saved.name) != repr(loaded.name) or len(saved) != len(loaded):
        return False
    if saved.dtype == object or hasattr(saved.dtype, "numpy_dtype"):
        kinds = [*map(type, saved)]
        changeable = saved.dtype == object and not {*kinds} <= UNCHANGEABLE
        return not changeable and kinds == [*map(type, loaded)]
    if saved.dtype.kind in "biuf" and hasattr(saved.dtype, "char") and len(saved) > 1:
        return bool(saved.to_numpy().strides == loaded.to_numpy().strides)
    return True


PARQUET = Format(
    "parquet",
    types=("pandas.DataFrame", "pandas.Series"),
    save=save_parquet,
    load=load_parquet,
    same=same_pandas,
    libraries=("pandas", "pyarrow"),
)

STATIC: StaticTypes = {
    "pandas.DataFrame": ("Dataset", ("pandas", "pyarrow")),
    "pandas.Series": ("Dataset", ("pandas", "pyarrow")),
}
