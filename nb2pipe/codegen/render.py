"""Templates to text: the only user of jinja2. Templates are ours alone; notebook text reaches them as data only."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nb2pipe.codegen.body import function_name
from nb2pipe.codegen.layout import bracketed
from nb2pipe.codegen.literal import default_literal, docstring_line, one_line, pyliteral
from nb2pipe.pipeline.layout import layout

if TYPE_CHECKING:
    from jinja2 import Environment


def markdown(text: str) -> str:
    """`text` as one line that may stand in a Markdown table and means itself there."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", one_line(text))


def code(text: str) -> str:
    """`text` as inline code of Markdown, also in a table."""
    safe = one_line(text).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", safe)), default=0))
    return f"{fence} {safe} {fence}" if len(fence) > 1 else f"`{safe}`"


def code_list(names: Iterable[str]) -> str:
    """Names as inline code with commas between."""
    return ", ".join(code(name) for name in names)


def takes(step: Mapping[str, Any]) -> str:
    """What a step of the graph takes: names with where they come from, and files."""
    names = [f"{code_list(row['names'])} from {row['source']}" for row in step["inputs"]]
    files = [code(row["path"]) + (f" from {row['source']}" if row["source"] else "") for row in step["files_in"]]
    return "; ".join(names + files)


def gives(step: Mapping[str, Any]) -> str:
    """What a step of the graph gives: names and files."""
    names = [name for row in step["outputs"] for name in row["names"]]
    return code_list([*dict.fromkeys(names), *step["files_out"]])


def test_step(step: Mapping[str, Any]) -> str:
    """The row of a step of the graph in the table of the project's tests."""
    fields = {
        "inputs": {row["key"]: (row["source"], row["artifact"]) for row in step["inputs"]},
        "outputs": tuple(row["artifact"] for row in step["outputs"]),
        "files_in": {row["path"]: row["source"] for row in step["files_in"]},
        "files_out": tuple(step["files_out"]),
        "after": tuple(step["after"]),
    }
    items = [f"{name}={layout(value, 8)}" for name, value in fields.items() if value]
    return "\n".join(bracketed(f"{pyliteral(step['name'])}: Step(", items, "),", 4))


FILTERS: dict[str, Callable[..., Any]] = {
    "pyliteral": pyliteral,
    "repr": repr,
    "json": lambda value: json.dumps(value, ensure_ascii=False, sort_keys=True),
    "function_name": function_name,
    "default_literal": default_literal,
    "docstring": docstring_line,
    "one_line": one_line,
    "markdown": markdown,
    "code": code,
    "code_list": code_list,
    "test_step": test_step,
    "takes": takes,
    "gives": gives,
    "shell": lambda value: shlex.quote(one_line(value if isinstance(value, str) else json.dumps(value, default=str))),
}


def templates_dir() -> Path:
    """The folder of our templates: inside the package in a wheel, beside it in a checkout."""
    inside = Path(str(resources.files("nb2pipe"))) / "templates"
    return inside if inside.is_dir() else Path(__file__).resolve().parents[2] / "templates"


HIDDEN = re.compile(
    "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    "\ud800-\udfff]"
)
"""Characters that hide, reorder or cannot be encoded: control characters, bidirectional controls, lone surrogates."""


def visible(text: str) -> str:
    """`text` with every hidden character spelled out, so that people see what a machine reads.

    >>> visible("a\\u202eb")
    'a⟨U+202E⟩b'
    """
    return HIDDEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def _shown(value: Any) -> Any:
    """A value on its way into an HTML page; what is HTML already stays."""
    return value if hasattr(value, "__html__") else visible(str(value))


@cache
def _environment(html: bool = False) -> Environment:
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(templates_dir()),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=html,
        finalize=_shown if html else None,
    )
    environment.filters.update(FILTERS)
    return environment


def render(template: str, /, **values: Any) -> str:
    """The text of `template` (a path under `templates/`) with `values`; an unknown variable raises jinja2's error."""
    return _environment().get_template(template).render(values)


def render_html(template: str, /, **values: Any) -> str:
    """The HTML page of `template` with `values`, each escaped unless it has `__html__`; as `render` otherwise."""
    return _environment(html=True).get_template(template).render(values)


def template_text(name: str) -> str:
    """A file below `templates/` as it stands."""
    return (templates_dir() / name).read_text(encoding="utf-8")
