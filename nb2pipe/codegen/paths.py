"""Which relative paths may be written on every system: none leads out of its folder or means something else there."""

from __future__ import annotations

FORBIDDEN = frozenset('\\:*?"<>|')
DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))})


def is_safe(path: str) -> bool:
    """Whether `path` (with slashes) is relative, stays inside, and is a name on Linux, macOS and Windows alike."""
    return all(_is_name(part) for part in path.split("/"))


def _is_name(part: str) -> bool:
    plain = part.isprintable() and not FORBIDDEN & set(part) and not part.endswith((".", " "))
    return bool(part) and plain and len(part.encode()) < 256 and part.partition(".")[0].casefold() not in DEVICES
