"""The pass over steps that build Beam pipelines: a step's pipelines run where the parameters of the run say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nb2pipe.beam.options import OPTIONS
from nb2pipe.beam.workers import files_of_workers
from nb2pipe.dataflow.tables import Tables
from nb2pipe.findings import Finding, finding
from nb2pipe.pipeline.model import Fragment, Pipeline, Requirement, Shared, Step
from nb2pipe.pipeline.options import option_parameters
from nb2pipe.training.distribute import code_of, edited
from nb2pipe.training.edits import Edit, Replace, around
from nb2pipe.training.model import Code, Key, Piece
from nb2pipe.training.names import called, imported, path_of

PIPELINES = frozenset({"apache_beam.Pipeline", "apache_beam.pipeline.Pipeline"})
INTERACTIVE = "apache_beam.runners.interactive"
COLLECT = f"{INTERACTIVE}.interactive_beam.collect"
WHERE = "where it runs comes from the parameters of the run"
FILES = "workers on Dataflow find files in Cloud Storage"
RUNNER = re.compile(r"(?:--runner[= ])?([A-Z]\w*Runner)")
PLAIN = frozenset({"DirectRunner", "InteractiveRunner", "FnApiRunner", "PrismRunner"})
"""Runners of this machine: taking their place changes nothing."""

SEEN_TO = frozenset({"setup_file", "extra_package", "extra_packages", "requirements_file", "save_main_session"})
"""Options about the code that workers need, which a generated step sees to itself."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What becomes of a step: edits of its fragments and of those of shared.py, and what is said."""

    step: Step
    edits: Mapping[Key, tuple[Edit, ...]]
    findings: tuple[Finding, ...]


def beamed(pipeline: Pipeline) -> Pipeline:
    """The pipeline whose Beam steps run here or on Dataflow; unchanged where no step has to do with Beam."""
    answers = [answer for step in pipeline.steps if (answer := _answer(step, pipeline.shared)) is not None]
    done = {a.step.name: a for a in answers if a.edits}
    remote = [a.step for a in done.values() if a.step.runner]
    options = option_parameters("beam", OPTIONS, pipeline.parameters, remote[0].cells[0]) if remote else {}
    names = tuple((option, parameter.name) for option, parameter in options.items())
    return replace(
        pipeline,
        steps=tuple(_rewritten(done[s.name], names) if s.name in done else s for s in pipeline.steps),
        shared=_rewritten_shared(pipeline.shared, list(done.values())),
        parameters=(*pipeline.parameters, *options.values()),
        findings=(*pipeline.findings, *dict.fromkeys(f for a in answers for f in a.findings)),
    )


def _answer(step: Step, shared: Shared) -> _Answer | None:
    """None for a step that has nothing to do with Beam."""
    used = _reached(step, shared)
    code = code_of(replace(step, shared=tuple(sorted(used))), shared)
    if not any(path.split(".")[0] == "apache_beam" for path in code.imports.values()):
        return _Answer(step, {}, (_no_pipeline(step),)) if step.runner else None
    edits: dict[Key, tuple[Edit, ...]] = {}
    for piece in code.pieces:
        found = tuple(_edits(piece, code.imports, remote=bool(step.runner)))
        edits |= {piece.key: found} if found else {}
    builds = any(isinstance(edit, Replace) for found in edits.values() for edit in found)
    said = [*_runners(code), *_interactive(code), *(_seen_to(code) if step.runner else ())]
    if not builds:
        return _Answer(step, {}, (*said, _no_pipeline(step)) if step.runner else tuple(said))
    return _Answer(step, edits, (*said, *(files_of_workers(code) if step.runner else ())))


def _reached(step: Step, shared: Shared) -> set[str]:
    """The names of shared.py that the step uses, also through each other."""
    words = [(set(f.names), set(re.findall(r"\w+", "\n".join(f.lines)))) for f in shared.definitions]
    found = set(step.shared)
    while more := {n for names, said in words if names & found for n in said} & _all_names(shared) - found:
        found |= more
    return found


def _all_names(shared: Shared) -> set[str]:
    return {name for fragment in shared.definitions for name in fragment.names}


def _edits(piece: Piece, imports: Mapping[str, str], *, remote: bool) -> Iterator[Edit]:
    """Pipelines and collected values by the generated helper; on Dataflow also the paths of files."""
    for node in ast.walk(piece.tree):
        path = called(node, imports)
        if not path or not isinstance(node, ast.Call):
            continue
        if path in PIPELINES:
            yield _instead(node.func, "beam_runs.Pipeline", WHERE)
        elif path == COLLECT and len(node.args) == 1 and not node.keywords:
            yield _instead(node.func, "beam_runs.collect", "the value without the interactive runner")
        elif remote:
            yield from _paths(node, path)


def _instead(node: ast.expr, text: str, reason: str) -> Replace:
    assert node.end_col_offset is not None
    return Replace(node.lineno, node.col_offset, node.end_col_offset, text, reason)


def _paths(call: ast.Call, path: str) -> Iterator[Edit]:
    """The path that a transform reads or writes, as workers find it."""
    row = Tables().function(path) if path.startswith("apache_beam.io.") else None
    for use, place in row.files if row is not None else ():
        given = _argument(call, place)
        if given is not None:
            name = "source" if use == "read" else "sink"
            yield from around(given, f"beam_runs.{name}(", ")", FILES)


def _argument(call: ast.Call, place: int | str) -> ast.expr | None:
    if isinstance(place, str):
        return next((word.value for word in call.keywords if word.arg == place), None)
    plain = place < len(call.args) and not any(isinstance(arg, ast.Starred) for arg in call.args[: place + 1])
    return call.args[place] if plain else None


