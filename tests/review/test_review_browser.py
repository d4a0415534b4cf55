"""The review page in a real browser: accessible, silent, linked both ways by mouse and keyboard, alive with --serve."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import doors
import pytest
from browser import Watched, browser
from test_review_page import ATTACK, many, written

import nb2pipe

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


def reviewed(path: Path, folder: Path) -> str:
    """The address of the page of a notebook."""
    return nb2pipe.load(path).review(folder / "page.html").resolve().as_uri()


@pytest.fixture(scope="module")
def taxi(tmp_path_factory: pytest.TempPathFactory) -> str:
    return reviewed(doors.SAMPLES / "taxi_fare/taxi_fare.ipynb", tmp_path_factory.mktemp("taxi"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
def test_the_page_is_accessible_and_silent(chromium: Any, taxi: str, scheme: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = chromium.new_page(color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True)
    watched = Watched(page, taxi)
    violations = Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in violations] == []
    assert watched.said == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()


def lit(page: Any, side: str) -> list[str]:
    texts: list[str] = page.eval_on_selector_all(f"#{side} .l.lit", "lines => lines.map(line => line.innerText)")
    return texts


def test_hover_lights_up_both_sides(chromium: Any, taxi: str) -> None:
    page = chromium.new_page(viewport={"width": 1400, "height": 900})
    watched = Watched(page, taxi)
    page.locator("#right .l", has_text="df = df.dropna()").first.hover()
    assert any("df = df.dropna()" in text for text in lit(page, "left"))
    page.locator("#left .l", has_text="RANDOM_STATE = 42").first.hover()
    assert all("RANDOM_STATE = 42" in text for text in [*lit(page, "left"), *lit(page, "right")])
    assert lit(page, "right")
    assert watched.said == []
    page.close()


def in_view(page: Any, selector: str) -> bool:
    code = "l => { const b = l.getBoundingClientRect(); return b.top >= 0 && b.bottom <= innerHeight }"
    return bool(page.eval_on_selector(selector, code))


def test_click_goes_to_the_counterpart_and_keys_do_too(chromium: Any, taxi: str) -> None:
    page = chromium.new_page(viewport={"width": 1400, "height": 900})
    watched = Watched(page, taxi)
    page.locator("#left .l", has_text="model.fit(X_train, y_train)").first.click()
    assert in_view(page, "#right .l.lit")
    page.locator("#right .l > a").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    focused = page.evaluate("[...document.querySelectorAll('#right .l')].indexOf(document.activeElement.closest('.l'))")
    assert focused == 3
    page.locator("#left .l", has_text="df = df.dropna()").locator("a").first.focus()
    page.keyboard.press("Enter")
    assert "dropna" in page.evaluate("document.activeElement.closest('.l').innerText")
    assert page.evaluate("document.activeElement.closest('#right') !== null")
    assert watched.said == []
    page.close()


def test_without_scripts_everything_is_there(chromium: Any, taxi: str) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(taxi)
    assert page.locator("#left .l").first.is_visible()
    assert page.locator("#right .l").first.is_visible()
    assert page.locator("svg .node").count() == 5
    context.close()


def test_hostile_notebooks_do_nothing(chromium: Any, tmp_path: Path) -> None:
    cells = [(f"x = {ATTACK!r}\nprint(y)  # {ATTACK}", ["step:a"])]
    path = written(tmp_path, cells, (ATTACK, "[x](javascript:alert(1))", f"![i](https://example.org/{ATTACK})"))
    document = json.loads(path.read_text())
    html = {"output_type": "display_data", "metadata": {}, "data": {"text/html": ATTACK, "image/svg+xml": ATTACK}}
    error = {"output_type": "error", "ename": ATTACK, "evalue": ATTACK, "traceback": [f"\x1b[31m{ATTACK}"]}
    document["cells"][-1]["outputs"] = [html, error]
    path.write_text(json.dumps(document))
    page = chromium.new_page()
    watched = Watched(page, reviewed(path, tmp_path))
    for link in page.locator("a[href]").all():
        assert link.get_attribute("href").startswith("#")
    assert watched.said == []
    assert page.locator("script").count() == 1
    page.close()


def test_a_thousand_cells_open(chromium: Any, tmp_path: Path) -> None:
    """The bar is 2 s; it is measured by `benchmarks/`, here it only must open and answer."""
    page = chromium.new_page(viewport={"width": 1400, "height": 900})
    watched = Watched(page, reviewed(written(tmp_path, many(1000)), tmp_path))
    page.locator("#left .l").nth(2500).scroll_into_view_if_needed()
    page.locator("#left .l").nth(2500).hover()
    assert len(lit(page, "left")) == 1
    assert watched.said == []
    page.close()


def test_the_page_prints(chromium: Any, taxi: str) -> None:
    page = chromium.new_page()
    page.goto(taxi)
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()


def test_serve_follows_the_notebook(chromium: Any, tmp_path: Path) -> None:
    path = written(tmp_path, [("rows = [1]", ["step:a"]), ("print(rows)", ["step:b"])])
    command = [sys.executable, "-m", "nb2pipe", "review", path.name, "--serve", "--json"]
    process = subprocess.Popen(command, cwd=tmp_path, env=doors.environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")["page"]
        page = chromium.new_page()
        page.goto(url)
        assert page.locator("#left .l", has_text="rows = [1]").count() == 1
        path.write_text(path.read_text().replace("rows = [1]", "rows = [1, 2]"))
        page.locator("#left .l", has_text="rows = [1, 2]").wait_for(timeout=30_000)
        path.write_text("{ half")
        page.get_by_text("not a notebook").wait_for(timeout=30_000)
        refused = page.request.get(url, headers={"Host": "evil.example"})
        assert refused.status == 403
        assert page.request.get(url.rsplit("/", 2)[0] + "/").status == 404
        page.close()
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        process.stdout.close()
