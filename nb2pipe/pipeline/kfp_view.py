"""The pipeline in the terms of Kubeflow Pipelines: all names as kfp allows them, no two alike."""

from __future__ import annotations

import json
import keyword
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from nb2pipe.pipeline.graph import Json, filled, unique
from nb2pipe.pipeline.kubernetes import executor_config
from nb2pipe.pipeline.layout import layout, literal
from nb2pipe.pipeline.machines import accelerator
from nb2pipe.pipeline.tuning_view import trial_table
from nb2pipe.pipeline.values import default_value

TYPES = {"int": "int", "float": "float", "bool": "bool"}
"""Parameters of other types are passed as text: platforms turn the ints in lists and dicts into floats."""

LARGEST_INT = 2**53
"""Platforms pass ints as floats of 64 bits: larger ones are passed as text."""

LAUNCH_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "kfp": ("kubernetes>=30",),
    "vertex": ("google-cloud-aiplatform>=1.165,<3",),
}
"""What a component needs that starts a job, by platform."""

OPERATORS: Mapping[str, Mapping[str, str]] = {
    "torch": {"name": "Kubeflow Trainer 2.2 or later", "group": "trainer.kubeflow.org", "plural": "trainjobs"},
    "xgboost": {"name": "Kubeflow Trainer 2.2 or later", "group": "trainer.kubeflow.org", "plural": "trainjobs"},
    "keras": {"name": "Kubeflow's training operator 1.8 or later", "group": "kubeflow.org", "plural": "tfjobs"},
    "tune": {"name": "Katib 0.17 or later", "group": "kubeflow.org", "plural": "experiments"},
}
"""What runs a job on Kubernetes, by the framework of its step, or "tune", and what it calls the job."""

STORAGE = ("fsspec[gcs,s3]>=2024.2",)
"""What a container outside of the pipeline needs to fetch and store artifacts."""

HYPERTUNE = "cloudml-hypertune>=0.1.0.dev6"
SECRET_PACKAGES = ("google-auth[requests]>=2.29",)
"""What reads Secret Manager, in the process of a step."""

JOB_PACKAGES: Mapping[str, tuple[str, ...]] = {"kfp": STORAGE, "vertex": (HYPERTUNE,)}
"""What the containers of jobs need beside what steps require: Vertex AI shows them Cloud Storage as folders."""

WHERE: Mapping[str, Mapping[str, str]] = {
    "kfp": {},
    # What Vertex AI puts its own values for.
    "vertex": {
        "project": "{{$.pipeline_google_cloud_project_id}}",
        "location": "{{$.pipeline_google_cloud_location}}",
        "root": "{{$.pipeline_root}}",
    },
}
"""What a component is told of where it runs if it starts a job, or reads secrets (of which it needs the project)."""

TUNE_RESERVED = ("trials", "parallel_trials")
"""Arguments of the pipeline and of its component `tune`, where it has one."""

GPU = "nvidia.com/gpu"
GPU_LABEL = "cloud.google.com/gke-accelerator"
SECRETS_FILE = "secret_manager.py"
EVERY_STEP = ("__init__.py", "artifacts.py", "task.py", "steps/__init__.py")
"""Files of the package that every step needs; SECRETS_FILE is the one that reads Secret Manager."""

RESERVED = frozenset(
    "dsl compiler pipeline embedded program literal main run json base64 zlib Path PROJECT EVERYWHERE UNPACK "
    "python_files LARGEST_TEXT Input Output Artifact Dataset Model Metrics HTML str int float bool open print".split()
)
"""What pipeline.py names itself, and kfp forbids: no step, parameter or file may take it."""


