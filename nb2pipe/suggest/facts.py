"""From a notebook whose every cell is a step of its own to what the suggester needs to know of each cell."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from nb2pipe.dataflow.model import Flow, Statement, StepFlow
from nb2pipe.findings import Finding, errors
from nb2pipe.notebook.model import Cell, Notebook, PyCell
from nb2pipe.suggest.model import Attempt, CellFacts, Facts, Heading, Labels, Tie, Try
from nb2pipe.suggest.signals import Reader, literal_names, prints, shows
from nb2pipe.suggest.tables import hyperparameter, spoken

_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*$|<h([1-6])[^>]*>(.+?)</h\3>", re.MULTILINE | re.IGNORECASE)
_LOOKS = frozenset("ls cat head tail pwd tree nvidia-smi free df du wc which whoami uname lscpu date echo file".split())
_DRAWING = ("matplotlib.", "seaborn.", "plotly.")
_ROLES = ("step", "shared", "skip", "parameters")


def name_of(cell: int) -> str:
    """The name of the step that a cell is while nothing is known of it."""
    return f"cell_{cell}"


def fixed_label(cell: Cell) -> str:
    """The label that a cell's own tags give it, "" if they leave it open."""
    for tag in cell.tags:
        if tag.kind in _ROLES:
            return f"step:{tag.value.replace('-', '_')}" if tag.kind == "step" else tag.kind
    return ""


def unreadable(notebook: Notebook, cells: Sequence[PyCell]) -> Mapping[int, str]:
    """The cells that are no Python, with what is said of them; tags in other cells can still be suggested."""
    codes = ("syntax-error", "too-deep", "unknown-syntax", "unknown-magic", "shell-background", "captured-output")
    found: dict[int, str] = {}
    for cell in cells:
        bad = [f for f in errors(cell.findings) if f.code in codes]
        if bad and not fixed_label(notebook.cells[cell.cell.index]):
            found[cell.cell.index] = bad[0].message
    return found


def apart(notebook: Notebook, bad: Collection[int], shared: Labels) -> dict[int, str]:
    """Labels with every cell in a step of its own, but those that are unreadable, shared or tagged."""
    found: dict[int, str] = {}
    for cell in notebook.cells:
        if cell.kind == "code" and cell.source.strip():
            free = "skip" if cell.index in bad else shared.get(cell.index) or f"step:{name_of(cell.index)}"
            found[cell.index] = fixed_label(cell) or free
    return found


def headings(notebook: Notebook) -> Mapping[int, tuple[Heading | None, bool]]:
    """For each code cell the heading above it, and whether only text stands between them.

    The title of the notebook, the only heading of its level before anything else, says nothing about its cells.
    """
    current: Heading | None = None
    fresh = False
    found: dict[int, tuple[Heading | None, bool]] = {}
    for cell in notebook.cells:
        if cell.kind == "markdown":
            for heading in _headings_in(cell.source):
                current, fresh = heading, True
        elif cell.kind == "code" and cell.source.strip():
            found[cell.index] = (current, fresh)
            fresh = False
    title = _title(notebook)
    return {c: (None if h == title else h, o and h != title) for c, (h, o) in found.items()}


def _headings_in(text: str) -> list[Heading]:
    plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    several = []
    for match in _HEADING.finditer(plain):
        words = re.sub(r"<[^>]+>|[*_`]|!?\[([^\]]*)\]\([^)]*\)", r"\1", match[2] or match[4]).strip()
        several.append(Heading(words, len(match[1]) if match[1] else int(match[3]), spoken(words)))
    return several or _lead_in(plain)


def _lead_in(text: str) -> list[Heading]:
    """A short line of text, or one in bold, stands for a heading of the lowest level."""
    line = text.strip()
    short = 0 < len(line) <= 60 and "\n" not in line and not line.startswith(("-", "*  ", "!", "|", "$", ">"))
    return [Heading(line.strip("*_: "), 6, spoken(line))] if short else []


