"""Wheels that are made here, so that packages are found and installed without a network."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path


def add_wheel(folder: Path, name: str, version: str, requires: Sequence[str] = (), text: str = "") -> Path:
    """Puts a wheel with the module `name`, whose source is `text`, into the index that the folder is."""
    info = f"{name}-{version}.dist-info"
    metadata = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    files = {
        f"{name}.py": text,
        f"{info}/METADATA": "\n".join([*metadata, ""]),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_digest(content)},{len(content)}\n" for path, content in files.items())
    wheel = folder / name / f"{name}-{version}-py3-none-any.whl"
    wheel.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(zipfile.ZipInfo(path), content)
    _list(folder / name)
    return wheel


def _list(folder: Path) -> None:
    """Writes the page of an index about one package: its files with their hashes."""
    digests = {wheel.name: hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in sorted(folder.glob("*.whl"))}
    rows = "".join(f'<a href="{name}#sha256={digest}">{name}</a>\n' for name, digest in digests.items())
    (folder / "index.html").write_text(f"<!DOCTYPE html>\n<html><body>\n{rows}</body></html>\n")


def _digest(content: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()


def only_from(folder: Path, cache: Path) -> dict[str, str]:
    """The environment in which uv and pip find the folder's wheels and nothing else."""
    url = folder.resolve().as_uri()
    uv = {"UV_DEFAULT_INDEX": url, "UV_CACHE_DIR": str(cache), "UV_NO_CONFIG": "1"}
    pip = {"PIP_INDEX_URL": url, "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    return {**uv, **pip, "PIP_NO_CACHE_DIR": "1"}
