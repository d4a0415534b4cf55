"""The pipeline in the terms of Kubeflow Pipelines: all names as kfp allows them, no two alike."""

from __future__ import annotations

import json
import keyword
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from nb2pipe.pipeline.graph import Json, filled, unique
from nb2pipe.pipeline.layout import layout, literal
from nb2pipe.pipeline.values import default_value

TYPES = {"int": "int", "float": "float", "bool": "bool"}
"""Parameters of other types are passed as text: platforms turn the ints in lists and dicts into floats."""

LARGEST_INT = 2**53
"""Platforms pass ints as floats of 64 bits: larger ones are passed as text."""

GPU = "nvidia.com/gpu"
GPU_LABEL = "cloud.google.com/gke-accelerator"
EVERY_STEP = ("__init__.py", "artifacts.py", "task.py", "steps/__init__.py")
"""Files of the package that every step needs."""

RESERVED = frozenset(
    "dsl compiler pipeline embedded program literal main run json base64 zlib Path PROJECT EVERYWHERE UNPACK "
    "python_files LARGEST_TEXT Input Output Artifact Dataset Model Metrics HTML str int float bool open print".split()
)
"""What pipeline.py names itself, and kfp forbids: no step, parameter or file may take it."""


def kfp_view(described: Json) -> Json:
    """The pipeline of a graph as pipeline.py lays it out: its arguments, a component and a call for each step.

    `["parameters"]` are the graph's, each with the name of its `argument`, its `kind` there and, when `encoded`, its
    text in JSON; `["files"]` gives the argument of each input file.
    """
    view: Json = {"name": kfp_name(described["name"]).replace("_", "-").lower()}
    view["title"] = " ".join(described["title"].split())
    view["parameters"] = list(_parameters(described["parameters"]))
    view["files"] = _files(described["input_files"], view["parameters"])
    texts = {row["name"]: row["text"] for row in described["parameters"]}
    view["file_defaults"] = {path: filled(path, texts) for path in view["files"]}
    taken = [*(row["argument"] for row in view["parameters"]), *view["files"].values(), *RESERVED]
    names = [step["name"] for step in described["steps"]]
    view["components"] = _named({name: kfp_name(name) for name in names}, "_step", taken)
    taken += view["components"].values()
    view["tasks"] = _named({name: f"{kfp_name(name)}_task" for name in names}, "", taken)
    taken += view["tasks"].values()
    view["imports"] = _named({path: f"{name}_file" for path, name in view["files"].items()}, "", taken)
    view["ports"] = {step["name"]: _ports(step) for step in described["steps"]}
    view["kinds"] = {(s["name"], row["artifact"]): row["kind"] for s in described["steps"] for row in s["outputs"]}
    view["steps"] = [_step(described, step, view) for step in described["steps"]]
    view["types"] = list(_types(described))
    return view


def kfp_name(name: str) -> str:
    """A name, or a path, as kfp allows it: ASCII letters, digits and underscores, a letter first."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    text = re.sub(r"\W+", "_", plain).lstrip("_") or "x"
    return f"x_{text}" if not text[0].isalpha() or keyword.iskeyword(text) else text


def _named(wanted: Mapping[str, str], suffix: str, taken: Iterable[str]) -> dict[str, str]:
    """A name for each key: the wanted one if it is free, else with the suffix, else with a number."""
    found: dict[str, str] = {}
    for key, name in wanted.items():
        used = [*taken, *found.values()]
        found[key] = name if name not in used else unique(name + suffix, used)
    return found


def _parameters(parameters: Iterable[Json]) -> Iterator[Json]:
    rows = list(parameters)
    arguments = _named({row["name"]: kfp_name(row["name"]) for row in rows}, "_value", ["Output"])
    for row in rows:
        default = default_value(row)
        kind = TYPES.get(row["type"], "str") if is_exact(default) else "str"
        # kfp writes defaults into comments of its YAML as they are: one with a line end would break it.
        encoded = row["type"] == "str" and not row["text"].isprintable()
        text = json.dumps(row["text"]) if encoded else row["text"]
        value = literal(text if kind == "str" else default)
        yield {**row, "argument": arguments[row["name"]], "kind": kind, "encoded": encoded, "value": value}


def is_exact(value: object) -> bool:
    """Whether a number arrives as it is: a finite float, or an int that a float can hold."""
    if isinstance(value, float):
        return value - value == 0
    return not isinstance(value, int) or abs(value) <= LARGEST_INT


def _files(paths: Iterable[str], parameters: Iterable[Json]) -> dict[str, str]:
    taken = [row["argument"] for row in parameters]
    return _named({path: kfp_name(path) for path in paths}, "_path", taken)


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


def _ports(step: Json) -> dict[str, dict[str, str]]:
    """The names of the component's arguments by what they stand for; outputs keep their artifact's name."""
    wanted = {
        "parameters": (step["parameters"], "_value"),
        "outputs": ([row["artifact"] for row in step["outputs"]], "_out"),
        "inputs": ([row["key"] for row in step["inputs"]], "_in"),
        "files_out": (step["files_out"], "_out"),
        "files_in": ([row["path"] for row in step["files_in"]], "_in"),
    }
    taken = ["Output", "json"]
    ports: dict[str, dict[str, str]] = {}
    for group, (keys, suffix) in wanted.items():
        ports[group] = _named({key: kfp_name(key) for key in keys}, suffix, taken)
        taken += ports[group].values()
    return ports


def _step(described: Json, step: Json, view: Json) -> Json:
    own, resources, name = view["ports"][step["name"]], step["resources"], step["name"]
    callee = unique("run", [port for group in own.values() for port in group.values()])
    encoded = {row["name"] for row in view["parameters"] if row["encoded"]}
    thin = bool(described["image"]) and not resources["image"]
    platform = platform_config(step)
    return {
        **step,
        "about": _about(step),
        "component": view["components"][name],
        "task": view["tasks"][name],
        "signature": list(_signature(step, view)),
        "arguments": _arguments(step, view),
        "decodes": bool(encoded & set(step["parameters"])),
        "run": "run" if callee == "run" else f"run as {callee}",
        "callee": callee,
        "run_arguments": _run_arguments(step, own, encoded),
        "base_image": resources["image"] or described["image"] or described["base_image"],
        "thin": thin,
        "packages": [] if thin else step["requirements"],
        "embeds": _embedded(
            [path for path in step["code"] if path.removeprefix(f"{described['package']}/") not in EVERY_STEP]
        ),
        "calls": list(_calls(step, view["tasks"])),
        "platform": layout(platform, 4) if platform else "",
    }


def _signature(step: Json, view: Json) -> Iterator[str]:
    """The component's arguments with their annotations, those with a default last."""
    own, declared = view["ports"][step["name"]], {row["name"]: row for row in view["parameters"]}
    for row in step["inputs"]:
        yield f"{own['inputs'][row['key']]}: Input[{view['kinds'][row['source'], row['artifact']]}]"
    yield from (f"{port}: Input[Artifact]" for port in own["files_in"].values())
    for row in step["outputs"]:
        yield f"{own['outputs'][row['artifact']]}: Output[{row['kind']}]"
    yield from (f"{port}: Output[Artifact]" for port in own["files_out"].values())
    for name, port in own["parameters"].items():
        yield f"{port}: {declared[name]['kind']} = {declared[name]['value']}"


