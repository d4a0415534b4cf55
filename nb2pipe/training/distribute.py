"""The pass that makes a distributed training of every step with workers."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import replace

from nb2pipe.findings import Finding, finding
from nb2pipe.pipeline.model import Fragment, Pipeline, Requirement, Shared, Step
from nb2pipe.training.edits import Edit, applied
from nb2pipe.training.frameworks import FRAMEWORKS
from nb2pipe.training.model import Code, Framework, Key, Piece, Rewrite, Section
from nb2pipe.training.names import imported


def distributed(pipeline: Pipeline) -> Pipeline:
    """The pipeline whose steps with workers run on many; a step that cannot soundly do so has a finding."""
    for step in pipeline.steps:
        if step.workers:
            pipeline = _distributed_step(pipeline, step)
    return pipeline


def _distributed_step(pipeline: Pipeline, step: Step) -> Pipeline:
    code = code_of(step, pipeline.shared)
    frameworks = [f for f in FRAMEWORKS if f.trains(code)]
    if len(frameworks) != 1:
        return replace(pipeline, findings=(*pipeline.findings, _not_one(step, frameworks)))
    framework = frameworks[0]
    rewrite = framework.rewrite(code)
    found = replace(pipeline, findings=(*pipeline.findings, *rewrite.findings))
    if any(f.severity == "error" for f in rewrite.findings):
        return found
    changed = _rewritten(step, framework, rewrite)
    steps = tuple(changed if s is step else s for s in pipeline.steps)
    return replace(found, steps=steps, shared=_rewritten_shared(pipeline.shared, framework, rewrite))


def code_of(step: Step, shared: Shared) -> Code:
    """All code that the step runs, parsed."""
    used = frozenset(step.shared)
    pieces = [
        *_pieces("shared", [f if used & set(f.names) else None for f in shared.definitions]),
        *_pieces("definitions", step.definitions),
        *_pieces("setup", step.setup),
        *_pieces("body", step.body),
    ]
    heads = [*shared.prelude, *shared.imports, *step.prelude, *step.imports]
    trees = [_parsed(f) for f in heads] + [piece.tree for piece in pieces]
    extra = [ast.parse(line) for line in (*shared.extra_imports, *step.extra_imports)]
    return Code(step, tuple(pieces), imported([*trees, *extra]))


def _pieces(section: Section, fragments: Iterable[Fragment | None]) -> list[Piece]:
    return [Piece((section, i), f, _parsed(f)) for i, f in enumerate(fragments) if f is not None]


def _parsed(fragment: Fragment) -> ast.Module:
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile("\n".join(fragment.lines), "<cell>", "exec", flags, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    return tree


def _not_one(step: Step, frameworks: list[Framework]) -> Finding:
    names = ", ".join(f.name for f in FRAMEWORKS)
    if frameworks:
        message = f"Step {step.name} trains with {' and '.join(f.name for f in frameworks)}; workers serve one of them."
    else:
        message = f"Step {step.name} has workers:{step.workers}, but trains with none of {names}."
    return finding("workers-no-framework", message, cell=step.cells[0] if step.cells else None, name=step.name)


def _rewritten(step: Step, framework: Framework, rewrite: Rewrite) -> Step:
    env = tuple({**dict(step.resources.env), **dict(rewrite.env)}.items())
    return replace(
        step,
        definitions=edited("definitions", step.definitions, rewrite.edits),
        setup=edited("setup", step.setup, rewrite.edits),
        body=edited("body", step.body, rewrite.edits),
        framework=framework.name,
        requirements=_with(step.requirements, rewrite.requirements),
        resources=replace(step.resources, env=env),
    )


def _rewritten_shared(shared: Shared, framework: Framework, rewrite: Rewrite) -> Shared:
    if not any(section == "shared" for section, _ in rewrite.edits):
        return shared
    definitions = edited("shared", shared.definitions, rewrite.edits)
    return replace(shared, definitions=definitions, frameworks=tuple(sorted({*shared.frameworks, framework.name})))


def edited(
    section: Section, fragments: tuple[Fragment, ...], edits: Mapping[Key, tuple[Edit, ...]]
) -> tuple[Fragment, ...]:
    """The fragments of a section with the edits that there are for them."""
    return tuple(applied(f, edits[section, i]) if (section, i) in edits else f for i, f in enumerate(fragments))


def _with(given: tuple[Requirement, ...], more: tuple[Requirement, ...]) -> tuple[Requirement, ...]:
    return tuple({r.spec: r for r in (*given, *more)}.values())
