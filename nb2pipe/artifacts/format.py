"""What a format is. This text is copied into the artifacts.py of a generated project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nb2pipe.pipeline.model import ArtifactKind

StaticTypes = dict[str, tuple[ArtifactKind, tuple[str, ...]]]
"""What is known before a run: a type name or its package -> (kind, distributions it needs)."""


class ArtifactError(Exception):
    """A value cannot be stored or read back; the message says which and why."""


@dataclass(frozen=True)
class Format:
    """One way to store a value in files.

    `types` are "library.Class" names; a value is of a format if its class or a base is listed.
    `save` writes files into an empty folder and raises if it cannot; `load` reads that folder.
    `same(saved, loaded)` proves that nothing was lost; None if `save` accepts only what it keeps.
    `libraries` are the import names whose versions are recorded.
    """

    name: str
    types: tuple[str, ...]
    save: Callable[[Any, Path], None]
    load: Callable[[Path], Any]
    same: Callable[[Any, Any], bool] | None = None
    libraries: tuple[str, ...] = ()


REDUCERS: dict[str, Callable[[Any, dict[int, Any]], Any]] = {}
"""How pickle stores what it would not keep, by type name: called with the object and a table of the
stream, which begins with the whole value under 0."""


def type_name(cls: type) -> str:
    """ "pandas.DataFrame": where in the library a class is defined changes with its version."""
    return f"{cls.__module__.partition('.')[0]}.{cls.__name__}"


def same_type(saved: object, loaded: object) -> bool:
    """Whether the value could be read back at all, as an object of its own class."""
    return type(saved).__qualname__ == type(loaded).__qualname__
