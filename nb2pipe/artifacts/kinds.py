"""What is known of a value's storage before anything runs, by the qualified name of its static type."""

from __future__ import annotations

import re
from functools import cache
from types import ModuleType

from nb2pipe.artifacts.registry import modules, static_types
from nb2pipe.pipeline.model import ArtifactKind


def kind_of(type_name: str | None) -> ArtifactKind:
    """The kind of artifact for a static type like "pandas.DataFrame"; "Artifact" for None, the unknown."""
    return lookup(type_name)[1]


def requirements(type_name: str | None) -> tuple[str, ...]:
    """The distributions that a step needs to save or load a value of this static type."""
    return lookup(type_name)[2]


def lookup(type_name: str | None) -> tuple[ModuleType, ArtifactKind, tuple[str, ...]]:
    """(module of the format, kind, distributions) of the longest prefix of the name that a format knows."""
    known = _known(modules())
    return next(known[prefix] for prefix in _prefixes(type_name or "") if prefix in known)


@cache
def _known(
    formats: tuple[ModuleType, ...],
) -> dict[str, tuple[ModuleType, ArtifactKind, tuple[str, ...]]]:
    return {
        name: (module, *row) for module in formats for name, row in static_types(module).items()
    }


def _prefixes(type_name: str) -> list[str]:
    """ "a.b.C", "a.C", "a.b", "a", "". Of a generic or an optional type only the first name counts."""
    first = re.match(r"(?:typing\.)?(?:Optional\[)?([\w.]*)", type_name.strip())
    name = first[1] if first else ""
    if name and "." not in name:
        name = "builtins.NoneType" if name == "None" else f"builtins.{name}"
    parts = name.split(".")
    prefixes = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    return [*prefixes[:1], f"{parts[0]}.{parts[-1]}", *prefixes[1:], ""]
