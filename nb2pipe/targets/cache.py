"""The cache of step results, keyed by content: what a step computed with the same code and inputs is not run again.

An entry is a folder `KEY[:2]/KEY` with the step's results and a manifest of their digests. Entries appear whole, by a
rename, and are checked whenever they are read: a damaged one is set aside and the step runs again.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

FORMAT = 1
TEMPORARY = "tmp-"


class Cache:
    """Results of steps in the folder `root`. Several runs may use one folder at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def store(self, key: str, results: Path, files: Mapping[str, str]) -> None:
        """Keeps the folder `results` under `key`; `files` are its digests. The files are shared as hard links."""
        target = self._entry(key)
        part = self.root / f"{TEMPORARY}{os.getpid()}-{uuid.uuid4().hex}"
        try:
            link_tree(results, part / "results")
            manifest = {"format": FORMAT, "files": dict(files)}
            (part / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
            target.parent.mkdir(parents=True, exist_ok=True)
            part.rename(target)
        except OSError:
            if not target.is_dir():  # else another run was first
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def fetch(self, key: str, results: Path) -> dict[str, str] | None:
        """Lays what is kept under `key` out in `results` and returns its digests; None when there is nothing whole."""
        entry = self._entry(key)
        if not entry.is_dir():
            return None
        try:
            manifest = json.loads((entry / "manifest.json").read_text(encoding="utf-8"))
            files = tree_digests(entry / "results")
            if manifest == {"format": FORMAT, "files": files}:
                link_tree(entry / "results", results)
                return files
        except (OSError, ValueError):
            shutil.rmtree(results, ignore_errors=True)
        self._set_aside(key)
        return None

    def sweep(self) -> None:
        """Removes what runs that were killed left half-written."""
        for part in self.root.glob(f"{TEMPORARY}*"):
            process = part.name.removeprefix(TEMPORARY).partition("-")[0]
            if process.isdigit() and not _is_running(int(process)):
                shutil.rmtree(part, ignore_errors=True)

    def _entry(self, key: str) -> Path:
        return self.root / key[:2] / key

    def _set_aside(self, key: str) -> None:
        quarantine = self.root / "quarantine"
        quarantine.mkdir(parents=True, exist_ok=True)
        try:
            self._entry(key).rename(quarantine / f"{key}-{uuid.uuid4().hex[:8]}")
        except FileNotFoundError:
            return


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def key_of(ingredients: Mapping[str, Any]) -> str:
    """The key of a step's run: a digest of everything that its result depends on, given as JSON."""
    text = json.dumps(ingredients, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of the file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def tree_digests(folder: Path) -> dict[str, str]:
    """The digest of every file below `folder`, by its relative path."""
    return {name: file_digest(folder / name) for name in _files(folder)}


def content_digest(path: Path) -> str:
    """One digest for a file, or for a folder with all that is in it; "" for a path that does not exist."""
    if path.is_dir():
        return digest_below(tree_digests(path), "")
    return file_digest(path) if path.exists() else ""


def digest_below(files: Mapping[str, str], name: str) -> str:
    """One digest for the file or folder `name` among the digests of a tree."""
    if name in files:
        return files[name]
    prefix = f"{name}/" if name else ""
    return key_of({path[len(prefix) :]: digest for path, digest in files.items() if path.startswith(prefix)})


def link_tree(source: Path, target: Path) -> list[str]:
    """Lays the files below `source` out below `target`, as hard links where possible; returns their relative paths."""
    names = _files(source)
    target.mkdir(parents=True, exist_ok=True)
    for folder in {target / Path(name).parent for name in names} | {target / d for d in _folders(source)}:
        folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        try:
            os.link(source / name, target / name)
        except OSError:
            shutil.copyfile(source / name, target / name)
    return names


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def _folders(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_dir()]


@lru_cache(maxsize=256)
def code_digest(text: str, without: frozenset[str] = frozenset()) -> str:
    """A digest of what Python source means: comments, layout and leading docstrings do not count.

    Assignments to the module's names in `without` are left out. Text that does not parse counts as it is.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return hashlib.sha256(text.encode()).hexdigest()
    tree.body = [node for node in _no_docstring(tree.body) if not _assigns(node, without)]
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = _no_docstring(node.body)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _no_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    documented = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return body[1:] if documented else body


def _assigns(node: ast.stmt, names: Iterable[str]) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id in names for target in targets)
