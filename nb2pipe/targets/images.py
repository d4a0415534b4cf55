"""Building a project's image, with whatever builds images here: docker, podman or Cloud Build."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nb2pipe.findings import Nb2pipeError, finding
from nb2pipe.targets.base import Event, OnEvent, read_map
from nb2pipe.targets.locks import LOCK, PLATFORMS, locked

REFERENCE = re.compile(
    r"(?:[a-zA-Z0-9.-]+(?::\d+)?/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*:[\w][\w.-]{0,127}"
)
"""An image with its tag, as the OCI's distribution specification writes it."""


class BuildError(Nb2pipeError):
    """The image was not built; findings say what mends it."""


@dataclass(frozen=True, slots=True)
class Built:
    """An image that was built by `builder`, and whether it was pushed."""

    image: str
    builder: str
    pushed: bool

    def to_json(self) -> dict[str, Any]:
        """The document of `nb2pipe build --json`."""
        return {"image": self.image, "builder": self.builder, "pushed": self.pushed}


@dataclass(frozen=True, slots=True)
class Builder:
    """A program that builds images: how it is asked whether it can, to build, and to push ((): building pushes), and
    the platforms that it builds for."""

    works: tuple[str, ...]
    build: tuple[str, ...]
    push: tuple[str, ...]
    platforms: tuple[str, ...] = tuple(PLATFORMS)


BUILD = ("build", "--platform", "PLATFORM", "--tag", "IMAGE", ".")
BUILDERS: Mapping[str, Builder] = {
    "docker": Builder(("info",), BUILD, ("push", "IMAGE")),
    "podman": Builder(("info",), BUILD, ("push", "IMAGE")),
    "gcloud": Builder(
        ("auth", "print-access-token", "--quiet"), ("builds", "submit", "--tag", "IMAGE", "."), (), ("linux/amd64",)
    ),
}
"""In the order in which they are tried; IMAGE and PLATFORM stand for the image and its platform."""


def built(project: Path, image: str, *, push: bool, platform: str, on_event: OnEvent) -> Built:
    """Builds the image of a project that was generated for `image`, for clusters of a `platform` (see PLATFORMS).

    What it installs is locked first, where that is not done already. Raises BuildError, LockError, ProjectError.
    """
    check_reference(image)
    described = read_map(project)["pipeline"]
    if described.get("image") != image:
        message = f"{project} was generated for the image {described.get('image')}, not for {image}."
        raise BuildError([finding("stale-project", message, hint=f"Run `nb2pipe build NOTEBOOK --image {image}`.")])
    locked(project, described, platform, on_event)
    name, program = _builder(push, platform, on_event)
    wanted, values = BUILDERS[name], {"IMAGE": image, "PLATFORM": platform}
    for words in (wanted.build, wanted.push if push else ()):
        if words:
            _run(name, [program, *(values.get(word, word) for word in words)], project, on_event)
    return Built(image, name, push or not wanted.push)


def check_reference(image: str) -> None:
    """Raises BuildError unless `image` names an image and its tag."""
    if not REFERENCE.fullmatch(image) or image.endswith(":latest"):
        message = f"{image} names no image with a tag of its own."
        raise BuildError(
            [finding("bad-option", message, name=image, hint="Write it as REGISTRY/NAME:TAG, not `latest`.")]
        )


def _builder(push: bool, platform: str, on_event: OnEvent) -> tuple[str, str]:
    """The first builder that is installed and works, and its program. Raises BuildError."""
    why = []
    for name, builder in BUILDERS.items():
        program = shutil.which(name)
        if program is None:
            why.append(f"{name} is not installed")
        elif platform not in builder.platforms:
            why.append(f"{name} does not build for {platform}")
        elif not builder.push and not push:
            why.append(f"{name} builds only what it pushes: add --push")
        elif _works([program, *builder.works]):
            return name, program
        else:
            why.append(f"`{name} {' '.join(builder.works[:2])}` fails")
            on_event(Event("note", None, f"{name} is there, but does not work"))
    hint = f"Install docker, podman or gcloud, or build the folder with what you have: its {LOCK} is made."
    raise BuildError([finding("no-builder", f"No image can be built here: {'; '.join(why)}.", hint=hint)])


def _works(command: list[str]) -> bool:
    try:
        asked = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


def _run(name: str, command: list[str], project: Path, on_event: OnEvent) -> None:
    """Runs the builder in the project's folder and tells what it says. Raises BuildError."""
    on_event(Event("note", None, " ".join([name, *command[1:]])))
    said: list[str] = []
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=project, text=True, errors="replace", **pipe) as child:  # type: ignore[call-overload]
        for line in child.stdout:
            said.append(line.rstrip())
            on_event(Event("log", name, line.rstrip()))
    if child.returncode:
        words = " / ".join([line for line in said if line][-3:])[:500] or "it said nothing"
        message = f"`{name} {' '.join(command[1:])}` failed: {words}"
        hint = f"Correct what {name} said; for a push log in first (`docker login`, `gcloud auth configure-docker`)."
        raise BuildError([finding("build-failed", message, hint=hint)])
