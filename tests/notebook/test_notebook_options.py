"""Options: three places, their order, and what is wrong in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nb2pipe.options import Options, load


def loaded(
    folder: Path, toml: str | bytes | None = None, metadata: Any = None, **overrides: Any
) -> tuple[Options, list[str]]:
    if toml is not None:
        (folder / "pyproject.toml").write_bytes(toml if isinstance(toml, bytes) else toml.encode())
    options, findings = load(str(folder / "nb.ipynb"), metadata or {}, overrides)
    return options, [f.code for f in findings]


def test_defaults(tmp_path: Path) -> None:
    assert loaded(tmp_path) == (Options(), [])
    assert loaded(tmp_path, "[project]\nname = 'x'\n") == (Options(), [])


def test_order(tmp_path: Path) -> None:
    toml = "[tool.nb2pipe]\nname = 'file'\nbase-image = 'file'\ntrials = 3\nrequirements = ['a']\n"
    toml += "[tool.nb2pipe.packages]\ncv2 = 'opencv-python'\n"
    options, codes = loaded(tmp_path, toml, {"nb2pipe": {"base_image": "nb", "trials": 4}}, trials=5, name=None)
    assert options == Options(
        name="file", base_image="nb", trials=5, requirements=("a",), packages={"cv2": "opencv-python"}
    )
    assert not codes


def test_kale_is_weakest(tmp_path: Path) -> None:
    metadata = {"kubeflow_notebook": {"pipeline_name": "kale", "docker_image": "img"}}
    assert loaded(tmp_path, None, metadata)[0] == Options(name="kale", base_image="img")
    assert loaded(tmp_path, "[tool.nb2pipe]\nname = 'file'\n", metadata)[0].name == "file"


@pytest.mark.parametrize(
    ("toml", "code"),
    [
        ("[tool.nb2pipe]\ntrails = 3\n", "unknown-option"),
        ("[tool.nb2pipe]\ntrials = '3'\n", "bad-option"),
        ("[tool.nb2pipe]\ntrials = true\n", "bad-option"),
        ("[tool.nb2pipe]\ntrials = 0\n", "bad-option"),
        ("[tool.nb2pipe]\nstrict = 1\n", "bad-option"),
        ("[tool.nb2pipe]\nname = 3\n", "bad-option"),
        ("[tool.nb2pipe]\nname = ''\n", "bad-option"),
        ("[tool.nb2pipe]\nrequirements = 'a'\n", "bad-option"),
        ("[tool.nb2pipe]\nrequirements = [1]\n", "bad-option"),
        ("[tool.nb2pipe]\npackages = ['a']\n", "bad-option"),
        ("[tool.nb2pipe]\npackages = {a = 1}\n", "bad-option"),
        ("[tool]\nnb2pipe = 3\n", "bad-option"),
        ("tool = 3\n", None),
        ("not toml", "bad-option"),
        ("x = " + "[" * 5000, "bad-option"),
        (b"\xff", "bad-option"),
    ],
)
def test_wrong(tmp_path: Path, toml: str | bytes, code: str | None) -> None:
    options, codes = loaded(tmp_path, toml)
    assert codes == ([code] if code else [])
    assert options == Options()


@pytest.mark.parametrize("value", [3, [], "x", {"name": "\ud800"}, {"trials": "many"}, {"nope": 1}, None])
def test_wrong_metadata(tmp_path: Path, value: Any) -> None:
    options, codes = loaded(tmp_path, None, {"nb2pipe": value})
    assert len(codes) == 1
    assert options == Options()


def test_near_miss_names_the_right_one(tmp_path: Path) -> None:
    _, findings = load(str(tmp_path / "nb.ipynb"), {"nb2pipe": {"base_imag": "x"}}, {})
    assert findings[0].hint == "Write `base_image`."
