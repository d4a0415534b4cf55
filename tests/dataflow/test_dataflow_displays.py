"""What `display(..., display_id=...)` gives exists in a notebook's frontend only: changing it later is refused."""

from __future__ import annotations

import json
from pathlib import Path

import doors
import pytest

import nb2pipe

START = "from IPython.display import display\n"


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        (START + "h = display(1, display_id=True)\nh.update(2)", ["display-handle"]),
        ("h = display(1, display_id='progress')\nh.update(2)", ["display-handle"]),
        ("for i in range(3):\n    h = display(i, display_id=True)\n    h.update(i)", ["display-handle"]),
        (START + "display(1, display_id=True)", []),
        (START + "h = display(1)", []),
        ("d = {}\nd.update(a=1)", []),
    ],
)
def test_a_display_that_is_changed_later_is_refused(tmp_path: Path, source: str, codes: list[str]) -> None:
    notebook = tmp_path / "shown.ipynb"
    notebook.write_text(json.dumps(doors.notebook([(source, ["step:a"]), ("print(1)", ["step:b"])])))
    found = nb2pipe.load(notebook).check()["findings"]
    assert [f["code"] for f in found if f["severity"] == "error"] == codes
