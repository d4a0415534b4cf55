"""nb2pipe turns a tagged Jupyter notebook into a production pipeline that computes what the notebook computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nb2pipe.version import __version__

if TYPE_CHECKING:
    from nb2pipe.convert import Conversion, load
    from nb2pipe.findings import Finding, Nb2pipeError, NotebookError, Refused

__all__ = ["Conversion", "Finding", "Nb2pipeError", "NotebookError", "Refused", "__version__", "load"]

_HOMES = {
    "Conversion": "nb2pipe.convert",
    "load": "nb2pipe.convert",
    "Finding": "nb2pipe.findings",
    "Nb2pipeError": "nb2pipe.findings",
    "NotebookError": "nb2pipe.findings",
    "Refused": "nb2pipe.findings",
    # `%load_ext nb2pipe` and `%unload_ext nb2pipe`
    "load_ipython_extension": "nb2pipe.doors.ipython",
    "unload_ipython_extension": "nb2pipe.doors.ipython",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used: `nb2pipe --help` needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