def kfp_view(described: Json, platform: str = "kfp") -> Json:
    """The pipeline of a graph as pipeline.py lays it out: its arguments, a component and a call for each step.

    `["parameters"]` are the graph's, each with the name of its `argument`, its `kind` there and, when `encoded`, its
    text in JSON; `["files"]` gives the argument of each input file; `["called"]` are the steps in the order of
    their calls: what comes before a tuning is called first. `["trial"]` is the table of tuning_view.trial_table.
    """
    table = trial_table(described)
    view: Json = {
        "trial": table,
        "launch": launch(described, table, platform),
        "name": kfp_name(described["name"]).replace("_", "-").lower(),
    }
    view["title"] = " ".join(described["title"].split())
    view["parameters"] = list(_parameters(_on_cluster(described), TUNE_RESERVED if table else ()))
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
    view["ports"] = {step["name"]: _ports(step, platform) for step in described["steps"]}
    view["kinds"] = {(s["name"], row["artifact"]): row["kind"] for s in described["steps"] for row in s["outputs"]}
    view["tuning"] = _tuning(described, table, view) if table else None
    view["steps"] = [_step(described, step, view) for step in described["steps"]]
    before = view["tuning"]["before"] if view["tuning"] else []
    view["called"] = sorted(view["steps"], key=lambda step: step["name"] not in before)
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


def _on_cluster(described: Json) -> list[Json]:
    """The parameters of the graph with the defaults that they have there: Beam pipelines run on Dataflow."""
    runners = {step["beam_options"]["runner"] for step in described["steps"] if step["beam_options"]}
    return [row | {"text": "DataflowRunner"} if row["name"] in runners else row for row in described["parameters"]]


def _parameters(parameters: Iterable[Json], taken: Iterable[str]) -> Iterator[Json]:
    rows = list(parameters)
    arguments = _named({row["name"]: kfp_name(row["name"]) for row in rows}, "_value", ["Output", *taken])
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


def _ports(step: Json, platform: str) -> dict[str, dict[str, str]]:
    """The names of the component's arguments by what they stand for; outputs keep their artifact's name."""
    wanted = {
        "parameters": (step["parameters"], "_value"),
        "outputs": ([row["artifact"] for row in step["outputs"]], "_out"),
        "inputs": ([row["key"] for row in step["inputs"]], "_in"),
        "files_out": (step["files_out"], "_out"),
        "files_in": ([row["path"] for row in step["files_in"]], "_in"),
        "where": (_told(step, platform), "_of_job"),
    }
    taken = ["Output", "json"]
    ports: dict[str, dict[str, str]] = {}
    for group, (keys, suffix) in wanted.items():
        ports[group] = _named({key: kfp_name(key) for key in keys}, suffix, taken)
        taken += ports[group].values()
    return ports


def _told(step: Json, platform: str) -> list[str]:
    if step["framework"] or step["beam_options"]:
        return list(WHERE[platform])
    return ["project"] if reads_secrets(step, platform) else []


def reads_secrets(step: Json, platform: str) -> bool:
    """Whether a step reads its secrets itself: Kubernetes gives them to its containers, Vertex AI does not."""
    return platform == "vertex" and bool(step["resources"]["secrets"])


def _step(described: Json, step: Json, view: Json) -> Json:
    own, resources, name = view["ports"][step["name"]], step["resources"], step["name"]
    callee = unique("run", [port for group in own.values() for port in group.values()])
    encoded = {row["name"] for row in view["parameters"] if row["encoded"]}
    thin, job = bool(described["image"]) and not resources["image"], bool(step["framework"])
    # What a step of many workers needs stands in its job; the component only waits for it.
    platform = {} if job or view["launch"]["platform"] != "kfp" else platform_config(step)
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
        "packages": [] if thin else _packages(step, view["launch"]["platform"]),
        "runs": "launch" if job else "secret_manager" if own["where"] else "task",
        "job": job,
        "embeds": _embedded(_code_of(described, [step], view, name if job else None)),
        "calls": list(_calls(step, view["tasks"], view["launch"]["platform"])),
        "platform": layout(platform, 4) if platform else "",
    }


def _packages(step: Json, platform: str) -> list[str]:
    if step["framework"]:
        return list(LAUNCH_PACKAGES[platform])
    return [*step["requirements"], *(SECRET_PACKAGES if reads_secrets(step, platform) else ())]


