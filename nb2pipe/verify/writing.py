"""The outcome of a verification as a test of the generated project, which needs neither nb2pipe nor the notebook."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nb2pipe.codegen.write import recover
from nb2pipe.targets.base import read_map
from nb2pipe.verify import expectation

Expected = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Descriptions by step, artifact and name."""

TEST, DATA = "tests/test_notebook_equality.py", "tests/notebook_equality.json"
_HEAD = """from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from {package} import artifacts

EXPECTED = json.loads((Path(__file__).parent / "notebook_equality.json").read_text(encoding="utf-8"))
"""
_TAIL = """

@pytest.mark.parametrize("step", list(EXPECTED))
def test_step_gives_what_the_notebook_gave(runs, step):
    runs.run(step)
    for artifact, names in EXPECTED[step].items():
        values = artifacts.load(runs.output(step, artifact))
        for name, expected in names.items():
            found = json.loads(json.dumps(describe(values[name])))
            assert alike(expected, found), f"{name}: {found}, not {expected}"
"""


def write_test(expected: Expected, project: Path) -> tuple[Path, Path]:
    """Write the test and its data into the generated project; returns their paths. Raises ProjectError."""
    recover(project)
    package = read_map(project)["pipeline"]["package"]
    docstring, _, rest = inspect.getsource(expectation).partition("from __future__ import annotations\n")
    body = rest.partition("from typing import Any\n")[2]
    texts = {
        DATA: json.dumps(expected, indent=1, ensure_ascii=False) + "\n",
        TEST: docstring + _HEAD.format(package=package) + body + _TAIL,
    }
    for name, text in texts.items():
        path = project / name
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    return project / TEST, project / DATA
