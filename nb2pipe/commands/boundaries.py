"""`nb2pipe tag --interactive`: boundaries of steps are moved in the terminal, and each move is checked at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from nb2pipe.commands.speech import Speech
from nb2pipe.findings import NotebookError, errors, finding
from nb2pipe.notebook.tagging import write_tags
from nb2pipe.notebook.tags import ROLES, step_name
from nb2pipe.suggest import board as boards
from nb2pipe.suggest.board import Board
from nb2pipe.suggest.graph import graph_text
from nb2pipe.suggest.suggest import arrows, changes, labels_of

if TYPE_CHECKING:
    from prompt_toolkit.application import Application
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    from nb2pipe.convert import Conversion

    Text = StyleAndTextTuples

KEYS: Mapping[str, tuple[Sequence[str], Callable[[Board], Board], str]] = {
    "up": (("up", "k"), partial(boards.moved, by=-1), "go"),
    "down": (("down", "j"), partial(boards.moved, by=1), "go"),
    "page up": (("pageup",), partial(boards.moved, by=-10), ""),
    "page down": (("pagedown",), partial(boards.moved, by=10), ""),
    "space": ((" ", "b"), boards.toggled, "begin or join a step"),
    "[": (("[", "s-up"), partial(boards.shifted, by=-1), "boundary up"),
    "]": (("]", "s-down"), partial(boards.shifted, by=1), "boundary down"),
    "s": (("s",), partial(boards.role_given, role="skip"), "skip"),
    "h": (("h",), partial(boards.role_given, role="shared"), "shared"),
    "p": (("p",), partial(boards.role_given, role="parameters"), "parameters"),
    "u": (("u", "c-z"), boards.undone, "undo"),
}
"""What the keys do to the board; the word is shown. Rename, write and quit are the screen's own."""

STYLES = {"mark": "bold", "skip": "fg:ansibrightblack", "shared": "fg:ansicyan", "parameters": "fg:ansimagenta"}
COLOURS = ("ansigreen", "ansiyellow", "ansiblue", "ansired", "ansibrightgreen", "ansibrightyellow", "ansibrightblue")


def move_boundaries(speech: Speech, conversion: Conversion) -> int:
    """Show the board until the person writes or leaves; 0 either way, 1 when nothing can be cut."""
    _check_terminal()
    suggested = conversion.wants_tags
    labels = conversion.suggestion.labels if suggested else labels_of(conversion.notebook, conversion.layout)
    screen = Screen(conversion, boards.board(labels, _directed(conversion)))
    if not screen.board.order:
        raise NotebookError([finding("no-steps", "The notebook has no cell that could be in a step.")])
    if not screen.run():
        speech.say("Nothing was written.")
        return 0
    extra = conversion.suggestion.extra if suggested else {}
    wanted = changes(conversion.notebook, screen.board.labels, extra, every=conversion.options.strict)
    written = write_tags(conversion.path, conversion.notebook, wanted)
    speech.say(f"Changed the tags of {len(written)} cells of {conversion.path}.")
    return 0


def _check_terminal() -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("--interactive needs a terminal")
    try:
        import prompt_toolkit  # noqa: F401
    except ImportError:
        message = "`nb2pipe tag --interactive` needs the package prompt_toolkit, which is not installed."
        hint = "Install it: pip install 'nb2pipe[interactive]'."
        raise NotebookError([finding("missing-extra", message, hint=hint)]) from None


def _directed(conversion: Conversion) -> frozenset[int]:
    """Cells whose role stands in their first lines: no tag changes that."""
    cells = conversion.notebook.cells
    return frozenset(c.index for c in cells for t in c.tags if t.line is not None and t.kind in ROLES)


