"""What an image installs, with hashes: requirements.lock, which uv makes from the project's requirements."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nb2pipe.findings import Nb2pipeError, finding
from nb2pipe.targets.base import Event, OnEvent

LOCK = "requirements.lock"
SOURCES = ("requirements.txt", "requirements-jobs.txt")
"""What a project's image needs: what its steps import, and what starts jobs (where there are any)."""

RUNTIME = "kfp>=2.16,<3"
"""What runs a component in its container: kfp, which needs no other package for that."""

PLATFORMS: Mapping[str, str] = {"linux/amd64": "x86_64-manylinux_2_28", "linux/arm64": "aarch64-manylinux_2_28"}
"""uv's names for the platforms of images; the slim images of Python have a newer C library than these ask for."""

HEAD = re.compile(
    r"# Made by `nb2pipe build` .*\n# requirements sha256:(?P<asked>[0-9a-f]{64}) lock sha256:(?P<lock>[0-9a-f]{64})\n"
)
PIN = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*==\s*(?P<version>[^\s;,\\*]+)")


class LockError(Nb2pipeError):
    """There is no lock of the project's requirements; findings say what mends it, and nothing was changed."""


def locked(project: Path, graph: Mapping[str, Any], platform: str, on_event: OnEvent) -> Path:
    """The project's requirements.lock for its image on `platform`, made if there is none, or one of other requirements.

    One that is up to date stays as it is, also where a person changed it; so does one that nb2pipe did not make, as
    long as it holds the versions that the requirements name. Raises LockError.
    """
    path, python = project / LOCK, image_python(graph)
    sources = [name for name in SOURCES if (project / name).is_file()]
    wanted = [line for name in sources for line in _lines((project / name).read_text(encoding="utf-8"))]
    asked = _digest("\n".join([python, platform, RUNTIME, *wanted]))
    there = path.read_text(encoding="utf-8") if path.is_file() else None
    if there is not None and _is_kept(there, wanted, asked):
        return path
    on_event(Event("note", None, f"{LOCK} is made from {' and '.join(sources)}"))
    target = ("--python-version", python, "--python-platform", PLATFORMS[platform])
    body = _resolved(project, (*target, *sources), there)
    if not re.search(r"^kfp==", body, re.MULTILINE):
        body += _resolved(project, (*target, "--no-deps", "-"), there, RUNTIME)
    about = f"# Made by `nb2pipe build` from {' and '.join(sources)} for Python {python} on {platform}.\n"
    _written(path, f"{about}# requirements sha256:{asked} lock sha256:{_digest(body)}\n{body}")
    return path


def image_python(graph: Mapping[str, Any]) -> str:
    """The version of Python in a project's base image: what its tag says, else the notebook's.

    >>> image_python({"base_image": "python:3.12-slim", "python": "3.11"})
    '3.12'
    >>> image_python({"base_image": "gcr.io/team/cuda:1", "python": "3.11"})
    '3.11'
    """
    tag = re.search(r"(?:^|/)python:(3\.\d+)", graph["base_image"])
    return tag[1] if tag else str(graph["python"])


def _is_kept(lock: str, wanted: list[str], asked: str) -> bool:
    """Whether a lock stays as it is. Raises LockError for one that is out of date, and holds what a person wrote."""
    head = HEAD.match(lock)
    if head and head["asked"] == asked:
        return True
    if head and head["lock"] == _digest(lock[head.end() :]):
        return False
    if head:
        message = f"The requirements changed, and somebody changed {LOCK}: it is not made anew over that."
        raise LockError([finding("stale-lock", message, hint=f"Delete {LOCK}, or its first two lines to keep it.")])
    lacking = sorted(_pins(wanted) - _pins(_lines(lock)))
    if lacking:
        message = f"{LOCK}, which nb2pipe did not make, has no {', '.join('=='.join(pin) for pin in lacking[:3])}."
        raise LockError(
            [finding("stale-lock", message, hint=f"Make it anew, or delete it: nb2pipe makes {LOCK} then.")]
        )
    return True


def _lines(text: str) -> list[str]:
    """The lines of a file of requirements without comments."""
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines()]
    return [line for line in lines if line]


def _pins(lines: list[str]) -> set[tuple[str, str]]:
    """The (name, version) of the requirements that name exactly one, names as they are compared."""
    found = (PIN.match(line) for line in lines)
    return {(re.sub(r"[-_.]+", "-", pin["name"]).lower(), pin["version"]) for pin in found if pin}


def _resolved(project: Path, asked: tuple[str, ...], before: str | None, given: str = "") -> str:
    """What uv finds for the requirements in the files that are `asked` for, or `given` as text for `-`: each package
    with the hashes of its files. Versions of the lock `before` stay where they fit. Raises LockError."""
    words = ("pip", "compile", "--generate-hashes", "--no-header", "--quiet", "--no-python-downloads")
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / LOCK
        if before is not None:
            output.write_text(before, encoding="utf-8")
        command = [_uv(), *words, "--python", sys.executable, "--output-file", str(output), *asked]
        done = subprocess.run(command, cwd=project, input=given, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LockError([_not_locked(done.stderr)])
        body = output.read_text(encoding="utf-8")
    bare = list(_without_hashes(body))
    if bare:
        message = f"The index gives no hashes of {', '.join(bare)}: pip would not install it in the image."
        hint = "Require a release from an index, or the URL of an archive: not a repository or a folder."
        raise LockError([finding("not-locked", message, hint=hint)])
    return body


def _uv() -> str:
    """The program uv: the one that is installed beside nb2pipe, else the one on PATH. Raises LockError."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        hint = f"pip install 'nb2pipe[build]', or put a {LOCK} of your own beside requirements.txt."
        raise LockError([finding("missing-extra", f"{LOCK} is made by uv, which is not installed.", hint=hint)])
    return found


def _without_hashes(lock: str) -> Iterator[str]:
    """The requirements of a lock that have no hash."""
    for line in re.sub(r"\\\n\s*", "", lock).splitlines():
        if line and not line.startswith(("#", " ", "-")) and "--hash=" not in line:
            yield line.partition(" #")[0].strip()


def _not_locked(log: str) -> Any:
    said = " / ".join(re.sub(r"^(error|cause|hint): ", "", line.strip()) for line in log.splitlines() if line.strip())
    return finding("not-locked", f"uv finds no files for the requirements: {said[:500] or 'it said nothing'}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _written(path: Path, text: str) -> None:
    """Writes the file whole, or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
