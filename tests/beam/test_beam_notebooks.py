"""Notebooks with Beam, run as they are and as pipelines on the DirectRunner: each must print the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import quick

pytest.importorskip("apache_beam")

IMPORTS = """\
import glob
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
"""
TRIPS = {"trips.csv": "km,fare\n" + "".join(f"{i},{i * 2.5}\n" for i in range(40))}

FILES = [
    ("shared", IMPORTS),
    ("parameters", "least = 3"),
    (
        "step:prepare",
        """\
def parse(line):
    km, fare = line.split(",")
    return {"km": int(km), "fare": float(fare)}

class AtLeast(beam.DoFn):
    def __init__(self, least):
        self.least = least
    def process(self, row):
        if row["km"] >= self.least:
            yield row

factor = 2
def raised(row):
    return {**row, "fare": row["fare"] * factor}

options = PipelineOptions(flags=[])
options.view_as(StandardOptions).runner = "DirectRunner"
with beam.Pipeline(options=options) as p:
    rows = p | beam.io.ReadFromText("trips.csv", skip_header_lines=1) | beam.Map(parse)
    total = rows | beam.Map(lambda row: row["fare"]) | beam.CombineGlobally(sum)
    kept = rows | beam.ParDo(AtLeast(least)) | beam.Map(raised)
    shares = kept | "share" >> beam.Map(lambda row, all: row["fare"] / all, all=beam.pvalue.AsSingleton(total))
    shares | beam.Map(lambda share: f"{share:.6f}") | beam.io.WriteToText("out/shares", file_name_suffix=".txt")
    kept | beam.combiners.Count.Globally() | "count" >> beam.io.WriteToText("out/count", shard_name_template="")
""",
    ),
    (
        "step:read",
        """\
lines = [line for path in sorted(glob.glob("out/shares-*")) for line in open(path)]
print(len(lines), round(sum(map(float, lines)), 4), open("out/count").read())
print(open("out/shares-00000-of-00001.txt").read() == "".join(lines))
""",
    ),
]
LATE = [
    ("shared", IMPORTS),
    (
        "step:run",
        """\
factor, seen = 2, []
def note(value):
    global count
    count += 1
    seen.append(value)
    return value * factor
count = 0
p = beam.Pipeline()
p | beam.Create([1, 2]) | beam.Map(note) | beam.Map(print)
factor = 3
result = p.run()
print(result.wait_until_finish(), result.state, count, seen)
""",
    ),
    ("step:after", "print(factor, count, seen)"),
]
CLASSES = [
    (
        "shared",
        IMPORTS
        + """
class Total(beam.CombineFn):
    def create_accumulator(self):
        return 0
    def add_input(self, total, value):
        return total + value
    def merge_accumulators(self, totals):
        return sum(totals)
    def extract_output(self, total):
        return total

class Seen(beam.DoFn):
    numbers = beam.metrics.Metrics.counter("seen", "numbers")
    def process(self, value):
        self.numbers.inc()
        yield beam.pvalue.TaggedOutput("even", value) if value % 2 == 0 else value

def build(pipeline):
    return pipeline | beam.Create(range(7)) | beam.ParDo(Seen()).with_outputs("even", main="odd")
""",
    ),
    (
        "step:run",
        """\
p = beam.Pipeline("DirectRunner")
odd, even = build(p)
_ = (odd, even) | beam.Flatten() | beam.CombineGlobally(Total()) | beam.Map(print)
pairs = even | "even" >> beam.Map(lambda v: ("even", v))
_ = pairs | beam.GroupByKey() | beam.MapTuple(lambda k, v: print(k, sorted(v)))
result = p.run()
found = result.metrics().query(beam.metrics.MetricsFilter().with_name("numbers"))["counters"][0].committed
""",
    ),
    ("step:tell", "print(found)"),
]

BESIDE = [
    ("shared", IMPORTS + "import os"),
    ("step:make", "os.makedirs('out', exist_ok=True)\nopen('out/old.txt', 'w').write('old')"),
    ("step:write", "with beam.Pipeline() as p:\n    p | beam.Create(['x']) | beam.io.WriteToText('out/new')"),
    ("step:list", "print(sorted(glob.glob('out/*')))"),
]
STATE = [
    ("shared", IMPORTS + "from apache_beam.coders import StrUtf8Coder\n"
     "from apache_beam.transforms.userstate import BagStateSpec"),
    (
        "step:make",
        """\