# --- what is said -----------------------------------------------------------------------------------------------------
def _no_pipeline(step: Step) -> Finding:
    message = f"Step {step.name} has runner:{step.runner}, but builds no Beam pipeline."
    return finding("beam-no-pipeline", message, cell=step.cells[0], name=step.name)


def _nodes(code: Code) -> Iterator[tuple[Piece, ast.AST]]:
    return ((piece, node) for piece in code.pieces for node in ast.walk(piece.tree))


def _say(code: str, message: str, piece: Piece, node: ast.expr, name: str | None) -> Finding:
    line = piece.fragment.line + node.lineno - 1
    return finding(code, message, cell=piece.fragment.cell, line=line, name=name)


def _runners(code: Code) -> Iterator[Finding]:
    """Runners that the notebook names, as texts or by their classes."""
    for piece, node in _nodes(code):
        name = _runner_named(node, code.imports)
        if name and isinstance(node, ast.expr) and name not in PLAIN:
            message = f"The notebook names the runner {name}; the step runs on the DirectRunner here"
            message += ", and on Dataflow when it is compiled." if code.step.runner else ", and when it is compiled."
            said = _say("beam-runner", message, piece, node, name)
            yield replace(said, severity="note") if code.step.runner else said


def _runner_named(node: ast.AST, imports: Mapping[str, str]) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        match = RUNNER.fullmatch(node.value)
        return match[1] if match else ""
    path = called(node, imports)
    name = path.rpartition(".")[2]
    return name if path.startswith("apache_beam.") and RUNNER.fullmatch(name) else ""


def _seen_to(code: Code) -> Iterator[Finding]:
    """Options about code for workers."""
    for piece, node in _nodes(code):
        words = [word for word in node.keywords if word.arg in SEEN_TO] if isinstance(node, ast.Call) else []
        for word in words:
            message = f"The option {word.arg} gives way: the step itself sends its code and requirements to workers."
            yield _say("beam-option", message, piece, word.value, word.arg)
        if isinstance(node, ast.Attribute) and node.attr in SEEN_TO and isinstance(node.ctx, ast.Store):
            message = f"The option {node.attr} gives way: the step itself sends its code and requirements to workers."
            yield _say("beam-option", message, piece, node, node.attr)


def _interactive(code: Code) -> Iterator[Finding]:
    """What is left of interactive Beam and has no counterpart."""
    taken = {
        node.func
        for _, node in _nodes(code)
        if isinstance(node, ast.Call) and called(node, code.imports) == COLLECT
        if len(node.args) == 1 and not node.keywords
    }
    inside = {id(child) for node in taken for child in ast.walk(node)}
    for piece, node in _nodes(code):
        if isinstance(node, (ast.Attribute, ast.Name)) and id(node) not in inside:
            path = path_of(node, code.imports)
            if path.startswith(INTERACTIVE):
                inside |= {id(child) for child in ast.walk(node)}
                message = f"{ast.unparse(node)} works in a notebook only."
                yield _say("beam-collect", message, piece, node, ast.unparse(node))


# --- putting it together ----------------------------------------------------------------------------------------------
def _rewritten(answer: _Answer, options: tuple[tuple[str, str], ...]) -> Step:
    step = answer.step
    step = replace(
        step,
        definitions=edited("definitions", step.definitions, answer.edits),
        setup=edited("setup", step.setup, answer.edits),
        body=edited("body", step.body, answer.edits),
        beam=True,
        beam_options=options if step.runner else (),
    )
    step = replace(step, requirements=_with_cloud(step.requirements)) if step.runner or _asks_cloud(step) else step
    return replace(step, imports=_still_used(step.imports, (*step.definitions, *step.setup, *step.body)))


def _rewritten_shared(shared: Shared, answers: Sequence[_Answer]) -> Shared:
    edits: dict[Key, tuple[Edit, ...]] = {}
    for answer in answers:
        for key, found in answer.edits.items():
            if key[0] == "shared":
                edits[key] = tuple(dict.fromkeys([*edits.get(key, ()), *found]))
    if not edits:
        return shared
    definitions = edited("shared", shared.definitions, edits)
    imports = _still_used(shared.imports, definitions)
    return replace(shared, definitions=definitions, imports=imports, beam=True)


def _still_used(imports: tuple[Fragment, ...], code: Iterable[Fragment]) -> tuple[Fragment, ...]:
    """The imports without those of interactive Beam that no line mentions any more."""
    said = set(re.findall(r"\w+", "\n".join(line for fragment in code for line in fragment.lines)))
    return tuple(fragment for fragment in imports if not _is_idle(fragment, said))


def _is_idle(fragment: Fragment, said: set[str]) -> bool:
    text = "\n".join(fragment.lines)
    names = imported([ast.parse(text)]) if INTERACTIVE in text else {}
    return bool(names) and all(p.startswith(INTERACTIVE) for p in names.values()) and not said & set(names)


CLOUD = re.compile(r"BigQuery|PubSub|Spanner|Datastore|Bigtable|beam\.io\.gcp|gs://", re.IGNORECASE)
"""What a step says that reads or writes Google Cloud with Beam, on whatever runner."""


def _asks_cloud(step: Step) -> bool:
    lines = (line for f in (*step.imports, *step.definitions, *step.setup, *step.body) for line in f.lines)
    return any(CLOUD.search(line) for line in lines)


def _with_cloud(requirements: tuple[Requirement, ...]) -> tuple[Requirement, ...]:
    """The requirements with what Beam needs for Google Cloud."""
    return tuple(
        replace(r, spec=re.sub(r"^apache[-_.]beam(?=[^\w\[]|$)", "apache-beam[gcp]", r.spec)) for r in requirements
    )
