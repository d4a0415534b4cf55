"""Options of a conversion, from `[tool.nb2pipe]`, the notebook's metadata and the command line. Frozen data."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nb2pipe.findings import Finding, finding


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may set. An option of the command line wins, then the notebook's metadata, then pyproject.toml.

    `packages` maps an import name to the distribution that provides it; `requirements` are added to every step;
    `effects` extends the effect tables (see nb2pipe/dataflow/tables); `kubernetes` says where on a cluster steps run
    (see nb2pipe/pipeline/kubernetes); `trials` is the tuning budget.
    """

    name: str | None = None
    base_image: str | None = None
    image: str | None = None
    target: str = "kfp"
    requirements: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    effects: Mapping[str, Any] = field(default_factory=dict)
    kubernetes: Mapping[str, Any] = field(default_factory=dict)
    trials: int = 20
    strict: bool = False


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not re.search("[\0\ud800-\udfff]", value)


def _texts(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(_text(item) for item in value)


def _table(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _table_of_texts(value: object) -> bool:
    return isinstance(value, Mapping) and all(_text(key) and _text(item) for key, item in value.items())


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


KINDS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "name": (_text, "a text"),
    "base_image": (_text, "a text"),
    "image": (_text, "a text"),
    "target": (_text, "a text"),
    "requirements": (_texts, "a list of texts"),
    "packages": (_table_of_texts, "a table of texts"),
    "effects": (_table, "a table"),
    "kubernetes": (_table, "a table"),
    "trials": (_count, "a whole number from 1"),
    "strict": (lambda value: isinstance(value, bool), "true or false"),
}
"""For each option, whether a value is of its kind, and the kind in words."""

KALE = {"pipeline_name": "name", "docker_image": "base_image"}
"""Settings of Kale's notebook metadata `kubeflow_notebook`, in our words. Weakest of all."""


def load(path: str, metadata: Mapping[str, Any], overrides: Mapping[str, Any]) -> tuple[Options, tuple[Finding, ...]]:
    """The options for the notebook at `path` with this notebook metadata; an override of None says nothing.

    Findings (errors): an unknown setting, a value of the wrong kind, a pyproject.toml that cannot be read. What is
    wrong is left out of the options.
    """
    findings: list[Finding] = []
    settings: dict[str, Any] = _kale(metadata)
    settings |= _checked(_from_file(Path(path), findings), "[tool.nb2pipe]", findings)
    settings |= _checked(metadata.get("nb2pipe", {}), "the notebook's metadata", findings)
    given = {key: value for key, value in overrides.items() if value is not None}
    settings |= _checked(given, "the command line", findings)
    return replace(Options(), **settings), tuple(findings)


def _kale(metadata: Mapping[str, Any]) -> dict[str, Any]:
    kale = metadata.get("kubeflow_notebook")
    kale = kale if isinstance(kale, Mapping) else {}
    return {ours: kale[theirs] for theirs, ours in KALE.items() if _text(kale.get(theirs))}


def _from_file(notebook: Path, findings: list[Finding]) -> object:
    file = notebook.parent / "pyproject.toml"
    try:
        text = file.read_bytes().decode("utf-8")
        tool = _toml(text).get("tool", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:  # both TOML readers raise a ValueError
        findings.append(finding("bad-option", f"{file} cannot be read: {error}.", hint="Correct the file."))
        return {}
    return tool.get("nb2pipe", {}) if isinstance(tool, dict) else {}


def _toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    data: dict[str, Any] = tomllib.loads(text)
    return data


def _checked(settings: object, origin: str, findings: list[Finding]) -> dict[str, Any]:
    if not _table(settings):
        findings.append(finding("bad-option", f"The settings in {origin} are not a table of names and values."))
        return {}
    assert isinstance(settings, Mapping)
    findings += _problems(settings, origin)
    good = {_plain(key): value for key, value in settings.items()}
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in good.items()
        if key in KINDS and KINDS[key][0](value)
    }


def _plain(key: str) -> str:
    return key.replace("-", "_")


def _problems(settings: Mapping[str, Any], origin: str) -> Iterator[Finding]:
    for key, value in settings.items():
        if _plain(key) not in KINDS:
            close = difflib.get_close_matches(_plain(key), KINDS, 1)
            hint = f"Write `{close[0]}`." if close else f"The settings are: {', '.join(KINDS)}."
            yield finding("unknown-option", f"{origin} sets {key!r}, which is no setting.", name=key, hint=hint)
        elif not KINDS[_plain(key)][0](value):
            kind = KINDS[_plain(key)][1]
            message = f"{origin} sets {key!r} to {ascii(value)[:60]}, which is not {kind}."
            yield finding("bad-option", message, name=key, hint=f"Give {kind}.")
