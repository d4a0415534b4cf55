"""What `from module import *` binds: nothing but the module itself can tell."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from nb2pipe.dataflow.tables import has_table

SECONDS = 60
"""How long a library may take to be imported when it is asked for its names."""

_ASK = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
names = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
print("\\n" + json.dumps(list(names)))
"""


@lru_cache(maxsize=32)
def star_names(module: str) -> tuple[str, ...] | None:
    """The names that `from module import *` binds; None when only running code that is not known could tell.

    A library with an effect table is imported in a process of its own and asked; other libraries must say it in the
    text of their `__init__.py`.
    """
    root = module.partition(".")[0]
    if root in sys.stdlib_module_names:
        loaded = importlib.import_module(module)
        return tuple(getattr(loaded, "__all__", [n for n in vars(loaded) if not n.startswith("_")]))
    try:
        found = importlib.util.find_spec(root)
    except (ImportError, ValueError):
        return None
    if found is None:
        return None
    origin = Path(found.origin) if found.origin and found.origin.endswith(".py") else None
    if origin is not None and module == root:
        written = written_names(origin.read_text(encoding="utf-8", errors="replace"))
        if written is not None:
            return written
    return _asked(module) if has_table(root) or root == "pylab" else None


def written_names(text: str) -> tuple[str, ...] | None:
    """The literal `__all__` of a module's text, if nothing changes it there."""
    sets = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name) and n.id == "__all__"]
    for node in ast.parse(text).body if len(sets) == 1 else ():
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            try:
                return tuple(ast.literal_eval(node.value))
            except ValueError:
                return None
    return None


def _asked(module: str) -> tuple[str, ...] | None:
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    command = [sys.executable, "-c", _ASK, module]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment, check=True)
        return tuple(json.loads(done.stdout.splitlines()[-1]))
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        return None
