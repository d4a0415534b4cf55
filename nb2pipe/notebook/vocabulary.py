"""The words of the tags: the table of nb2pipe's own, the dialects of other tools, and near misses.

A new tag is one row in `TAGS`; a new dialect's word is one row in `DIALECTS`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nb2pipe.notebook.model import Secret, Tag


@dataclass(frozen=True, slots=True)
class TagSpec:
    """What a tag means. `value` parses the text after the first colon (None: the tag takes none) or raises ValueError.

    `field` is the field of `Resources` that it sets, "" for tags that set none; `many`: several may stand together.
    """

    doc: str
    example: str
    value: Callable[[str], Any] | None = None
    field: str = ""
    many: bool = False


_STEP_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_MEMORY = re.compile(r"\d+(\.\d+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?")
_ACCELERATOR = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*")
_TIMEOUT = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def _matching(pattern: str, wanted: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def parse(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"{text!r} is not {wanted}")
        return text

    return parse


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
            raise ValueError(f"{text!r} is not a whole number from {least}")
        return int(text)

    return parse


def _cpu(text: str) -> str:
    if re.fullmatch(r"[0-9]{1,9}m", text):
        text = f"{int(text[:-1]) / 1000:g}"
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text) or float(text) == 0:
        raise ValueError(f"{text!r} is not a number of cores")
    return text


def _memory(text: str) -> str:
    if not _MEMORY.fullmatch(text) or not re.search("[1-9]", text):
        raise ValueError(f"{text!r} is not an amount of memory")
    return text


def _gpu(text: str) -> tuple[str | None, int]:
    kind, _, count = text.rpartition(":")
    if text and not kind and not count.isdecimal():
        kind, count = count, "1"
    if not re.fullmatch(r"[0-9]{1,4}", count) or (kind and not _ACCELERATOR.fullmatch(kind)):
        raise ValueError(f"{text!r} is neither a number of accelerators nor TYPE:NUMBER")
    return (kind or "nvidia.com/gpu", int(count)) if int(count) else (None, 0)


def _timeout(text: str) -> int:
    match = _TIMEOUT.fullmatch(text)
    if not match or not text:
        raise ValueError(f"{text!r} is not a time like 2h, 90m, 45s or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if not total:
        raise ValueError("the time is zero")
    return total


def _cache(text: str) -> bool:
    values = {"on": True, "true": True, "enabled": True, "off": False, "false": False, "disabled": False}
    if text.lower() not in values:
        raise ValueError(f"{text!r} is neither on nor off")
    return values[text.lower()]


def _env(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
        raise ValueError(f"{text!r} is not NAME=VALUE")
    return key, value


def _secret(text: str) -> Secret:
    parts = text.split(":")
    if len(parts) != 3 or not all(parts) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", parts[2]):
        raise ValueError(f"{text!r} is not NAME:KEY:ENV")
    return Secret(*parts)


def _objective(text: str) -> tuple[str, str]:
    goal, _, name = text.partition(":")
    if goal not in ("maximize", "minimize") or not name.isidentifier():
        raise ValueError(f"{text!r} is neither maximize:NAME nor minimize:NAME")
    return goal, name


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if not _STEP_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a step")
    return tuple(name.replace("-", "_") for name in names)


TAGS: Mapping[str, TagSpec] = {
    "step": TagSpec("the cell, and the untagged code cells after it, belong to this step", "step:train", str),
    "parameters": TagSpec("literal assignments become parameters of the pipeline", "parameters"),
    "shared": TagSpec("imports, functions, classes, constants and set-up that any step may need", "shared"),
    "skip": TagSpec("exploration: left out", "skip"),
    "metrics": TagSpec("the numbers that the cell assigns or shows are metrics of its step", "metrics"),
    "after": TagSpec("order without data", "after:load", _names, many=True),
    "cpu": TagSpec("cores of the step", "cpu:4", _cpu, "cpu"),
    "memory": TagSpec("memory of the step", "memory:16Gi", _memory, "memory"),
    "gpu": TagSpec("accelerators of the step", "gpu:nvidia-l4:2", _gpu, "accelerator"),
    "image": TagSpec(
        "container image of the step", "image:python:3.12-slim", _matching(r"[\w.:/@-]+", "an image"), "image"
    ),
    "retries": TagSpec("how often a failed step is tried again", "retries:3", _whole(0), "retries"),
    "timeout": TagSpec("the longest that the step may take", "timeout:2h", _timeout, "timeout"),
    "cache": TagSpec("whether results of the step may be reused", "cache:off", _cache, "cache"),
    "env": TagSpec("an environment variable of the step", "env:MODE=fast", _env, "env", many=True),
    "secret": TagSpec(
        "a secret as an environment variable", "secret:db:password:DB_PASSWORD", _secret, "secrets", many=True
    ),
    "workers": TagSpec("the step trains on this many workers", "workers:4", _whole(1)),
    "objective": TagSpec(
        "what tuning optimises, on the cell that computes it", "objective:minimize:rmse", _objective, many=True
    ),
    "runner": TagSpec("where the step's Beam pipeline runs", "runner:dataflow", _matching("dataflow", "dataflow")),
}

DIALECTS: Mapping[str, tuple[str, str]] = {
    "imports": ("shared", ""),
    "functions": ("shared", ""),
    "pipeline-parameters": ("parameters", ""),
    "pipeline-metrics": ("metrics", ""),
    "injected-parameters": ("parameters", ""),  # papermill's own output
    "display": ("skip", ""),
}
"""Words without a value of Kale, papermill and the Google course: kind and value in nb2pipe's words."""

