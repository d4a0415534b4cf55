"""The samples: what they generate is what lies in `golden/`, and running them prints what their notebooks print.

`NB2PIPE_REGEN=1 pytest tests/test_samples.py` writes the goldens anew; look at the difference before committing it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import doors
import pytest
import yaml

from nb2pipe import load

NAMES = sorted(folder.name for folder in doors.SAMPLES.iterdir() if folder.is_dir())
REGENERATE = os.environ.get("NB2PIPE_REGEN") == "1" and not os.environ.get("CI")
README = (doors.ROOT / "README.md").read_text(encoding="utf-8")
RUN_COMMAND = "nb2pipe run samples/taxi_fare/taxi_fare.ipynb"
INSTALL_AND_RUN = f"pip install -e '.[samples]' && {RUN_COMMAND}"
INSTALL_AND_TEST = "pip install -e '.[dev]' && pytest"

NEEDS = {
    "baby_weight": ["apache_beam", "tensorflow", "tf_keras"],
    "digits_torch": ["torch"],
    "housing_xgboost": ["xgboost"],
    "taxi_fare_beam": ["apache_beam"],
    "taxi_fare_keras": ["tensorflow", "tf_keras"],
}
"""What samples import that is not always installed."""


def _sample(name: str) -> Any:
    missing = [module for module in NEEDS.get(name, ()) if find_spec(module) is None]
    return pytest.param(name, marks=pytest.mark.skipif(bool(missing), reason=f"not installed: {' '.join(missing)}"))


every_sample = pytest.mark.parametrize("name", [_sample(name) for name in NAMES])

# What follows from the environment that converts, not from the notebook: pinned versions, Python's and kfp's.
ENVIRONMENT = (
    (re.compile(r"(?<=[\w\]])==\d[\w.+!-]*"), "==VERSION"),
    (re.compile(r"\bpython:3\.\d+"), "python:3.X"),
    (re.compile(r"\bkfp-\d+\.\d+\.\d+"), "kfp-VERSION"),
    (re.compile(r'("(?:python|python_version)": ?)"3\.\d+(?:\.\d+)?"'), r'\1"3.X"'),
    (re.compile(r'(requires-python = ")[^"]*'), r"\g<1>3.X"),
    (re.compile(r'(target-version = ")[^"]*'), r"\g<1>py3X"),
)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A copy of the samples without goldens and earlier runs, so that nothing is written into the checkout."""
    ignored = shutil.ignore_patterns("golden", ".nb2pipe", "__pycache__")
    return Path(shutil.copytree(doors.SAMPLES, tmp_path / "samples", ignore=ignored))


def read_notebook(name: str) -> dict[str, Any]:
    path = doors.SAMPLES / name / f"{name}.ipynb"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def generated(folder: Path) -> dict[str, str]:
    """The text files of a project by relative path; what nb2pipe and Python keep for themselves is left out."""
    hidden = {".nb2pipe", "__pycache__"}
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    return {p.as_posix(): (folder / p).read_text("utf-8") for p in paths if not hidden & set(p.parts)}


def as_data(name: str, text: str) -> Any:
    """A file of a project as what is compared: YAML and JSON parsed, any other text as it is."""
    if name.endswith((".yaml", ".yml")):
        return [unpacked(document) for document in yaml.safe_load_all(plain(text))]
    text = plain(text)
    return json.loads(text) if name.endswith(".json") else text


def plain(text: str) -> str:
    """The text without what follows from the environment."""
    for pattern, constant in ENVIRONMENT:
        text = pattern.sub(constant, text)
    return text


PACKED = re.compile(r'(?<=b64decode\(\")[A-Za-z0-9+/=]+(?="\))')


def unpacked(value: Any) -> Any:
    """A document in which files that travel packed stand as the text that they are."""
    if isinstance(value, dict):
        return {key: unpacked(one) for key, one in value.items()}
    if isinstance(value, list):
        return [unpacked(one) for one in value]
    if not isinstance(value, str):
        return value
    return PACKED.sub(lambda match: plain(zlib.decompress(base64.b64decode(match[0])).decode()), value)


def convert(samples: Path, name: str) -> Path:
    project = samples.parent / "project"
    doors.nb2pipe_json("convert", f"samples/{name}/{name}.ipynb", "-o", str(project), cwd=samples.parent)
    return project


@every_sample
def test_golden(name: str, samples: Path) -> None:
    golden = doors.SAMPLES / name / "golden"
    project = convert(samples, name)
    made = generated(project)
    if REGENERATE:
        shutil.rmtree(golden, ignore_errors=True)
        for path, text in made.items():
            target = golden / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    assert golden.is_dir(), f"no golden for {name}: make it with NB2PIPE_REGEN=1 and look at it"
    kept = generated(golden)
    assert sorted(made) == sorted(kept)
    for path, text in made.items():
        assert as_data(path, text) == as_data(path, kept[path]), path


