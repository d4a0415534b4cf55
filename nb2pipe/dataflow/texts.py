"""Code and names in texts: `eval`, `exec`, `df.query("a > @threshold")`."""

from __future__ import annotations

import ast
import re

from nb2pipe.dataflow.events import Place
from nb2pipe.dataflow.machine import Machine
from nb2pipe.dataflow.paths import ANYTHING
from nb2pipe.dataflow.values import Val


def run_text(m: Machine, ref: str, node: ast.Call, place: Place) -> Val:
    """`eval` and `exec` of a text that stands in the notebook; of any other a finding."""
    text = node.args[0].value if len(node.args) == 1 and isinstance(node.args[0], ast.Constant) else None
    if not isinstance(text, str):
        m.say("dynamic-code", f"`{ref[9:]}` runs code that is not written in the notebook", place)
        return m.unknown()
    m.record.dynamic.add(ref[9:])
    try:
        tree = _parsed(text.strip(), ref)
    except SyntaxError:
        m.say("dynamic-code", f"`{ref[9:]}` is given text that is not Python", place)
        return m.unknown()
    lines, m.lines = m.lines, ()
    try:
        if isinstance(tree, ast.Expression):
            return m.evaluate(tree.body)
        m.execute(tree.body)
    finally:
        m.lines = lines
    return Val(type="builtins.NoneType", const=None)


def _parsed(text: str, ref: str) -> ast.Expression | ast.Module:
    return ast.parse(text, mode="eval") if ref == "builtins.eval" else ast.parse(text)


def string_references(m: Machine, method: str, values: list[Val], place: Place) -> None:
    """`df.query("a > @threshold")` reads `threshold`."""
    if method not in ("query", "eval"):
        return
    for val in values:
        if isinstance(val.const, str) and ANYTHING not in val.const:
            _read_references(m, val.const, place)
        elif isinstance(val.const, str) or (not val.is_const and val.type in (None, "builtins.str")):
            message = f"`.{method}()` is given a text that is made at run time: the names in it are unknown"
            m.say("dynamic-code", message, place)


def _read_references(m: Machine, text: str, place: Place) -> None:
    for piece in text.split("@")[1:]:
        name = ""
        for letter in piece:
            if not (name + letter).isidentifier():
                break
            name += letter
        if name:
            _read_in_text(m, name, place)


def _read_in_text(m: Machine, name: str, place: Place) -> None:
    m.record.strings.add(name)
    if m.frame.symbols is not None and m.frame.find(name) is None:
        m.record.dynamic.add(f"@{name}")  # looked up among the function's own names, and globals
    m.read(name, place)


def formula_references(m: Machine, ref: str | None, values: list[Val], place: Place) -> None:
    """`smf.ols("y ~ np.log(x)", data)` reads `np`: a name of a formula that is none of the data's is the notebook's."""
    if ref is None or not ref.startswith("statsmodels.formula."):
        return
    for val in values:
        names = re.findall(r"(?<![\w.])[^\W\d]\w*", val.const) if isinstance(val.const, str) else []
        for name in dict.fromkeys(names):
            if m.frame.find(name) is not None or m.frame.outside(name) is not None:
                _read_in_text(m, name, place)
