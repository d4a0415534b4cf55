"""In a notebook: `%load_ext nb2pipe` brings the cell magic `%%step NAME` and the line magic `%nb2pipe COMMAND`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nb2pipe.notebook.vocabulary import TAGS, read_tag, step_magic, step_words

INLINE = "review"
"""The command whose page is shown below the cell."""


def load_ipython_extension(shell: Any) -> None:
    """Register the magics with an IPython `shell` (`%load_ext nb2pipe`); a second time changes nothing."""
    if without_step not in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.append(without_step)
    shell.register_magic_function(line_magic(shell), "line", "nb2pipe")


def unload_ipython_extension(shell: Any) -> None:
    """Take `%%step` away again (`%unload_ext nb2pipe`)."""
    if without_step in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.remove(without_step)


def without_step(lines: list[str]) -> list[str]:
    """The cell without its `%%step NAME [--gpu nvidia-l4] ...`, which only says what the tag `step:NAME` says.

    The cell itself runs as if the line were not there; raises UsageError when its words are wrong.
    """
    found = step_magic("".join(lines))
    if found is None:
        return lines
    number, words = found
    problem = wrong_words(words)
    if problem:
        raise usage_error(problem)
    rest = lines[number:]
    # IPython knows a cell magic in the first line only.
    blank = [] if rest and rest[0].startswith("%%") else ["\n"]
    return [*lines[: number - 1], *blank, *rest]


# A cell that is still being typed is not judged.
without_step.has_side_effects = True  # type: ignore[attr-defined]


def wrong_words(line: str) -> str:
    """What is wrong with the words of a `%%step`, "" when nothing is."""
    from nb2pipe.notebook.tags import name_problem

    first, *others = (read_tag(text) for text in step_words(line))
    name = first.value
    problem = name_problem(name, name.replace("-", "_"))
    if problem:
        return f"%%step {name}: {problem}"
    for tag in others:
        parse = TAGS[tag.kind].value
        try:
            if parse is not None:
                parse(tag.value)
        except ValueError as error:
            return f"--{tag.kind}: {error}; write it like `{TAGS[tag.kind].example}`"
    return ""


def usage_error(message: str) -> Exception:
    """IPython's error for a magic that was called wrongly: it is shown without a traceback."""
    from IPython.core.error import UsageError

    error: Exception = UsageError(message)
    return error


def line_magic(shell: Any) -> Callable[[str], None]:
    """The magic `%nb2pipe COMMAND [NOTEBOOK] [OPTIONS]`: a command of nb2pipe, on this notebook when none is named."""

    def nb2pipe(line: str) -> None:
        """Run `nb2pipe COMMAND` on the saved file of this notebook; `%nb2pipe review` shows the page below."""
        words = command_words(shlex.split(line), shell.user_ns)
        if words[0] == INLINE:
            show_page(words)
        elif status := status_of(words):
            print(f"nb2pipe {words[0]}: exit status {status}")

    return nb2pipe


def command_words(words: list[str], names: Mapping[str, Any]) -> list[str]:
    """The words of a command line, with this notebook's path after the command when no file is named."""
    from nb2pipe.cli import COMMANDS

    if not words or words[0] not in COMMANDS:
        raise usage_error(f"%nb2pipe COMMAND: the commands are {', '.join(COMMANDS)}")
    if any(Path(word).suffix in (".ipynb", ".py") for word in words[1:]):
        return words
    path = notebook_path(names, os.environ)
    if path is None:
        raise usage_error(f"this notebook's file is not known here: write %nb2pipe {words[0]} NOTEBOOK.ipynb")
    return [words[0], path, *words[1:]]


def notebook_path(names: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    """The file of the running notebook: VS Code says it in a variable, Jupyter in the environment, others nowhere."""
    for place in (names.get("__vsc_ipynb_file__"), environ.get("JPY_SESSION_NAME")):
        if isinstance(place, str) and Path(place).is_file():
            return place
        # Jupyter's name is relative to the folder of its server; a kernel starts in the notebook's own.
        if isinstance(place, str) and Path(place).name.endswith(".ipynb") and Path(Path(place).name).is_file():
            return Path(place).name
    return None


def status_of(words: list[str]) -> int:
    """The exit status of the command, run in this process; what it says goes below the cell."""
    import click

    from nb2pipe.cli import cli

    try:
        cli.main(words, prog_name="nb2pipe", standalone_mode=False)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except click.ClickException as error:
        raise usage_error(error.format_message()) from None
    return 0


def show_page(words: list[str]) -> None:
    """The review page in a frame of its own, so that it and the notebook cannot touch each other."""
    import html
    import tempfile

    from IPython.display import display

    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "review.html"
        status_of([*words, "--quiet", "-o", str(page)])
        if page.is_file():
            text = html.escape(page.read_text(encoding="utf-8"))
            frame = f'<iframe sandbox="allow-scripts" style="width:100%;height:70vh;border:0" srcdoc="{text}"></iframe>'
            display({"text/html": frame}, raw=True)
