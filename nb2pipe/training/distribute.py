"""The pass that makes a distributed training of every step with workers."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from nb2pipe.findings import Finding, finding
from nb2pipe.pipeline.graph import is_staged
from nb2pipe.pipeline.model import Fragment, Pipeline, Requirement, Shared, Step
from nb2pipe.pipeline.requirements import normalized
from nb2pipe.training.alike import unlike
from nb2pipe.training.edits import Edit, Insert, applied
from nb2pipe.training.frameworks import FRAMEWORKS
from nb2pipe.training.model import Code, Companion, Framework, Key, Piece, Rewrite, Section
from nb2pipe.training.names import imported


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a framework makes of a step; `framework` is None where the step cannot be spread."""

    step: Step
    framework: Framework | None
    rewrite: Rewrite


def distributed(pipeline: Pipeline) -> Pipeline:
    """The pipeline whose steps with workers run on many; a step that cannot soundly do so has a finding."""
    answers = [_answer(step, pipeline.shared) for step in pipeline.steps if step.workers]
    done = {a.step.name: a for a in answers if a.framework}
    companions = tuple(dict.fromkeys(c for a in done.values() for c in a.rewrite.companions))
    steps = (_rewritten(done[s.name]) if s.name in done else s for s in pipeline.steps)
    return replace(
        pipeline,
        steps=tuple(_accompanied(step, companions) for step in steps),
        shared=_rewritten_shared(pipeline.shared, list(done.values())),
        findings=(*pipeline.findings, *(f for a in answers for f in a.rewrite.findings)),
        env=tuple({**dict(pipeline.env), **dict(pair for c in companions for pair in c.env)}.items()),
    )


def _answer(step: Step, shared: Shared) -> _Answer:
    code = code_of(step, shared)
    frameworks = [f for f in FRAMEWORKS if f.trains(code)]
    if len(frameworks) != 1:
        return _Answer(step, None, Rewrite({}, (_not_one(code, frameworks),)))
    rewrite = frameworks[0].rewrite(code)
    rewrite = replace(rewrite, findings=(*rewrite.findings, *_written_by_all(code, rewrite), *unlike(code)))
    refused = any(f.severity == "error" for f in rewrite.findings)
    return _Answer(step, None if refused else frameworks[0], rewrite)


def _written_by_all(code: Code, rewrite: Rewrite) -> Iterator[Finding]:
    """Findings for files that all workers would write in one place, unless the rewrite changes how they are written."""
    for path in code.step.files_out:
        if is_staged(path):
            continue
        places = [(p, node) for p in code.pieces for node in _texts(p.tree, path)]
        inserts = [(key, e) for key, edits in rewrite.edits.items() for e in edits if isinstance(e, Insert)]
        edited = {(key, edit.line, edit.column) for key, edit in inserts}
        if any((piece.key, node.lineno, node.col_offset) in edited for piece, node in places):
            continue
        cell = places[0][0].fragment.cell if places else code.step.cells[0]
        line = places[0][0].fragment.line + places[0][1].lineno - 1 if places else None
        message = f"Every worker would write {path}, which is one file for all of them."
        yield finding("workers-unsound", message, cell=cell, line=line, name=path, hint=WRITE_ELSEWHERE)


WRITE_ELSEWHERE = "Write to a path relative to the notebook, or write the file in a later step, which has no workers."


def _texts(tree: ast.AST, text: str) -> list[ast.Constant]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value == text]


def _accompanied(step: Step, companions: tuple[Companion, ...]) -> Step:
    """The step with what belongs to the libraries that it requires."""
    names = {normalized(requirement.spec) for requirement in step.requirements}
    more = [c for c in companions if any(n == c.library or n.startswith(f"{c.library}-") for n in names)]
    return replace(step, requirements=_with(step.requirements, tuple(r for c in more for r in c.requirements)))


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


OTHERS = {
    "xgboost": "Train with `xgboost.train` or the `fit` of an estimator (`xgboost.cv` and `Booster.update` are not "
    "spread), or take `workers:` away and ask for cores with `cpu:`.",
    "lightgbm": "LightGBM uses all cores of one machine: take `workers:` away and ask for them with `cpu:`; XGBoost "
    "trains such trees on many workers.",
    "catboost": "CatBoost uses all cores of one machine: take `workers:` away and ask for them with `cpu:`; XGBoost "
    "trains such trees on many workers.",
    "sklearn": "scikit-learn uses the cores of one machine: take `workers:` away, ask for cores with `cpu:` and give "
    "the estimator `n_jobs=-1`; XGBoost has estimators for many workers.",
    "jax": "JAX is not spread: take `workers:` away and ask for cores with `cpu:` or a `gpu:`.",
}
"""What to do where a step trains with a library that is not spread; the first that it imports counts."""


def _not_one(code: Code, frameworks: list[Framework]) -> Finding:
    step, libraries = code.step, {path.split(".")[0] for path in code.imports.values()}
    names = ", ".join(f.name for f in FRAMEWORKS)
    if frameworks:
        message = f"Step {step.name} trains with {' and '.join(f.name for f in frameworks)}; workers serve one of them."
    else:
        message = f"Step {step.name} has workers:{step.workers}, but trains with none of {names}."
    hint = next((hint for library, hint in OTHERS.items() if library in libraries and not frameworks), None)
    cell = step.cells[0] if step.cells else None
    return finding("workers-no-framework", message, cell=cell, name=step.name, hint=hint)


def _rewritten(answer: _Answer) -> Step:
    step, rewrite = answer.step, answer.rewrite
    assert answer.framework is not None
    env = tuple({**dict(step.resources.env), **dict(rewrite.env)}.items())
    return replace(
        step,
        definitions=edited("definitions", step.definitions, rewrite.edits),
        setup=edited("setup", step.setup, rewrite.edits),
        body=edited("body", step.body, rewrite.edits),
        framework=answer.framework.name,
        requirements=_with(step.requirements, rewrite.requirements),
        resources=replace(step.resources, env=env),
    )


def _rewritten_shared(shared: Shared, answers: list[_Answer]) -> Shared:
    """shared.py with the edits of all steps; what several of them use, a framework edits in the same way for each."""
    edits: dict[Key, tuple[Edit, ...]] = {}
    frameworks = set(shared.frameworks)
    for answer in answers:
        asked = {key: found for key, found in answer.rewrite.edits.items() if key[0] == "shared"}
        if asked and answer.framework is not None:
            frameworks.add(answer.framework.name)
            edits |= {key: tuple(dict.fromkeys([*edits.get(key, ()), *found])) for key, found in asked.items()}
    if not edits:
        return shared
    definitions = edited("shared", shared.definitions, edits)
    return replace(shared, definitions=definitions, frameworks=tuple(sorted(frameworks)))


def edited(
    section: Section, fragments: tuple[Fragment, ...], edits: Mapping[Key, tuple[Edit, ...]]
) -> tuple[Fragment, ...]:
    """The fragments of a section with the edits that there are for them."""
    return tuple(applied(f, edits[section, i]) if (section, i) in edits else f for i, f in enumerate(fragments))


def _with(given: tuple[Requirement, ...], more: tuple[Requirement, ...]) -> tuple[Requirement, ...]:
    return tuple({r.spec: r for r in (*given, *more)}.values())
