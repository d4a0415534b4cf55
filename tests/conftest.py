"""Settings that all tests share."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# A child process that cannot keep byte code compiles its imports again each time: ten times slower.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault("MPLBACKEND", "Agg")
# A fork of a process whose OpenMP has started threads hangs when it wants them too (tests/support/quick.py forks).
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("nb2pipe", deadline=None, print_blob=True)
settings.load_profile("nb2pipe")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the temporary folder of this process and of those that it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder
