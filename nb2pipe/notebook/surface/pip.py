"""`pip install` in all its spellings -> requirements."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace

from nb2pipe.findings import Finding
from nb2pipe.notebook.surface.model import Magic, Python

_INSTALLER = re.compile(
    r"\s*(?:sudo\s+)?(?:[A-Za-z_]+=\S*\s+)*"
    r"(?:(?:\{\s*sys\.executable\s*\}|\$sys\.executable|\"\{sys\.executable\}\"|python[\d.]*)\s+-m\s+)?"
    r"(?:(?:uv\s+)?pip[\d.]*|(?P<conda>conda|mamba|micromamba))\s+(?P<verb>[a-z]+)\b(?P<rest>.*)",
    re.DOTALL,
)
_WITH_VALUE = frozenset(
    "-r --requirement -c --constraint -i --index-url --extra-index-url -f --find-links -t --target --prefix --root"
    " -n --name -p --python --python-version --platform --only-binary --no-binary --timeout --retries --progress-bar"
    " --trusted-host --cache-dir --proxy --log --upgrade-strategy --channel --src --default-timeout"
    " --global-option".split()
)
_LOST = frozenset(
    "-r --requirement -c --constraint -i --index-url --extra-index-url -f --find-links -e --editable".split()
)
_SPEC = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[\w.,\s-]*\])?\s*([<>=!~]=?=?\s*[\w.*+!<>=~,\s-]+)?(\s*@\s*\S+)?(\s*;.*)?"
)
_COMMAND_END = re.compile(r"\|\||[|]|\s\d?>{1,2}\s*(?=[/&\w])|&>")
_TALK = re.compile(r"(echo|clear|true)\b")
_URL = re.compile(r"(git\+|https?:)\S+")
_QUIET_VERBS = (
    "list",
    "show",
    "freeze",
    "check",
    "config",
    "cache",
    "help",
    "version",
    "search",
    "info",
    "init",
    "index",
)


def shell_pip(magic: Magic) -> tuple[Python | None, str]:
    """The requirements that a shell command installs, None when it installs none, and the rest of the command."""
    parts = [part.strip() for part in re.split(r"&&|;", magic.text) if part.strip()]
    commands = [_INSTALLER.match(_COMMAND_END.split(part)[0]) for part in parts]
    found = [command for command in commands if command is not None]
    rest = [part for part, command in zip(parts, commands, strict=True) if command is None]
    if not found or (rest and commands[0] is None):
        return None, ""
    if magic.target:
        return _assigned(magic, found)
    return _merged(magic, found), "" if all(_TALK.match(part) for part in rest) else " && ".join(rest)


def _assigned(magic: Magic, commands: list[re.Match[str]]) -> tuple[Python | None, str]:
    """`x = !pip install a` hides the output in x; the output of `x = !pip list` is what the notebook is after."""
    if any(command["verb"] != "install" for command in commands):
        return None, ""
    python = _merged(magic, commands)
    output = magic.finding(
        "pip-option", f"`{magic.written}` is a requirement now: its output in {magic.target} is empty."
    )
    return replace(python, code="[]", findings=(*python.findings, output)), ""


def line_pip(magic: Magic) -> Python:
    """`%pip install x`, `%conda install x`, `%uv pip install x`, and the same without the percent sign."""
    text = f"{magic.name} {magic.text}"
    match = _INSTALLER.match(text)
    return _merged(magic, [match] if match else [])


def _merged(magic: Magic, commands: list[re.Match[str]]) -> Python:
    specs: list[str] = []
    findings: list[Finding] = []
    for command in commands:
        if command["verb"] == "install":
            found, lost = _specs(command["rest"], bool(command["conda"]))
            specs += found
            findings += [_lost(magic, part) for part in lost]
        elif command["verb"] not in _QUIET_VERBS:
            findings.append(_lost(magic, f"{command['verb']}{command['rest']}".strip()))
    why = f"requirements: {', '.join(specs)}" if specs else "packages are the project's business, not the step's"
    note = magic.finding(
        "magic-dropped", f"`{magic.written}` became {why}." if specs else f"`{magic.written}` was left out: {why}."
    )
    return Python(why=why, requirements=tuple(specs), findings=(note, *findings))


def _lost(magic: Magic, part: str) -> Finding:
    return magic.finding("pip-option", f"`{part}` of `{magic.written}` is not carried into the requirements.")


def _specs(text: str, conda: bool) -> tuple[list[str], list[str]]:
    """The requirement strings of the arguments of `pip install`, and what cannot be carried."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        return [], [text.strip()]
    specs: list[str] = []
    lost: list[str] = []
    following = iter(words)
    for word in following:
        if word.startswith("-"):
            option = _option(word, following)
            lost += [] if conda and option and option[0].startswith("-c ") else option  # a channel
        elif _URL.fullmatch(word) or (_SPEC.fullmatch(word) and not _is_path(word)):
            specs.append(word)
        else:
            lost.append(word)
    return specs, lost


def _is_path(word: str) -> bool:
    return bool(re.search(r"\.(whl|zip|tar\.gz|txt)$", word)) or ("/" in word and "@" not in word)


def _option(word: str, following: Iterator[str]) -> list[str]:
    name, equals, value = word.partition("=")
    takes_value = name in _WITH_VALUE or name in ("-e", "--editable")
    if takes_value and not equals:
        value = next(following, "")
    return [f"{name} {value}".strip()] if name in _LOST else []
