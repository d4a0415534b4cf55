"""Moving boundaries: the board by itself, and the screen in a terminal of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import doors
import pytest

from nb2pipe.suggest import board as boards
from nb2pipe.suggest.board import Board

LABELS = {0: "shared", 1: "step:a", 2: "skip", 3: "step:a", 4: "step:b", 6: "step:b", 7: "step:c"}


def at(cell: int, fixed: frozenset[int] = frozenset()) -> Board:
    made = boards.board(LABELS, fixed)
    return boards.moved(made, made.order.index(cell) - made.at)


def told(board: Board) -> str:
    return " ".join(label.removeprefix("step:") for label in board.labels.values())


def test_the_cursor_stays_on_the_board() -> None:
    board = boards.board(LABELS, frozenset())
    assert board.cell == 1
    assert boards.moved(board, 99).cell == 7
    assert boards.moved(board, -99).cell == 0


@pytest.mark.parametrize(
    ("cell", "by", "wanted"),
    [
        (4, -1, "shared a skip b b b c"),
        (4, 1, "shared a skip a a b c"),
        (6, 1, "shared a skip a a b c"),
        (7, -1, "shared a skip a b c c"),
        (7, 1, "shared a skip a b b b"),
        (1, 1, "shared a skip a b b c"),
    ],
)
def test_boundaries_move(cell: int, by: int, wanted: str) -> None:
    board = boards.shifted(at(cell), by)
    assert told(board) == wanted
    assert told(boards.undone(board)) == told(at(cell))


def test_steps_begin_and_join() -> None:
    assert told(boards.toggled(at(4))) == "shared a skip a a a c"
    assert told(boards.toggled(at(6))) == "shared a skip a b b_2 c"
    assert told(boards.toggled(at(2))) == "shared a a a b b c"
    assert told(boards.toggled(at(0))) == "step_2 a skip a b b c"
    assert told(boards.toggled(at(1))) == told(at(1)), "nothing is above the first"


def test_roles_and_names() -> None:
    assert told(boards.role_given(at(6), "skip")) == "shared a skip a b skip c"
    assert told(boards.role_given(at(2), "skip")) == "shared a a a b b c"
    assert told(boards.renamed(at(3), "load")) == "shared load skip load b b c"
    assert boards.renamed(at(2), "load") == at(2)
    assert boards.begins(at(1)) == [False, True, False, False, True, False, True]


def test_what_is_fixed_does_not_change() -> None:
    board = at(4, frozenset([4]))
    assert boards.toggled(board).labels[4] == "step:b"
    assert boards.role_given(board, "skip") is board
    assert boards.undone(board) is board


# --- the screen -------------------------------------------------------------------------------------------------------
CELLS = ["xs = [i for i in range(9)]", "ys = [x * 2 for x in xs]", "gen = (y for y in ys)", "print('sum', sum(gen))"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tags = [["step:load"], [], ["step:train", "gpu:1"], []]
    path = tmp_path / "book.ipynb"
    path.write_text(json.dumps(doors.notebook(list(zip(CELLS, tags, strict=True))), indent=1))
    return path


def opened(path: Path) -> Any:
    pexpect = pytest.importorskip("pexpect")
    pytest.importorskip("prompt_toolkit")
    env = {**doors.environment(), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    arguments = ["-m", "nb2pipe", "tag", str(path), "--interactive"]
    child = pexpect.spawn(sys.executable, arguments, env=env, dimensions=(40, 100), encoding="utf-8", timeout=60)
    child.expect("converts: no errors")
    return child


def ended(child: Any) -> int:
    child.expect(sys.modules["pexpect"].EOF)
    child.close()
    return int(child.exitstatus if child.exitstatus is not None else -child.signalstatus)


def test_a_move_is_checked_undone_and_written(path: Path) -> None:
    child = opened(path)
    before = path.read_text()
    child.send("jjj ")  # the last cell becomes a step: a generator would cross
    child.expect("unpicklable")
    child.send("w")
    child.expect("does not convert like this")
    child.send("u")
    child.expect("converts: no errors")
    child.send("kk")
    child.send(" ")
    child.expect("load_2")
    child.send("rgrow it\r")
    child.send("w")
    assert ended(child) == 0
    tags = [cell["metadata"]["tags"] for cell in json.loads(path.read_text())["cells"]]
    assert tags == [["step:load"], ["step:grow_it"], ["step:train", "gpu:1"], []]
    assert path.read_text() == before.replace('"tags": []', '"tags": [\n     "step:grow_it"\n    ]', 1)


@pytest.mark.parametrize(("keys", "status"), [("q", 0), ("\x03", 130), ("jj q\x03", 130), ("jj qq", 0)])
def test_leaving_writes_nothing(path: Path, keys: str, status: int) -> None:
    before = path.read_bytes()
    child = opened(path)
    child.send(keys)
    assert ended(child) == status
    assert path.read_bytes() == before


def test_without_a_terminal(path: Path) -> None:
    done = doors.nb2pipe("tag", path, "--interactive", cwd=path.parent)
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
