"""Every finding has an example that gets it, and the way out of the example gets it no more."""

from __future__ import annotations

from pathlib import Path

import doors
import pages
import pytest

from nb2pipe.findings import CODES

WITHOUT = {
    "unknown-option": "a setting, not a cell",
    "bad-option": "a setting, not a cell",
    "unreadable-file": "the file",
    "not-a-notebook": "the file",
    "malformed-notebook": "the file",
    "unknown-nbformat": "the file",
    "unknown-syntax": "syntax that this Python does not know either",
    "other-version": "what is installed",
    "run-order": "what the file says of the last run",
    "no-tuning": "said by `tune`",
    "trials-share-files": "said by `tune` and targets",
    "tuning-failed": "said by `tune`",
    "missing-extra": "what is installed",
    "not-a-project": "the project's folder",
    "unsafe-path": "the project's folder",
    "cannot-write": "the project's folder",
    "merge-conflict": "the project's folder",
    "edited-stale-file": "the project's folder",
    "edited-data-file": "the project's folder",
    "deleted-file-changed": "the project's folder",
    "stale-project": "the project's folder",
    "unknown-target": "a target",
    "unknown-parameter": "a run",
    "parameter-type": "a run",
    "parameter-bounds": "a run",
    "compile-failed": "a target",
    "code-too-large": "a target",
    "not-distributed": "a target",
    "file-not-shared": "a target",
    "not-on-vertex": "a target",
    "workers-differ": "needs a framework's training",
    "cannot-serve": "said by `review`",
    "not-a-page": "said by `review`",
    "cannot-suggest": "said by `tag`",
    "cannot-tag": "said by `tag`",
    "literal-in-code": "said by `tag`",
    "tuned-by-hand": "said by `tag`",
    "unknown-cell": "said by `tag`",
    "bad-bucket": "said by `submit`, `runs` or `build`",
    "bad-run-option": "said by `submit`, `runs` or `build`",
    "bad-schedule": "said by `submit`, `runs` or `build`",
    "beyond-limit": "said by `submit`, `runs` or `build`",
    "build-failed": "said by `submit`, `runs` or `build`",
    "missing-input": "said by `submit`, `runs` or `build`",
    "missing-place": "said by `submit`, `runs` or `build`",
    "no-answer": "said by `submit`, `runs` or `build`",
    "no-builder": "said by `submit`, `runs` or `build`",
    "not-locked": "said by `submit`, `runs` or `build`",
    "stale-lock": "said by `submit`, `runs` or `build`",
    "not-a-platform": "said by `submit`, `runs` or `build`",
    "not-allowed": "said by `submit`, `runs` or `build`",
    "not-ended": "said by `submit`, `runs` or `build`",
    "not-for-target": "said by `submit`, `runs` or `build`",
    "not-logged-in": "said by `submit`, `runs` or `build`",
    "not-there": "said by `submit`, `runs` or `build`",
    "request-refused": "said by `submit`, `runs` or `build`",
    "stale-pipeline": "said by `submit`, `runs` or `build`",
    "unknown-input": "said by `submit`, `runs` or `build`",
    "upload-failed": "said by `submit`, `runs` or `build`",
}
"""Findings that no small notebook shows, each with what they are about."""


def test_every_finding_has_an_example() -> None:
    shown = {example.code for example in pages.examples() if not example.mended}
    assert shown.isdisjoint(WITHOUT)
    assert shown | WITHOUT.keys() == CODES.keys()


@pytest.mark.parametrize("example", pages.examples(), ids=lambda e: e.code + pages.MENDED * e.mended)
def test_example(example: pages.Example, tmp_path: Path) -> None:
    found = example.findings(tmp_path)
    codes = {f.code for f in found}
    if example.mended:
        assert example.code not in codes
        assert [f for f in found if f.severity == "error"] == []
    else:
        assert example.code in codes


def test_every_code_is_given_somewhere() -> None:
    texts = [p.read_text() for p in (doors.ROOT / "nb2pipe").rglob("*.py") if p.name != "findings.py"]
    assert [code for code in CODES if not any(f'"{code}"' in text for text in texts)] == []


def test_a_page_shows_what_is_said() -> None:
    page = pages.finding_page("unpicklable")
    assert "error[unpicklable] cell 1 line 1" in page
    assert "## Mended" in page
