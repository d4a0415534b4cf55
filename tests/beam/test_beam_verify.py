"""Notebooks with Beam, run in a Jupyter kernel and as pipelines by `nb2pipe verify`.

In a kernel every Beam pipeline imports Beam's data frames, which pandas 3 lacks methods for: there most of these tests
need pandas 2. `.ci/run` gives it to them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import doors
import pytest

pytest.importorskip("apache_beam")
pd = pytest.importorskip("pandas")

in_a_kernel = pytest.mark.skipif(not hasattr(pd.DataFrame, "first"), reason="Beam in a kernel needs pandas 2")

INTERACTIVE = [
    ("parameters", "least = 3"),
    (
        "shared",
        """\
import glob
import apache_beam as beam
import apache_beam.runners.interactive.interactive_beam as ib
from apache_beam.runners.interactive.interactive_runner import InteractiveRunner
""",
    ),
    (
        "step:prepare",
        """\
p = beam.Pipeline(InteractiveRunner())
rows = p | beam.Create([{"km": i, "fare": i * 2.5} for i in range(9)])
kept = rows | "kept" >> beam.Filter(lambda row: row["km"] >= least)
ib.show(kept)
frame = ib.collect(kept)
print(frame.shape, frame["fare"].sum())
""",
    ),
    (
        "",
        """\
named = ib.collect(rows | "rows" >> beam.Map(lambda row: beam.Row(km=row["km"], far=row["km"] > 4)))
words = ib.collect(p | "words" >> beam.Create(["a", "b"]))
pairs = ib.collect(kept | "pair" >> beam.Map(lambda row: (row["km"], row["fare"])))
kept | "text" >> beam.Map(str) | beam.io.WriteToText("out/kept", file_name_suffix=".txt")
result = p.run()
result.wait_until_finish()
""",
    ),
    (
        "step:train",
        """\
print(frame.km.mean(), len(named), words[0].tolist(), pairs[1].max())
print(sorted(line for path in glob.glob("out/kept-*") for line in open(path)))
""",
    ),
]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of child processes; their home is beside it."""
    for variable, name in (("HOME", "home"), ("TMPDIR", "temporary")):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / name))
    return tmp_path / "temporary"


def verify(cells: list[tuple[str, str]], temporary: Path, code: int) -> dict[str, Any]:
    """The document of `nb2pipe verify`; nothing may be left, and no runner looked for."""
    path = temporary.with_name("book.ipynb")
    path.write_text(json.dumps(doors.notebook([(source, tags.split()) for tags, source in cells])))
    done = doors.nb2pipe("verify", path.name, "--json", cwd=path.parent)
    document: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == code, document
    assert [*temporary.iterdir()] == []
    assert not temporary.with_name("home").joinpath(".apache_beam").exists()  # where Beam puts a runner that it fetches
    return document


@in_a_kernel
def test_interactive_notebook_equals_its_pipeline(temporary: Path) -> None:
    document = verify(INTERACTIVE, temporary, 0)
    compared = {row["name"]: row["verdict"] for row in document["compared"]}
    assert compared == dict.fromkeys(["frame", "named", "words", "pairs", "out"], "equal"), document


@pytest.mark.skipif(hasattr(pd.DataFrame, "first"), reason="with pandas 2 Beam works in a kernel")
def test_what_pandas_3_lacks_is_said(temporary: Path) -> None:
    document = verify(INTERACTIVE, temporary, 1)
    assert document["error"]["where"] == "notebook"
    assert "pandas<3" in document["error"]["message"]
