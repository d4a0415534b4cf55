"""Steps and what goes between them, as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ENDS = ("├─", "└─")


def graph_text(steps: Sequence[tuple[str, Sequence[int]]], arrows: Mapping[tuple[str, str], Sequence[str]]) -> str:
    """The steps from top to bottom, and under each an arrow to every step that takes something of it.

    >>> print(graph_text([("load", [1, 2]), ("train", [4])], {("load", "train"): ["X", "y"]}))
    load  (cells 1-2)
      └─ X, y ─▶ train
    train  (cell 4)
    """
    lines: list[str] = []
    for name, cells in steps:
        lines.append(f"{name}  ({'cell' if len(cells) == 1 else 'cells'} {ranges(cells)})")
        given = [(target, names) for (source, target), names in arrows.items() if source == name]
        for index, (target, names) in enumerate(given):
            lines.append(f"  {ENDS[index == len(given) - 1]} {listed(names)} ─▶ {target}")
    return "\n".join(lines)


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names between commas; of many the first, and how many more."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def ranges(cells: Sequence[int]) -> str:
    """Numbers as people write them.

    >>> ranges([1, 2, 3, 7])
    '1-3, 7'
    """
    parts: list[list[int]] = []
    for cell in cells:
        if parts and cell == parts[-1][-1] + 1:
            parts[-1].append(cell)
        else:
            parts.append([cell])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
