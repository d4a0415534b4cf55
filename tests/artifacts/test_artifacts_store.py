"""An artifact on disk: whole or not there, checked when read, and clear about what cannot be stored."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest


def test_record_says_how_to_read(artifacts: ModuleType, tmp_path: Path) -> None:
    record = artifacts.save(tmp_path / "a" / "frame", {"df": pd.DataFrame({"a": [1]})}, kind="Dataset")
    assert record == json.loads((tmp_path / "a" / "frame" / "artifact.json").read_text())
    assert {k: record[k] for k in ("format", "kind", "names", "unbound", "type")} == {
        "format": "parquet",
        "kind": "Dataset",
        "names": ["df"],
        "unbound": [],
        "type": "pandas.DataFrame",
    }
    assert record["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert set(record["versions"]) == {"pandas", "pyarrow"}
    assert set(record["sha256"]) == {"frame.parquet"}


def test_same_value_same_bytes(artifacts: ModuleType, tmp_path: Path) -> None:
    value = {"x": [1, {"b": 2.5}]}
    assert artifacts.save(tmp_path / "a", value) == artifacts.save(tmp_path / "b", value)
    assert (tmp_path / "a" / "artifact.json").read_bytes() == (tmp_path / "b" / "artifact.json").read_bytes()


def test_names_that_share_an_object_come_back_sharing(artifacts: ModuleType, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    record = artifacts.save(tmp_path / "x", {"df": frame, "view": frame, "rows": [frame]})
    assert record["format"] == "pickle"
    loaded = artifacts.load(tmp_path / "x")
    assert list(loaded) == ["df", "view", "rows"]
    assert loaded["df"] is loaded["view"] is loaded["rows"][0]


@pytest.mark.parametrize("values", [{}, {"a": 1}, {"a": 1, "b": 2}])
def test_unbound_names_are_recorded_and_left_out(artifacts: ModuleType, tmp_path: Path, values: Any) -> None:
    assert artifacts.save(tmp_path / "x", values, unbound={"z", "y"})["unbound"] == ["y", "z"]
    assert artifacts.load(tmp_path / "x") == values


@pytest.mark.parametrize(
    ("metrics", "format"),
    [({"rmse": np.float64(1.25), "n": np.int64(3)}, "json"), ({"a": 1.5}, "json"), ({"loss": float("nan")}, "pickle")],
)
def test_metrics_become_plain_numbers(
    artifacts: ModuleType, tmp_path: Path, metrics: dict[str, Any], format: str
) -> None:
    assert artifacts.save(tmp_path / "m", {"metrics": metrics}, kind="Metrics")["format"] == format
    loaded = artifacts.load(tmp_path / "m")["metrics"]
    assert repr(loaded) == repr({k: v.item() if hasattr(v, "item") else v for k, v in metrics.items()})


def damage(file: Path, how: str) -> None:
    data = file.read_bytes()
    if how == "remove":
        file.unlink()
    elif how == "cut":
        file.write_bytes(data[:-1])
    elif how == "flip":
        file.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    else:
        file.write_text(how)


@pytest.mark.parametrize(
    ("file", "how", "says"),
    [
        ("value.json", "remove", "value.json is not what was written"),
        ("value.json", "cut", "value.json is not what was written"),
        ("value.json", "flip", "value.json is not what was written"),
        ("artifact.json", "remove", "is not an artifact"),
        ("artifact.json", "cut", None),
        ("artifact.json", "", "is damaged: artifact.json"),
        ("artifact.json", "[]", "is damaged: artifact.json"),
        ("artifact.json", "{}", "is damaged: artifact.json"),
        ("artifact.json", '{"sha256": 3}', "is damaged: artifact.json"),
        ("artifact.json", '{"sha256": {}, "format": "json"}', "is damaged: artifact.json"),
    ],
)
def test_damage_is_noticed(artifacts: ModuleType, tmp_path: Path, file: str, how: str, says: str | None) -> None:
    artifacts.save(tmp_path / "x", {"x": [1, 2, 3]})
    damage(tmp_path / "x" / file, how)
    if says is None:  # only the newline at the end is lost
        assert artifacts.load(tmp_path / "x") == {"x": [1, 2, 3]}
        return
    with pytest.raises(artifacts.ArtifactError, match=says):
        artifacts.load(tmp_path / "x")


def test_a_format_that_is_not_there_is_named(artifacts: ModuleType, tmp_path: Path) -> None:
    artifacts.save(tmp_path / "x", {"x": 1})
    record = tmp_path / "x" / "artifact.json"
    record.write_text(record.read_text().replace('"json"', '"feather"'))
    with pytest.raises(artifacts.ArtifactError, match="has no format 'feather'"):
        artifacts.load(tmp_path / "x")


def test_replacing_is_whole(artifacts: ModuleType, tmp_path: Path) -> None:
    artifacts.save(tmp_path / "x", {"x": pd.DataFrame({"a": [1]})})
    artifacts.save(tmp_path / "x", {"x": 2})
    assert artifacts.load(tmp_path / "x") == {"x": 2}
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["artifact.json", "value.json", "x"]


def test_a_failed_save_leaves_the_old(artifacts: ModuleType, tmp_path: Path) -> None:
    artifacts.save(tmp_path / "x", {"x": 1})
    with pytest.raises(artifacts.ArtifactError):
        artifacts.save(tmp_path / "x", {"x": threading.Lock()})
    assert artifacts.load(tmp_path / "x") == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_what_is_not_an_artifact_is_not_replaced(artifacts: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    for name in ("mine", "file"):
        with pytest.raises(artifacts.ArtifactError, match="is not an artifact"):
            artifacts.save(tmp_path / name, {"x": 1})
    assert (tmp_path / "mine" / "notes.txt").read_text() == (tmp_path / "file").read_text() == "mine"
    artifacts.save(tmp_path / "empty", {"x": 1})
    assert artifacts.load(tmp_path / "empty") == {"x": 1}


def test_where_folders_cannot_be_renamed_files_are_copied(
    artifacts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_rename(self: Path, target: Path) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Path, "rename", no_rename)
    for value in (1, 2):
        artifacts.save(tmp_path / "x", {"x": value})
        assert artifacts.load(tmp_path / "x") == {"x": value}
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


WRITER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("written", sys.argv[1])
module = importlib.util.module_from_spec(spec); sys.modules["written"] = module
spec.loader.exec_module(module)
print("ready", flush=True)
for n in range(10**9):
    module.save(sys.argv[2], {"x": [n] * 200_000})
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_writer_leaves_a_whole_artifact_or_none(artifacts: ModuleType, tmp_path: Path) -> None:
    for attempt in range(4):
        target = tmp_path / str(attempt) / "x"
        command = [sys.executable, "-c", WRITER, str(artifacts.__file__), str(target)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.06 + 0.013 * attempt)
            process.kill()
        if target.exists():
            value = artifacts.load(target)["x"]
            assert value == value[:1] * 200_000
        artifacts.save(target, {"x": "after"})
        assert artifacts.load(target) == {"x": "after"}


class Unreadable:
    def __reduce__(self) -> Any:
        return int, ("no",)


def generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (generator, "x cannot be stored: it is a generator; make a list of it"),
        (lambda: open(__file__, encoding="utf-8"), "x cannot be stored: it is a text file handle"),  # noqa: SIM115, PTH123
        (lambda: {"log": open(__file__, encoding="utf-8")}, "it holds a text file handle"),  # noqa: SIM115, PTH123
        (lambda: open(__file__, "rb"), "x cannot be stored: it is a file handle"),  # noqa: SIM115, PTH123
        (threading.Lock, "lock"),
        (lambda: sqlite3.connect(":memory:"), "x cannot be stored: it is a connection"),
        (Unreadable, "x cannot be stored"),
    ],
)
def test_what_cannot_be_stored_is_named(
    artifacts: ModuleType, tmp_path: Path, request: pytest.FixtureRequest, make: Any, says: str
) -> None:
    value = make()
    for one in value.values() if isinstance(value, dict) else [value]:
        # A handle that the garbage collector closes warns in whichever test runs then.
        request.addfinalizer(getattr(one, "close", lambda: None))
    with pytest.raises(artifacts.ArtifactError, match=says):
        artifacts.save(tmp_path / "x", {"x": value})
    with pytest.raises(artifacts.ArtifactError, match=f"{says}"):
        artifacts.save(tmp_path / "x", {"good": 1, "x": value})
    assert not (tmp_path / "x").exists()


READER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("written", sys.argv[1])
module = importlib.util.module_from_spec(spec); sys.modules["written"] = module
spec.loader.exec_module(module)
before = set(sys.modules)
print(repr(eval(sys.argv[3], module.load(sys.argv[2]))))
print("pandas" in sys.modules, "numpy" in sys.modules, "cloudpickle" in sys.modules)
"""


