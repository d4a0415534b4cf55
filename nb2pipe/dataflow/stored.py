"""What is wrong with values that are stored between steps: those that cannot be, or come back as something else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from nb2pipe.dataflow.forward import Forward
from nb2pipe.dataflow.model import Need, StepFlow
from nb2pipe.findings import Finding, finding

_UNSTORABLE_TYPES = {
    "builtins.generator": "a generator",
    "builtins.file": "an open file",
    "builtins.iterator": "an iterator",
}


_WAYS_OUT = {
    "apache_beam": "Build and run the pipeline in one step; let it write what later steps need to files in a folder.",
}
"""What to do about values of a library that cannot be stored, where that is not what always helps."""


def stored_findings(flows: Sequence[StepFlow], forward: Forward) -> list[Finding]:
    """Values that cannot be stored, and names that travel together."""
    found: list[Finding] = []
    data = {name for flow in flows for name in flow.inputs}
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
                hint = _WAYS_OUT.get(kind.partition(".")[0])
                found.append(finding("unpicklable", message, cell=cell, line=line, name=need.name, hint=hint))
            found += _own_pickling(flow, need, reached, forward)
            found += _own_caches(flow, need, reached, forward, data)
        for bundle in flow.bundles:
            message = f"{', '.join(bundle)} share identity and travel together in one artifact"
            place = flow.joined_at[bundle]
            found.append(finding("alias-across-steps", message, cell=place.cell, line=place.line, name=bundle[0]))
    return found


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


def _own_caches(
    flow: StepFlow, need: Need, reached: Iterable[int], forward: Forward, data: Collection[str]
) -> list[Finding]:
    """Instances of classes that travel as values, because they read what steps compute, and have a method that caches:
    what `functools.lru_cache` makes is stored by its name only."""
    found = []
    for made in dict.fromkeys(forward.heap.classes[o] for o in sorted(reached) if o in forward.heap.classes):
        if any(f.cached for f in made.functions()) and forward.outer_reads([made]) & set(data):
            message = f"{need.name} holds an instance of {made.name}, whose cached method cannot be stored, and step "
            message += f"{flow.name} takes it from step {need.source}"
            cell, line = _where(flow, need.name)
            found.append(finding("unpicklable", message, cell=cell, line=line, name=need.name))
    return found


def _where(flow: StepFlow, name: str) -> tuple[int, int]:
    why = flow.inputs[name].why
    words = why.split()
    if len(words) > 3 and words[0] == "cell" and words[1].isdigit():
        return int(words[1]), int(words[3].rstrip(":"))
    return flow.cells[0], 1
