"""Steps that read or write data outside of the pipeline: what caches must not answer for them, what they need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from nb2pipe.dataflow.events import Place
from nb2pipe.dataflow.hidden import is_outside
from nb2pipe.dataflow.model import StepFlow
from nb2pipe.findings import Finding, finding
from nb2pipe.notebook.model import Parameter, Resources
from nb2pipe.pipeline.graph import filled
from nb2pipe.pipeline.model import Requirement
from nb2pipe.pipeline.values import value_text


def outside(step: StepFlow, parameters: Iterable[Parameter]) -> list[Place]:
    """Where the step reads or writes tables and objects that may be others tomorrow, parameters at their defaults."""
    texts = {p.name: value_text(p.type, p.default) for p in parameters}
    paths = [path for path, _ in step.files_in] + list(step.files_out)
    by_default = [p for p in paths if "{" in p and is_outside(filled(p, texts))]
    return list(step.outside) or [Place(step.cells[0], 1, "") for _ in by_default[:1]]


def fetched(step: StepFlow, parameters: Iterable[Parameter]) -> tuple[str, ...]:
    """The parameters that name a file here and may name one elsewhere in a run, of which the step then gets a copy."""
    here = {p.name for p in parameters if isinstance(p.default, str) and "://" not in p.default}
    return tuple(name for name in step.fetches if name in here)


def never_stale(resources: Resources, places: list[Place]) -> Resources:
    """The step's resources: it runs each time when what it reads may have changed, unless a tag says otherwise."""
    return replace(resources, cache=False) if places and resources.cache is None else resources


def uncached(step: str, resources: Resources, places: list[Place]) -> list[Finding]:
    """That the step runs each time."""
    if not places or resources.cache is not None:
        return []
    message = f"step {step} reads or writes data outside of the pipeline, so that it runs each time"
    return [finding("runs-each-time", message, cell=places[0].cell, line=places[0].line, name=step)]


NEEDS: Mapping[str, tuple[str, ...]] = {
    "gs": ("gcsfs",),
    "gcs": ("gcsfs",),
    "s3": ("s3fs",),
    "abfs": ("adlfs",),
}
"""What pandas and others need to read a URL, by its scheme."""

FRAMES: Mapping[str, tuple[str, ...]] = {
    "google.cloud.bigquery": ("pandas", "db-dtypes", "pyarrow"),
    "pandas_gbq": ("pandas", "db-dtypes", "pyarrow"),
}
"""What turning rows of BigQuery into a frame, or a frame into rows, needs beside the client."""

SUFFIXES: Mapping[str, tuple[str, ...]] = {
    ".parquet": ("pyarrow",),
    ".feather": ("pyarrow",),
    ".orc": ("pyarrow",),
    ".xlsx": ("openpyxl",),
    ".xls": ("xlrd",),
    ".h5": ("tables",),
    ".xml": ("lxml",),
}
"""What pandas needs for files of a kind."""


def unimported(
    modules: Iterable[str], files: Iterable[str], code: Iterable[str], values: Mapping[str, str]
) -> Iterator[Requirement]:
    """Distributions that a step needs although nothing imports them; `values` are the parameters' defaults."""
    names = set(modules)
    frames = any(name == "pandas" or name.startswith("pandas.") for name in names)
    text = "\n".join(code)
    if "read_gbq" in text or "to_gbq" in text:
        names.add("pandas_gbq")
        yield Requirement("pandas-gbq", "pandas reads and writes BigQuery with it")
    for module, needs in FRAMES.items():
        if module in names and any(word in text for word in ("dataframe", "read_gbq", "to_gbq", "to_arrow")):
            yield from (Requirement(need, f"{module} makes frames with it") for need in needs)
    for path in (filled(file, values) for file in files):
        scheme, _, rest = path.partition("://")
        reads_urls = frames or bool({"fsspec", "polars", "dask"} & names)
        if rest and reads_urls:
            yield from (Requirement(need, f"pandas reads {scheme}:// with it") for need in NEEDS.get(scheme, ()))
        suffix = "." + path.rpartition(".")[2].lower()
        if frames:
            yield from (Requirement(need, f"pandas reads {suffix} with it") for need in SUFFIXES.get(suffix, ()))
