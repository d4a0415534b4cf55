"""Which statements make models, and the blocks that they are put into."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence

from nb2pipe.training.edits import Block

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
Makes = Callable[[ast.Call, frozenset[str]], bool]
NESTED = ("body", "orelse", "finalbody")


class Building:
    """Knows of each statement whether it makes something of a model.

    `makes` answers for a call (and the names that its value is bound to); `is_model_class` for a base of a class: the
    methods of such classes are not looked into, making an object of them counts instead. Functions that make models
    hold their own blocks, but for those that stand on one line: there the call counts. So do calls of what was made:
    a layer makes its variables when it is first called.
    """

    def __init__(self, trees: Sequence[ast.Module], makes: Makes, is_model_class: Callable[[ast.expr], bool]) -> None:
        self._makes = makes
        nodes = [node for tree in trees for node in ast.walk(tree)]
        self.model_classes = _derived([n for n in nodes if isinstance(n, ast.ClassDef)], is_model_class)
        self._makers: frozenset[str] = frozenset(self.model_classes)
        functions = [n for n in nodes if isinstance(n, ast.FunctionDef) and n.body[0].lineno == n.lineno]
        lambdas = [n for n in nodes if isinstance(n, ast.Assign) and isinstance(n.value, ast.Lambda)]
        for _ in range(3):  # a one-line function may call another one
            self._makers |= {f.name for f in functions if any(map(self.makes, f.body))}
            self._makers |= {t for n in lambdas if self._in_lambda(n) for t in _targets(n)}
        self._made: frozenset[str] = frozenset()
        simple = [
            n for n in nodes if isinstance(n, (ast.Assign, ast.AnnAssign)) and not isinstance(n.value, ast.Lambda)
        ]
        self._made = frozenset(name for n in simple if self.makes(n) for name in _targets(n))
        loops = [n for n in nodes if isinstance(n, ast.For) and self._made & {ast.unparse(p) for p in _names(n.iter)}]
        self._made |= {ast.unparse(part) for n in loops for part in _names(n.target)}

    def makes(self, statement: ast.stmt) -> bool:
        """Whether a statement makes something of a model, what it defines for later left out."""
        bound = _targets(statement)
        calls = (node for node in _evaluated(statement) if isinstance(node, ast.Call))
        return any(self._makes(call, bound) or self._calls_maker(call) for call in calls)

    def header_makes(self, statement: ast.stmt) -> bool:
        """Whether what a compound statement evaluates before its blocks makes something."""
        heads = [value for name, value in ast.iter_fields(statement) if name not in (*NESTED, "handlers", "cases")]
        parts = [part for head in heads for part in (head if isinstance(head, list) else [head])]
        return any(self.makes(ast.Expr(part)) for part in parts if isinstance(part, ast.expr)) or any(
            self.makes(ast.Expr(part.context_expr)) for part in parts if isinstance(part, ast.withitem)
        )

    def _calls_maker(self, call: ast.Call) -> bool:
        function = call.func
        name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
        return name in self._makers or ast.unparse(function) in self._made

    def _in_lambda(self, node: ast.Assign) -> bool:
        assert isinstance(node.value, ast.Lambda)
        return self.makes(ast.Expr(node.value.body))


def blocks(tree: ast.Module, building: Building, lines: Sequence[str], head: str, reason: str) -> tuple[Block, ...]:
    """The blocks, opened by `head`, for the statements of a fragment that make models; neighbours share one."""
    spans = _merged(_spans(tree.body, building, lines), lines, _plain_lines(tree, lines))
    return tuple(Block(first, last, head, reason) for first, last in spans)


def _spans(body: Sequence[ast.stmt], building: Building, lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    for together in _on_shared_lines(body):
        statement = together[0]
        inner = _inner(statement, building, lines)
        if inner is not None and not building.header_makes(statement) and not _only_makes(statement, inner, building):
            for block in inner:
                yield from _spans(block, building, lines)
        elif any(map(building.makes, together)) and not any(map(_yields, together)):
            yield _lines(together)


def _on_shared_lines(body: Sequence[ast.stmt]) -> list[list[ast.stmt]]:
    """The statements of a block; those that a semicolon parts stand together."""
    found: list[list[ast.stmt]] = []
    for statement in body:
        if found and found[-1][-1].end_lineno == statement.lineno:
            found[-1].append(statement)
        else:
            found.append([statement])
    return found


def _inner(statement: ast.stmt, building: Building, lines: Sequence[str]) -> list[list[ast.stmt]] | None:
    """The blocks in a compound statement that lines can be put into; None for what is taken as a whole."""
    defines = isinstance(statement, (*FUNCTIONS, ast.ClassDef))
    if isinstance(statement, ast.ClassDef) and statement.name in building.model_classes:
        return []
    found = [getattr(statement, name) for name in NESTED if getattr(statement, name, None)]
    found += [h.body for h in getattr(statement, "handlers", ())] + [c.body for c in getattr(statement, "cases", ())]
    if all(_begins_line(block[0], lines) for block in found):
        return found or None
    return [] if defines else None


def _only_makes(statement: ast.stmt, inner: Sequence[Sequence[ast.stmt]], building: Building) -> bool:
    """Whether a loop or branch does nothing but make models, and so moves as a whole."""
    if isinstance(statement, (*FUNCTIONS, ast.ClassDef)) or not inner:
        return False
    return all(building.makes(s) and not hasattr(s, "body") for block in inner for s in block)


def _begins_line(statement: ast.stmt, lines: Sequence[str]) -> bool:
    return not lines[statement.lineno - 1].encode()[: statement.col_offset].strip()


def _merged(spans: Iterable[tuple[int, int]], lines: Sequence[str], plain: frozenset[int]) -> list[tuple[int, int]]:
    """Spans of lines in order; those with nothing but blank lines, comments and `plain` lines between them are one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if found and _can_join(found[-1], first, lines, plain):
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found