PREFIXES: Mapping[str, str] = {"block": "step", "prev": "after"}
"""Kale's words with a value."""

ROLE_WORDS = frozenset(("step", "parameters", "shared", "skip"))
"""The tags that say what a cell is; a cell has one of them."""

NOT_CARRIED = ("annotation", "label", "limit")
"""Kale's words that have no counterpart here (a `limit` of cpu, memory or an accelerator has one)."""

_OTHERS = frozenset(
    "hide-input hide-output hide-cell hide_input hide_output hide_cell remove-cell remove-input remove-output"
    " remove_cell remove_input remove_output raises-exception scroll-output output_scroll full-width margin"
    " popout no_execute no-execute flake8-noqa notest skip-execution skip-test skip_test ci-skip nbval-skip"
    " nbqa-skip thebe-init solution exercise test tests export hide setup images caching notebook-only".split()
)
_SYNONYMS = {"retry": "retries", "mem": "memory", "depends": "after", "depends-on": "after"}
_STEP_MAGIC = re.compile(r"%%step(?:\s+(.*))?\s*")
_SAME_STEP = re.compile(r"same_step_\d+")
_BARE = tuple(name for name, spec in TAGS.items() if spec.value is None)
_VALUED = tuple(name for name, spec in TAGS.items() if spec.value is not None)
_QUARTO = frozenset("label echo eval output warning error include code-fold fig-cap caption layout id class".split())


def directive_lines(source: str) -> Iterator[tuple[int, str]]:
    """(line from 1, text after `#|`) of the directives: they stand above the first line of code."""
    if "#|" not in source:
        return
    for number, line in enumerate(source.split("\n"), 1):
        stripped = line.strip()
        if stripped.startswith("#|"):
            yield number, stripped[2:].strip()
        elif stripped and not stripped.startswith("#"):
            return


def step_magic(source: str) -> tuple[int, str] | None:
    """(line from 1, what follows it) of the `%%step` that a cell begins with, None when it does not."""
    if "%%step" not in source:
        return None
    for number, line in enumerate(source.split("\n"), 1):
        match = _STEP_MAGIC.fullmatch(line.strip())
        if match:
            return number, match[1] or ""
        if line.strip() and not line.strip().startswith("#"):
            return None
    return None


def step_words(text: str) -> tuple[str, ...]:
    """The tags that `%%step TEXT` stands for: `train --gpu nvidia-l4 --metrics` is step:train, gpu:nvidia-l4, metrics.

    What is no option of ours stays in the step's name, where it is found to be wrong.
    """
    words = text.split()
    name: list[str] = []
    tags: list[str] = []
    while words:
        word = words.pop(0)
        key, equals, value = word.removeprefix("--").partition("=")
        spec = TAGS.get(key) if word.startswith("--") and key not in ROLE_WORDS else None
        if spec is None:
            name.append(word)
        elif spec.value is None:
            tags.append(key)
        else:
            tags.append(f"{key}:{value if equals else words.pop(0) if words else ''}")
    return f"step:{' '.join(name)}", *tags