@every_sample
def test_run_prints_what_the_notebook_prints(name: str, samples: Path) -> None:
    folder = samples / name
    scratch = samples.parent / "scratch"
    scratch.mkdir()
    check = doors.nb2pipe_json("check", f"{name}.ipynb", cwd=folder)
    step_of = {cell: step["name"] for step in check["steps"] for cell in step["cells"]}
    cells = [
        (step_of.get(index, ""), "".join(cell["source"]))
        for index, cell in enumerate(read_notebook(name)["cells"])
        if cell["cell_type"] == "code"
    ]
    kernel = "ipython" if any(re.search(r"^\s*[%!]", code, re.M) for _, code in cells) else "python"
    expected = doors.baseline(cells, kernel, folder, scratch)
    run = doors.nb2pipe_json("run", f"{name}.ipynb", cwd=folder)
    assert run["status"] == "succeeded"
    printed = doors.step_stdout(run, folder)
    assert sum(map(len, printed.values())) > 0
    assert printed == {step: text for step, text in expected.printed.items() if step}
    if name == "taxi_fare":
        assert 0.8 < run["metrics"]["r2"] < 1
        assert 0 < run["metrics"]["mae"] < run["metrics"]["rmse"] < 5


SHORT = {"digits_torch": {"epochs": "2"}, "housing_xgboost": {"rounds": "20"}, "taxi_fare_keras": {"num_epochs": "2"}}
"""Parameters with which a training of these samples takes a moment."""


@pytest.mark.parametrize("name", [_sample(name) for name in SHORT])
def test_tuning_runs_what_comes_before_once(name: str, samples: Path) -> None:
    tuned = load(samples / name / f"{name}.ipynb").tune(SHORT[name], trials=6, parallel=2)
    assert [trial.message for trial in tuned.trials if trial.status == "failed"] == []
    assert len(tuned.trials) == 6
    assert tuned.best is not None
    runs = {step: count for step, count in tuned.step_runs.items() if count}
    assert runs["train"] == 6
    assert 1 in runs.values()
    assert set(runs.values()) <= {1, 6} | {len([t for t in tuned.trials if t.status == "completed"])}


@every_sample
def test_check_has_no_error(name: str) -> None:
    check = doors.nb2pipe_json("check", f"{name}.ipynb", cwd=doors.SAMPLES / name)
    assert [finding for finding in check["findings"] if finding["severity"] == "error"] == []
    assert len(check["steps"]) >= 4


@pytest.mark.parametrize(
    ("name", "step", "sources", "outputs"),
    [
        ("taxi_fare", "clean", {"load"}, {"df"}),
        ("taxi_fare", "train", {"features"}, {"model"}),
        ("wine_branches", "forest", {"prepare"}, {"forest", "forest_guess"}),
        ("wine_branches", "linear", {"prepare"}, {"linear", "linear_guess"}),
        ("wine_branches", "compare", {"prepare", "forest", "linear"}, set()),
    ],
)
def test_graph(name: str, step: str, sources: set[str], outputs: set[str]) -> None:
    """A model changes neither the data that it learns from nor what another model learned: branches stay parallel."""
    check = doors.nb2pipe_json("check", f"{name}.ipynb", cwd=doors.SAMPLES / name)
    found = next(entry for entry in check["steps"] if entry["name"] == step)
    assert {entry["from"] for entry in found["inputs"]} == sources
    assert {entry["name"] for entry in found["outputs"]} == outputs


@every_sample
def test_converting_twice_gives_the_same_bytes(name: str, samples: Path, tmp_path: Path) -> None:
    first = generated(convert(samples, name))
    again = tmp_path / "again"
    again.mkdir()
    shutil.move(samples, again)
    assert generated(convert(again / "samples", name)) == first


@every_sample
def test_generated_project_stands_alone(name: str, samples: Path) -> None:
    """Its own tests pass, what is not the user's is ruff-clean, and its package imports neither nb2pipe nor kfp."""
    project = convert(samples, name)
    env = {**doors.environment(), "SAMPLE_DATA": str(samples / name)}
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert tests.returncode == 0, tests.stdout[-4000:]
    assert "skipped" not in tests.stdout.splitlines()[-1]
    package = project / name
    ours = [project / "pipeline.py", project / "tests", *(p for p in package.glob("*.py") if p.name != "shared.py")]
    ruff = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "100", "--select", "E,F,W", *ours],
        capture_output=True,
        text=True,
    )
    assert ruff.returncode == 0, ruff.stdout
    imports = re.compile(r"^\s*(?:from|import) (?:nb2pipe|kfp)\b", re.M)
    assert [path.name for path in package.rglob("*.py") if imports.search(path.read_text("utf-8"))] == []


def test_taxi_fares_are_made_by_their_script(tmp_path: Path) -> None:
    folder = doors.SAMPLES / "taxi_fare"
    script = shutil.copy(folder / "make_data.py", tmp_path)
    subprocess.run([sys.executable, script], check=True, timeout=60)
    assert (tmp_path / "taxi_fares.csv").read_bytes() == (folder / "taxi_fares.csv").read_bytes()


@every_sample
def test_notebook_is_clean(name: str) -> None:
    document = read_notebook(name)
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in document["cells"]]
    assert len(set(ids)) == len(ids)
    assert [cell["id"] for cell in document["cells"] if cell.get("outputs") or cell.get("execution_count")] == []


@pytest.mark.parametrize("command", [INSTALL_AND_RUN, INSTALL_AND_TEST])
def test_readme_has_the_two_commands(command: str) -> None:
    assert command in README.splitlines()


def test_readme_command_runs_as_written(samples: Path) -> None:
    if not doors.installed():
        pytest.skip("nb2pipe is not installed, so there is no command of that name")
    done = subprocess.run(
        RUN_COMMAND,
        shell=True,
        cwd=samples.parent,
        env=doors.environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
