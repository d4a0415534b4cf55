"""What task.py and pipeline.py of a project need beyond the graph: names that do not collide, laid-out tables.

All decisions are made here; `templates/package/task.py.j2` and `templates/project/pipeline.py.j2` only lay them out.
"""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nb2pipe.pipeline import values
from nb2pipe.pipeline.graph import Json, graph, unique
from nb2pipe.pipeline.model import Pipeline

WIDTH = 100
KFP_TYPES = {"int": "int", "float": "float", "bool": "bool"}
"""Parameters of other types are passed as text: platforms turn the ints in lists and dicts into floats."""

GPU = "nvidia.com/gpu"
GPU_LABEL = "cloud.google.com/gke-accelerator"
EVERY_STEP = ("__init__.py", "artifacts.py", "task.py", "steps/__init__.py")
"""Files of the package that every step needs."""
KFP_NAMES = frozenset(
    "dsl compiler pipeline embedded program literal main run json base64 zlib Path PROJECT EVERYWHERE UNPACK python_files "
    "LARGEST_TEXT Input Output Artifact Dataset Model Metrics HTML str int float bool open print".split()
)
"""What pipeline.py names itself: no step or file may take it."""


def scaffold(
    pipeline: Pipeline, package: str, functions: Mapping[str, str] | None = None, modules: Sequence[str] = ()
) -> Json:
    """The values that the templates of task.py and pipeline.py take.

    `functions` gives the name of a step's function in its module where it is not the step's own name. `modules` are
    local modules (files, or folders of packages) at the top of the project, which any step may import.
    """
    described = graph(pipeline, package)
    called = {step["name"]: (functions or {}).get(step["name"], step["name"]) for step in described["steps"]}
    table = {step["name"]: task_row(described, step, called[step["name"]]) for step in described["steps"]}
    return {
        "graph": described,
        "steps_table": layout(table),
        "parse_value": f"{inspect.getsource(values.parse_value)}\n\n{inspect.getsource(values._parse_literal)}",
        "kfp": kfp_view(described) | {"everywhere": [*(f"{package}/{name}" for name in EVERY_STEP), *modules]},
    }


def task_row(described: Json, step: Json, function: str) -> Json:
    """The row of `step` in the STEPS table of task.py; parameters keep their Python default."""
    declared = {parameter["name"]: parameter for parameter in described["parameters"]}
    parameters = {
        name: [declared[name]["type"], default_value(declared[name]), declared[name]["help"]]
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
    }


def default_value(parameter: Json) -> Any:
    """The Python value of a parameter's default."""
    return values.parse_value(parameter["type"], parameter["text"])


