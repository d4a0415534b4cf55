"""Names that Keras counts: `dense_1` is the second layer without a name in the notebook, and the second in a step."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from nb2pipe.dataflow.model import Statement, StepFlow
from nb2pipe.findings import Finding, finding

_NUMBERED = re.compile(r"(?:val_)?([a-z][a-z0-9_]*?)_\d+(?:_[a-z_]+)?")
_KERAS = ("keras.", "tf_keras.")
_NAMES = {"model": "functional"}
"""Classes whose objects Keras 3 names otherwise than by their own name."""


def counted_kind(ref: str, *, named: bool) -> str | None:
    """How Keras names what a call of `ref` makes, before the number; None when it has a name or is not Keras's.

    >>> counted_kind("keras.layers.MaxPooling2D", named=False), counted_kind("keras.metrics.AUC", named=False)
    ('max_pooling2d', 'auc')
    """
    name = ref.rpartition(".")[2]
    if named or not ref.startswith(_KERAS) or not name[:1].isupper():
        return None
    kind = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()
    return _NAMES.get(kind, kind) if ref.startswith("keras.") else kind


def numbered_names(flows: Sequence[StepFlow], statements: Sequence[Statement]) -> list[Finding]:
    """Texts with the number of such a name, when steps count that do not count on from each other: a step goes on
    from the Keras values that it takes, and begins anew without one."""
    makers: dict[str, list[StepFlow]] = {}
    for flow in flows:
        for kind in sorted({k for i in flow.statements for k in statements[i].record.counted}):
            makers.setdefault(kind, []).append(flow)
    after = _counting_on_from(flows)
    anew = {
        kind: steps
        for kind, steps in makers.items()
        if any(one.name not in after[two.name] for one, two in pairwise(steps))
    }
    return [one for flow in flows for one in _of_step(flow, statements, anew)] if anew else []


def _counting_on_from(flows: Sequence[StepFlow]) -> dict[str, set[str]]:
    """For each step those that Keras goes on from: of whose values of Keras it takes one, themselves included."""
    after: dict[str, set[str]] = {}
    for flow in flows:
        kinds = {name: val.type for name, val in flow.input_values.items()}
        sources = {n.source for n in flow.inputs.values() if (kinds.get(n.name) or "keras.").startswith(_KERAS)}
        after[flow.name] = {flow.name}.union(*(after.get(source, set()) for source in sources))
    return after


def _of_step(
    flow: StepFlow, statements: Sequence[Statement], anew: Mapping[str, Sequence[StepFlow]]
) -> Iterator[Finding]:
    """The step that makes the first of a kind counts as the notebook does."""
    for statement in (statements[i] for i in sorted({*flow.copies, *flow.statements})):
        for text, line in _texts(statement):
            found = _NUMBERED.fullmatch(text)
            steps = anew.get(found[1], ()) if found else ()
            if steps and steps[0] is not flow:
                names = " and ".join(step.name for step in steps)
                message = f"{text!r} is counted over the whole notebook, but steps {names} each count what they make"
                yield finding("numbered-name", message, cell=statement.cell, line=line, name=text)


def _texts(statement: Statement) -> Iterator[tuple[str, int]]:
    for whole in statement.nodes:
        for node in ast.walk(whole):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value, node.lineno
