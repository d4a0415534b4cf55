"""Saved execution counts that contradict the order of the cells are noted, once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import doors
import pytest

import nb2pipe


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([1, 2, 3], None),
        ([None, None, None], None),
        ([4, None, 7], None),
        ([4, 3, 2], (0, "Cell 0 [4] was last run after cell 1 [3]")),
        ([1, 9, 2], (1, "Cell 1 [9] was last run after cell 2 [2]")),
        ([7, None, 2], (0, "Cell 0 [7] was last run after cell 2 [2]")),
    ],
)
def test_order(tmp_path: Path, counts: Sequence[int | None], said: tuple[int, str] | None) -> None:
    found = _notes(tmp_path, ["step:a", "step:b", "step:c"], counts)
    assert [(f["cell"], f["message"].partition(",")[0]) for f in found] == ([] if said is None else [said])


def test_skipped_cells_do_not_count(tmp_path: Path) -> None:
    assert _notes(tmp_path, ["step:a", "skip", "step:c"], [3, 9, 4]) == []


def _notes(folder: Path, tags: Sequence[str], counts: Sequence[int | None]) -> list[dict[str, object]]:
    document = doors.notebook([("print(1)", [tag]) for tag in tags])
    for cell, count in zip(document["cells"], counts, strict=True):
        cell["execution_count"] = count
    path = folder / "order.ipynb"
    path.write_text(json.dumps(document))
    return [f for f in nb2pipe.load(path).check()["findings"] if f["code"] == "run-order"]
