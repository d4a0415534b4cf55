"""Writing tags touches nothing else in the file: whatever it holds, and however it is laid out."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nb2pipe.findings import NotebookError
from nb2pipe.notebook.read import parsed, read
from nb2pipe.notebook.tagging import Change, metadata_tags, retagged, write_tags

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
TAG_WORDS = st.sampled_from(["hide-input", "é", "a b", 'q"q', "step:load", "x\\y"])
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(TEXTS, inner, max_size=2)),
    max_leaves=4,
)
METADATA = st.fixed_dictionaries(
    {}, optional={"tags": st.lists(TAG_WORDS, max_size=3, unique=True), "collapsed": st.booleans(), "zoo": JSON}
)
CELL = st.fixed_dictionaries(
    {"cell_type": st.sampled_from(["code", "markdown"]), "source": st.one_of(TEXTS, st.lists(TEXTS, max_size=2))},
    optional={"metadata": METADATA, "outputs": st.lists(JSON, max_size=2), "attachments": JSON},
)
NOTEBOOK = st.fixed_dictionaries(
    {"cells": st.lists(CELL, min_size=1, max_size=3), "nbformat": st.just(4), "metadata": st.just({})},
    optional={"nbformat_minor": st.integers(0, 5), "tags": JSON, "a": JSON},
)
LAYOUT = st.fixed_dictionaries(
    {
        "indent": st.sampled_from([None, 0, 1, 4, "\t"]),
        "ensure_ascii": st.booleans(),
        "sort_keys": st.booleans(),
        "separators": st.sampled_from([None, (",", ":"), (", ", ": "), (" ,", " :  ")]),
    }
)


def said(text: str, notebook: Any, changes: dict[int, Change]) -> str:
    return retagged("n.ipynb", text, notebook, changes)


@settings(max_examples=150, deadline=None)
@given(NOTEBOOK, LAYOUT, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\n", "\ufeff"]), st.data())
def test_only_tags_change(data: dict[str, Any], layout: dict[str, Any], newline: str, extra: str, draw: Any) -> None:
    text = json.dumps(data, **layout).replace("\n", newline)
    text = extra + text if extra == "\ufeff" else text + extra
    notebook = parsed("n.ipynb", text.removeprefix("\ufeff"))
    index = draw.draw(st.integers(0, len(data["cells"]) - 1))
    before = metadata_tags(notebook, index)
    add = tuple(draw.draw(st.lists(st.sampled_from(["step:train", "skip", "ü"]), min_size=1, max_size=2, unique=True)))
    new = tuple(t for t in add if t not in before)
    after = said(text, notebook, {index: Change(add)})
    again = parsed("n.ipynb", after.removeprefix("\ufeff"))
    assert metadata_tags(again, index) == (*before, *new)
    assert said(after, again, {index: Change(add)}) == after, "idempotent"
    assert after.count("\r\n") - after.count("\n") == text.count("\r\n") - text.count("\n") or newline == "\n"
    assert after.isascii() == text.isascii() or not text.isascii()
    if before or "tags" not in data["cells"][index].get("metadata", {"tags": []}):
        assert said(after, again, {index: Change(remove=new)}) == text, "taking them off gives the old bytes"
    minimal = json.loads(after.removeprefix("\ufeff"), parse_constant=str)["cells"]
    expected = json.loads(text.removeprefix("\ufeff"), parse_constant=str)["cells"]
    expected[index].setdefault("metadata", {})["tags"] = [*before, *new]
    assert minimal == expected


def test_the_layout_of_jupyter_is_kept() -> None:
    data = {"cells": [{"cell_type": "code", "metadata": {"name": "a", "zoom": 1}, "source": "x"}] * 2, "nbformat": 4}
    data["cells"][1] = {"cell_type": "code", "metadata": {}, "source": "y"}
    text = json.dumps(data, indent=1, sort_keys=True) + "\n"
    after = said(text, parsed("n.ipynb", text), {0: Change(("step:a",)), 1: Change(("skip",))})
    data["cells"][0]["metadata"]["tags"] = ["step:a"]
    data["cells"][1]["metadata"]["tags"] = ["skip"]
    assert after == json.dumps(data, indent=1, sort_keys=True) + "\n"


@pytest.mark.parametrize(
    ("line", "change", "wanted"),
    [
        ("# %%", Change(("step:a",)), '# %% tags=["step:a"]'),
        ("# %% Load the data", Change(("step:a",)), '# %% Load the data tags=["step:a"]'),
        ('# %% tags=["x"] k="v"', Change(("step:a",)), '# %% tags=["x", "step:a"] k="v"'),
        ('# %% T tags=["x", "y"]', Change(remove=("x",)), '# %% T tags=["y"]'),
        ('# %% tags=["x"]', Change(remove=("x",)), "# %%"),
        ('# %% {"tags": ["x"]}', Change(("skip",)), '# %% {"tags": ["x", "skip"]}'),
        ("# %% step:load", Change(("gpu:1",)), '# %% step:load tags=["gpu:1"]'),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_scripts(line: str, change: Change, wanted: str, end: str) -> None:
    rest = (
        f'{end}text = """{end}# %% no marker{end}"""{end}{end}# %% [markdown]{end}# words{end}{end}# %%{end}y = 2{end}'
    )
    notebook = parsed("n.py", line + rest)
    assert retagged("n.py", line + rest, notebook, {0: change}) == wanted + rest


