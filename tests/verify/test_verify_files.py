"""Files that steps write are compared by what they hold: the time at which they were packed is no difference."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nb2pipe.verify.compare.files import compare_files


def hdf5(scale: float) -> bytes:
    h5py = pytest.importorskip("h5py")
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("layer/kernel", data=np.arange(4.0) * scale, track_times=True)
        file.attrs["layers"] = ["layer"]
    return stream.getvalue()


def packed(members: dict[str, bytes], year: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), data)
    return stream.getvalue()


def tensor(scale: float) -> bytes:
    torch = pytest.importorskip("torch")
    stream = io.BytesIO()
    torch.save({"weight": torch.ones(3) * scale}, stream)
    return stream.getvalue()


MAKERS: list[tuple[str, Callable[[float, int], bytes]]] = [
    ("pack.zip", lambda scale, year: packed({"a.bin": bytes([0, int(scale)])}, year)),
    ("table.xlsx", lambda scale, year: packed({"docProps/core.xml": b"%d" % year, "s.xml": b"%d" % scale}, year)),
    ("rows.csv.gz", lambda scale, year: gzip.compress(b"%d\0" % scale, mtime=year)),
]


@pytest.mark.parametrize(("name", "make"), MAKERS, ids=[name for name, _ in MAKERS])
def test_what_is_packed_is_compared(name: str, make: Callable[[float, int], bytes], tmp_path: Path) -> None:
    files = {key: tmp_path / key / name for key in ("then", "now", "other")}
    for (_, path), (scale, year) in zip(files.items(), [(1, 2020), (1, 2024), (2, 2020)], strict=True):
        path.parent.mkdir()
        path.write_bytes(make(scale, year))
    assert files["then"].read_bytes() != files["now"].read_bytes()
    assert compare_files(files["then"], files["now"], f"{{OUT}}/{name}", "p").verdict == "close"
    assert compare_files(files["then"], files["other"], name, "p").verdict == "different"


def test_tensors_of_a_file_are_compared(tmp_path: Path) -> None:
    for name, scale in (("a.pt", 1.0), ("c.pt", 2.0)):
        (tmp_path / name).write_bytes(tensor(scale))
    assert compare_files(tmp_path / "a.pt", tmp_path / "c.pt", "m.pt", "p").verdict == "different"


def test_what_no_reader_understands_is_not_proved(tmp_path: Path) -> None:
    for folder, data in (("a", b"\0one"), ("b", b"\0two")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "fingerprint.pb").write_bytes(data)
    found = compare_files(tmp_path / "a", tmp_path / "b", "saved", "p")
    assert found.verdict == "not proved"
    assert "random mark" in found.detail


def test_arrays_of_an_hdf5_file_are_compared(tmp_path: Path) -> None:
    for name, scale in (("a.h5", 1.0), ("b.h5", 1.0), ("c.h5", 2.0)):
        (tmp_path / name).write_bytes(hdf5(scale))
    (tmp_path / "b.h5").write_bytes((tmp_path / "b.h5").read_bytes() + b"\0")  # other bytes, the same content
    assert compare_files(tmp_path / "a.h5", tmp_path / "b.h5", "m.h5", "p").verdict == "close"
    assert compare_files(tmp_path / "a.h5", tmp_path / "c.h5", "m.h5", "p").verdict == "different"


def test_what_cannot_be_read_is_not_proved(tmp_path: Path) -> None:
    for name, data in (("a.keras", b"\0a"), ("b.keras", b"\0b")):
        (tmp_path / name).write_bytes(data)
    found = compare_files(tmp_path / "a.keras", tmp_path / "b.keras", "m.keras", "p")
    assert (found.verdict, "BadZipFile" in found.detail) == ("not proved", True)


def record(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + b"sum1" + data + b"sum2"


def parquet(rows: list[int]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    pq.write_table(pa.table({"n": rows}), stream)
    return stream.getvalue()


SHARDS: list[tuple[str, Callable[[list[int]], bytes]]] = [
    ("text", lambda rows: b"".join(b"%d\n" % row for row in rows)),
    ("packed", lambda rows: gzip.compress(b"".join(b"%d\n" % row for row in rows))),
    ("records", lambda rows: b"".join(record(b"%d" % row) for row in rows)),
    ("parquet", parquet),
]


@pytest.mark.parametrize(("name", "make"), SHARDS, ids=[name for name, _ in SHARDS])
def test_shards_are_compared_as_multisets(name: str, make: Callable[[list[int]], bytes], tmp_path: Path) -> None:
    """Beam defines neither order nor shards: elements count, each as often as it is there."""
    held = {
        "mine": [[1, 2], [2, 3]],
        "again": [[1, 2], [2, 3]],
        "moved": [[3, 2], [1, 2]],
        "whole": [[2, 2, 3, 1]],
        "less": [[1, 2], [3]],
        "other": [[1, 2], [2, 4]],
    }
    for folder, shards in held.items():
        (tmp_path / folder).mkdir()
        for number, rows in enumerate(shards):
            (tmp_path / folder / f"part-{number:05}-of-{len(shards):05}.x").write_bytes(make(rows))
    found = {key: compare_files(tmp_path / "mine", tmp_path / key, "out", "p") for key in held}
    verdicts = {key: outcome.verdict for key, outcome in found.items()}
    assert verdicts == {
        "mine": "equal", "again": "equal", "moved": "close", "whole": "close", "less": "different", "other": "different"
    }  # fmt: skip
    assert found["less"].detail.startswith("out/part-*.x: 2 times"), found["less"]


def test_shards_that_no_reader_understands_are_not_proved(tmp_path: Path) -> None:
    for folder, data in (("a", b"\0one"), ("b", b"\0two")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "part-00000-of-00001").write_bytes(data)
    assert compare_files(tmp_path / "a", tmp_path / "b", "out", "p").verdict == "not proved"
