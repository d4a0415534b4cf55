"""What a run may say of BigQuery: project, rows, default dataset; steps are run with the real clients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import doors
import pytest
import quick
import step_runs

import nb2pipe
from nb2pipe.targets.base import ParameterError, parameter_texts

if TYPE_CHECKING:
    from fake_bigquery import FakeBigQuery


def written(cells: quick.Cells, folder: Path) -> Path:
    path = folder / "book.ipynb"
    path.write_text(json.dumps(doors.notebook([(source, tags.split()) for tags, source in cells])))
    return path


SHARED = (
    "shared",
    (
        "import pandas_gbq\nfrom google.cloud import bigquery\nclient = bigquery.Client()\n"
        "all_trips = 'SELECT id FROM shop.trips'"
    ),
)
ROWS = [
    SHARED,
    ("step:load", "print(len(client.query(all_trips).to_dataframe()))"),
    ("step:wait", "print(len(list(client.query_and_wait(all_trips))))"),
    ("step:few", "print(len(list(client.query(all_trips).result(max_results=1))))"),
    ("step:placed", "print(len(list(client.query(all_trips).result(500, 3))))"),
    ("step:table", "for most in (None, 1):\n    print(len(list(client.list_rows('shop.trips', None, most))))"),
    ("step:frame", "print(client.list_rows(client.get_table('shop.trips')).to_dataframe().shape)"),
    (
        "step:pandas",
        "print(len(pandas_gbq.read_gbq('shop.trips', project_id=client.project, progress_bar_type=None)))",
    ),
    ("step:query", "print(len(pandas_gbq.read_gbq(all_trips, project_id=client.project, progress_bar_type=None)))"),
    (
        "step:kept",
        ("job = client.query(all_trips)\njob.result()\nkept = client.get_table(job.destination)\n"
        "print(kept.num_rows, len(list(client.list_rows(kept))))"),
    ),
    (
        "step:write",
        (
            "client.query('CREATE OR REPLACE TABLE shop.copy AS ' + all_trips).result()\n"
            "print(client.get_table('shop.copy').num_rows)"
        ),
    ),
    ("step:plain", "print('no table')"),
]  # fmt: skip


def test_a_limit_of_rows(bigquery: FakeBigQuery, tmp_path: Path) -> None:
    """It is for all that is read, by queries or without one, raises no lower limit and shortens nothing written."""
    whole, two = (
        {step: ran.printed or ran.error for step, ran in run.items()}
        for run in step_runs.of(written(ROWS, tmp_path), [{}, {"bigquery_rows": 2}])
    )
    steps = ["load", "wait", "few", "placed", "table", "frame", "pandas", "query", "kept", "write", "plain"]
    assert whole == dict(
        zip(steps, ["3", "3", "1", "3", "3\n1", "(3, 3)", "3", "3", "3 3", "3", "no table"], strict=True)
    )
    assert two == dict(
        zip(steps, ["2", "2", "1", "2", "2\n1", "(2, 3)", "2", "2", "3 2", "3", "no table"], strict=True)
    )


DATASETS = [
    (
        "shared",
        (
            "import pandas_gbq\nfrom google.cloud import bigquery\n\nshop = 'test-project.shop'\n"
            "usual = bigquery.QueryJobConfig(default_dataset=shop, use_query_cache=False)\n"
            "client = bigquery.Client(default_query_job_config=usual)\ncount = 'SELECT COUNT(*) AS n FROM trips'"
        ),
    ),
    ("step:client", "print(list(client.query(count))[0].n)"),
    ("step:wait", "print(list(client.query_and_wait(count))[0].n)"),
    (
        "step:config",
        (
            "config = bigquery.QueryJobConfig(query_parameters=[bigquery.ScalarQueryParameter('least', 'INT64', 1)])\n"
            "config.default_dataset = client.dataset('shop')\n"
            "print(list(bigquery.Client().query(f'{count} WHERE id > @least', job_config=config))[0].n)"
        ),
    ),
    (
        "step:pandas",
        (
            "place = {'defaultDataset': {'projectId': 'test-project', 'datasetId': 'shop'}}\n"
            "found = pandas_gbq.read_gbq(count, project_id='test-project', configuration={'query': place}, "
            "progress_bar_type=None)\nprint(found.n[0])"
        ),
    ),
    ("step:make", "client.query('CREATE OR REPLACE TABLE day AS SELECT id FROM trips').result()\nprint('made')"),
    ("step:read", "print(sorted(row.id for row in client.query('SELECT id FROM day')))"),
    ("step:none", "print(list(client.query('SELECT 1 AS one', job_config=bigquery.QueryJobConfig()))[0].one)"),
    ("step:plain", "print('no table')"),
]


def test_another_default_dataset(bigquery: FakeBigQuery, tmp_path: Path) -> None:
    """Queries have the other dataset wherever the notebook named the one, and the tables that they write are there."""
    bigquery.sql.make_dataset(bigquery.project, "trial")
    bigquery.sql.run("CREATE TABLE trial.trips AS SELECT 7 AS id", [], bigquery.project, None)
    bigquery.sql.project("other-project")
    bigquery.sql.make_dataset("other-project", "shop")
    bigquery.sql.run("CREATE TABLE shop.trips AS SELECT 8 AS id UNION ALL SELECT 9", [], "other-project", None)
    book = written(DATASETS, tmp_path)
    given: list[dict[str, object]] = [{}, {"bigquery_dataset": "trial"}, {"bigquery_dataset": "other-project.shop"}]
    runs = step_runs.of(book, given)
    printed = [[ran.printed or ran.error for ran in run.values()] for run in runs]
    assert printed == [
        ["3", "3", "2", "3", "made", "[1, 2, 3]", "1", "no table"],
        ["1", "1", "1", "1", "made", "[7]", "1", "no table"],
        ["2", "2", "2", "2", "made", "[8, 9]", "1", "no table"],
    ]
    assert bigquery.sql.rows(bigquery.project, "shop", "day") == [(1,), (2,), (3,)]
    assert "queries on dataset shop run on test-project.trial" in runs[1]["make"].said
    assert runs[0]["make"].said == ""


def datasets(folder: Path, *cells: tuple[str, str]) -> tuple[dict[str, object], list[tuple[str | None, str]]]:
    """The parameters for datasets that a pipeline has, with their defaults; those that stay, with the reason."""
    imports = ("shared", "from google.cloud import bigquery\nclient = bigquery.Client()")
    pipeline = nb2pipe.load(written([imports, *cells], folder)).pipeline
    moved = {p.name: p.default for p in pipeline.parameters if p.name.startswith("bigquery_dataset")}
    return moved, [(f.name, f.message) for f in pipeline.findings if f.code == "dataset-stays"]


QUERY = "print(list(client.query('SELECT 1 FROM trips', job_config=bigquery.QueryJobConfig(default_dataset={}))))"


@pytest.mark.parametrize(
    "given",
    [
        "'my-project.shop'",
        "f'{client.project}.shop'",
        "client.dataset('shop')",
        "bigquery.DatasetReference(client.project, 'shop')",
        "bigquery.DatasetReference(project=client.project, dataset_id='shop')",
        "bigquery.DatasetReference.from_string('my-project.shop')",
    ],
)
def test_names_of_default_datasets(tmp_path: Path, given: str) -> None:
    assert datasets(tmp_path, ("step:load", QUERY.format(given))) == ({"bigquery_dataset": "shop"}, [])


def test_each_default_dataset_has_a_parameter(tmp_path: Path) -> None:
    """Each is one of the steps that use it, and none moves two at once."""
    cells = [("step:load", QUERY.format("'p.raw'")), ("step:show", QUERY.format("'p.marts'"))]
    assert datasets(tmp_path, *cells) == ({"bigquery_dataset_raw": "raw", "bigquery_dataset_marts": "marts"}, [])
    taken = [dict(step.bigquery) for step in nb2pipe.load(tmp_path / "book.ipynb").pipeline.steps]
    assert [{k: v for k, v in one.items() if ":" in k} for one in taken] == [
        {"dataset:raw": "bigquery_dataset_raw"},
        {"dataset:marts": "bigquery_dataset_marts"},
    ]


def test_a_dataset_that_no_parameter_could_move_stays(tmp_path: Path) -> None:
    """Where its tables are also named with it, and where its name is not known; not where it is a parameter already."""
    query = QUERY.format("'p.shop'")
    for named in (
        "client.query('CREATE TABLE shop.day AS SELECT 1').result()",
        "print(client.get_table('p.shop.day'))",
    ):
        moved, [(name, why)] = datasets(tmp_path, ("step:load", query), ("step:other", named))
        assert (moved, name, why.endswith("shop.day in step other")) == ({}, "shop", True)
    moved, [(name, why)] = datasets(tmp_path, ("step:load", "import os\n" + QUERY.format("os.environ['PLACE']")))
    assert (moved, name, why.endswith("not known before the step runs")) == ({}, None, True)
    for own in ("place", "f'{client.project}.{place}'"):
        assert datasets(tmp_path, ("parameters", "place = 'p.shop'"), ("step:load", QUERY.format(own))) == ({}, [])
    other = ("step:load", QUERY.format("'p.shop'") + "\nclient.query('CREATE TABLE stock.day AS SELECT 1').result()")
    assert datasets(tmp_path, other) == ({"bigquery_dataset": "shop"}, [])
    assert datasets(tmp_path, ("step:load", "print(list(client.query('SELECT 1 FROM shop.trips')))")) == ({}, [])


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("bigquery_rows", (0, 5), (-1,)),
        (
            "bigquery_dataset",
            ("trial", "my-project.trial", "example.com:p-1.trial"),
            ("", "a.b.", "p.d.t", "x y", "d;"),
        ),
    ],
)
def test_bounds(tmp_path: Path, name: str, good: tuple[object, ...], bad: tuple[object, ...]) -> None:
    """Values outside of them are refused before anything runs, and by a step that is started by itself."""
    datasets(tmp_path, ("step:load", QUERY.format("'p.shop'")))
    conversion = nb2pipe.load(tmp_path / "book.ipynb")
    graph = json.loads(conversion.project.files["nb2pipe.map.json"])["pipeline"]
    for value in good:
        assert parameter_texts(graph, {name: value})[name] == str(value)
    for value in bad:
        with pytest.raises(ParameterError) as refused:
            conversion.run({name: value})
        assert [f.code for f in refused.value.findings] == ["parameter-bounds"]
    runs = step_runs.of(tmp_path / "book.ipynb", [{name: value} for value in bad])
    for run, value in zip(runs, bad, strict=True):
        assert f"parameter {name}: {value!r} is " in run["load"].error


def test_the_context_of_the_magic_is_no_step(tmp_path: Path) -> None:
    """Queries that go by it are refused: by its project, not by how it shows that it is at work."""
    magic = ("step:load", "%%bigquery df\nSELECT id FROM shop.trips")
    other = ("step:load", "from google.cloud import bigquery\ndf = bigquery.Client().query('SELECT 1').to_dataframe()")
    imports = "from google.cloud.bigquery import magics\nmagics."
    for line, cell, said in (
        ("context.project = 'p'", magic, [1]),
        ("context.default_query_job_config.default_dataset = 'p.d'", magic, [1]),
        ("context.progress_bar_type = None", magic, []),
        ("context.project == 'p'", magic, []),
        ("context.project = 'p'", other, []),
    ):
        cells = [("shared", imports + line), cell, ("step:show", "print(len(df))")]
        found = nb2pipe.load(written(cells, tmp_path)).findings
        assert [f.cell for f in found if f.code == "magic-context"] == said