def _signature(step: Json, view: Json) -> Iterator[str]:
    """The component's arguments with their annotations, those with a default last."""
    own, declared = view["ports"][step["name"]], {row["name"]: row for row in view["parameters"]}
    for row in step["inputs"]:
        yield f"{own['inputs'][row['key']]}: Input[{view['kinds'][row['source'], row['artifact']]}]"
    yield from (f"{port}: Input[Artifact]" for port in own["files_in"].values())
    for row in step["outputs"]:
        yield f"{own['outputs'][row['artifact']]}: Output[{row['kind']}]"
    yield from (f"{port}: Output[Artifact]" for port in own["files_out"].values())
    yield from (f"{port}: str" for port in own["where"].values())
    for name, port in own["parameters"].items():
        yield f"{port}: {declared[name]['kind']} = {declared[name]['value']}"


def _arguments(step: Json, view: Json) -> dict[str, str]:
    """What the pipeline passes to the component: an expression for each argument."""
    own = view["ports"][step["name"]]
    arguments = {}
    for row in step["inputs"]:
        arguments[own["inputs"][row["key"]]] = _made(view, row["source"], "outputs", row["artifact"])
    for row in step["files_in"]:
        made = row["source"] and _made(view, row["source"], "files_out", row["path"])
        arguments[own["files_in"][row["path"]]] = made or f"{view['imports'][row['path']]}.output"
    arguments |= {port: _value(view, step, name) for name, port in own["parameters"].items()}
    return arguments | _where(own["where"], view)


def _where(ports: Mapping[str, str], view: Json) -> dict[str, str]:
    values = WHERE[view["launch"]["platform"]]
    return {port: literal(values[key]) for key, port in ports.items()}


def _value(view: Json, step: Json, name: str) -> str:
    """The expression of a parameter's value: the best one, for all steps that do not come before the tuning."""
    tuning = view["tuning"]
    if tuning and name in tuning["outputs"] and step["name"] not in tuning["before"]:
        return f"{tuning['task']}.outputs[{literal(tuning['outputs'][name])}]"
    declared = {row["name"]: row for row in view["parameters"]}
    return str(declared[name]["argument"])


def _tuning(described: Json, table: Json, view: Json) -> Json:
    """The component `tune`: it takes what trials are given and gives the best parameters."""
    declared = {row["name"]: row for row in view["parameters"]}
    used = dict.fromkeys(name for row in table["steps"].values() for name in row["parameters"])
    taken = [*TUNE_RESERVED, "Output", "json"]
    ports = {"given": _named({key: kfp_name(key) for key in table["given"]}, "_in", taken)}
    ports["parameters"] = _named({name: kfp_name(name) for name in used}, "_value", [*taken, *ports["given"].values()])
    taken += [*ports["given"].values(), *ports["parameters"].values()]
    where = _named({key: key for key in WHERE[view["launch"]["platform"]]}, "_of_job", taken)
    used_names = [*view["components"].values(), *view["tasks"].values(), *(r["argument"] for r in view["parameters"])]
    encoded = {row["name"] for row in view["parameters"] if row["encoded"]}
    kinds = {name: declared[name]["kind"] for name in table["tuned"]}
    steps = [step for step in described["steps"] if step["name"] in table["steps"]]
    return {
        "component": unique("tune", [*used_names, *RESERVED]),
        "task": unique("tune_task", used_names),
        "before": table["before"],
        "after": [view["tasks"][name] for name in table["before"] if any(name in step["after"] for step in steps)],
        "outputs": {name: ports["parameters"][name] for name in table["tuned"]},
        "fields": [f"({literal(ports['parameters'][name])}, {kind})" for name, kind in kinds.items()],
        "signature": [
            *(f"{ports['given'][key]}: Input[{_given_kind(origin, view)}]" for key, origin in table["given"].items()),
            *(f"{port}: str" for port in where.values()),
            *(f"{port}: {declared[n]['kind']} = {declared[n]['value']}" for n, port in ports["parameters"].items()),
            f"trials: int = {described['trials']}",
            "parallel_trials: int = 2",
        ],
        "arguments": {
            **{ports["given"][key]: _given_argument(origin, view) for key, origin in table["given"].items()},
            **{port: declared[name]["argument"] for name, port in ports["parameters"].items()},
            "trials": "trials",
            "parallel_trials": "parallel_trials",
            **_where(where, view),
        },
        "where": _pairs("where", where) if where else "",
        "decodes": bool(encoded & set(used)),
        "parameters": _pairs(
            "parameters", {n: f"json.loads({p})" if n in encoded else p for n, p in ports["parameters"].items()}
        ),
        "given": _pairs("given", {key: f"{port}.path" for key, port in ports["given"].items()}),
        "uris": _pairs("uris", {key: f"{port}.uri" for key, port in ports["given"].items()}),
        "packages": [] if described["image"] else list(LAUNCH_PACKAGES[view["launch"]["platform"]]),
        "embeds": _embedded(_code_of(described, steps, view, view["launch"]["tuning"])),
        "base_image": described["image"] or described["base_image"],
        "thin": bool(described["image"]),
    }


