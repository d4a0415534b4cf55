"""What task.py and pipeline.py of a project need beyond the graph.

All decisions are made here; `templates/package/task.py.j2` and `templates/project/pipeline.py.j2` only lay them out.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

from nb2pipe.pipeline import values
from nb2pipe.pipeline.graph import Json, graph
from nb2pipe.pipeline.kfp_view import EVERY_STEP, kfp_name, kfp_view
from nb2pipe.pipeline.layout import layout
from nb2pipe.pipeline.model import Pipeline


def scaffold(
    pipeline: Pipeline,
    package: str,
    functions: Mapping[str, str] | None = None,
    modules: Sequence[str] = (),
    platform: str = "kfp",
) -> Json:
    """The values that the templates of task.py and pipeline.py take.

    `functions` gives the name of a step's function in its module where it is not the step's own name. `modules` are
    local modules (files, or folders of packages) at the top of the project, which any step may import. `platform`
    ("kfp" or "vertex") runs the jobs of many workers, and tuning.
    """
    described = graph(pipeline, package)
    called = {step["name"]: (functions or {}).get(step["name"], step["name"]) for step in described["steps"]}
    table = {step["name"]: task_row(described, step, called[step["name"]]) for step in described["steps"]}
    kfp = kfp_view(described, platform)
    trial = kfp["trial"]
    bounds = any(values.bounds(parameter) for parameter in described["parameters"])
    reads = (values.parse_value, values._parse_literal)
    return {
        "graph": described,
        "steps_table": layout(table),
        "folders": any(step["folders"] for step in described["steps"]),
        "trial": trial,
        "trial_steps": layout(trial["steps"] if trial else {}),
        "spaces": layout(_spaces(described, trial["tuned"] if trial else ())),
        "secrets_table": layout(kfp["launch"]["secrets"]),
        "objective_metric": kfp_name((described["objective"] or {"name": ""})["name"]),
        "beam": any(step["beam"] for step in described["steps"]),
        "bigquery": any("bigquery" in step for step in described["steps"]),
        "fetches": any("fetches" in step for step in described["steps"]),
        "spread": any(step["framework"] for step in described["steps"]),
        "bounds": bounds,
        "parse_value": "\n\n".join(inspect.getsource(part) for part in (*reads, *([values.bounded] if bounds else ()))),
        "kfp": kfp | {"everywhere": [*(f"{package}/{name}" for name in EVERY_STEP), *modules]},
    }


def _spaces(described: Json, tuned: Sequence[str]) -> Json:
    """The search spaces of the `tuned` parameters, without what they do not have."""
    searches = {row["name"]: row["search"] for row in described["parameters"] if row["name"] in tuned}
    return {name: {key: v for key, v in searches[name].items() if v not in (None, ())} for name in tuned}


def task_row(described: Json, step: Json, function: str) -> Json:
    """The row of `step` in the STEPS table of task.py; parameters keep their Python default."""
    declared = {parameter["name"]: parameter for parameter in described["parameters"]}
    parameters = {
        name: [
            declared[name]["type"],
            values.default_value(declared[name]),
            declared[name]["help"],
            *filter(None, [values.bounds(declared[name])]),
        ]
        for name in step["parameters"]
    }
    return {
        "module": step["module"],
        "function": function if step["form"] == "function" else None,
        "async": step["async"],
        "inputs": {row["key"]: row["names"] for row in step["inputs"]},
        "outputs": {row["artifact"]: [row["kind"], row["names"]] for row in step["outputs"]},
        "returns": step["returns"],
        "metrics": step["metrics_output"],
        "maybe_unbound": step["maybe_unbound"],
        "parameters": parameters,
        "files_in": [row["path"] for row in step["files_in"]],
        "files_out": step["files_out"],
        **({"folders": step["folders"]} if step["folders"] else {}),
        **({"fetches": step["fetches"]} if "fetches" in step else {}),
        **({"workers": step["framework"]} if step["framework"] else {}),
        **({"beam": step["beam_options"]} if step["beam"] else {}),
        **({"bigquery": step["bigquery"]} if "bigquery" in step else {}),
        **({"beam_requirements": step["requirements"]} if step["beam_options"] else {}),
    }
