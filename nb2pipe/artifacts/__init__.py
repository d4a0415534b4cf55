"""How a value is stored between steps: an artifact is a folder of data files and a record of how to read them.

The formats and `save` / `load` are plain functions, tested here and copied as text into generated projects, which
import nothing of nb2pipe. `source` makes that text; `kind_of` and `requirements` say what is known before a run.
"""

from __future__ import annotations

from nb2pipe.artifacts.format import ArtifactError, Format
from nb2pipe.artifacts.kinds import kind_of, requirements
from nb2pipe.artifacts.source import source
from nb2pipe.artifacts.store import load, save

__all__ = ["ArtifactError", "Format", "kind_of", "load", "requirements", "save", "source"]