def _given_kind(origin: Sequence[str], view: Json) -> str:
    kind, maker, name = origin
    return str(view["kinds"][maker, name]) if kind == "artifact" else "Artifact"


def _given_argument(origin: Sequence[str], view: Json) -> str:
    kind, maker, name = origin
    if kind == "artifact":
        return _made(view, maker, "outputs", name)
    return _made(view, maker, "files_out", name) if maker else f"{view['imports'][name]}.output"


def _code_of(described: Json, steps: Sequence[Json], view: Json, job: str | None) -> list[str]:
    """The files that `steps` need and not every step has; with those that start and run a `job`."""
    package, launched = described["package"], view["launch"]
    paths = dict.fromkeys(path for step in steps for path in step["code"])
    own = [path for path in paths if path.removeprefix(f"{package}/") not in EVERY_STEP]
    if job is None:
        read = any(reads_secrets(step, launched["platform"]) for step in steps)
        return [*own, f"{package}/{SECRETS_FILE}"] if read else own
    more = [f"{package}/{name}" for name in launched["files"]]
    return [*dict.fromkeys([*own, *more]), launched["manifests"][job]]


def launch(described: Json, table: Json | None, platform: str) -> Json:
    """How jobs of many workers, and tuning, are started: by which files, from which descriptions in jobs/.

    `["tuning"]` is the name of the job that tunes, "" for none; `["needs"]` says what a cluster needs for these jobs.
    """
    trained = {step["name"]: step["framework"] for step in described["steps"] if step["framework"]}
    tuning = unique("tune", trained) if table else ""
    jobs = [*trained, *([tuning] if tuning else [])]
    files = ["cluster.py", "launch.py", "jobs.py", "remote.py", *(["trial.py"] if table else [])] if jobs else []
    packages = [*LAUNCH_PACKAGES[platform], *JOB_PACKAGES[platform]] if jobs else []
    if any(reads_secrets(step, platform) for step in described["steps"]):
        files, packages = [*files, SECRETS_FILE], [*packages, *SECRET_PACKAGES]
    kinds = [*trained.values(), *(["tune"] if table else [])]
    needs = {OPERATORS[kind]["plural"]: OPERATORS[kind] for kind in kinds}
    return {
        "platform": platform,
        "manifests": {name: f"jobs/{name}.yaml" for name in jobs},
        "tuning": tuning,
        "files": files,
        "packages": packages,
        "secrets": secrets_table(described) if SECRETS_FILE in files else {},
        "needs": list(needs.values()),
    }


def secrets_table(described: Json) -> Json:
    """What each step asks for: (the secret, the key in it, the variable)."""
    rows = {step["name"]: step["resources"]["secrets"] for step in described["steps"]}
    return {name: [(row["name"], row["key"], row["env"]) for row in found] for name, found in rows.items() if found}


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
    named["parameters"] |= _of_platform(step["beam_options"], own)
    for group in ("inputs", "outputs", "files_in", "files_out"):
        named[group] = {key: f"{port}.path" for key, port in own[group].items()}
    arguments = {name: _pairs(name, pairs) for name, pairs in named.items() if pairs}
    if step["framework"]:
        ports_of = [port for group in ("inputs", "files_in", "outputs", "files_out") for port in own[group].values()]
        arguments["uris"] = _pairs("uris", {f"{port}.path": f"{port}.uri" for port in ports_of}, plain=True)
    if step["framework"] and own["where"]:
        arguments["where"] = _pairs("where", own["where"])
    elif own["where"] and step["resources"]["secrets"]:
        arguments["project"] = own["where"]["project"]
    metrics = [own["outputs"][row["artifact"]] for row in step["outputs"] if row["kind"] == "Metrics"]
    return arguments | ({"log_metric": f"{metrics[0]}.log_metric"} if metrics else {})


