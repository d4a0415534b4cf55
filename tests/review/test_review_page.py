"""The review page: every line has an origin, nothing in it is live, it knows what was run, and it is small enough."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import doors
import pytest

import nb2pipe
from nb2pipe.review.origins import origins, purpose
from nb2pipe.review.page import review_page

ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def page_of(path: Path) -> str:
    return review_page(nb2pipe.load(path))


def written(folder: Path, cells: list[tuple[str, list[str]]], texts: tuple[str, ...] = (), **metadata: Any) -> Path:
    """A notebook of code cells, with text cells before them."""
    document = doors.notebook(cells)
    markdown = [{"cell_type": "markdown", "id": f"t{i}", "metadata": {}, "source": t} for i, t in enumerate(texts)]
    document["cells"][:0] = markdown
    document["metadata"] |= metadata
    path = folder / "n.ipynb"
    path.write_text(json.dumps(document))
    return path


SAMPLES = sorted(path.name for path in doors.SAMPLES.iterdir() if (path / f"{path.name}.ipynb").is_file())


@pytest.mark.parametrize("name", SAMPLES)
def test_every_line_has_an_origin(name: str) -> None:
    conversion = nb2pipe.load(doors.SAMPLES / name / f"{name}.ipynb")
    project, pipeline = conversion.project, conversion.pipeline
    cells = conversion.notebook.cells
    found = origins(project, [module.path for module in pipeline.modules])
    assert found.keys() == project.files.keys()
    for path, text in project.files.items():
        lines = text.removesuffix("\n").split("\n")
        for line, origin in zip(lines, found[path], strict=True):
            assert origin.kind in {"cell", "rewritten", "own", "carried"}
            assert (origin.kind == "cell") or origin.why, (path, line)
            if origin.kind == "cell":
                assert origin.cell is not None
                assert origin.line is not None
                source = cells[origin.cell].source.split("\n")[origin.line - 1]
                assert line.strip() == source.strip(), (path, line)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_own_file_has_a_purpose(name: str) -> None:
    project = nb2pipe.load(doors.SAMPLES / name / f"{name}.ipynb").project
    steps = f"{project.package}/steps/"
    own = [path for path in project.files if not path.startswith(steps) and path != f"{project.package}/shared.py"]
    assert [path for path in own if purpose(path, project.package) == "made by nb2pipe"] == []


@pytest.mark.parametrize(
    ("cells", "texts"),
    [
        ([("x = 1", ["step:a"])], (ATTACK, f"[click](javascript:alert(3)) ![i](javascript:alert(4)) `{ATTACK}`")),
        ([(f"x = {ATTACK!r}\nprint(x)", ["step:a"])], ("# fine",)),
        ([(f"x = missing  # {ATTACK}", ["step:a"])], ()),
        ([("x = 1", [f"step:{ATTACK.replace(',', '')}"])], ()),
        ([("x = 1  # a\u202eb", ["step:a"])], ("\u202eevil",)),
    ],
    ids=["markdown", "code", "finding", "name", "bidi"],
)
def test_nothing_of_the_notebook_is_live(
    tmp_path: Path, cells: list[tuple[str, list[str]]], texts: tuple[str, ...]
) -> None:
    page = page_of(written(tmp_path, cells, texts, title=ATTACK))
    assert page.count("<script>") == 1
    assert "<img src=x" not in page
    assert 'href="javascript:' not in page
    assert "\u202e" not in page
    assert "unsafe-inline" not in page


def output(data: dict[str, str]) -> dict[str, Any]:
    return {"output_type": "display_data", "data": data, "metadata": {}}


def test_saved_outputs_are_shown_but_not_run(tmp_path: Path) -> None:
    path = written(tmp_path, [("x = 1\nx", ["step:a"])])
    document = json.loads(path.read_text())
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    document["cells"][0]["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": "hello <b>you</b>\n"},
        output({"image/png": pixel, "text/plain": "figure"}),
        output({"text/html": ATTACK, "text/plain": "plain words"}),
        output({"image/svg+xml": f"<svg>{ATTACK}</svg>", "text/plain": "drawn words"}),
    ]
    path.write_text(json.dumps(document))
    page = page_of(path)
    assert "hello &lt;b&gt;you&lt;/b&gt;" in page
    assert f"data:image/png;base64,{pixel}" in page
    assert "plain words" in page
    assert "alert(" not in page
    assert page.count("<script>") == 1


def test_a_refused_notebook_has_a_page_with_its_findings(tmp_path: Path) -> None:
    path = written(tmp_path, [("x = 1", ["step:a"]), ("print(y)", ["step:b"])])
    done = doors.nb2pipe("review", path.name, "-o", "out.html", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["page"].endswith("out.html")
    page = (tmp_path / "out.html").read_text()
    assert "refused: 1 error" in page
    assert "undefined-name" in page
    assert "Define the name in a cell before this one." in page


def test_an_empty_notebook_and_no_notebook(tmp_path: Path) -> None:
    assert "no-steps" in page_of(written(tmp_path, []))
    (tmp_path / "n.ipynb").write_text("{")
    done = doors.nb2pipe("review", "n.ipynb", cwd=tmp_path)
    assert done.returncode == 1
    assert "not-a-notebook" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["n.ipynb"]


def test_what_is_no_review_page_is_not_replaced(tmp_path: Path) -> None:
    path = written(tmp_path, [("x = 1", ["step:a"])])
    (tmp_path / "thesis.html").write_text("mine")
    done = doors.nb2pipe("review", path.name, "-o", "thesis.html", cwd=tmp_path)
    assert done.returncode == 1
    assert (tmp_path / "thesis.html").read_text() == "mine"
    for _ in range(2):
        assert doors.nb2pipe("review", path.name, "-o", "page.html", cwd=tmp_path).returncode == 0


def test_runs_verdicts_and_edits_are_on_the_page(tmp_path: Path) -> None:
    cells = [
        ("rows = [3, 1, 2]", ["step:load"]),
        ("rows.sort()\nbest = rows[0]\nprint(best)", ["step:sort", "metrics"]),
    ]
    path = written(tmp_path, cells)
    page = page_of(path)
    assert "not verified" in page
    doors.nb2pipe_json("convert", path.name, cwd=tmp_path)
    doors.nb2pipe_json("run", path.name, cwd=tmp_path)
    doors.nb2pipe_json("verify", path.name, cwd=tmp_path)
    step = tmp_path / "n/n/steps/sort.py"
    step.write_text(step.read_text().replace("print(best)", 'print("best:", best)'))
    doors.nb2pipe_json("review", "n", "-o", "p.html", cwd=tmp_path)
    page = (tmp_path / "p.html").read_text()
    for words in ("last run succeeded", "verified: equal", "best:"):
        assert words in page, words
    path.write_text(path.read_text().replace("[3, 1, 2]", "[3, 1, 2, 9]"))
    stale = page_of(path)
    assert "verified: equal, before the last change" in stale


def many(count: int) -> list[tuple[str, list[str]]]:
    cells: list[tuple[str, list[str]]] = [("rows = []", ["step:s0"])]
    for number in range(1, count):
        tags = [f"step:s{number * 60 // count}"]
        cells.append((f"# number {number}\nrows.append({number})\nv{number} = len(rows) + {number}", tags))
    return cells


def test_a_thousand_cells_stay_small(tmp_path: Path) -> None:
    page = page_of(written(tmp_path, many(1000)))
    assert len(page) < 6_000_000
    assert len(re.findall(r"<[a-z]", page)) < 120_000


def test_thirty_cells_are_a_mail_attachment() -> None:
    page = page_of(doors.SAMPLES / "taxi_fare/taxi_fare.ipynb")
    assert len(page) < 300_000


def test_same_notebook_same_page(tmp_path: Path) -> None:
    path = written(tmp_path, many(20))
    assert page_of(path) == page_of(path)