def test_a_cell_before_the_first_marker_gets_one() -> None:
    text = "# ---\n# jupyter:\n#   jupytext:\n#     formats: py\n# ---\n\nx = 1\n\n# %%\ny = 2\n"
    after = retagged("n.py", text, parsed("n.py", text), {0: Change(("step:a",)), 1: Change(("skip",))})
    assert after == text.replace("x = 1", '# %% tags=["step:a"]\nx = 1').replace("# %%\ny", '# %% tags=["skip"]\ny')


V3_CELL = {"cell_type": "code", "language": "python", "input": "x", "outputs": [], "collapsed": False}
V3 = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": [V3_CELL]}]}
TWICE = '{"cell_type": "code", "source": "", "metadata": {"tags": ["a"], "tags": ["step:load"]}}'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("n.py", "x = 1\n"),
        ("n.py", "# %% step:load\nx = 1\n"),
        ("n.ipynb", f'{{"nbformat": 4, "cells": [{TWICE}]}}'),
        ("n.ipynb", json.dumps(V3)),
    ],
)
def test_what_cannot_be_tagged_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    change = Change(("skip",), ("step:load",)) if "step:load" in text and name == "n.py" else Change(("skip",))
    if '"tags": ["a"], "tags"' in text:
        write_tags(tmp_path / name, read(tmp_path / name), {0: change})  # the last of two members counts
        assert '"tags": ["a"], "tags": ["step:load", "skip"]' in (tmp_path / name).read_text()
        return
    with pytest.raises(NotebookError) as caught:
        write_tags(tmp_path / name, read(tmp_path / name), {0: change})
    assert caught.value.findings[0].code == "cannot-tag"
    assert (tmp_path / name).read_text() == text
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_the_file_is_replaced_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, link = tmp_path / "real.ipynb", tmp_path / "link.ipynb"
    text = '{"nbformat": 4, "cells": [{"cell_type": "code", "source": "x", "metadata": {}}]}'
    real.write_text(text)
    real.chmod(0o640)
    link.symlink_to(real)
    notebook = read(link)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(NotebookError, match="No space left"):
            write_tags(link, notebook, {0: Change(("skip",))})
    assert real.read_text() == text
    assert len(list(tmp_path.iterdir())) == 2
    assert write_tags(link, notebook, {0: Change(("skip",))}) == (0,)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert json.loads(real.read_text())["cells"][0]["metadata"] == {"tags": ["skip"]}
    with pytest.raises(NotebookError, match="has changed since"):
        write_tags(link, notebook, {0: Change(("step:a",))})
