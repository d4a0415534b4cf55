"""What a run may say of BigQuery: parameters of the pipeline beside the notebook's own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from nb2pipe.dataflow.sql import SCHEME
from nb2pipe.findings import Finding, finding
from nb2pipe.pipeline.model import Pipeline, Shared, Step
from nb2pipe.pipeline.options import Option, option_parameters

ASKS = re.compile(r"(google[-_.]cloud[-_.]bigquery|pandas[-_.]gbq)(?![\w-])")
"""What a step requires that asks BigQuery."""

OPTIONS = (
    Option("project", "", "the Google Cloud project of BigQuery's clients that are given none"),
    Option("rows", 0, "for development: how many rows of a result or table are read, 0 is all", least=0),
)
DATASET = r"(([\w.-]+:)?[\w-]+\.)?\w+"
"""`DATASET` or `PROJECT.DATASET`."""


@dataclass(frozen=True, slots=True)
class _Default:
    """A default dataset of queries, and where it stands in the notebook; `name` is None where that is not known."""

    name: str | None
    cell: int
    line: int


def bigquery_parameters(pipeline: Pipeline) -> Pipeline:
    """The pipeline with `bigquery_project`, `bigquery_rows` and a parameter for each default dataset of its queries.

    They are parameters of the steps that they concern. A default dataset that no parameter could move as a whole has
    none, and is named in a finding.
    """
    asking = {step.name: step for step in pipeline.steps if _asks(step)}
    if not asking:
        return pipeline
    own = {parameter.name for parameter in pipeline.parameters}
    used = {name: tuple(_defaults(step, pipeline.shared, own)) for name, step in asking.items()}
    stay = {d: why for rows in used.values() for d in rows if (why := _why_it_stays(d, pipeline)) is not None}
    moved = {name: [d.name for d in rows if d.name and d not in stay] for name, rows in used.items()}
    names = list(dict.fromkeys(name for rows in moved.values() for name in rows))
    datasets = {name: _dataset(name, alone=len(names) == 1) for name in names}
    made = option_parameters(
        "bigquery", (*OPTIONS, *datasets.values()), pipeline.parameters, next(iter(asking.values())).cells[0]
    )
    general = tuple((option.name, made[option.name].name) for option in OPTIONS)
    taken = {
        name: (*general, *((f"dataset:{one}", made[datasets[one].name].name) for one in dict.fromkeys(rows)))
        for name, rows in moved.items()
    }
    return replace(
        pipeline,
        steps=tuple(replace(step, bigquery=taken.get(step.name, ())) for step in pipeline.steps),
        parameters=(*pipeline.parameters, *made.values()),
        findings=(*pipeline.findings, *(_stays(default, why) for default, why in stay.items())),
    )


def _asks(step: Step) -> bool:
    return any(ASKS.match(requirement.spec) for requirement in step.requirements)


def _dataset(name: str, *, alone: bool) -> Option:
    meaning = f"the dataset, or PROJECT.DATASET, of queries whose default dataset is {name}"
    return Option("dataset" if alone else f"dataset_{name}", name, meaning, form=DATASET)


# --- default datasets -------------------------------------------------------------------------------------------------
def _defaults(step: Step, shared: Shared, own: set[str]) -> Iterator[_Default]:
    """The default datasets that the step's code names; not those that parameters of the notebook give."""
    fragments = [*step.definitions, *step.setup, *step.body, *(shared.definitions if step.shared else ())]
    texts = ["\n".join(fragment.lines) for fragment in fragments]
    named = [i for i, text in enumerate(texts) if "default_dataset" in text or "defaultDataset" in text]
    known = _assigned(texts) if named else {}
    for i in named:
        for value in _values(texts[i]):
            name = _name(value, known)
            if name is not None or not own & _mentioned(value, known):
                yield _Default(name, fragments[i].cell, fragments[i].line + value.lineno - 1)


def _mentioned(value: ast.expr, known: Mapping[str, list[ast.expr]], depth: int = 4) -> set[str]:
    """The names that an expression is made of, also through each other."""
    names = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    through = [one for name in names if depth for one in known.get(name, ())]
    return names.union(*(_mentioned(one, known, depth - 1) for one in through))


def _tree(text: str) -> ast.Module:
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile(text, "<cell>", "exec", flags, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    return tree


def _values(text: str) -> Iterator[ast.expr]:
    """What is given as `default_dataset=`, set as an attribute of that name, or stands in the API's own terms."""
    for node in ast.walk(_tree(text)):
        found: list[ast.expr] = []
        if isinstance(node, ast.keyword) and node.arg == "default_dataset":
            found = [node.value]
        elif isinstance(node, ast.Assign):
            attributes = [target.attr for target in node.targets if isinstance(target, ast.Attribute)]
            found = [node.value] if "default_dataset" in attributes else []
        elif isinstance(node, ast.Dict):
            found = list(_under(node, "defaultDataset"))
        yield from (value for value in found if not (isinstance(value, ast.Constant) and value.value is None))


def _under(node: ast.Dict, key: str) -> Iterator[ast.expr]:
    return (v for k, v in zip(node.keys, node.values, strict=True) if isinstance(k, ast.Constant) and k.value == key)


def _assigned(texts: list[str]) -> Mapping[str, list[ast.expr]]:
    """All that plain names are assigned in the code."""
    found: dict[str, list[ast.expr]] = {}
    for text in texts:
        for node in ast.walk(_tree(text)):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        found.setdefault(target.id, []).append(node.value)
    return found


def _name(value: ast.expr, known: Mapping[str, list[ast.expr]], depth: int = 4) -> str | None:
    """The dataset that an expression gives, whatever project it is in; None when that is not certain."""
    if isinstance(value, ast.Name) and depth:
        given = known.get(value.id, [])
        return _name(given[0], known, depth - 1) if len(given) == 1 else None
    if isinstance(value, ast.Dict):
        return next((_name(v, known, depth) for v in _under(value, "datasetId")), None)
    if isinstance(value, ast.Call) and isinstance(value.func, (ast.Name, ast.Attribute)):
        called = value.func.attr if isinstance(value.func, ast.Attribute) else value.func.id
        places = {"DatasetReference": 1, "dataset": 0, "from_string": 0, "Dataset": 0, "get_dataset": 0}
        arguments = [*value.args, *(word.value for word in value.keywords if word.arg in ("dataset_id", "dataset_ref"))]
        place = min(places.get(called, -1), len(arguments) - 1)
        return _name(arguments[place], known, depth) if place >= 0 else None
    end = value.values[-1] if isinstance(value, ast.JoinedStr) and value.values else value
    if not isinstance(end, ast.Constant) or not isinstance(end.value, str):
        return None
    _, dot, name = end.value.rpartition(".")
    whole = re.fullmatch(r"\w+", name) and (bool(dot) or end is value)
    return name if whole else None


def _why_it_stays(default: _Default, pipeline: Pipeline) -> str | None:
    """Why no parameter can stand for the dataset; None when one can."""
    if default.name is None:
        return "its name is not known before the step runs"
    start = f"{SCHEME}{default.name}."
    named = [
        f"{path.removeprefix(SCHEME)} in step {step.name}"
        for step in pipeline.steps
        for path in dict.fromkeys([*(file.path for file in step.files_in), *step.files_out])
        if path.startswith(start)
    ]
    return f"tables of it are also named with the dataset: {', '.join(named)}" if named else None


def _stays(default: _Default, why: str) -> Finding:
    message = f"no parameter moves the queries on the default dataset {default.name or 'here'}: {why}"
    return finding("dataset-stays", message, cell=default.cell, line=default.line, name=default.name)
