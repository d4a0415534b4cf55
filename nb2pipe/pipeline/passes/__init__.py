"""Passes over the IR, in order: each takes a pipeline and gives one."""

from __future__ import annotations

from collections.abc import Callable

from nb2pipe.pipeline.model import Pipeline
from nb2pipe.pipeline.passes.bigquery import bigquery_parameters
from nb2pipe.pipeline.passes.unused import unused_parameters

PASSES: tuple[Callable[[Pipeline], Pipeline], ...] = (unused_parameters, bigquery_parameters)