class Screen:
    """The board on the terminal. `run` gives whether to write what `board` then holds."""

    def __init__(self, conversion: Conversion, board: Board) -> None:
        self.conversion = conversion
        self.bare = conversion.unlabelled()
        self.board = board
        self.typed: str | None = None
        self.said = ""
        self.report: Text = []
        self.failed = 0
        self.app: Application[bool] | None = None

    def run(self) -> bool:
        """Show it; KeyboardInterrupt on Ctrl-C, with the terminal as it was."""
        self.app = self._application()
        self.check()
        return bool(self.app.run(handle_sigint=False))

    # --- what is shown ------------------------------------------------------------------------------------------------
    def cells(self) -> Text:
        """A line for each cell, and a rule where a step begins."""
        text: Text = []
        names = boards.steps(self.board)
        sources = self.conversion.notebook.cells
        for index, (cell, begins) in enumerate(zip(self.board.order, boards.begins(self.board), strict=True)):
            label = self.board.labels[cell].removeprefix("step:")
            style = STYLES.get(label) or f"fg:{COLOURS[names.index(label) % len(COLOURS)]}"
            here = index == self.board.at
            line = next((x for x in sources[cell].source.split("\n") if x.strip()), "")
            if begins:
                text.append((f"{style} bold", f"── {label} " + "─" * max(2, 40 - len(label)) + "\n"))
            text += [("[SetCursorPosition]", "")] if here else []
            mark = "▶" if here else " "
            shown = f"{mark} {cell:>4}  {label[:18]:18}  {line.expandtabs()[:200]}\n"
            text.append((f"{style} {'reverse' if here else ''}", shown))
        return text

    def below(self) -> Text:
        """Why the cell is where it is, what the analysis says, and the graph."""
        why = self.conversion.suggestion.why if self.conversion.wants_tags else {}
        return [("", f"cell {self.board.cell}: {why.get(self.board.cell, 'tagged')}\n"), *self.report]

    def footer(self) -> Text:
        """The keys, or the line that is typed."""
        if self.typed is not None:
            return [("bold", f"new name of the step (Enter, Esc): {self.typed}▏")]
        words = [f"{key} {word}" for key, (_, _, word) in KEYS.items() if word and key != "up"]
        return [("reverse", " " + " · ".join([*words, "r rename", "w write", "q quit"]) + " "), ("", f"  {self.said}")]

    # --- the analysis -------------------------------------------------------------------------------------------------
    def check(self) -> None:
        """Convert with the labels of now; the screen shows what comes out."""
        attempt = self.bare.labelled(self.board.labels)
        failed = errors(attempt.findings)
        self.failed = len(failed)
        self.report = [("fg:ansigreen", "converts: no errors\n")] if not failed else []
        for one in failed[:4]:
            place = "" if one.cell is None else f" cell {one.cell} line {one.line}"
            self.report.append(("fg:ansired", f"error[{one.code}]{place}: {one.message}\n"))
        if not any(f.code in ("syntax-error", "no-steps", "too-deep") for f in failed):
            rows = [(s.name, s.cells) for s in attempt.layout.steps]
            self.report.append(("", graph_text(rows, arrows(attempt.flow))))

    # --- keys ---------------------------------------------------------------------------------------------------------
    def press(self, action: Callable[[Board], Board]) -> None:
        """Do it; check anew when labels changed."""
        before = self.board.labels
        self.board = action(self.board)
        self.said = ""
        if self.board.labels != before:
            self.check()
            self.said = f"{len(self.board.past)} changes" if self.board.past else ""

    def type(self, text: str) -> None:
        """A letter of the new name, Enter, or Esc."""
        if text == "enter":
            name = step_name(self.typed or "")
            self.typed = None
            self.press(lambda board: boards.renamed(board, name))
        elif text == "escape":
            self.typed = None
        elif text == "backspace":
            self.typed = (self.typed or "")[:-1]
        elif text.isprintable():
            self.typed = (self.typed or "") + text

    def leave(self, event: KeyPressEvent, *, write: bool) -> None:
        """Write and go, or go; errors and unwritten changes want the key twice."""
        wanted = "w" if write else "q"
        reason = "the notebook does not convert like this" if write else "there are changes"
        doubtful = bool(self.failed) if write else bool(self.board.past)
        again = f"{wanted} again: {reason}"
        if doubtful and self.said != again:
            self.said = again
        else:
            event.app.exit(result=write)

    def _bindings(self) -> KeyBindings:
        from prompt_toolkit.filters import Condition
        from prompt_toolkit.key_binding import KeyBindings
        from prompt_toolkit.keys import Keys

        keys, typing = KeyBindings(), Condition(lambda: self.typed is not None)
        for several, action, _ in KEYS.values():
            for key in several:
                keys.add(key, filter=~typing)(lambda event, action=action: self.press(action))
        keys.add("r", filter=~typing)(lambda event: setattr(self, "typed", ""))
        keys.add("w", filter=~typing)(lambda event: self.leave(event, write=True))
        keys.add("q", filter=~typing)(lambda event: self.leave(event, write=False))
        keys.add(Keys.Any, filter=typing)(lambda event: self.type(event.data))
        for key in ("enter", "escape", "backspace"):
            keys.add(key, filter=typing, eager=True)(lambda event, key=key: self.type(key))
        keys.add("c-c", eager=True)(lambda event: event.app.exit(exception=KeyboardInterrupt()))
        return keys

    def _application(self) -> Application[bool]:
        from prompt_toolkit.application import Application
        from prompt_toolkit.layout import FormattedTextControl, HSplit, Layout, Window
        from prompt_toolkit.layout.dimension import Dimension

        title = f" {self.conversion.path.name}: where steps begin "
        cells = Window(FormattedTextControl(self.cells, show_cursor=False, focusable=True), height=Dimension(weight=3))
        below = Window(FormattedTextControl(self.below), height=Dimension(weight=2), wrap_lines=True)
        footer = Window(FormattedTextControl(self.footer), height=Dimension(min=1, max=3), wrap_lines=True)
        head, rule = Window(FormattedTextControl([("reverse bold", title)]), height=1), Window(height=1, char="─")
        layout = Layout(HSplit([head, cells, rule, below, footer]), focused_element=cells)
        return Application(layout, key_bindings=self._bindings(), full_screen=True)
