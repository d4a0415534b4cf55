"""JSON: plain values, readable by people and other tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nb2pipe.artifacts.format import Format, StaticTypes


def save_json(value: Any, folder: Path) -> None:
    """Write the value as JSON if that gives back the same types and sharing."""
    _check_plain(value)
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    (folder / "value.json").write_bytes(text.encode())  # raises on lone surrogates


def load_json(folder: Path) -> Any:
    """Read what `save_json` wrote."""
    return json.loads((folder / "value.json").read_bytes())


def _check_plain(value: Any) -> None:
    """Refuse subclasses, keys that are not text, and a list or dict that is there twice."""
    plain = {bool, float, int, str, type(None)}
    seen: set[int] = set()
    todo = [value]
    while todo:
        item = todo.pop()
        if type(item) in plain:
            continue
        if type(item) not in (dict, list) or id(item) in seen:
            raise ValueError(f"JSON would not keep a {type(item).__name__} as it is")
        if type(item) is dict and not set(map(type, item)) <= {str}:
            raise ValueError("JSON would make the keys text")
        seen.add(id(item))
        children = item.values() if type(item) is dict else item
        if not set(map(type, children)) <= plain:
            todo.extend(children)


JSON = Format(
    "json",
    types=("builtins.bool", "builtins.dict", "builtins.float", "builtins.int", "builtins.list")
    + ("builtins.NoneType", "builtins.str"),
    save=save_json,
    load=load_json,
)

STATIC: StaticTypes = {
    f"builtins.{name}": ("Artifact", ())
    for name in ("NoneType", "bool", "dict", "float", "int", "list", "str")
}
