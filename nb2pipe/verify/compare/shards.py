"""Files that Beam writes in shards, compared by the elements in all of them: it defines neither order nor number."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nb2pipe.verify.compare.outcome import EQUAL, Outcome, close, different, said

SHARD = re.compile(r"(.*)-\d{5}-of-\d{5}(.*)")


def sharded(paths: Iterable[Path]) -> Mapping[str, Sequence[Path]]:
    """Of the paths those of shards, by what their names have in common."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        if match := SHARD.fullmatch(path.as_posix()):
            found.setdefault(f"{match[1]}-*{match[2]}", []).append(path)
    return found


def compare_shards(a: Path, b: Path, paths: Sequence[Path], name: str) -> Outcome:
    """The shards `paths` of one output, in the notebook's folder `a` and the pipeline's `b`."""
    sides = [[root / path for path in paths if (root / path).is_file()] for root in (a, b)]
    if [[path.name for path in side] for side in sides].count([path.name for path in paths]) == 2:
        if all((a / path).read_bytes() == (b / path).read_bytes() for path in paths):
            return EQUAL
    try:
        mine, other = (Counter(each for path in side for each in elements(path)) for side in sides)
    except Exception as error:
        why = f"{name}: other bytes, and the elements cannot be read here ({type(error).__name__}: {error})"
        return Outcome("not proved", why)
    for element in (*mine, *other):
        if mine[element] != other[element]:
            counts = [said(f"{side[element]} times {element[:60]!r}") for side in (mine, other)]
            return different(name, *counts)
    return close(f"{name}: the same elements in another order or other shards, which Beam leaves open")


def elements(path: Path) -> Iterator[Any]:
    """The elements of a shard as texts or bytes: rows of Parquet and Avro, records of TFRecord, else lines of text.

    Raises ValueError for other data.
    """
    data = path.read_bytes()
    data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    if data.startswith(b"PAR1"):
        return _parquet(path)
    if data.startswith(b"Obj\x01"):
        return _avro(path)
    return iter(data.removesuffix(b"\n").split(b"\n")) if data and b"\0" not in data else _records(data)


def _parquet(path: Path) -> Iterator[str]:
    import pyarrow.parquet

    return map(repr, pyarrow.parquet.read_table(path).to_pylist())


def _avro(path: Path) -> Iterator[str]:
    import fastavro

    with path.open("rb") as file:
        return iter([repr(row) for row in fastavro.reader(file)])


def _records(data: bytes) -> Iterator[bytes]:
    """The records of a TFRecord file: length (8 bytes), checksum (4), record, checksum (4)."""
    place = 0
    while place < len(data):
        size = int.from_bytes(data[place : place + 8], "little")
        end = place + 12 + size + 4
        if end > len(data):
            raise ValueError("no records of TFRecord")
        yield data[place + 12 : end - 4]
        place = end
