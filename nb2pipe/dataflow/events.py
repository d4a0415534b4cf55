"""What happens beyond values, and where: state of the process, files, and what modules of the notebook's own do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from nb2pipe.dataflow.tables import FileUse
from nb2pipe.dataflow.values import Val

ChannelUse = Literal["set", "use", "seed", "draw", "advance", "back"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something happens: cell (from 0), line (from 1) and the line's text, for reasons that people read."""

    cell: int
    line: int
    text: str

    def __str__(self) -> str:
        return f"cell {self.cell} line {self.line}: `{self.text}`"


@dataclass(frozen=True, slots=True)
class ChannelEvent:
    """State of the process that is not a name: `channel` is "random:numpy", "environment", "module:math", ...

    `use` is "back" where the state is put back as a step had found it.
    """

    channel: str
    use: ChannelUse
    place: Place


WORKING_DIRECTORY = "working directory"
"""The channel of the folder that relative paths start from."""

_STATE = {
    "os.environ": "environment",
    "sys.path": "search path",
    "sys.argv": "arguments",
    "sys.stdout": "stdout",
    "sys.stderr": "stderr",
}
"""Attributes of modules that are a channel of their own."""


def channel_of(ref: str) -> str:
    """The channel of a module's attribute, by its import path.

    >>> channel_of("sys.stdout"), channel_of("math.pi")
    ('stdout', 'module:math')
    """
    known = next((c for path, c in _STATE.items() if ref == path or ref.startswith(path + ".")), None)
    return known or "module:" + ref.partition(".")[0]


@dataclass(frozen=True, slots=True)
class FileEvent:
    """What happens to a file. `path` is None when nothing of it follows from literals and parameters.

    `probe` only looks whether it is there; `folder` makes a folder unless there is one. `takes_urls`: what does it also
    knows the files that URLs name.
    """

    use: FileUse
    path: str | None
    place: Place
    perhaps: bool = False
    takes_urls: bool = False


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """What a module of the notebook's own does beyond values: when it is imported, and when what it defines is called.

    `stateful`: its functions change the module's own variables. `names` has what a star import of the module, or of one
    in the package, binds (None: not known). `variables`: the import paths of what can change there, with types;
    `constants`: of texts, numbers and paths, which nobody has bound anew; `aliases`: of what a module imports from
    another of the package.
    """

    on_import: tuple[ChannelEvent, ...] = ()
    on_call: tuple[ChannelEvent, ...] = ()
    files: tuple[FileEvent, ...] = ()
    stateful: bool = False
    names: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    variables: Mapping[str, str | None] = field(default_factory=dict)
    constants: Mapping[str, Val] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    def origin(self, path: str) -> str:
        """The import path of what `path` names, where its module makes it."""
        for _ in self.aliases:  # modules may import each other's names in a circle
            known = next((a for a in self.aliases if path == a or path.startswith(a + ".")), None)
            if known is None:
                break
            path = self.aliases[known] + path.removeprefix(known)
        return path
