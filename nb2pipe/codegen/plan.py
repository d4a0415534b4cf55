"""What becomes of each file when a project is written over an earlier one. Pure: bytes in, decisions out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from nb2pipe.codegen.merge import is_conflicted, merge
from nb2pipe.findings import Finding, finding

Fate = Literal["written", "unchanged", "edited", "merged", "conflict", "removed", "kept", "deleted"]


@dataclass(frozen=True, slots=True)
class Change:
    """The fate of one file.

    `content` is what stands on the disk afterwards, None for nothing. `edited`: people's edit stays and nothing new
    came; `kept`: an edited file that a conversion no longer makes; `deleted`: people deleted it and it stays so.
    """

    path: str
    fate: Fate
    content: bytes | None
    finding: Finding | None = None

    @property
    def writes(self) -> bool:
        """Whether the file on the disk changes."""
        return self.fate in ("written", "merged", "conflict", "removed")


def plan(
    new: Mapping[str, bytes], base: Mapping[str, bytes], ours: Mapping[str, bytes], *, overwrite: bool = False
) -> tuple[Change, ...]:
    """The fate of every file of `new` (as generated now) and `base` (as generated before), given `ours` (on the disk).

    `overwrite` lets what is generated win over every edit.
    """
    paths = sorted({*new, *base})
    return tuple(_change(path, new.get(path), base.get(path), ours.get(path), overwrite) for path in paths)


def _change(path: str, new: bytes | None, base: bytes | None, ours: bytes | None, overwrite: bool) -> Change:
    if new is None:
        return _stale(path, base, ours)
    if ours is None:
        return _missing(path, new, base, overwrite)
    if _same(ours, new):
        return Change(path, "unchanged", ours)
    if overwrite or (base is not None and _same(ours, base)):
        return Change(path, "written", new)
    if base is not None and _same(new, base):
        return _edited(path, ours)
    return _merged(path, new, base, ours)


def _same(one: bytes, other: bytes) -> bool:
    """Whether two files are equal; how lines end is the version control's affair."""
    return one == other or one.replace(b"\r\n", b"\n") == other.replace(b"\r\n", b"\n")


def _stale(path: str, base: bytes | None, ours: bytes | None) -> Change:
    if ours is None:
        return Change(path, "deleted", None)
    if base is not None and _same(ours, base):
        return Change(path, "removed", None)
    message = f"{path} is no longer generated, but you edited it: it is kept."
    return Change(path, "kept", ours, finding("edited-stale-file", message, name=path))


def _missing(path: str, new: bytes, base: bytes | None, overwrite: bool) -> Change:
    if base is None or overwrite:
        return Change(path, "written", new)
    if _same(new, base):
        return Change(path, "deleted", None)
    message = f"You deleted {path}, but what is generated for it changed: it is there again."
    return Change(path, "written", new, finding("deleted-file-changed", message, name=path))


def _edited(path: str, ours: bytes) -> Change:
    text = _text(ours)
    if text is not None and is_conflicted(text):
        return Change(path, "edited", ours, _conflict(path, "still holds a conflict"))
    return Change(path, "edited", ours)


def _merged(path: str, new: bytes, base: bytes | None, ours: bytes) -> Change:
    texts = [_text(content) for content in (base if base is not None else b"", ours, new)]
    before, mine, theirs = texts
    if before is None or mine is None or theirs is None:
        message = f"You changed the data file {path}; what is generated for it changed too: yours is kept."
        return Change(path, "edited", ours, finding("edited-data-file", message, name=path))
    merged = merge(before if base is not None else None, mine, theirs)
    change = Change(path, "merged", merged.text.encode())
    if merged.conflicts or is_conflicted(merged.text):
        reason = "you and the new conversion changed the same lines"
        return replace(change, fate="conflict", finding=_conflict(path, reason))
    return change


def _conflict(path: str, reason: str) -> Finding:
    return finding("merge-conflict", f"{path}: {reason}.", name=path)


def _text(content: bytes) -> str | None:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text.replace("\r\n", "\n")
