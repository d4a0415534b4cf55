"""What the documentation shows is what happens: its files are written, its commands run, its outputs compared."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import doors
import pages
import pytest

DOCS = doors.ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
FENCE = re.compile(r"^(<!-- not run: .+ -->\n)?```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block; `file` is what its title names."""

    language: str
    file: str
    text: str


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page that are to be done, in order."""
    for skipped, language, file, text in FENCE.findall((DOCS / page).read_text(encoding="utf-8")):
        if not skipped:
            yield Block(language, file, text)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """(command, what it must print) of a console block."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, said = part.partition("\n")
        yield command, said


def alike(said: str, shown: str) -> bool:
    """Whether the output is the one shown, where `...` stands for anything and a line `...` for any lines."""
    pattern = re.escape(shown.strip()).replace(re.escape("..."), ".*?")
    return re.fullmatch(pattern, said.strip(), re.DOTALL) is not None


def do(block: Block, folder: Path) -> None:
    if block.file:
        path = folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
    elif block.language == "console":
        for command, shown in commands(block.text):
            said = run(command, folder)
            assert alike(said, shown), f"$ {command}\n{said}\n--- shown:\n{shown}"
    elif block.language == "python":
        said = run(f"python - <<'END'\n{block.text}END\necho status $?", folder)
        assert said.endswith("status 0\n"), said


def run(command: str, folder: Path) -> str:
    """What a command prints on both streams. An exit status is shown as people ask for it: `; echo $?`."""
    # The documents show colourless text of both streams, as a terminal does.
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=doors.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.stdout.replace(str(folder), "")


@pytest.mark.parametrize("page", [page for page in PAGES if any(True for _ in blocks(page))])
def test_page(page: str, tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("golden", ".nb2pipe", "__pycache__")
    shutil.copytree(doors.SAMPLES, tmp_path / "samples", ignore=ignored)
    if (DOCS / "files" / Path(page).stem).is_dir():
        shutil.copytree(DOCS / "files" / Path(page).stem, tmp_path, dirs_exist_ok=True)
    for block in blocks(page):
        do(block, tmp_path)


@pytest.mark.parametrize(
    ("said", "shown", "same"),
    [
        ("a 1.5 s\nb\n", "a ... s\nb", True),
        ("a\nmany\nlines\nb", "a\n...\nb", True),
        ("a\nb", "a", False),
        ("(x)", "(x)", True),
        ("(y)", "(x)", False),
    ],
)
def test_alike(said: str, shown: str, same: bool) -> None:
    assert alike(said, shown) is same


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(doors.ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"))
    config.plugins.run_event("startup", command="build", dirty=False)
    build(config)
    assert (tmp_path / "site/findings/unpicklable/index.html").is_file()
    text = (tmp_path / "site/tags/index.html").read_text()
    assert "step:train" in text
    fetched = re.compile(r"<(?:link[^>]*rel=\"?stylesheet|script|img|iframe)[^>]*(?:href|src)=\"?(https?:)?//")
    asking = [p for p in (tmp_path / "site").rglob("*.html") if fetched.search(p.read_text(encoding="utf-8"))]
    assert asking == [], "fonts, styles and scripts come with the site"
    assert "font: false" in (doors.ROOT / "mkdocs.yml").read_text()
    assert pages.tag_table().count("\n") == text.count("<tr>") - text.count("<thead>") + 1