def _can_join(before: tuple[int, int], first: int, lines: Sequence[str], plain: frozenset[int]) -> bool:
    between = {number: lines[number - 1].strip() for number in range(before[1] + 1, first)}
    same = _indent(lines[before[0] - 1]) == _indent(lines[first - 1])
    passed = (number in plain or not line or line.startswith("#") for number, line in between.items())
    return first <= before[1] or (same and all(passed))


def _plain_lines(tree: ast.Module, lines: Sequence[str]) -> frozenset[int]:
    """The lines of assignments that call nothing: in a block they do what they do outside of it."""
    plain = [n for n in ast.walk(tree) if isinstance(n, ast.Assign) and not _calls(n) and _alone(n, lines)]
    return frozenset(number for n in plain for number in range(n.lineno, (n.end_lineno or n.lineno) + 1))


def _alone(statement: ast.stmt, lines: Sequence[str]) -> bool:
    rest = lines[(statement.end_lineno or 0) - 1].encode()[statement.end_col_offset :].strip()
    return _begins_line(statement, lines) and (not rest or rest.startswith(b"#"))


def _calls(node: ast.AST) -> bool:
    return any(isinstance(n, (ast.Call, ast.Yield, ast.YieldFrom, ast.Await, ast.Lambda)) for n in ast.walk(node))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _lines(together: Sequence[ast.stmt]) -> tuple[int, int]:
    return together[0].lineno, together[-1].end_lineno or together[-1].lineno


def _evaluated(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that are evaluated when a statement runs: not the bodies of functions and named lambdas."""
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        for decorator in node.decorator_list:
            yield from _evaluated(decorator)
        return
    yield node
    named = isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda)
    for child in () if named else ast.iter_child_nodes(node):
        yield from _evaluated(child)


def _yields(statement: ast.stmt) -> bool:
    return any(isinstance(n, (ast.Yield, ast.YieldFrom)) for n in _evaluated(statement))


def _names(node: ast.expr) -> list[ast.expr]:
    return [n for n in ast.walk(node) if isinstance(n, (ast.Name, ast.Attribute))]


def _targets(statement: ast.stmt) -> frozenset[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return frozenset(ast.unparse(t) for t in targets if isinstance(t, (ast.Name, ast.Attribute)))


def _derived(classes: Sequence[ast.ClassDef], is_base: Callable[[ast.expr], bool]) -> set[str]:
    found: set[str] = set()
    for _ in range(len(classes)):
        known = {
            c.name for c in classes if any(is_base(b) or (isinstance(b, ast.Name) and b.id in found) for b in c.bases)
        }
        if known == found:
            break
        found = known
    return found
