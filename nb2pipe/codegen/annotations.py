"""Type annotations of the IR as they can be written in one file."""

from __future__ import annotations

import builtins
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
PARAMETER_TYPES: Mapping[str, str] = {"list": "list[Any]", "dict": "dict[str, Any]", "None": "Any"}


@dataclass
class Annotations:
    """Writes annotations for one file and remembers what it must import for them.

    `imported` maps qualified names to the file's own names; `ready` are names bound before the annotations are
    evaluated, `late` names bound after. A type whose module the file does not import is imported for type checkers only
    and the annotation is quoted, so that no run pays for it, unless annotations are `postponed` in this file anyway.
    `shadowed` are names that mean something else in the file, so that no annotation may use them.
    """

    imported: Mapping[str, str]
    ready: Collection[str] = ()
    late: Collection[str] = ()
    postponed: bool = False
    shadowed: Collection[str] = ()
    uses_any: bool = False
    checked: dict[str, str] = field(default_factory=dict)

    def write(self, annotation: str) -> str:
        """The annotation as source; `Any` for "" and for what this file cannot name."""
        quoted = False
        if any(match[0] in self.shadowed for match in DOTTED.finditer(annotation)):
            return self._any()  # the file gives the builtin of this name another meaning

        def replace(match: re.Match[str]) -> str:
            nonlocal quoted
            name, needs_quotes = self._name(match[0])
            quoted = quoted or needs_quotes
            return name

        text = DOTTED.sub(replace, annotation.strip()) if annotation.strip() else self._any()
        return f'"{text}"' if quoted and not self.postponed else text

    def parameter(self, kind: str) -> str:
        """The annotation of a pipeline parameter of type `kind`."""
        return self.write(PARAMETER_TYPES.get(kind, kind))

    def _any(self) -> str:
        self.uses_any = True
        return "Any"

    def _name(self, dotted: str) -> tuple[str, bool]:
        dotted = dotted.removeprefix("builtins.")
        head = dotted.partition(".")[0]
        if dotted in ("Any", "typing.Any"):
            return self._any(), False
        if head in self.imported.values() or head in self.ready:
            return dotted, False
        if head in self.late:
            return dotted, True
        if "." not in dotted:
            return (dotted, False) if hasattr(builtins, dotted) else (self._any(), False)
        return self._qualified(dotted)

    def _qualified(self, dotted: str) -> tuple[str, bool]:
        parts = dotted.split(".")
        for cut in range(len(parts), 0, -1):
            local = self.imported.get(".".join(parts[:cut]))
            if local is not None:
                return ".".join([local, *parts[cut:]]), False
        module, _, name = dotted.rpartition(".")
        if self._free(name, module):
            self.checked[name] = f"from {module} import {name}"
            return name, True
        self.checked[dotted] = f"import {module}"
        return dotted, True

    def _free(self, name: str, module: str) -> bool:
        taken = {*self.imported.values(), *self.ready, *self.late}
        return name not in taken and self.checked.get(name, f"from {module} import {name}").split()[1] == module

    def imports(self) -> tuple[str, ...]:
        """The import lines that the annotations written so far need, as the file must have them."""
        names = (["TYPE_CHECKING"] if self.checked else []) + (["Any"] if self.uses_any else [])
        return (f"from typing import {', '.join(names)}",) if names else ()

    def checked_imports(self) -> tuple[str, ...]:
        """The block of imports for type checkers only."""
        lines = sorted(set(self.checked.values()))
        return ("if TYPE_CHECKING:", *(f"    {line}" for line in lines)) if lines else ()