def literal(value: Any) -> str:
    """A Python expression that gives `value`, strings in double quotes where that needs no more escapes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, float) and value - value != 0:
        return f'float("{value}")'
    text = repr(value)
    return f'"{text[1:-1]}"' if isinstance(value, str) and text[0] == "'" and '"' not in text else text


def layout(value: Any, indent: int = 0) -> str:
    """`literal(value)`, broken over lines where it is wider than a page; tables of tables always are."""
    text = literal(value)
    nested = isinstance(value, dict) and any(isinstance(item, dict) and item for item in value.values())
    if not isinstance(value, (dict, list)) or not value or (len(text) + indent < WIDTH - 24 and not nested):
        return text
    margin = " " * (indent + 4)
    if isinstance(value, dict):
        lines = [f"{margin}{literal(key)}: {layout(item, indent + 4)}," for key, item in value.items()]
    else:
        lines = [f"{margin}{layout(item, indent + 4)}," for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return "\n".join([opening, *lines, f"{' ' * indent}{closing}"])


def kfp_view(described: Json) -> Json:
    """The pipeline as pipeline.py lays it out: a component and a call for each step, no two names alike."""
    parameters = [_kfp_parameter(parameter) for parameter in described["parameters"]]
    names = [parameter["name"] for parameter in parameters]
    files: dict[str, str] = {}
    for path in described["input_files"]:
        files[path] = unique(identifier(path), [*names, *files.values()])
    taken = [*names, *files.values(), *KFP_NAMES]
    components: dict[str, str] = {}
    for step in described["steps"]:
        name, used = step["name"], [*taken, *components.values()]
        components[name] = name if name not in used else unique(f"{name}_step", used)
    taken += components.values()
    tasks: dict[str, str] = {}
    for name in [*components, *files]:
        tasks[name] = unique(
            f"{files.get(name, name)}_{'file' if name in files else 'task'}", [*taken, *tasks.values()]
        )
    view: Json = {"parameters": parameters, "files": files, "tasks": tasks, "components": components}
    ports = {step["name"]: _ports(step) for step in described["steps"]}
    view["steps"] = [_kfp_step(described, step, view, ports) for step in described["steps"]]
    view["name"] = described["name"].replace("_", "-").lower()
    view["types"] = list(_types(described))
    return view


def _types(described: Json) -> Iterable[str]:
    """The names that pipeline.py imports from kfp.dsl."""
    steps = described["steps"]
    kinds = {row["kind"] for step in steps for row in step["outputs"]}
    reads_files = any(step["files_in"] for step in steps)
    if reads_files or any(step["files_out"] for step in steps):
        kinds.add("Artifact")
    if reads_files or any(step["inputs"] for step in steps):
        kinds.add("Input")
    if any(step["outputs"] or step["files_out"] for step in steps):
        kinds.add("Output")
    return sorted(kinds)


def identifier(path: str) -> str:
    """A Python name made from a path: `data/x y.csv` -> `data_x_y_csv`."""
    name = re.sub(r"\W+", "_", path).strip("_") or "file"
    return f"file_{name}" if not name.isidentifier() or keyword.iskeyword(name) else name


def _kfp_parameter(parameter: Json) -> Json:
    kind = KFP_TYPES.get(parameter["type"], "str")
    default = default_value(parameter)
    finite = not isinstance(default, float) or default - default == 0
    if not finite:
        kind = "str"
    return {**parameter, "kind": kind, "value": literal(default if kind != "str" else parameter["text"])}


def _ports(step: Json) -> Json:
    """The names of the component's arguments: outputs keep their artifact's name, a colliding input takes `_in`."""
    taken: list[str] = [*step["parameters"], "Output", "run"]
    ports: Json = {"outputs": {}, "inputs": {}, "files_out": {}, "files_in": {}}

    def port(group: str, key: str, name: str, other: str) -> None:
        ports[group][key] = name if name not in taken else unique(other, taken)
        taken.append(ports[group][key])

    for row in step["outputs"]:
        port("outputs", row["artifact"], row["artifact"], f"{row['artifact']}_out")
    for row in step["inputs"]:
        port("inputs", row["key"], row["key"], f"{row['key']}_in")
    for path in step["files_out"]:
        port("files_out", path, identifier(path), f"{identifier(path)}_out")
    for row in step["files_in"]:
        port("files_in", row["path"], identifier(row["path"]), f"{identifier(row['path'])}_in")
    return ports


def _kfp_step(described: Json, step: Json, view: Json, ports: Json) -> Json:
    own, tasks = ports[step["name"]], view["tasks"]
    kinds = {(maker["name"], row["artifact"]): row["kind"] for maker in described["steps"] for row in maker["outputs"]}
    declared = {parameter["name"]: parameter for parameter in view["parameters"]}
    metrics = [row["artifact"] for row in step["outputs"] if row["kind"] == "Metrics"]
    signature = [
        f"{own['inputs'][row['key']]}: Input[{kinds[row['source'], row['artifact']]}]" for row in step["inputs"]
    ]
    signature += [f"{own['files_in'][row['path']]}: Input[Artifact]" for row in step["files_in"]]
    signature += [f"{own['outputs'][row['artifact']]}: Output[{row['kind']}]" for row in step["outputs"]]
    signature += [f"{own['files_out'][path]}: Output[Artifact]" for path in step["files_out"]]
    signature += [f"{name}: {declared[name]['kind']} = {declared[name]['value']}" for name in step["parameters"]]
    arguments = {
        own["inputs"][row["key"]]: _output(tasks, row["source"], ports, row["artifact"]) for row in step["inputs"]
    }
    for row in step["files_in"]:
        arguments[own["files_in"][row["path"]]] = _file(view, row, ports)
    arguments.update({name: name for name in step["parameters"]})
    metrics_at = own["outputs"][metrics[0]] if metrics else None
    callee = unique("run", [*step["parameters"], *own["outputs"].values(), *own["inputs"].values()])
    thin = bool(described["image"]) and not step["resources"]["image"]
    package = described["package"] + "/"
    return {
        **step,
        "about": _about(step),
        "component": view["components"][step["name"]],
        "task": tasks[step["name"]],
        "signature": signature,
        "arguments": arguments,
        "run": "run" if callee == "run" else f"run as {callee}",
        "callee": callee,
        "run_arguments": _run_arguments(step, own, metrics_at),
        "base_image": step["resources"]["image"] or described["image"] or described["base_image"],
        "thin": thin,
        "packages": [] if thin else step["requirements"],
        "embeds": [path for path in step["code"] if path.removeprefix(package) not in EVERY_STEP],
        "calls": list(_calls(step, tasks)),
        "platform": layout(platform_config(step), 4) if platform_config(step) else "",
    }


def _about(step: Json) -> str:
    """One line for the component's docstring."""
    cells = ", ".join(map(str, step["cells"]))
    title = re.sub(r"[^\w .,;:()%+/-]+", " ", step["title"]).strip(" .")
    return f"{title + ': ' if title else ''}Cell{'s' if len(step['cells']) > 1 else ''} {cells} of the notebook."


