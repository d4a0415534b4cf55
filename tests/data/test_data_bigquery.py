"""Notebooks that work with BigQuery, run as notebook and as pipeline against a strict server with the real client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import doors
import pytest
import quick

import nb2pipe
from nb2pipe.targets.submission import SubmitOptions, VertexPlace
from nb2pipe.targets.vertex_request import _in_own_project

if TYPE_CHECKING:
    from fake_bigquery import FakeBigQuery

LIBRARIES = ["google.cloud.bigquery", "pandas", "pandas_gbq"]


def equal(cells: quick.Cells, folder: Path) -> None:
    outcome = quick.compare_apart(cells, folder, LIBRARIES, {})
    assert outcome.kind == "equal", outcome


MAGIC = [
    ("parameters", "lowest = 3.0\nproject = 'test-project'"),
    (
        "step:load",
        (
            '%%bigquery df --project test-project --params {"zones": ["south", "west"], "least": 3.0}\n'
            "SELECT id, fare FROM `shop.trips` WHERE zone IN UNNEST(@zones) AND fare > @least ORDER BY id"
        ),
    ),
    ("", "print(df.to_dict('list'))\npp = {'least': lowest, 'zone': \"it's\"}"),
    (
        "",
        "%%bigquery rest --project $project --params $pp\nSELECT id FROM shop.trips WHERE fare < @least OR zone=@zone",
    ),
    (
        "step:make",
        "%%bigquery --destination_table shop.day\nSELECT zone, SUM(fare) AS total FROM shop.trips GROUP BY zone",
    ),
    ("", "%%bigquery\nSELECT * FROM shop.day"),
    ("step:show", "%%bigquery day\nSELECT * FROM shop.day ORDER BY zone"),
    ("", "print(len(rest), day.values.tolist())"),
]

CLIENT = [
    ("parameters", "least = 3.0\ntable = 'shop.trips'"),
    ("shared", "import pandas_gbq\nfrom google.cloud import bigquery\n\nclient = bigquery.Client()"),
    (
        "step:load",
        ("config = bigquery.QueryJobConfig(\n"
        '    query_parameters=[bigquery.ScalarQueryParameter("least", "FLOAT64", least)]\n)\n'
        'df = client.query(f"SELECT id, zone, fare FROM {table} WHERE fare > @least ORDER BY id", job_config=config)'
        ".to_dataframe()\nprint(df.shape)"),
    ),
    ("", "ids = [row.id for row in client.query_and_wait('SELECT id FROM shop.trips ORDER BY id')]"),
    ("", ("count = 'SELECT COUNT(*) AS n FROM shop.trips'\n"
     "more = pandas_gbq.read_gbq(count, project_id=client.project, progress_bar_type=None)")),
    ("step:store", ("df['fare'] = df['fare'] * 2\njob = client.load_table_from_dataframe(\n    df, 'shop.double',\n"
     "    job_config=bigquery.LoadJobConfig(write_disposition='WRITE_TRUNCATE'))\nprint(job.result().output_rows)")),
    ("step:keep", ("pandas_gbq.to_gbq(df[['id']], 'shop.ids', project_id=client.project,\n    "
     "if_exists='replace', progress_bar=False)")),
    ("step:show", ("rows = list(client.query('SELECT zone, fare FROM shop.double ORDER BY id').result())\n"
     "print([tuple(row) for row in rows], ids, more.n[0])\nprint(client.get_table('shop.ids').num_rows)")),
]  # fmt: skip


def test_client(bigquery: FakeBigQuery, tmp_path: Path) -> None:
    equal(CLIENT, tmp_path)


TYPES = [
    ("parameters", "least = 2\nzones = ['south', 'west']\nday = '2020-01-02'\nname = None"),
    ("shared", "import datetime as dt\nfrom decimal import Decimal\nfrom google.cloud import bigquery as bq"),
    (
        "step:ask",
        """\
config = bq.QueryJobConfig(default_dataset='test-project.shop', query_parameters=[
    bq.ArrayQueryParameter('zones', 'STRING', zones), bq.ArrayQueryParameter('none', 'INT64', []),
    bq.StructQueryParameter('pair', bq.ScalarQueryParameter('a', 'INT64', least),
                            bq.ScalarQueryParameter('b', 'STRING', "it's")),
    bq.ScalarQueryParameter('day', 'DATE', dt.date.fromisoformat(day)),
    bq.ScalarQueryParameter('at', 'TIMESTAMP', dt.datetime(2020, 1, 2, 3, 4, 5, 678, tzinfo=dt.timezone.utc)),
    bq.ScalarQueryParameter('local', 'DATETIME', dt.datetime(2020, 1, 2, 3, 4, 5)),
    bq.ScalarQueryParameter('clock', 'TIME', dt.time(1, 2, 3)),
    bq.ScalarQueryParameter('price', 'NUMERIC', Decimal('1.10')),
    bq.ScalarQueryParameter('raw', 'BYTES', b'a\\x00b'),
    bq.ScalarQueryParameter('name', 'STRING', name)])
text = '''SELECT id, @pair.b AS b, @day AS day, @at AS at, @local AS local, @clock AS clock, @price AS price,
    @raw AS raw, @name AS name, @zones AS zones, @pair AS pair FROM trips
    WHERE zone IN UNNEST(@zones) AND id >= @pair.a AND id NOT IN UNNEST(@none) AND @name IS NULL ORDER BY id'''
