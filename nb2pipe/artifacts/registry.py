"""Every format there is: the built-in modules and those of plug-ins.

A plug-in registers a module in the entry point group `nb2pipe.formats`. Like the built-in ones, the module holds one
`Format`, the functions it is made of, and `STATIC`. Its text is copied into generated projects, so at the top it
imports only the standard library and `nb2pipe.artifacts.format`; other libraries are imported inside its functions.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType

from nb2pipe.artifacts.format import Format, StaticTypes

BUILT_IN = (
    "json",
    "parquet",
    "npy",
    "sklearn",
    "xgboost",
    "lightgbm",
    "keras",
    "torch",
    "figure",
    "pickle",
)


@cache
def modules() -> tuple[ModuleType, ...]:
    """The modules of all formats, plug-ins first; among formats for the same type the first is tried first."""
    from importlib.metadata import entry_points

    plug_ins = sorted(entry_points(group="nb2pipe.formats"), key=lambda point: point.name)
    built_in = (import_module(f"nb2pipe.artifacts.formats.{name}") for name in BUILT_IN)
    return (*(point.load() for point in plug_ins), *built_in)


def format_of(module: ModuleType) -> tuple[str, Format]:
    """The one `Format` of a module with the name it has there."""
    [(name, format)] = (
        (name, value) for name, value in vars(module).items() if isinstance(value, Format)
    )
    return name, format


def static_types(module: ModuleType) -> StaticTypes:
    """What the module's `STATIC` says; a plug-in may leave it out: then by the types of its format."""
    default: StaticTypes = dict.fromkeys(format_of(module)[1].types, ("Artifact", ()))
    types: StaticTypes = getattr(module, "STATIC", default)
    return types