@pytest.mark.parametrize(
    ("value", "expression", "prints", "imports"),
    [
        ({"a": [1]}, "x", "{'a': [1]}", "False False False"),
        ((1, 2), "x", "(1, 2)", "False False False"),
        (np.arange(3), "x.sum().item()", "3", "False True False"),
        (pd.DataFrame({"a": [1, 2]}), "x.a.sum().item()", "3", None),
        (lambda n: n + 1, "x(1)", "2", None),
        (type("Local", (), {"two": lambda self: 2}), "x().two()", "2", None),
    ],
)
def test_another_process_loads_it(
    artifacts: ModuleType, tmp_path: Path, value: Any, expression: str, prints: str, imports: str | None
) -> None:
    if callable(value):
        value.__module__ = "__main__"
    artifacts.save(tmp_path / "x", {"x": value})
    command = [sys.executable, "-c", READER, str(artifacts.__file__), str(tmp_path / "x"), expression]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0] == prints
    assert imports is None or lines[1] == imports


def test_a_missing_library_is_named_with_its_version(
    artifacts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts.save(tmp_path / "x", {"x": pd.DataFrame({"a": [1]})})
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(artifacts.ArtifactError, match=r"pandas.*stored with Python 3.*pandas \d"):
        artifacts.load(tmp_path / "x")


def test_without_pyarrow_a_frame_is_still_stored(
    artifacts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas.io.parquet", None)
    frame = pd.DataFrame({"a": [1]})
    monkeypatch.setattr(pd.DataFrame, "to_parquet", lambda *a, **k: (_ for _ in ()).throw(ImportError("pyarrow")))
    assert artifacts.save(tmp_path / "x", {"x": frame})["format"] == "pickle"
    assert artifacts.load(tmp_path / "x")["x"].equals(frame)


def test_without_cloudpickle_plain_values_are_still_stored(
    artifacts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    artifacts.save(tmp_path / "x", {"x": (1, 2)})
    assert artifacts.load(tmp_path / "x") == {"x": (1, 2)}
    with pytest.raises(artifacts.ArtifactError, match="x cannot be stored"):
        artifacts.save(tmp_path / "x", {"x": lambda: 1})


PACKAGE = {
    "taxi/__init__.py": "",
    "taxi/steps/__init__.py": "",
    "taxi/shared.py": "class Model:\n    pass\n",
    "taxi/steps/train.py": "from taxi.shared import Model\nK = 3\ndef f(x):\n    return x * K, Model()\n",
}


def test_functions_of_a_step_load_where_the_step_is_not(artifacts: ModuleType, tmp_path: Path) -> None:
    for name, text in PACKAGE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    text = Path(str(artifacts.__file__)).read_text()
    (tmp_path / "taxi" / "artifacts.py").write_text(text)
    path = str(tmp_path / "art")
    writes = f"from taxi import artifacts; from taxi.steps.train import f; artifacts.save({path!r}, {{'f': f}})"
    subprocess.run([sys.executable, "-c", writes], cwd=tmp_path, check=True)
    (tmp_path / "taxi" / "steps" / "train.py").unlink()
    loads = f"from taxi import artifacts, shared; n, m = artifacts.load({path!r})['f'](2)"
    reads = f"{loads}; print(n, type(m) is shared.Model)"
    done = subprocess.run([sys.executable, "-c", reads], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout == "6 True\n"