df = bq.Client().query(text, job_config=config).to_dataframe()
print(df.dtypes.to_dict(), df.values.tolist())
""",
    ),
    ("step:show", "print(df.dtypes.to_dict(), df.values.tolist(), df.day[0] + dt.timedelta(1), df.price.sum())"),
]


def test_types(bigquery: FakeBigQuery, tmp_path: Path) -> None:
    """Parameters of each type arrive, and columns of each type cross steps."""
    equal(TYPES, tmp_path)


def written(cells: quick.Cells, folder: Path) -> Path:
    path = folder / "book.ipynb"
    path.write_text(json.dumps(doors.notebook([(source, tags.split()) for tags, source in cells])))
    return path


def test_magic(bigquery: FakeBigQuery, tmp_path: Path) -> None:
    """The magic itself runs in the notebook's kernel, its typed parameters in the pipeline; verify compares."""
    found = nb2pipe.load(written([("shared", "%load_ext bigquery_magics"), *MAGIC], tmp_path)).verify()
    differing = [one for one in (*found.main.compared, *found.main.stdout) if one.verdict != "equal"]
    assert found.verdict == "equal", differing
    sent = [
        call.body for call in bigquery.calls if call.method == "jobs.insert" and call.body["configuration"].get("query")
    ]
    typed = [b["configuration"]["query"].get("queryParameters", ()) for b in sent]
    assert any(row["parameterValue"].get("value") == "it's" for rows in typed for row in rows)
    assert not any("it's" in query for query in bigquery.queries)


def test_no_credential_is_kept(bigquery: FakeBigQuery, tmp_path: Path) -> None:
    """Neither the key nor the token is in project, logs, cache or compiled pipeline; the order of steps is kept."""
    conversion = nb2pipe.load(written(CLIENT[:3], tmp_path))
    assert conversion.run().status == "succeeded"
    again = conversion.run()
    assert [step.status for step in again.steps] == ["succeeded"], "tables may have changed: nothing is cached"
    conversion.convert(tmp_path / "out")
    secrets = (bigquery.token.encode(), bigquery.key.splitlines()[1].encode(), b"PRIVATE KEY")
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert not any(secret in path.read_bytes() for secret in secrets), path
    assert "set_caching_options(False)" in (tmp_path / "out" / "pipeline.py").read_text()


RUNS = [
    ("shared", "from google.cloud import bigquery"),
    ("step:load", "print(len(list(bigquery.Client().query('SELECT id FROM shop.trips'))))"),
    ("step:plain", "print('no table')"),
]


def test_a_run_says_project_and_rows(bigquery: FakeBigQuery, tmp_path: Path) -> None:
    """Steps without BigQuery know of nothing."""
    conversion = nb2pipe.load(written(RUNS, tmp_path))
    run = conversion.run({"bigquery_rows": 2, "bigquery_project": "test-project"})
    assert run.status == "succeeded", run.error
    assert [step.stdout.read_text() for step in run.steps] == ["2\n", "no table\n"]
    elsewhere = conversion.run({"bigquery_project": "somebody-elses"})
    assert elsewhere.error is not None
    assert "Project somebody-elses" in elsewhere.error.message
    conversion.convert(tmp_path / "out")
    text = (tmp_path / "out" / "pipeline.py").read_text()
    assert "bigquery_rows: int = 0" in text
    assert text.count('"bigquery_project": bigquery_project') == 1


def test_on_vertex_the_project_is_the_jobs_unless_another_is_given() -> None:
    graph = {"steps": [{"bigquery": {"project": "bigquery_project", "rows": "bigquery_rows"}}, {}]}
    for given, wanted in (({}, "own"), ({"bigquery_project": ""}, "own"), ({"bigquery_project": "other"}, "other")):
        options = SubmitOptions(parameters=given, vertex=VertexPlace(project="own"))
        assert _in_own_project(graph, options).parameters == {"bigquery_project": wanted}
    assert _in_own_project({"steps": [{}]}, SubmitOptions(vertex=VertexPlace(project="own"))).parameters == {}


def test_other_notebooks_get_no_such_parameters(tmp_path: Path) -> None:
    pipeline = nb2pipe.load(written([("step:a", "x = 1"), ("step:b", "print(x)")], tmp_path)).pipeline
    assert pipeline.parameters == ()
    named = nb2pipe.load(written([("parameters", "bigquery_rows = 5"), *RUNS, ("", "print(bigquery_rows)")], tmp_path))
    assert len({p.name for p in named.pipeline.parameters}) == 3


def test_a_pasted_text_is_warned_of(tmp_path: Path) -> None:
    """A text in quotes is; the name of a table, which no parameter can give, is not."""
    query = 'from google.cloud import bigquery\nprint(list(bigquery.Client().query(f"SELECT 1 FROM {table}%s")))'
    for end, said in ((" WHERE zone = '{zone}'", ["zone"]), (" WHERE zone = @zone", [])):
        cells = [("parameters", "zone = 'south'\ntable = 'shop.trips'"), ("step:load", query % end + "\nprint(zone)")]
        found = nb2pipe.load(written(cells, tmp_path)).check()["findings"]
        assert [f["name"] for f in found if f["code"] == "pasted-into-sql"] == said


def test_a_missing_login_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure names cell, line and the command that mends it."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "nobody"))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
    source = "from google.cloud import bigquery\n\nrows = list(bigquery.Client().query('SELECT 1').result())"
    error = nb2pipe.load(written([("step:load", source)], tmp_path)).run().error
    assert error is not None
    assert (error.cell, error.line) == (0, 3)
    assert "`gcloud auth application-default login`" in error.message