mark = "!"
class Seen(beam.DoFn):
    BEFORE = BagStateSpec("before", StrUtf8Coder())
    def setup(self):
        self.mark = mark
    def process(self, pair, before=beam.DoFn.StateParam(BEFORE)):
        found = sorted(before.read())
        before.add(pair[1])
        yield pair[0], len(found), self.mark

p = beam.Pipeline()
left = p | "left" >> beam.Create([("a", "1"), ("a", "2")])
right = p | "right" >> beam.Create([("b", "3")])
counted = (left, right) | beam.Flatten() | beam.ParDo(Seen())
sided = counted | beam.Map(lambda row, all: (*row, len(all)), all=beam.pvalue.AsList(right))
sided | beam.combiners.ToList() | beam.Map(sorted) | beam.Map(print)
p.run().wait_until_finish()
""",
    ),
    ("step:tell", "print(mark)"),
]  # fmt: skip

WHOLE = [
    ("shared", IMPORTS),
    (
        "step:write",
        (
            "with beam.Pipeline() as p:\n    made = p | beam.Create(['b', 'a'])\n"
            "    made | beam.io.WriteToText('all', file_name_suffix='.txt', shard_name_template='')"
        ),
    ),
    ("step:read", "print(sorted(open('all.txt')))"),
]
RUN = "with beam.Pipeline() as p:\n    p | beam.Create(range(50)) | beam.Map(str)"
DRAW = "print(random.random())"
SEEDED_BEFORE = [("shared", IMPORTS + "import random\nrandom.seed(7)"), ("step:run", RUN), ("step:draw", DRAW)]
SEEDED_AGAIN = [
    ("shared", IMPORTS + "import random\nrandom.seed(7)"),
    ("step:run", RUN),
    ("step:draw", f"random.seed(7)\n{DRAW}"),
]


@pytest.mark.parametrize(
    "cells",
    [FILES, LATE, CLASSES, BESIDE, STATE, SEEDED_AGAIN, WHOLE],
    ids=["files", "late", "classes", "beside", "state", "seeded again", "whole"],
)
def test_pipeline_equals_notebook(cells: list[tuple[str, str]], tmp_path: Path) -> None:
    outcome = quick.compare_apart(cells, tmp_path, ["apache_beam"], TRIPS)
    assert outcome.kind == "equal", outcome


def test_a_run_draws_random_numbers(tmp_path: Path) -> None:
    outcome = quick.compare_apart(SEEDED_BEFORE, tmp_path, ["apache_beam"], TRIPS)
    assert outcome.codes == ("seed-across-steps",), outcome


CROSSING = [
    ("step:build", "p = beam.Pipeline()\nx = p | beam.Create([1])", "step:go", "p.run()", "p"),
    ("step:build", "with beam.Pipeline() as p:\n    x = p | beam.Create([1])", "step:go", "x | beam.Map(print)", "x"),
    (
        "step:build",
        "p = beam.Pipeline()\nx = p | 'a' >> beam.Create([1])\nr = p.run()",
        "step:go",
        "print(r.state)",
        "r",
    ),
]


@pytest.mark.parametrize("case", CROSSING, ids=["pipeline", "collection", "result"])
def test_what_belongs_to_a_pipeline_stays_in_its_step(case: tuple[str, ...], tmp_path: Path) -> None:
    import json

    import doors

    import nb2pipe

    first, one, second, other, name = case
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps(doors.notebook([(IMPORTS, ["shared"]), (one, [first]), (other, [second])])))
    found = [f for f in nb2pipe.load(path).findings if f.severity == "error"]
    assert {(f.code, f.cell) for f in found} == {("unpicklable", 2)}
    assert name in {f.name for f in found}
    assert "one step" in found[0].hint
