"""How values reach the process that compares: pickled as the pipeline does it, whatever formats the project has."""

from __future__ import annotations

from functools import cache

from nb2pipe.artifacts.registry import modules, static_types
from nb2pipe.artifacts.source import source

MODULE = "_nb2pipe_artifacts"
"""The name of this module in the notebook's kernel and in the process that compares: what is pickled refers to it."""


@cache
def storing() -> str:
    """The text of a module with all formats."""
    return source([name for module in modules() for name in static_types(module)])
