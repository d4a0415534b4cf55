"""`[tool.nb2pipe.kubernetes]`: on which nodes of a Kubernetes cluster steps run, and which volumes they see."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from nb2pipe.findings import Finding, finding

Json = dict[str, Any]
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
LABEL = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?")
VALUE = re.compile(r"([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?")


def _selector(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        _matches(LABEL, key) and _matches(VALUE, text) for key, text in value.items()
    )


def _toleration(row: object) -> bool:
    if not isinstance(row, Mapping) or row.keys() - {"key", "operator", "value", "effect", "seconds"}:
        return False
    seconds = row.get("seconds", 0)
    return (
        row.get("operator", "Equal") in ("Equal", "Exists")
        and row.get("effect", "") in ("", "NoSchedule", "PreferNoSchedule", "NoExecute")
        and ("key" not in row or _matches(LABEL, row["key"]))
        and ("key" in row or row.get("operator") == "Exists")
        and _matches(VALUE, row.get("value", ""))
        and isinstance(seconds, int)
        and not isinstance(seconds, bool)
    )


def _volume(row: object) -> bool:
    if not isinstance(row, Mapping) or row.keys() - {"claim", "mount", "path"}:
        return False
    mount, path = row.get("mount"), row.get("path", "")
    inside = isinstance(path, str) and not path.startswith("/") and ".." not in path.split("/")
    return _matches(NAME, row.get("claim")) and isinstance(mount, str) and mount.startswith("/") and inside


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and bool(pattern.fullmatch(value))


def _rows(of: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, (list, tuple)) and all(of(row) for row in value)


SETTINGS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "node_selector": (_selector, 'a table of labels: {pool = "gpu"}'),
    "tolerations": (_rows(_toleration), 'a list such as [{key = "gpu", operator = "Exists", effect = "NoSchedule"}]'),
    "volumes": (_rows(_volume), 'a list such as [{claim = "data", mount = "/data"}]'),
    "image_pull_secrets": (_rows(lambda name: _matches(NAME, name)), "a list of names of secrets"),
}
"""For each setting, whether a value is of its form, and the form in words."""


def by_step(settings: Mapping[str, Any], steps: Sequence[str]) -> tuple[dict[str, Json], list[Finding]]:
    """The settings of each step, its own before those of all, and what is wrong with them: that is left out."""
    own = settings.get("steps", {})
    own = own if isinstance(own, Mapping) else {"": own}
    wrong = list(_problems({key: value for key, value in settings.items() if key != "steps"}, ""))
    for name, table in own.items():
        if name not in steps or not isinstance(table, Mapping):
            message = f"[tool.nb2pipe.kubernetes.steps] has {name!r}, which is no step with a table."
            hint = f"The steps are: {', '.join(steps)}."
            wrong.append(finding("unknown-option", message, name=name, hint=hint))
        else:
            wrong += _problems(table, f".steps.{name}")
    everywhere = _good(settings)
    found = {step: {**everywhere, **_good(own.get(step, {}))} for step in steps}
    return {step: table for step, table in found.items() if table}, wrong


def _good(table: object) -> Json:
    rows = table.items() if isinstance(table, Mapping) else ()
    named = {str(key).replace("-", "_"): value for key, value in rows}
    return {key: value for key, value in named.items() if key in SETTINGS and SETTINGS[key][0](value)}


def _problems(table: Mapping[str, Any], where: str) -> Iterator[Finding]:
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in SETTINGS:
            message = f"[tool.nb2pipe.kubernetes{where}] sets {key!r}, which is no setting."
            yield finding("unknown-option", message, name=key, hint=f"The settings are: {', '.join(SETTINGS)}, steps.")
        elif not SETTINGS[name][0](value):
            message = f"[tool.nb2pipe.kubernetes{where}] sets {key!r} to {ascii(value)[:60]}."
            yield finding("bad-option", message, name=key, hint=f"Write {SETTINGS[name][1]}.")


def executor_config(settings: Json) -> Json:
    """The settings of a step as kfp's Kubernetes platform has them (KubernetesExecutorConfig)."""
    config: Json = {}
    if settings.get("node_selector"):
        config["nodeSelector"] = {"labels": dict(settings["node_selector"])}
    if settings.get("tolerations"):
        config["tolerations"] = [_toleration_config(row) for row in settings["tolerations"]]
    if settings.get("volumes"):
        config["pvcMount"] = [_mount(row) for row in settings["volumes"]]
    if settings.get("image_pull_secrets"):
        names = settings["image_pull_secrets"]
        config["imagePullSecret"] = [{"secretName": n, "secretNameParameter": _constant(n)} for n in names]
    return config


def _toleration_config(row: Json) -> Json:
    plain: Json = {key: row[key] for key in ("key", "operator", "value", "effect") if key in row}
    return {**plain, **({"tolerationSeconds": str(row["seconds"])} if "seconds" in row else {})}


def _mount(row: Json) -> Json:
    sub_path = {"subPath": row["path"]} if row.get("path") else {}
    claim = {"constant": row["claim"], "pvcNameParameter": _constant(row["claim"])}
    return {"mountPath": row["mount"], **claim, **sub_path}


def _constant(text: str) -> Json:
    return {"runtimeValue": {"constant": text}}
