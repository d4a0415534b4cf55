"""Merging people's edits with what is generated anew."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nb2pipe.codegen.merge import BASE, MIDDLE, OURS, THEIRS, is_conflicted, merge

BASE_TEXT = "a\nb\nc\nd\ne\nf\ng\n"


@pytest.mark.parametrize(
    ("ours", "theirs", "merged"),
    [
        (BASE_TEXT, BASE_TEXT, BASE_TEXT),
        (BASE_TEXT, "a\nB\nc\nd\ne\nf\ng\n", "a\nB\nc\nd\ne\nf\ng\n"),
        ("a\nB\nc\nd\ne\nf\ng\n", BASE_TEXT, "a\nB\nc\nd\ne\nf\ng\n"),
        ("a\nB\nc\nd\ne\nf\ng\n", "a\nb\nc\nd\nE\nf\ng\n", "a\nB\nc\nd\nE\nf\ng\n"),
        ("top\n" + BASE_TEXT, BASE_TEXT + "end\n", "top\n" + BASE_TEXT + "end\n"),
        ("a\nd\ne\nf\ng\n", "a\nb\nc\nd\ne\nf\n", "a\nd\ne\nf\n"),
        ("a\nX\nc\nd\ne\nf\ng\n", "a\nX\nc\nd\ne\nf\ng\n", "a\nX\nc\nd\ne\nf\ng\n"),
        ("", BASE_TEXT, ""),
        (BASE_TEXT.rstrip(), BASE_TEXT.replace("b", "B"), BASE_TEXT.replace("b", "B").rstrip()),
    ],
)
def test_what_does_not_touch_is_merged(ours: str, theirs: str, merged: str) -> None:
    result = merge(BASE_TEXT, ours, theirs)
    assert (result.text, result.conflicts) == (merged, 0)


def test_a_conflict_shows_all_three() -> None:
    result = merge("a\nb\nc\n", "a\nmine\nc\n", "a\ntheirs\nc\n")
    assert result.text.split("\n") == ["a", OURS, "mine", BASE, "b", MIDDLE, "theirs", THEIRS, "c", ""]
    assert result.conflicts == 1
    assert is_conflicted(result.text)
    assert not is_conflicted("a\n<<<<<<< HEAD\n")


def test_without_a_base_every_difference_is_a_conflict() -> None:
    result = merge(None, "a\nmine\nc\nd\n", "a\nc\nd\ntheirs\n")
    assert result.conflicts == 2
    assert merge(None, "a\n", "a\n").conflicts == 0


TEXTS = st.lists(st.sampled_from("abc"), max_size=7).map(lambda lines: "".join(f"{line}\n" for line in lines))


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS, TEXTS)
def test_nothing_is_lost(base: str, ours: str, theirs: str) -> None:
    assert merge(base, ours, base).text == ours
    assert merge(base, base, theirs).text == theirs
    assert merge(base, ours, ours).text == ours
    kept = merge(base, ours, theirs)
    lines = kept.text.split("\n")
    if kept.conflicts:
        assert pick(lines, OURS, BASE).count("\n") <= kept.text.count("\n")
    for line in set(ours.split("\n")) - set(base.split("\n")):
        assert line in lines
    for line in set(theirs.split("\n")) - set(base.split("\n")):
        assert line in lines


def pick(lines: list[str], start: str, stop: str) -> str:
    return "\n".join(lines[lines.index(start) : lines.index(stop)])


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the oracle")
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("a\nB\nc\nd\ne\nf\ng\n", "a\nb\nc\nd\nE\nf\ng\n"),
        ("a\nb\nb2\nc\nd\ne\nf\ng\n", "a\nb\nc\nd\ne\ng\n"),
        ("a\nB1\nc\nd\ne\nf\ng\n", "a\nB2\nc\nd\ne\nf\ng\n"),
        ("b\nc\nd\ne\nf\ng\n", "A\nb\nc\nd\ne\nf\ng\n"),
    ],
)
def test_git_says_the_same(ours: str, theirs: str, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("ours", "base", "theirs")]
    for path, text in zip(files, (ours, BASE_TEXT, theirs), strict=True):
        path.write_text(text)
    labels = [word for label in (OURS, BASE, THEIRS) for word in ("-L", label[8:])]
    command = ["git", "merge-file", "-p", "--diff3", *labels, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True)
    result = merge(BASE_TEXT, ours, theirs)
    assert (result.text, result.conflicts) == (done.stdout, done.returncode)