def _run_arguments(step: Json, own: Json, metrics_at: str | None) -> dict[str, str]:
    """What the component passes on to task.run, as expressions; empty ones are left out."""
    values = {name: name for name in step["parameters"]}
    groups = {group: {key: f"{port}.path" for key, port in own[group].items()} for group in own}
    named = {"parameters": values} | {group: groups[group] for group in ("inputs", "outputs", "files_in", "files_out")}
    arguments = {name: _pairs(pairs) for name, pairs in named.items() if pairs}
    return arguments | ({"log_metric": f"{metrics_at}.log_metric"} if metrics_at else {})


def _calls(step: Json, tasks: Json) -> Iterable[str]:
    """The settings of the step's task, one method call each."""
    resources = step["resources"]
    yield f"set_display_name({literal(step['name'])})"
    if step["after"]:
        yield f"after({', '.join(tasks[name] for name in step['after'])})"
    for kind in ("cpu", "memory"):
        if resources[kind]:
            yield f"set_{kind}_request({literal(resources[kind])})"
            yield f"set_{kind}_limit({literal(resources[kind])})"
    if resources["accelerators"]:
        kind = resources["accelerator"] or ""
        yield f"set_accelerator_type({literal(kind if '/' in kind else GPU)})"
        yield f"set_accelerator_limit({resources['accelerators']})"
    if resources["retries"]:
        yield f"set_retry({resources['retries']})"
    if resources["cache"] is not None:
        yield f"set_caching_options({resources['cache']})"
    for name, value in resources["env"].items():
        yield f"set_env_variable({literal(name)}, {literal(value)})"


def platform_config(step: Json) -> Json:
    """What kfp itself has no method for, in the terms of its Kubernetes platform: secrets, time limit, kind of GPU."""
    resources = step["resources"]
    config: Json = {}
    if resources["secrets"]:
        config["secretAsEnv"] = [_secret(secret) for secret in resources["secrets"]]
    if resources["timeout"]:
        config["activeDeadlineSeconds"] = str(resources["timeout"])
    kind = resources["accelerator"] or "gpu"
    if resources["accelerators"] and kind != "gpu" and "/" not in kind:
        config["nodeSelector"] = {"labels": {GPU_LABEL: kind}}
    return config


def _secret(secret: Json) -> Json:
    return {
        "secretName": secret["name"],
        "secretNameParameter": {"runtimeValue": {"constant": secret["name"]}},
        "keyToEnv": [{"secretKey": secret["key"], "envVar": secret["env"]}],
        "optional": False,
    }


def _output(tasks: Json, source: str, ports: Json, artifact: str) -> str:
    return f'{tasks[source]}.outputs["{ports[source]["outputs"][artifact]}"]'


def _file(view: Json, row: Json, ports: Json) -> str:
    if row["source"] is None:
        return f"{view['tasks'][row['path']]}.output"
    return f'{view["tasks"][row["source"]]}.outputs["{ports[row["source"]]["files_out"][row["path"]]}"]'


def _pairs(names: Mapping[str, str]) -> str:
    """The text of a dict from names to expressions."""
    return "{" + ", ".join(f"{literal(key)}: {expression}" for key, expression in names.items()) + "}"
