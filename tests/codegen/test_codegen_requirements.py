"""Imports to pinned distributions, against a made-up site folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nb2pipe.pipeline import requirements as module
from nb2pipe.pipeline.requirements import Beside, normalized, requirements

INSTALLED = {
    "pandas-3.0.1": ["pandas/__init__.py"],
    "scikit_learn-1.8.0": ["sklearn/__init__.py"],
    "torch-2.9.0+cpu": ["torch/__init__.py"],
    "google_cloud_bigquery-3.47.0": ["google/cloud/bigquery/__init__.py"],
    "google_cloud_storage-3.1.0": ["google/cloud/storage/__init__.py"],
    "odd_name-1.0": ["strange/__init__.py"],
    "single-2.0": ["single.py"],
    "opencv_python-4.12.0": ["cv2/__init__.py"],
    "lookalike-9.9": [],
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "site"
    for name, files in INSTALLED.items():
        (folder / f"{name}.dist-info").mkdir(parents=True)
        (folder / f"{name}.dist-info" / "RECORD").write_text("".join(f"{file},sha256=x,1\n" for file in files))
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text("")
    (folder / "lookalike").mkdir()
    (folder / "lookalike/__init__.py").write_text("")
    clear()
    monkeypatch.setattr(sys, "path", [str(folder)])
    yield folder
    clear()


def clear() -> None:
    for cached in (module._site_folders, module._installed, module.owner):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("pandas", "pandas==3.0.1"),
        ("pandas.tseries.offsets", "pandas==3.0.1"),
        ("sklearn.linear_model", "scikit-learn==1.8.0"),
        ("torch", "torch==2.9.0"),
        ("google.cloud.bigquery", "google-cloud-bigquery==3.47.0"),
        ("google.cloud.storage.blob", "google-cloud-storage==3.1.0"),
        ("strange", "odd-name==1.0"),
        ("single", "single==2.0"),
        ("cv2", "opencv-python==4.12.0"),
        ("xgboost", "xgboost"),
        ("yaml", "PyYAML"),
    ],
)
def test_a_module_gives_its_distribution(name: str, spec: str, site: Path) -> None:
    found = requirements({name: (3, 1)}, {})
    assert [r.spec for r in found.requirements] == [spec]
    assert found.requirements[0].why == f"cell 3 line 1: import {name}"
    assert [f.code for f in found.findings] == ([] if "==" in spec else ["unpinned-requirement"])


@pytest.mark.parametrize("name", ["os", "os.path", "json", "__future__", "__main__", "xml.etree.ElementTree"])
def test_the_standard_library_needs_nothing(name: str, site: Path) -> None:
    found = requirements({name: (0, 1)}, {})
    assert (found.requirements, found.findings) == ((), ())


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("nosuch", 'nosuch = "DISTRIBUTION==VERSION"'),
        ("nosuch.deep", 'nosuch = "DISTRIBUTION==VERSION"'),
        ("google.cloud.nosuch", '"google.cloud.nosuch" = "DISTRIBUTION==VERSION"'),
        ("lookalike", 'lookalike = "DISTRIBUTION==VERSION"'),
    ],
)
def test_the_unknown_is_never_guessed(name: str, line: str, site: Path) -> None:
    found = requirements({name: (3, 2)}, {})
    assert found.requirements == ()
    assert [(f.code, f.severity, f.cell, f.line) for f in found.findings] == [("unknown-import", "error", 3, 2)]
    assert found.findings[0].hint.endswith(line)


@pytest.mark.parametrize(
    ("packages", "spec"),
    [
        ({"nosuch": "my-lib==1.2"}, "my-lib==1.2"),
        ({"nosuch": "my-lib"}, "my-lib"),
        ({"nosuch": "pandas"}, "pandas==3.0.1"),
        ({"nosuch.deep": "deep-lib==1", "nosuch": "my-lib==2"}, "deep-lib==1"),
        ({"nosuch": "x @ git+https://host/x"}, "x @ git+https://host/x"),
    ],
)
def test_packages_of_the_options_go_first(packages: dict[str, str], spec: str, site: Path) -> None:
    found = requirements({"nosuch.deep": (0, 1)}, packages)
    assert ([r.spec for r in found.requirements], found.findings) == ([spec], ())


@pytest.mark.parametrize(
    ("asked", "spec", "codes"),
    [
        ("pandas", "pandas==3.0.1", []),
        ("Pandas>=2", "pandas==3.0.1", []),
        ("pandas==3.0.1", "pandas==3.0.1", []),
        ("pandas==1.5", "pandas==1.5", ["other-version"]),
        ("pandas[excel]>=2", "pandas[excel]==3.0.1", []),
        ("pandas; python_version < '3.9'", "pandas; python_version < '3.9'", []),
        ("unheard-of>=2", "unheard-of>=2", []),
        ("git+https://host/x.git", "git+https://host/x.git", []),
        ("x @ https://host/x.whl", "x @ https://host/x.whl", []),
        ("pandas~~1", "pandas~~1", ["other-version"]),
    ],
)
def test_what_pip_lines_ask_for(asked: str, spec: str, codes: list[str], site: Path) -> None:
    found = requirements({}, {}, [(asked, "cell 0")])
    assert [r.spec for r in found.requirements] == [spec]
    assert [f.code for f in found.findings] == codes


def test_a_pip_line_decides_the_version_of_an_import(site: Path) -> None:
    found = requirements({"pandas": (0, 1), "sklearn": (0, 2)}, {}, [("Pandas==1.5", "pip")])
    assert [r.spec for r in found.requirements] == ["Pandas==1.5", "scikit-learn==1.8.0"]


@pytest.mark.parametrize(
    ("files", "name", "local"),
    [
        (["helpers.py"], "helpers", "helpers.py"),
        (["lib/__init__.py"], "lib.deep", "lib"),
        (["lib/x.py"], "lib.x", "lib"),
        (["json.py"], "json", "json.py"),
        (["pandas/notes.py"], "pandas", None),
        (["data/x.csv"], "data", None),
    ],
)
def test_modules_beside_the_notebook(
    files: list[str], name: str, local: str | None, site: Path, tmp_path: Path
) -> None:
    for file in files:
        (tmp_path / "nb" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "nb" / file).write_text("")
    found = requirements({name: (0, 1)}, {}, beside=Beside(tmp_path / "nb"))
    assert found.local == (() if local is None else (local,))
    if local:
        assert (found.requirements, [f.code for f in found.findings]) == ((), ["local-module"])


def test_real_imports_are_neither_run_nor_slow() -> None:
    code = (
        "import sys, time\nfrom nb2pipe.pipeline.requirements import requirements\n"
        "start = time.process_time()\nfound = requirements({'pytest': (0, 1), 'jinja2.sandbox': (0, 2)}, {})\n"
        "assert time.process_time() - start < 0.1\n"
        "print(*[r.spec.split('==')[0] for r in found.requirements])\n"
        "assert not {'pytest', 'jinja2', 'packaging', 'importlib.metadata'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("jinja2 pytest\n", "")


@pytest.mark.parametrize(
    ("spec", "name"),
    [("A_b.C>=1", "a-b-c"), ("x[y]==1", "x"), ("git+https://h/x", "git+https://h/x"), ("x @ https://h/y", "x")],
)
def test_normalized(spec: str, name: str) -> None:
    assert normalized(spec) == name
