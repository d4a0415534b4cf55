"""Saving and loading. This text is copied into the artifacts.py of a generated project."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from nb2pipe.artifacts.format import ArtifactError, Format, type_name
from nb2pipe.artifacts.formats import FORMATS
from nb2pipe.artifacts.formats.pickle import PICKLE

RECORD = "artifact.json"


def save(
    path: str | Path,
    values: Mapping[str, Any],
    *,
    kind: str = "Artifact",
    unbound: Collection[str] = (),
) -> dict[str, Any]:
    """Store `values` as the artifact (a folder) at `path` and return its record.

    One value is stored in the format of its type; several share objects, so they are pickled
    together. `unbound` are names that the notebook left without a value. An artifact that was at
    `path` is replaced as a whole. Raises ArtifactError if a value cannot be stored faithfully.
    """
    path = Path(path)
    empty = path.is_dir() and not any(path.iterdir())
    if path.exists() and not empty and not (path / RECORD).is_file():
        raise ArtifactError(f"{path} is not an artifact; it is not replaced")
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    try:
        format = _write(values, folder, kind)
        record = {
            "format": format.name,
            "kind": kind,
            "names": list(values),
            "unbound": sorted(unbound),
            "type": type_name(type(next(iter(values.values())))) if len(values) == 1 else None,
            "python": sys.version.split()[0],
            "versions": _versions(format, values),
            "sha256": {file.name: _digest(file) for file in sorted(folder.iterdir())},
        }
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        _publish(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return record


def load(path: str | Path) -> dict[str, Any]:
    """The values of the artifact at `path`, by name; unbound names are left out.

    Raises ArtifactError if there is no artifact, if a file of it is damaged, or if a library
    that its format needs is missing.
    """
    path = Path(path)
    record = _read_record(path)
    names = record["names"]
    format = next((f for f in FORMATS if f.name == record["format"]), None)
    if format is None:
        raise ArtifactError(f"{path}: artifacts.py has no format {record['format']!r}")
    try:
        value = format.load(path)
    except Exception as error:
        stored = [f"Python {record['python']}", *map(" ".join, record["versions"].items())]
        message = f"{path} cannot be loaded: {error} (it was stored with {', '.join(stored)})"
        raise ArtifactError(message) from error
    return {names[0]: value} if len(names) == 1 else dict(value)


def _write(values: Mapping[str, Any], folder: Path, kind: str) -> Format:
    """Write the values into `folder`, in the first format that keeps them, and return that."""
    if kind == "Metrics":
        values = {name: _plain_numbers(metrics) for name, metrics in values.items()}
    if len(values) == 1:
        [(name, value)] = values.items()
        return _write_first(name, value, folder, _candidates(value))
    try:
        return _write_first(", ".join(values), dict(values), folder, iter([PICKLE]))
    except ArtifactError:
        for name, value in values.items():  # says which of them it is
            _write_first(name, value, folder, iter([PICKLE]))
        raise


def _write_first(name: str, value: Any, folder: Path, formats: Iterator[Format]) -> Format:
    reason: ArtifactError | None = None
    for format in formats:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            _write_proven(value, folder, format)
        except ArtifactError as error:
            reason = error
        else:
            return format
    raise ArtifactError(f"{name} cannot be stored: {reason}")


def _write_proven(value: Any, folder: Path, format: Format) -> None:
    """Write the value and, where the format could lose something, read it back and compare."""
    try:
        format.save(value, folder)
        kept = format.same is None or format.same(value, format.load(folder))
    except Exception as error:
        raise ArtifactError(str(error)) from error
    if not kept:
        raise ArtifactError(f"it is not read back from {format.name} as it was")


def _candidates(value: Any) -> Iterator[Format]:
    """The formats for a value, the most special first; pickle, which lists `object`, is last."""
    for name in map(type_name, type(value).__mro__):
        yield from (format for format in FORMATS if name in format.types)


def _plain_numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics with numpy's numbers as Python's."""
    return {
        str(label): number.item() if hasattr(number, "item") else number
        for label, number in metrics.items()
    }


def _versions(format: Format, values: Mapping[str, Any]) -> dict[str, str]:
    libraries = {type(value).__module__.partition(".")[0] for value in values.values()}
    modules = {name: sys.modules.get(name) for name in libraries.union(format.libraries)}
    versions = {name: getattr(module, "__version__", None) for name, module in modules.items()}
    return {name: str(version) for name, version in sorted(versions.items()) if version}


def _publish(folder: Path, path: Path) -> None:
    """Put the finished folder in its place, as a whole."""
    old = folder.with_suffix(".old")
    try:
        if path.exists():
            path.rename(old)
        folder.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError:  # mounted buckets cannot rename folders; the record comes last
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        for file in sorted(folder.iterdir(), key=lambda file: file.name == RECORD):
            shutil.copyfile(file, path / file.name)


def _read_record(path: Path) -> dict[str, Any]:
    """The record of the artifact at `path`, when every file is as it was written."""
    try:
        record: dict[str, Any] = json.loads((path / RECORD).read_text(encoding="utf-8"))
        keys = ("format", "names", "python", "versions", "sha256")
        *_, digests = (record[key] for key in keys)
    except FileNotFoundError:
        raise ArtifactError(f"{path} is not an artifact: it has no {RECORD}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is damaged: {RECORD} is not a record ({error})") from None
    for name, digest in digests.items():
        file = path / name
        if not file.is_file() or _digest(file) != digest:
            raise ArtifactError(f"{path} is damaged: {name} is not what was written")
    return record


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
