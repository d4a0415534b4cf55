"""What a rewrite asks for, done in the lines of a fragment."""

from __future__ import annotations

import pytest

from nb2pipe.codegen.sourcemap import Emitter
from nb2pipe.pipeline.model import Fragment
from nb2pipe.training.edits import Block, Edit, Insert, Lines, applied

TEXT = "a = 1\nb = 2\nif a:\n    c = 3\n    d = 4"


def written(*rounds: list[Edit]) -> str:
    fragment = Fragment(0, 1, tuple(TEXT.split("\n")))
    for edits in rounds:
        fragment = applied(fragment, edits)
    out = Emitter()
    out.fragment(fragment, 0, len(fragment.lines), 0)
    return "\n".join(out.lines)


CASES = {
    "nothing": ([], TEXT),
    "text is put in, from the right": (
        [Insert(1, 4, "f(", ""), Insert(1, 5, ")", "")],
        "a = f(1)\nb = 2\nif a:\n    c = 3\n    d = 4",
    ),
    "two blocks side by side": (
        [Block(1, 1, "with x:", ""), Block(2, 2, "with y:", "")],
        "with x:\n    a = 1\nwith y:\n    b = 2\nif a:\n    c = 3\n    d = 4",
    ),
    "a block after an inner one": (
        [Block(3, 5, "with x:", ""), Block(2, 2, "with y:", "")],
        "a = 1\nwith y:\n    b = 2\nwith x:\n    if a:\n        c = 3\n        d = 4",
    ),
    "a block in a block of the notebook": (
        [Block(4, 4, "with x:", ""), Block(5, 5, "with y:", "")],
        "a = 1\nb = 2\nif a:\n    with x:\n        c = 3\n    with y:\n        d = 4",
    ),
    "lines in a block and before it": (
        [Lines(1, ("# first",), ""), Lines(2, ("# second",), ""), Block(1, 2, "with x:", "")],
        "# first\nwith x:\n    a = 1\n    # second\n    b = 2\nif a:\n    c = 3\n    d = 4",
    ),
}


@pytest.mark.parametrize(("edits", "expected"), CASES.values(), ids=list(CASES))
def test_applied(edits: list[Edit], expected: str) -> None:
    assert written(edits) == expected


def test_a_second_rewrite_finds_the_blocks_of_the_first() -> None:
    found = written([Block(1, 2, "with x:", "")], [Lines(2, ("# second",), ""), Insert(2, 0, "b = ", "")])
    assert found == "with x:\n    a = 1\n    # second\n    b = b = 2\nif a:\n    c = 3\n    d = 4"
