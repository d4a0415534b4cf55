"""The page on the disk, and the files that it depends on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from nb2pipe.codegen.write import BASE, WriteError
from nb2pipe.findings import finding
from nb2pipe.review.page import MARK


def write_page(page: str, path: Path) -> Path:
    """Write the page to `path`, whole or not at all, and return it. Raises WriteError; then nothing was changed."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and not _is_page(path):
            raise WriteError([finding("not-a-page", f"{path} is no review page; it is not replaced.", name=str(path))])
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        message = f"The page cannot be written to {path}: {error.strerror or error}."
        raise WriteError([finding("cannot-write", message, hint="Give another file with -o.")]) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def _is_page(path: Path) -> bool:
    """Whether a review page may replace what is there: one of before, or an empty file."""
    with path.open("rb") as file:
        return file.read(len(MARK)) in (MARK.encode(), b"")


def watched(notebook: Path, project: Path | None) -> Iterator[Path]:
    """The files that a page depends on: the notebook, its settings, outcomes that were kept, the project."""
    home = notebook.resolve().parent
    yield from (notebook, home / "pyproject.toml")
    yield from home.glob(".nb2pipe/last/*.json")
    folders = [project] if project else [path.parent for path in home.glob("*/nb2pipe.map.json")]
    for folder in folders:
        base = folder / BASE
        yield from (folder / path.relative_to(base) for path in base.rglob("*") if path.is_file())
