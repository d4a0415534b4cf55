"""A BigQuery for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fake_bigquery import FakeBigQuery

TRIPS = "CREATE OR REPLACE TABLE shop.trips AS SELECT 1 AS id, 'north' AS zone, 2.5 AS fare"


@pytest.fixture(scope="module")
def bigquery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeBigQuery]:
    """The server, in whose environment the test is: three trips in the dataset `shop`."""
    for needed in ("duckdb", "sqlglot", "googleapiclient", "pandas_gbq", "bigquery_magics", "db_dtypes"):
        pytest.importorskip(needed)
    from fake_bigquery import FakeBigQuery

    with pytest.MonkeyPatch.context() as patch, FakeBigQuery(tmp_path_factory.mktemp("login")).running() as running:
        for name, value in running.environment().items():
            patch.setenv(name, value)
        running.sql.make_dataset(running.project, "shop")
        running.sql.run(
            TRIPS + " UNION ALL SELECT 2, 'south', 4.0 UNION ALL SELECT 3, 'south', 8.0", [], running.project, None
        )
        yield running
