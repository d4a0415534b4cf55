"""What a step sets in the environment is not there in later ones: an error where one reads it, else a warning."""

from __future__ import annotations

import json
from pathlib import Path

import doors
import pytest

import nb2pipe

SETS = "import os\nos.environ['MODE'] = 'fast'"


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([(SETS, "step:a"), ("import os\nprint(os.environ['MODE'])", "step:b")], ["error"]),
        ([(SETS, "step:a"), ("print(1)", "step:b")], ["warning"]),
        ([("print(1)", "step:a"), (SETS, "step:b")], []),
        ([(SETS, "shared"), ("print(1)", "step:a"), ("print(2)", "step:b")], []),
    ],
)
def test_what_is_said(tmp_path: Path, cells: list[tuple[str, str]], said: list[str]) -> None:
    notebook = tmp_path / "environment.ipynb"
    notebook.write_text(json.dumps(doors.notebook([(source, [tag]) for source, tag in cells])))
    found = nb2pipe.load(notebook).check()["findings"]
    assert [f["severity"] for f in found if f["code"] == "hidden-process-state"] == said
