"""Beam's BigQuery client at the address that Google's takes from its environment: it has no such option itself."""

from __future__ import annotations

import os

from apache_beam.io.gcp.internal.clients import bigquery

bigquery.BigqueryV2.BASE_URL = f"{os.environ['BIGQUERY_EMULATOR_HOST']}/bigquery/v2/"
