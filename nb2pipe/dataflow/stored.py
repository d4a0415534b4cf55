"""What is wrong with values that are stored between steps: those that cannot be, or come back as something else."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from itertools import combinations

from nb2pipe.dataflow.events import Place
from nb2pipe.dataflow.forward import Forward
from nb2pipe.dataflow.model import Need, Statement, StepFlow
from nb2pipe.dataflow.places import own_places
from nb2pipe.dataflow.values import Heap
from nb2pipe.findings import Finding, finding

_UNSTORABLE_TYPES = {
    "builtins.generator": "a generator",
    "builtins.file": "an open file",
    "builtins.iterator": "an iterator",
}


_WAYS_OUT = {
    "apache_beam": "Build and run the pipeline in one step; let it write what later steps need to files in a folder.",
    "a generator": "Collect what it gives in a list, in the step that makes it.",
    "an iterator": "Make a list of it (`list(...)`) in the step that makes it, or use it up there.",
    "an open file": "Close the file in its step, and open it again in the step that goes on.",
    "builtins.file": "Read or write all in one step, or open the file again in the step that goes on.",
    **dict.fromkeys(
        ("threading", "concurrent", "multiprocessing"),
        "Start it and wait for it in one step, and hand on what it gives.",
    ),
    "functools": "Put it above the function as a decorator: each step can define that anew, but not what a call made.",
    "hashlib": "Hand on what is to be hashed, or the digest.",
    "re": "Hand on the texts in it, such as `match.group()`.",
    "weakref": "Hand on the objects themselves.",
}
"""What to do about values of a library that cannot be stored, where that is not what always helps."""


def stored_findings(flows: Sequence[StepFlow], statements: Sequence[Statement], forward: Forward) -> list[Finding]:
    """Values that cannot be stored, and names that travel together."""
    found: list[Finding] = []
    compiled = _compiled(statements, forward)
    for flow in flows:
        for need in flow.inputs.values():
            val = flow.input_values[need.name]
            definitions = {o for d in val.defs if (o := forward.heap.definitions.get(d)) is not None}
            reached = forward.heap.reach(val.objs | definitions)
            bad = {o for o in reached if "unstorable" in forward.heap.objs[o].marks}
            what = _UNSTORABLE_TYPES.get(val.type or "", "")
            if bad or what:
                kind = what or forward.heap.objs[min(bad)].type or "a value"
                message = (
                    f"{need.name} ({kind}) cannot be stored, and step {flow.name} takes it from step {need.source}"
                )
                cell, line = _where(flow, need.name)
                hint = _WAYS_OUT.get(kind, _WAYS_OUT.get(kind.partition(".")[0]))
                found.append(finding("unpicklable", message, cell=cell, line=line, name=need.name, hint=hint))
            found += _own_pickling(flow, need, reached, forward)
        found += _shared_weights(flow, forward, compiled)
        for bundle in flow.bundles:
            message = f"{', '.join(bundle)} share identity and travel together in one artifact"
            place = flow.joined_at[bundle]
            found.append(finding("alias-across-steps", message, cell=place.cell, line=place.line, name=bundle[0]))
    return found + _placed(flows, statements)


# --- Keras ----------------------------------------------------------------------------------------------------------
def _shared_weights(flow: StepFlow, forward: Forward, compiled: set[int]) -> list[Finding]:
    """Models in one artifact that have weights in common: what is no part of another model would get its own."""
    found = []
    for names in (*flow.bundles, *((n,) for n in flow.outputs if not any(n in b for b in flow.bundles))):
        values = frozenset().union(*(flow.output_values[n].objs for n in names))
        models = {o for o in _held(forward.heap, values, inner=False) if _is_keras(forward.heap, o, _MODELS)}
        for one, other in combinations(sorted(models), 2):
            held = [_held(forward.heap, [o]) for o in (one, other)]
            part = one in held[1] or other in held[0]
            layers = {o for o in held[0] & held[1] if _is_keras(forward.heap, o, (*_MODELS, *_LAYERS))}
            if layers and (not part or {one, other} <= compiled):
                place = flow.joined_at.get(names, Place(flow.cells[0], 1, ""))
                message = f"{' and '.join(names)}: models that share layers, which one artifact cannot keep"
                found.append(finding("shared-weights", message, cell=place.cell, line=place.line, name=names[0]))
                break
    return found


_MODELS = ("keras.Model", "keras.Sequential", "keras.models.")
_LAYERS = ("keras.Layer", "keras.layers.")


def _is_keras(heap: Heap, index: int, names: tuple[str, ...]) -> bool:
    cls = heap.classes.get(index)
    type_name = (cls.library_base if cls is not None else heap.objs[index].type) or ""
    return type_name.removeprefix("tensorflow.").replace("tf_keras.", "keras.").startswith(names)


def _held(heap: Heap, objs: Iterable[int], *, inner: bool = True) -> set[int]:
    """What values hold for all that is known; with `inner` what models hold too."""
    seen: set[int] = set()
    todo = set(objs)
    while todo:
        index = todo.pop()
        seen.add(index)
        if not heap.objs[index].hub and (inner or not _is_keras(heap, index, _MODELS)):
            todo |= heap.objs[index].parts.keys() - seen
    return seen


def _compiled(statements: Iterable[Statement], forward: Forward) -> set[int]:
    """The models that the notebook compiles by name."""
    calls = [n.func for s in statements for n in s.nodes if isinstance(n, ast.Call)]
    on = [c.value for c in calls if isinstance(c, ast.Attribute) and c.attr == "compile"]
    names = {n.id for n in on if isinstance(n, ast.Name)}
    return {o for n in names if (val := forward.value(n)) is not None for o in val.objs}


# --- classes of the notebook ------------------------------------------------------------------------------------------
_PICKLING = ("__getstate__", "__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__")


def _own_pickling(flow: StepFlow, need: Need, reached: Iterable[int], forward: Forward) -> list[Finding]:
    """Instances of classes that say themselves what of them is stored, and may leave something out."""
    classes = dict.fromkeys(forward.heap.classes[o] for o in sorted(reached) if o in forward.heap.classes)
    found = []
    for made, method in ((c, m) for c in classes for m in _PICKLING if c.method(m) is not None):
        message = (
            f"{need.name} crosses from step {need.source} to step {flow.name} as {method} of {made.name} stores it"
        )
        cell, line = _where(flow, need.name)
        found.append(finding("own-pickling", message, cell=cell, line=line, name=need.name))
    return found


def _where(flow: StepFlow, name: str) -> tuple[int, int]:
    why = flow.inputs[name].why
    words = why.split()
    if len(words) > 3 and words[0] == "cell" and words[1].isdigit():
        return int(words[1]), int(words[3].rstrip(":"))
    return flow.cells[0], 1


def _placed(flows: Sequence[StepFlow], statements: Sequence[Statement]) -> list[Finding]:
    """Paths that lead into the folder of another step's process."""
    places = {f.name: own_places(statements[i] for i in f.statements) for f in flows}
    found: list[Finding] = []
    for flow in flows:
        for need in flow.inputs.values():
            place = places[need.source].get(need.name)
            if place is not None:
                cell, line = _where(flow, need.name)
                message = (
                    f"step {flow.name} takes {need.name} from step {need.source}, a path to where that step "
                    f"ran ({place}): each step runs in a folder of its own"
                )
                hint = "Hand on a path that starts from the notebook's folder (`data/a.csv`), or make it in each step."
                found.append(finding("hidden-file", message, cell=cell, line=line, name=need.name, hint=hint))
    return found