def _title(notebook: Notebook) -> Heading | None:
    several = [h for c in notebook.cells if c.kind == "markdown" for h in _headings_in(c.source)]
    top = [h for h in several if h.level == min(s.level for s in several)]
    first = notebook.cells[0].kind == "markdown" if notebook.cells else False
    return top[0] if first and len(top) == 1 and top[0] is several[0] and len(several) > 1 else None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the parts of the facts are made from."""

    flow: Flow
    statements: Mapping[int, list[Statement]]
    steps: Mapping[int, StepFlow]
    reader: Reader
    seeded: frozenset[str]
    changed: Mapping[str, frozenset[int]]


def cell_facts(notebook: Notebook, attempt: Attempt, bad: Mapping[int, str]) -> tuple[CellFacts, ...]:
    """The facts of every code cell, from a conversion in which each is a step of its own."""
    flow = attempt.flow
    by_cell: dict[int, list[Statement]] = {}
    for statement in flow.statements:
        by_cell.setdefault(statement.cell, []).append(statement)
    steps = {c: s for s in flow.steps for c in s.cells}
    seeded = frozenset(c.channel for s in flow.statements for c in s.record.channels if c.use == "seed")
    seen = _Seen(flow, by_cell, steps, Reader(s.node for s in flow.statements), seeded, _changed(flow.statements))
    needs = _needs(seen)
    above = headings(notebook)
    return tuple(
        _facts(cell, seen, needs, above[cell.index], bad.get(cell.index, ""))
        for cell in notebook.cells
        if cell.kind == "code" and cell.source.strip()
    )


def _changed(statements: Iterable[Statement]) -> Mapping[str, frozenset[int]]:
    """The cells that bind or change each name."""
    found: dict[str, frozenset[int]] = {}
    for statement in statements:
        for name in (*statement.writes, *statement.changes, *statement.deletes):
            found[name] = found.get(name, frozenset()) | {statement.cell}
    return found


def _needs(seen: _Seen) -> dict[int, dict[str, int]]:
    """For each cell the names that it takes from other cells, imports and definitions too, with the giving cell."""
    cell_of = {name: c for c, s in seen.steps.items() for name in [s.name]}
    found: dict[int, dict[str, int]] = {}
    for cell, step in seen.steps.items():
        own = found.setdefault(cell, {})
        for index, names in step.copies.items():
            own.update({f"={n}": seen.flow.statements[index].cell for n in names or {"?"}})
        own.update({f"={i}": seen.flow.statements[i].cell for i in step.setup})
        own.update({n: cell_of[need.source] for n, need in step.inputs.items() if need.source in cell_of})
        own.update({f"file {p}": cell_of[s] for p, s in step.files_in if s is not None and s in cell_of})
    return found


def _facts(
    cell: Cell, seen: _Seen, needs: Mapping[int, Mapping[str, int]], above: tuple[Heading | None, bool], bad: str
) -> CellFacts:
    index = cell.index
    statements = seen.statements.get(index, []) if not bad else []
    nodes = [s.node for s in statements]
    signals = seen.reader.signals(nodes)
    takes = {n: c for n, c in needs.get(index, {}).items() if c != index and not n.startswith("=")}
    facts = CellFacts(
        cell=index,
        heading=above[0],
        opens=above[1],
        speaks=signals.speaks,
        calls=signals.calls,
        takes=takes,
        needed_by=frozenset(c for c, names in needs.items() if c != index and index in names.values()),
        literals={name: node.lineno for name, node, _ in literal_names(nodes)},
        statements=len(statements),
        empty=not statements and not bad,
        unreadable=bad,
        leaves_traces=not _only_looks(cell) and _leaves_traces(statements, seen),
        fixed=fixed_label(cell),
    )
    repeatable = bool(statements) and not takes and all(_repeatable(s, seen) for s in statements)
    return replace(
        facts,
        repeatable=repeatable,
        only_literals=repeatable and _mostly_literals(statements, facts),
        prints=any(prints(n, seen.reader) for n in nodes),
        begins=bool(nodes) and not repeatable and not takes and bool(facts.needed_by),
        only_shows=_only_looks(cell) or _only_shows(facts, nodes, seen.reader),
    )


def _only_looks(cell: Cell) -> bool:
    """A cell of shell commands that show something: `!ls -l`."""
    lines = [line.strip() for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]
    return bool(lines) and all(
        line[0] in "!%" and line.lstrip("!%").split()[:1] and line.lstrip("!%").split()[0] in _LOOKS and ">" not in line
        for line in lines
    )


def _leaves_traces(statements: Iterable[Statement], seen: _Seen) -> bool:
    for statement in statements:
        if any(f.use in ("write", "remove", "folder") for f in statement.record.files):
            return True
        for event in statement.record.channels:
            drawn = event.use in ("draw", "advance") and event.channel in seen.seeded
            if drawn or (event.use in ("set", "seed") and event.channel not in ("stdout", "figure")):
                return True
    return False


def _repeatable(statement: Statement, seen: _Seen) -> bool:
    """Whether each step that needs the statement may repeat it: it imports, defines, sets a constant or sets up."""
    record = statement.record
    if record.files or any(c.channel == "external" or c.use in ("draw", "advance") for c in record.channels):
        return False
    elsewhere = any(seen.changed[n] - {statement.cell} for n in statement.writes)
    if statement.kind == "constant":
        return not elsewhere and not _is_data(statement.node)
    if statement.kind in ("import", "definition", "future"):
        return True
    sets = any(c.use in ("set", "seed") and c.channel != "stdout" for c in record.channels)
    return statement.kind == "setup" and not statement.changes and sets


def _is_data(node: ast.stmt) -> bool:
    """A constant so large that it is data: a table written out in a cell; or a list that something will fill."""
    value = getattr(node, "value", None)
    if not isinstance(value, (ast.List, ast.Dict, ast.Tuple, ast.Set)):
        return False
    parts = sum(isinstance(n, ast.Constant) for n in ast.walk(value))
    nested = any(isinstance(n, (ast.List, ast.Dict, ast.Tuple)) for n in ast.walk(value) if n is not value)
    return parts > 12 or (nested and parts > 5) or not parts


def _mostly_literals(statements: Sequence[Statement], facts: CellFacts) -> bool:
    """Whether a cell is for parameters: all of it literals, or literals after imports with a hyperparameter among."""
    if not facts.literals:
        return False
    others = [s for s in statements if not (s.kind == "constant" and set(s.writes) <= set(facts.literals))]
    if not others:
        return True
    tunable = [n for n in facts.literals if hyperparameter(n)]
    return bool(tunable) and len(facts.literals) >= 2 and all(s.kind in ("import", "constant", "setup") for s in others)


def _only_shows(facts: CellFacts, nodes: Sequence[ast.stmt], reader: Reader) -> bool:
    busy = max((w for a, w in facts.speaks.items() if a != "explore"), default=0.0)
    looks = [isinstance(n, (ast.Import, ast.ImportFrom)) or shows(n, reader) for n in nodes]
    drawn = any(
        isinstance(n, ast.Call) and reader.path(n.func).startswith(_DRAWING) for t in nodes for n in ast.walk(t)
    )
    return bool(nodes) and not facts.needed_by and busy < 2.0 and looks[-1] and (all(looks) or (drawn and busy < 1.0))


def ties(attempt: Attempt) -> tuple[Tie, ...]:
    """The cells that cannot be in different steps: where the conversion with each cell by itself has an error."""
    found = []
    for error in errors(attempt.findings):
        if error.cell is not None:
            first = _origin(error, attempt.flow)
            if first is not None and first < error.cell:
                found.append(Tie(first, error.cell, error.code))
    return tuple(dict.fromkeys(found))


def _origin(error: Finding, flow: Flow) -> int | None:
    """The cell that makes what an error is about."""
    name = error.name or ""
    for step in flow.steps:
        if error.cell in step.cells and name in step.inputs:
            source = step.inputs[name].source
            return max((c for s in flow.steps if s.name == source for c in s.cells), default=None)
    before = [s for s in flow.statements if error.cell is not None and s.cell < error.cell and s.step is not None]
    touching = [
        s.cell
        for s in before
        if any(c.channel == name for c in s.record.channels) or name in s.changes or name in s.writes
    ]
    return touching[-1] if touching else None


def facts_of(notebook: Notebook, cells: Sequence[PyCell], attempt: Try) -> Facts:
    """Everything that the suggester looks at. Converts the notebook twice."""
    bad = unreadable(notebook, cells)
    first = cell_facts(notebook, attempt(apart(notebook, bad, {})), bad)
    shared = {f.cell: "shared" for f in first if f.repeatable or f.empty}
    second = attempt(apart(notebook, bad, shared))
    headed = sum(f.opens for f in first) >= 2
    return Facts(first, ties(second), headed)