def _arguments(step: Json, view: Json) -> dict[str, str]:
    """What the pipeline passes to the component: an expression for each argument."""
    own, declared = view["ports"][step["name"]], {row["name"]: row for row in view["parameters"]}
    arguments = {}
    for row in step["inputs"]:
        arguments[own["inputs"][row["key"]]] = _made(view, row["source"], "outputs", row["artifact"])
    for row in step["files_in"]:
        made = row["source"] and _made(view, row["source"], "files_out", row["path"])
        arguments[own["files_in"][row["path"]]] = made or f"{view['imports'][row['path']]}.output"
    return arguments | {port: declared[name]["argument"] for name, port in own["parameters"].items()}


def _made(view: Json, source: str, group: str, key: str) -> str:
    return f"{view['tasks'][source]}.outputs[{literal(view['ports'][source][group][key])}]"


def _about(step: Json) -> str:
    """One line for the component's docstring."""
    cells = ", ".join(_ranges(step["cells"]))
    title = re.sub(r"[^\w .,;:()%+/-]+", " ", step["title"]).strip(" .")
    return f"{title + ': ' if title else ''}Cell{'s' if len(step['cells']) > 1 else ''} {cells} of the notebook."


def _ranges(numbers: Sequence[int]) -> Iterable[str]:
    """Sorted numbers as text, neighbours taken together: 1, 3-5."""
    first = 0
    for index, number in enumerate(numbers):
        if index + 1 == len(numbers) or numbers[index + 1] != number + 1:
            yield str(number) if first == index else f"{numbers[first]}-{number}"
            first = index + 1


def _run_arguments(step: Json, own: Mapping[str, Mapping[str, str]], encoded: set[str]) -> dict[str, str]:
    """What the component passes on to task.run, as expressions; empty ones are left out."""
    ports = own["parameters"].items()
    named = {"parameters": {name: f"json.loads({port})" if name in encoded else port for name, port in ports}}
    for group in ("inputs", "outputs", "files_in", "files_out"):
        named[group] = {key: f"{port}.path" for key, port in own[group].items()}
    arguments = {name: _pairs(name, pairs) for name, pairs in named.items() if pairs}
    metrics = [own["outputs"][row["artifact"]] for row in step["outputs"] if row["kind"] == "Metrics"]
    return arguments | ({"log_metric": f"{metrics[0]}.log_metric"} if metrics else {})


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


def _pairs(keyword: str, names: Mapping[str, str]) -> str:
    """The text of a dict from names to expressions, one a line where it would be wide."""
    items = [f"{literal(key)}: {expression}" for key, expression in names.items()]
    text = "{" + ", ".join(items) + "}"
    if len(keyword) + len(text) + 10 <= WIDTH:
        return text
    return "\n".join(["{", *(f"            {item}," for item in items), "        }"])


def _embedded(paths: Sequence[str]) -> str:
    """The arguments of `embedded`."""
    text = ", ".join(map(literal, paths))
    return text if len(text) + 11 <= WIDTH else "\n" + "".join(f"    {literal(path)},\n" for path in paths)


WIDTH = 100