def _of_platform(options: Mapping[str, str], own: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What Beam pipelines run with where no parameter says it: the project, region and storage of the pipeline."""
    where, ports = own["where"], own["parameters"]
    if not where or not options:
        return {}
    defaults = {"project": where["project"], "region": where["location"]}
    defaults["temp_location"] = f'f"{{{where["root"]}}}/dataflow"'
    return {options[name]: f"{ports[options[name]]} or {default}" for name, default in defaults.items()}


def _calls(step: Json, tasks: Json, platform: str) -> Iterable[str]:
    """The settings of the step's task, one method call each."""
    resources = step["resources"]
    yield f"set_display_name({literal(step['name'])})"
    if step["after"]:
        yield f"after({', '.join(tasks[name] for name in step['after'])})"
    if not step["framework"]:
        yield from AMOUNTS[platform](resources)
    if resources["retries"]:
        yield f"set_retry({resources['retries']})"
    if resources["cache"] is not None:
        yield f"set_caching_options({resources['cache']})"
    for name, value in resources["env"].items():
        yield f"set_env_variable({literal(name)}, {literal(value)})"


def _amounts(resources: Json) -> Iterable[str]:
    for kind in ("cpu", "memory"):
        if resources[kind]:
            yield f"set_{kind}_request({literal(resources[kind])})"
            yield f"set_{kind}_limit({literal(resources[kind])})"
    if resources["accelerators"]:
        kind = resources["accelerator"] or ""
        yield f"set_accelerator_type({literal(kind if '/' in kind else GPU)})"
        yield f"set_accelerator_limit({resources['accelerators']})"


def _vertex_amounts(resources: Json) -> Iterable[str]:
    """Vertex AI has limits only, and names of its own for accelerators."""
    yield from (f"set_{kind}_limit({literal(resources[kind])})" for kind in ("cpu", "memory") if resources[kind])
    if resources["accelerators"]:
        yield f"set_accelerator_type({literal(accelerator(resources))})"
        yield f"set_accelerator_limit({resources['accelerators']})"


AMOUNTS: Mapping[str, Callable[[Json], Iterable[str]]] = {"kfp": _amounts, "vertex": _vertex_amounts}
"""The calls that ask for cores, memory and accelerators, by platform."""


def platform_config(step: Json) -> Json:
    """What kfp itself has no method for, in the terms of its Kubernetes platform: secrets, time limit, nodes..."""
    resources = step["resources"]
    config: Json = executor_config(step.get("kubernetes", {}))
    if resources["secrets"]:
        config["secretAsEnv"] = [_secret(secret) for secret in resources["secrets"]]
    if resources["timeout"]:
        config["activeDeadlineSeconds"] = str(resources["timeout"])
    kind = resources["accelerator"] or "gpu"
    if resources["accelerators"] and kind != "gpu" and "/" not in kind:
        labels = config.get("nodeSelector", {}).get("labels", {})
        config["nodeSelector"] = {"labels": {GPU_LABEL: kind, **labels}}
    return config


def _secret(secret: Json) -> Json:
    return {
        "secretName": secret["name"],
        "secretNameParameter": {"runtimeValue": {"constant": secret["name"]}},
        "keyToEnv": [{"secretKey": secret["key"], "envVar": secret["env"]}],
        "optional": False,
    }


def _pairs(keyword: str, names: Mapping[str, str], *, plain: bool = False) -> str:
    """The text of a dict from names (expressions too, if `plain`) to expressions, one a line where it would be wide."""
    items = [f"{key if plain else literal(key)}: {expression}" for key, expression in names.items()]
    text = "{" + ", ".join(items) + "}"
    if len(keyword) + len(text) + 10 <= WIDTH:
        return text
    return "\n".join(["{", *(f"            {item}," for item in items), "        }"])


def _embedded(paths: Sequence[str]) -> str:
    """The arguments of `embedded`."""
    text = ", ".join(map(literal, paths))
    return text if len(text) + 11 <= WIDTH else "\n" + "".join(f"    {literal(path)},\n" for path in paths)


WIDTH = 100
