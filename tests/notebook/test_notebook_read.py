"""Reading: what is accepted, and one clear error for everything else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nb2pipe.findings import CODES, NotebookError
from nb2pipe.notebook.read import read


def cell(source: Any = "x = 1", kind: str = "code", **more: Any) -> dict[str, Any]:
    metadata = {"tags": more.pop("tags")} if "tags" in more else {}
    return {"cell_type": kind, "metadata": metadata, "source": source, **more}


def book(*cells: Any, metadata: Any = None, **more: Any) -> dict[str, Any]:
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata or {}, "cells": list(cells), **more}


def written(folder: Path, data: Any, name: str = "nb.ipynb") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return path


KERNEL = "kernelspec"


@pytest.mark.parametrize(
    ("data", "code", "word"),
    [
        (b"", "not-a-notebook", "not JSON"),
        (b"\xff\xfe{", "not-a-notebook", "UTF-8"),
        (b"hello", "not-a-notebook", "not JSON"),
        (b"[" * 100_000, "not-a-notebook", ""),
        (b'{"a":' * 100_000, "not-a-notebook", ""),
        ([], "not-a-notebook", "list of cells"),
        ({}, "not-a-notebook", "list of cells"),
        (float("nan"), "not-a-notebook", "list of cells"),
        ("text", "not-a-notebook", "list of cells"),
        ({"cells": {}, "nbformat": 4}, "not-a-notebook", "not a list"),
        ({"cells": []}, "unknown-nbformat", "missing"),
        ({"cells": [], "nbformat": 9}, "unknown-nbformat", "9"),
        ({"cells": [], "nbformat": "4"}, "unknown-nbformat", "'4'"),
        ({"cells": [], "nbformat": True}, "unknown-nbformat", "True"),
        ({"worksheets": 3, "nbformat": 3}, "malformed-notebook", "upgraded"),
        (book("x"), "malformed-notebook", "not an object"),
        (book(cell(3)), "malformed-notebook", "source"),
        (book(cell(None)), "malformed-notebook", "source"),
        (book(cell(["a", 1])), "malformed-notebook", "source"),
        (book(cell("a\n\0")), "malformed-notebook", "NUL"),
        (book(cell("'\ud800'")), "malformed-notebook", "surrogate"),
        (book(cell(kind="heading")), "malformed-notebook", "heading"),
        (book({"cell_type": "code", "metadata": [], "source": ""}), "malformed-notebook", "metadata"),
        ({**book(), "metadata": 3}, "malformed-notebook", "metadata"),
        (book(cell(tags="step:x")), "malformed-notebook", "tags"),
        (book(cell(tags=[1])), "malformed-notebook", "tags"),
        (book(cell(tags={"a": 1})), "malformed-notebook", "tags"),
        (book(cell(tags=["a,b"])), "malformed-notebook", "a,b"),
        (book(cell(tags=[" "])), "malformed-notebook", "empty"),
        (book(cell(id="a"), cell(id="b"), cell(id="a")), "malformed-notebook", "same id"),
        (book(cell(id=3)), "malformed-notebook", "id"),
        (book(metadata={KERNEL: {"name": "ir", "language": "R"}}), "other-language", "'r'"),
        (book(metadata={KERNEL: {"name": "ir"}}), "other-language", "ir"),
        (book(metadata={KERNEL: {"name": "julia-1.9"}}), "other-language", "julia"),
        (book(metadata={"language_info": {"name": "julia"}}), "other-language", "julia"),
        (book(metadata={KERNEL: {"name": "python2"}}), "other-language", "Python 2"),
        (book(metadata={"language_info": {"name": "python", "version": "2.7.14"}}), "other-language", "Python 2"),
    ],
)
def test_refused(tmp_path: Path, data: Any, code: str, word: str) -> None:
    with pytest.raises(NotebookError) as caught:
        read(written(tmp_path, data))
    found = caught.value.findings
    assert [f.code for f in found] == [code]
    assert word in found[0].message
    assert found[0].hint
    assert found[0].severity == "error"


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {KERNEL: {}},
        {KERNEL: None},
        {KERNEL: {"name": "python3", "language": "python"}},
        {KERNEL: {"name": "conda-env-fare-py", "language": "Python"}},
        {KERNEL: {"name": "irene-env"}},
        {"language_info": {"name": "python", "version": "3.12.1"}},
        {"language_info": {"name": "ipython"}},
    ],
)
def test_python_3_kernels(tmp_path: Path, metadata: dict[str, Any]) -> None:
    assert len(read(written(tmp_path, book(cell(), metadata=metadata))).cells) == 1


@pytest.mark.parametrize("name", ["", "missing.ipynb", "a\0b.ipynb", "x" * 5000])
def test_unreadable(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotebookError) as caught:
        read(str(tmp_path) + "/" + name)
    assert caught.value.findings[0].code == "unreadable-file"


def test_all_problems_at_once(tmp_path: Path) -> None:
    with pytest.raises(NotebookError) as caught:
        read(written(tmp_path, book(cell(3), cell(tags="x"), cell(), cell(kind="x"))))
    assert [f.cell for f in caught.value.findings] == [0, 1, 3]


def test_cells_as_they_are(tmp_path: Path) -> None:
    notebook = read(
        written(
            tmp_path,
            book(
                cell(["# T\n", "t"], "markdown", id="m"),
                cell("a\r\nb\rc", id="c", execution_count=7, outputs=[{"anything": 1}], tags=["step:x", "hide-input"]),
                cell("", "raw"),
                metadata={"k": 1},
            ),
        )
    )
    assert [c.kind for c in notebook.cells] == ["markdown", "code", "raw"]
    assert [c.source for c in notebook.cells] == ["# T\nt", "a\nb\nc", ""]
    assert [c.id for c in notebook.cells[:2]] == ["m", "c"]
    assert [c.index for c in notebook.cells] == [0, 1, 2]
    assert notebook.cells[1].execution_count == 7
    assert [(t.kind, t.value) for t in notebook.cells[1].tags] == [("step", "x"), ("other", "")]
    assert notebook.metadata == {"k": 1}


def test_made_ids_are_stable_and_unique(tmp_path: Path) -> None:
    path = written(tmp_path, book(cell("a"), cell("a"), cell("b"), cell("a")))
    ids = [c.id for c in read(path).cells]
    assert len(set(ids)) == 4
    assert ids == [c.id for c in read(path).cells]


def test_byte_order_mark(tmp_path: Path) -> None:
    assert read(written(tmp_path, b"\xef\xbb\xbf" + json.dumps(book(cell())).encode())).cells


def test_version_3(tmp_path: Path) -> None:
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": ""},
        "worksheets": [
            {
                "cells": [
                    {"cell_type": "heading", "level": 2, "metadata": {}, "source": ["Load"]},
                    {
                        "cell_type": "code",
                        "input": ["x = 1\n", "x"],
                        "language": "python",
                        "metadata": {"tags": ["skip"]},
                        "outputs": [],
                        "prompt_number": 3,
                    },
                ]
            }
        ],
    }
    path = written(tmp_path, old)
    notebook = read(path)
    assert [(c.kind, c.source) for c in notebook.cells] == [("markdown", "## Load"), ("code", "x = 1\nx")]
    assert notebook.cells[1].tags[0].kind == "skip"
    assert [c.id for c in notebook.cells] == [c.id for c in read(path).cells]


def test_percent_script(tmp_path: Path) -> None:
    text = (
        '# %% [markdown]\n# # Title\n# %% tags=["step:load"]\nx = 1\n# %matplotlib inline\n'
        "# %% step:train gpu:1\ny = 2\n# %% A title: with words\nz = 3\n"
    )
    notebook = read(written(tmp_path, text.encode(), "nb.py"))
    assert [c.kind for c in notebook.cells] == ["markdown", "code", "code", "code"]
    assert [[t.text for t in c.tags] for c in notebook.cells] == [[], ["step:load"], ["step:train", "gpu:1"], []]
    assert notebook.cells[1].source == "x = 1\n%matplotlib inline"


def test_plain_script_is_one_cell(tmp_path: Path) -> None:
    notebook = read(written(tmp_path, b"x = 1\nprint(x)\n", "nb.py"))
    assert [c.source for c in notebook.cells] == ["x = 1\nprint(x)\n"]


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    path = written(tmp_path, book(cell("%time x = 1", tags=["step:a"])))
    code = (
        "import sys; from nb2pipe.notebook.read import read; from nb2pipe.notebook.tags import layout;"
        "from nb2pipe.notebook.surface import surface; from nb2pipe.options import load;"
        f"n = read({str(path)!r}); o, _ = load(n.path, n.metadata, {{}}); surface(n, layout(n, o));"
        "print([m for m in ('nbformat', 'jupytext', 'IPython', 'libcst', 'kfp') if m in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
VALID = book(
    cell("x = 1", id="a", tags=["step:a"]),
    cell(["# T"], "markdown", id="b"),
    cell("#| skip\ny", id="c", outputs=[{"output_type": "stream", "name": "stdout", "text": "x"}]),
    metadata={
        KERNEL: {"name": "python3", "language": "python"},
        "language_info": {"name": "python", "version": "3.11"},
    },
)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = data.keys() if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    return [path, *(place for key in keys for place in places(data[key], (*path, key)))]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(places(VALID)), value=JSON, version=st.sampled_from([3, 4]))
def test_mutations_raise_nothing_else(tmp_path: Path, place: tuple[Any, ...], value: Any, version: int) -> None:
    data = json.loads(json.dumps({**VALID, "nbformat": version}))
    if place:
        inner = data
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
    else:
        data = value
    try:
        read(written(tmp_path, data))
    except NotebookError as error:
        assert error.findings
        assert all(f.code in CODES and f.message and f.hint for f in error.findings)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text() | st.binary(), name=st.sampled_from(["a.ipynb", "a.py"]))
def test_any_bytes(tmp_path: Path, text: str | bytes, name: str) -> None:
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        read(written(tmp_path, data, name))
    except NotebookError as error:
        assert error.findings
