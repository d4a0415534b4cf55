"""The rows for Apache Beam against Beam: calls are run, and what they change, share, write and give is measured."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import measured
import pytest

beam = pytest.importorskip("apache_beam")

SETUP = """\
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
p = beam.Pipeline(options=PipelineOptions(flags=[]))
c = p | "made" >> beam.Create([("a", 1), ("b", 2)])
d = p | "side" >> beam.Create([("a", 3)])
other = beam.Pipeline(options=PipelineOptions(flags=[]))
numbers = [3, 4]
options = PipelineOptions(flags=[])
view = options.view_as(StandardOptions)
finished = beam.Pipeline(options=PipelineOptions(flags=[]))
finished | "nothing" >> beam.Create([0])
result = finished.run()
"""

# What changes; the expression.
EFFECTS = """
p c d | | p | beam.Create(numbers)
p c d | | c | beam.Keys()
p c d | | c | "more" >> beam.Map(str)
p c d | | p.apply(beam.Create([1]), beam.pvalue.PBegin(p))
p c d | | (c, d) | beam.Flatten()
p c d | | [c, d] | beam.Flatten()
p c d | | {"left": c, "right": d} | beam.CoGroupByKey()
p c d | | c | "sided" >> beam.Map(lambda pair, all: pair, all=beam.pvalue.AsList(d))
p c d | | c | beam.io.WriteToText("out/part")
other | | other | beam.io.ReadFromText("/dev/null")
 | | beam.Create(numbers)
 | | beam.Map(len) | beam.Map(str)
 | | "named" >> beam.Map(len)
 | | beam.pvalue.AsList(d)
 | | beam.combiners.Count.Globally()
 | | beam.GroupByKey()
 | | PipelineOptions(flags=[], runner="DirectRunner")
 | | options.view_as(StandardOptions)
 | | options.get_all_options()
 | | result.wait_until_finish()
 | | result.metrics().query()
 | | beam.Row(n=numbers)
 | | beam.Pipeline(options=options)
"""

SHARING = """
p | c.pipeline
p | c | beam.Keys()
options | options.view_as(StandardOptions)
view | options.view_as(StandardOptions)
options | beam.Pipeline(options=options)
d | beam.pvalue.AsList(d)
numbers | beam.Row(n=numbers)
numbers | beam.Create([numbers])
"""

APART = """
options | options.get_all_options()
numbers | result.wait_until_finish()
p | other | beam.Create([1])
"""


def _digest(value: Any) -> bytes:
    """What a pipeline is built of, also for its collections; options; lists."""
    value = value.pipeline if isinstance(value, beam.pvalue.PCollection) else value
    if isinstance(value, beam.Pipeline):
        return repr(sorted(value.applied_labels)).encode()
    if isinstance(value, beam.options.pipeline_options.PipelineOptions):
        return repr(sorted(value.get_all_options().items(), key=str)).encode()
    return repr(value).encode() if isinstance(value, list) else b""


LIBRARY = measured.Library(SETUP, _digest, {})


@pytest.mark.parametrize(
    ("names", "drawn", "expression"),
    measured.rows(EFFECTS),
    ids=lambda v: v if isinstance(v, str) else " ".join(sorted(v)),
)
def test_effects(names: frozenset[str], drawn: frozenset[str], expression: str, tmp_path: Path) -> None:
    seen, result = LIBRARY.measured(expression, tmp_path)
    said, _, value = LIBRARY.said(expression)
    assert seen.changed == names
    assert seen.changed <= said.changed
    assert (seen.drawn, said.drawn, seen.written) == (set(), set(), set())
    if value.type and value.type.partition(".")[0] in ("apache_beam", "builtins"):
        module, _, name = value.type.rpartition(".")
        assert isinstance(result, getattr(import_module(module), name)), (value.type, type(result))


@pytest.mark.parametrize(("name", "expression"), [line.split(" | ", 1) for line in SHARING.strip().splitlines()])
def test_sharing(name: str, expression: str) -> None:
    assert name in LIBRARY.said(expression)[1]


@pytest.mark.parametrize(("name", "expression"), [line.split(" | ", 1) for line in APART.strip().splitlines()])
def test_apart(name: str, expression: str) -> None:
    assert name not in LIBRARY.said(expression)[1]


def test_what_runs_writes_is_said(tmp_path: Path) -> None:
    """Files that a transform writes when its pipeline runs are those that the row says, as a beginning."""
    expression = 'c | beam.Keys() | beam.io.WriteToText("out/part", file_name_suffix=".txt")'
    said, _, _ = LIBRARY.said(expression)
    with measured._inside(tmp_path):
        names: dict[str, Any] = {}
        exec(SETUP, names)
        eval(expression, names)
        names["p"].run().wait_until_finish()
    [file] = (tmp_path / "out").iterdir()
    [written] = said.written
    assert f"out/{file.name}".startswith(written.removesuffix("{*}"))