def parse_tags(tags: Iterable[str], source: str = "") -> tuple[Tag, ...]:
    """The tags of a cell: of its metadata, then of its directive lines and of its `%%step`.

    A tag that is left alone has the kind "other"; a near miss of ours "near", with the right spelling as its value; a
    word of another dialect that cannot be carried "foreign".
    """
    found = [read_tag(text) for text in tags]
    for line, text in directive_lines(source):
        found += _directive(text, line)
    if (magic := step_magic(source)) is not None:
        found += [read_tag(tag, magic[0]) for tag in step_words(magic[1])]
    return tuple(found)


def title_tags(title: object) -> tuple[str, ...]:
    """The tags in the title of a py:percent cell (`# %% step:load gpu:1`), if it consists of nothing else."""
    words = title.split() if isinstance(title, str) else []
    tags = tuple(words)
    return tags if tags and all(read_tag(tag).kind not in ("other", "foreign") for tag in tags) else ()


def _directive(text: str, line: int) -> Iterator[Tag]:
    head, colon, value = (part.strip() for part in text.partition(":"))
    if head == "tags" and colon:
        for word in value.strip("[]").split(","):
            if word.strip(" \"'"):
                yield read_tag(word.strip(" \"'"), line)
    elif head not in _QUARTO:
        tag = read_tag(f"{head}:{value.strip(chr(34))}" if colon else head, line)
        if tag.kind not in ("other", "foreign"):
            yield tag


def read_tag(text: str, line: int | None = None) -> Tag:
    """The tag that `text` is, in nb2pipe's words."""
    kind, value = _meaning(text.strip())
    return Tag(kind, value, text, line)


def _meaning(text: str) -> tuple[str, str]:
    head, colon, value = (part.strip() for part in text.partition(":"))
    head = PREFIXES.get(head, head) if colon else head
    if head in TAGS and (colon or TAGS[head].value is None or head == "step"):
        return head, value
    if not colon and head in DIALECTS:
        return DIALECTS[head]
    if _SAME_STEP.fullmatch(text):
        return "step", text
    if head in NOT_CARRIED and colon:
        return _limit(value) if head == "limit" else ("foreign", "")
    near = "" if text in _OTHERS else _near_miss(head, bool(colon), value)
    return ("near", near) if near else ("other", "")


def _limit(text: str) -> tuple[str, str]:
    """Kale's `limit:RESOURCE:AMOUNT`."""
    resource, _, amount = text.rpartition(":")
    if resource in ("cpu", "memory"):
        return resource, amount
    return ("gpu", f"{resource}:{amount}") if resource.endswith("/gpu") else ("foreign", "")


def _near_miss(head: str, colon: bool, value: str) -> str:
    """The spelling that was probably meant, "" when the tag looks like none of ours."""
    if head == "nb2pipe" and value:
        return value
    word = _SYNONYMS.get(head.lower(), head.lower())
    if colon:
        close = [word] if word in TAGS else difflib.get_close_matches(word, [*_VALUED, *PREFIXES], 1, 0.75)
        return f"{close[0]}:{value}" if close else ""
    assigned = re.fullmatch(r"(\w+?)\s*[= ]\s*(.+)", word)
    if assigned and assigned[1] in _VALUED:
        return f"{assigned[1]}:{assigned[2]}"
    joined = re.fullmatch(r"step[-_](.+)", word)  # `steps` and `stepwise` are not meant
    if joined and _STEP_NAME.fullmatch(word):
        return f"step:{joined[1]}" if _STEP_NAME.fullmatch(joined[1]) else f"step:{word}"
    if word in TAGS and TAGS[word].value is None:
        return word
    close = difflib.get_close_matches(word, _BARE, 1, 0.75) or difflib.get_close_matches(word, DIALECTS, 1, 0.85)
    return close[0] if close else ""
