"""What the API of Kubeflow Pipelines takes: its own messages without unknown fields, the IR's schema, names, limits."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from typing import Any

import kfp_server_api
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

Json = dict[str, Any]
PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float)}
KINDS = {
    "NUMBER_INTEGER": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and float(v).is_integer(),
    "NUMBER_DOUBLE": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "BOOLEAN": lambda v: isinstance(v, bool),
    "STRING": lambda v: isinstance(v, str),
    "LIST": lambda v: isinstance(v, list),
    "STRUCT": lambda v: isinstance(v, dict),
}
GIVEN_BY_SERVER = {
    "V2beta1Experiment": ("experiment_id", "created_at", "last_run_created_at", "storage_state"),
    "V2beta1Run": (
        "run_id", "created_at", "finished_at", "state", "error", "run_details", "state_history", "storage_state",
        "recurring_run_id", "plugins_output",
    ),
    "V2beta1RecurringRun": ("recurring_run_id", "created_at", "updated_at", "status", "error"),
    "V2beta1Pipeline": ("pipeline_id", "created_at", "error"),
}  # fmt: skip
LARGEST_REQUEST = 1024 * 1024


class Refused(Exception):
    """An answer with an HTTP status that is not 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def must(holds: object, message: str, status: int = 400) -> None:
    """Refuses the request unless `holds`."""
    if not holds:
        raise Refused(status, message)


def decoded(kind: str, body: bytes) -> Any:
    """The body as the API's message `kind`; fields that it does not have, or of other types, are refused."""
    try:
        data = json.loads(body)
    except ValueError as error:
        raise Refused(400, f"no JSON: {error}") from None
    for name in GIVEN_BY_SERVER.get(kind, ()):
        must(name not in data, f"{kind}.{name} is given by the server")
    return _message(kind, data, kind)


def _message(kind: str, data: Any, at: str) -> Any:
    """A value of the type that the generated API names."""
    if kind in PLAIN:
        must(isinstance(data, PLAIN[kind]) and isinstance(data, bool) == (kind == "bool"), f"{at} is no {kind}")
        return data
    if kind == "object":
        return data
    if kind == "datetime":
        return dt.datetime.fromisoformat(data)
    inner = re.fullmatch(r"(list|dict)\((?:str, )?(.*)\)", kind.replace("[", "(").replace("]", ")"))
    if inner and inner[1] == "list":
        must(isinstance(data, list), f"{at} is no list")
        return [_message(inner[2], item, f"{at}[]") for item in data]
    if inner:
        must(isinstance(data, dict), f"{at} is no table")
        return {key: _message(inner[2], item, f"{at}.{key}") for key, item in data.items()}
    return _model(getattr(kfp_server_api, kind), data, at)


def _model(model: Any, data: Any, at: str) -> Any:
    if getattr(model, "allowable_values", None):
        must(data in model.allowable_values, f"{at} is none of {model.allowable_values}")
        return data
    must(isinstance(data, dict), f"{at} is no message")
    names = {json_name: name for name, json_name in model.attribute_map.items()}
    unknown = sorted(data.keys() - names.keys())
    must(not unknown, f"{at} has no field {', '.join(unknown)}")
    fields = {names[key]: _message(model.openapi_types[names[key]], item, f"{at}.{key}") for key, item in data.items()}
    return model(**fields)


# --- messages ---------------------------------------------------------------------------------------------------------
def check_name(name: str | None, longest: int, what: str) -> None:
    """A name of something: not empty, not too long."""
    must(name and name.strip(), f"{what} needs a name")
    must(len((name or "").encode()) <= longest, f"the name of {what} is longer than {longest}")


def check_pipeline(document: Json) -> pipeline_spec_pb2.PipelineSpec:
    """A compiled pipeline, alone or with its platform's settings; gives its spec."""
    must(isinstance(document, dict), "the pipeline is no table")
    both = {"pipeline_spec", "platform_spec"}
    if document.keys() & both:
        must(document.keys() <= both, f"a pipeline has {both}")
        _check_platform(document.get("platform_spec") or {})
        document = document["pipeline_spec"]
    try:
        spec = json_format.ParseDict(document, pipeline_spec_pb2.PipelineSpec())
        executors = json_format.ParseDict(document["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
    except (json_format.ParseError, KeyError) as error:
        raise Refused(400, f"the pipeline breaks the schema: {error}") from None
    must(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,127}", spec.pipeline_info.name), f"name {spec.pipeline_info.name!r}")
    must(spec.schema_version == "2.1.0", f"schema version {spec.schema_version!r}")
    must(spec.sdk_version.startswith("kfp-2."), f"SDK version {spec.sdk_version!r}")
    for name, component in spec.components.items():
        must(component.WhichOneof("implementation") == "dag" or component.executor_label in executors.executors, name)
    for name, task in spec.root.dag.tasks.items():
        must(task.component_ref.name in spec.components, f"task {name} has no component")
        must(all(before in spec.root.dag.tasks for before in task.dependent_tasks), f"task {name} waits for none")
    for executor in executors.executors.values():
        words = [*executor.container.command, *executor.container.args]
        must(all(len(word.encode()) < 128 * 1024 for word in words), "an argument is longer than Linux allows")
    return spec


def _check_platform(settings: Json) -> None:
    try:
        json_format.ParseDict(settings, pipeline_spec_pb2.PlatformSpec())
        for executor in settings["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
            json_format.ParseDict(executor, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    except (json_format.ParseError, KeyError) as error:
        raise Refused(400, f"the platform's settings break their schema: {error}") from None


def check_arguments(spec: pipeline_spec_pb2.PipelineSpec, config: Any) -> None:
    """Arguments are those that the pipeline takes, of their types, and none is missing."""
    declared = spec.root.input_definitions.parameters
    given: Mapping[str, Any] = config.parameters or {} if config else {}
    for name, value in given.items():
        must(name in declared, f"the pipeline takes no {name}")
        kind = pipeline_spec_pb2.ParameterType.ParameterTypeEnum.Name(declared[name].parameter_type)
        must(KINDS[kind](value), f"{name} is a {kind}, not {value!r}")
    for name, parameter in declared.items():
        must(name in given or parameter.is_optional or parameter.HasField("default_value"), f"{name} is missing")
    root = config.pipeline_root if config else None
    must(not root or re.match(r"(gs|s3|minio)://[\w.-]{3,}", root), f"pipeline_root {root!r}")


def check_schedule(run: Any) -> None:
    """A recurring run's trigger: robfig's cron with seconds, enabled, with a bound on how many run at once."""
    must(run.trigger and run.trigger.cron_schedule and not run.trigger.periodic_schedule, "one trigger")
    fields = (run.trigger.cron_schedule.cron or "").split(" ")
    must(len(fields) == 6 and fields[0] == "0", f"cron {fields} begins with the second")
    must(all(re.fullmatch(r"[\w*/,?-]+", field) for field in fields), f"cron {fields}")
    must(run.mode in ("ENABLE", "DISABLE"), "mode is required")
    must((run.max_concurrency or "").isdigit() and 1 <= int(run.max_concurrency) <= 10, "max_concurrency is 1 to 10")


def wanted_name(query: Mapping[str, list[str]]) -> str | None:
    """The display name that a list's filter asks for; None for no filter."""
    text = query.get("filter", [""])[0]
    if not text:
        return None
    found = decoded("V2beta1Filter", re.sub(r'"stringValue"', '"string_value"', text).encode())
    must(len(found.predicates) == 1, "one predicate is understood")
    one = found.predicates[0]
    must((one.operation, one.key) == ("EQUALS", "display_name"), f"not understood: {text}")
    return str(one.string_value)
