"""The last outcome of each command that runs something, kept in the notebook's `.nb2pipe` for the review page.

`.nb2pipe/last/COMMAND-PIPELINE.json` holds `{"notebook": sha256, "parameters": {...}, "document": {...}}`; the document
is that of the command's `--json`.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Command = Literal["run", "verify", "tune"]


@dataclass(frozen=True, slots=True)
class Record:
    """An outcome: `notebook` is the digest of the notebook that it is about, `when` in seconds since 1970."""

    notebook: str | None
    parameters: Mapping[str, Any]
    document: Mapping[str, Any]
    when: float


def record_path(home: Path, command: Command, pipeline: str) -> Path:
    """Where the last outcome of `command` is kept; `home` is the notebook's folder."""
    return home / ".nb2pipe" / "last" / f"{command}-{pipeline}.json"


def keep(home: Path, command: Command, pipeline: str, record: Record) -> None:
    """Keep an outcome instead of the last one. A folder that cannot be written to is no reason to fail."""
    path = record_path(home, command, pipeline)
    content = {"notebook": record.notebook, "parameters": dict(record.parameters), "document": dict(record.document)}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
        part.replace(path)


def kept(home: Path, command: Command, pipeline: str) -> Record | None:
    """The last outcome of `command`; None if there is none, or what is kept cannot be read."""
    path = record_path(home, command, pipeline)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        when = path.stat().st_mtime
        return Record(content["notebook"], dict(content["parameters"]), dict(content["document"]), when)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
