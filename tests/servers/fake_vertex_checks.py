"""What the documents of Vertex AI say about jobs, and the machine does not: required fields, limits, names."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

MACHINE = re.compile(
    r"(n1|n2|e2)-(standard|highmem|highcpu)-\d+|c2-standard-\d+|g2-standard-(4|8|12|16|24|32|48|96)"
    r"|a2-(highgpu|ultragpu)-[1248]g|a2-megagpu-16g|a3-highgpu-[1248]g|a3-(mega|ultra)gpu-8g|a4-highgpu-8g"
)
ARGUMENTS = 100_000


class Refused(Exception):
    """An answer with an HTTP status that is not 200."""

    def __init__(self, status: int, message: str, details: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.status, self.message, self.details = status, message, list(details)


def must(holds: object, message: str) -> None:
    """Refuses the request as invalid unless `holds`."""
    if not holds:
        raise Refused(400, message)


def check_custom_job(job: Any) -> None:
    """A CustomJob."""
    _check_named(job)
    _check_spec(job.job_spec)


def check_tuning_job(job: Any) -> None:
    """A HyperparameterTuningJob."""
    _check_named(job)
    study = job.study_spec
    must(len(study.metrics) == 1, "exactly one metric is required")
    must(study.metrics[0].metric_id and study.metrics[0].goal, "a metric has an id and a goal")
    must(study.parameters, "at least one parameter is required")
    names = [parameter.parameter_id for parameter in study.parameters]
    must(len({*names}) == len(names), "parameters need ids of their own")
    for parameter in study.parameters:
        _check_parameter(parameter)
    must(job.max_trial_count >= 1, "max_trial_count is required")
    must(1 <= job.parallel_trial_count <= job.max_trial_count, "parallel_trial_count is between 1 and max_trial_count")
    must(0 <= job.max_failed_trial_count <= job.max_trial_count, "max_failed_trial_count is at most max_trial_count")
    _check_spec(job.trial_job_spec)


def _check_named(job: Any) -> None:
    must(1 <= len(job.display_name) <= 128, "display_name has 1 to 128 characters")
    for key, value in job.labels.items():
        must(re.fullmatch(r"[a-z][\w-]{0,62}", key) and key.islower(), f"label {key}")
        must(re.fullmatch(r"[a-z0-9_-]{0,63}", value), f"value {value} of label {key}")


def _check_spec(spec: Any) -> None:
    pools = spec.worker_pool_specs
    must(pools, "at least one worker pool is required")
    must(pools[0].replica_count == 1, "the first pool has one replica")
    for pool in pools:
        must(pool.replica_count >= 1, "a pool has replicas")
        machine = pool.machine_spec
        must(MACHINE.fullmatch(machine.machine_type), f"machine_type {machine.machine_type!r} is not known")
        must(bool(machine.accelerator_type) == bool(machine.accelerator_count), "accelerators have a type and a count")
        container = pool.container_spec
        must(container.image_uri, "image_uri is required")
        must(all(len(word) <= ARGUMENTS for word in [*container.command, *container.args]), "an argument is too long")
        must(
            all("$PROGRAM" != word != "$JOB" for word in [*container.command, *container.args]), "nothing is filled in"
        )
        must(len(container.env) <= 100, "at most 100 variables")
        must(all(re.fullmatch(r"[A-Za-z_]\w*", variable.name) for variable in container.env), "a variable's name")
    prefix = spec.base_output_directory.output_uri_prefix
    must(not prefix or prefix.startswith("gs://"), f"output_uri_prefix {prefix} is not in Cloud Storage")


def _check_parameter(parameter: Any) -> None:
    name = parameter.parameter_id
    must(name and not re.search(r"\s", name), f"parameter_id {name!r}")
    kind = type(parameter).pb(parameter).WhichOneof("parameter_value_spec")
    must(kind, f"parameter {name} has no values")
    spec = getattr(parameter, kind or "")
    if kind in ("double_value_spec", "integer_value_spec"):
        must(spec.min_value < spec.max_value, f"parameter {name}: min_value is below max_value")
        must(parameter.scale_type.name != "UNIT_LOG_SCALE" or spec.min_value > 0, f"parameter {name}: a log of 0")
    else:
        values = list(spec.values)
        must(values and len({*values}) == len(values), f"parameter {name}: values")
        must(kind != "discrete_value_spec" or values == sorted(values), f"parameter {name}: values in order")
        must(not parameter.scale_type or kind == "discrete_value_spec", f"parameter {name}: categories have no scale")


# --- pipelines --------------------------------------------------------------------------------------------------------
VALUES: Mapping[str, Callable[[Any], bool]] = {
    "NUMBER_INTEGER": lambda value: isinstance(value, float) and value.is_integer(),
    "NUMBER_DOUBLE": lambda value: isinstance(value, float),
    "BOOLEAN": lambda value: isinstance(value, bool),
    "STRING": lambda value: isinstance(value, str),
    "LIST": lambda value: isinstance(value, list),
    "STRUCT": lambda value: isinstance(value, dict),
}
"""What a value in a google.protobuf.Struct must be for each type of parameter: all numbers are doubles there."""

ACCELERATORS = {"NVIDIA_TESLA_T4", "NVIDIA_L4", "NVIDIA_TESLA_V100", "NVIDIA_TESLA_A100", "NVIDIA_A100_80GB"}
CRON = r"(?:(?:CRON_)?TZ=[A-Za-z_/+-]+ )?[\d*/,-]+(?: [\d*/,A-Z-]+){4}"


def check_pipeline_job(job: Any) -> None:
    """A PipelineJob: its own fields, the IR by its published schema, and the values of its parameters."""
    from google.protobuf import json_format

    must(len(job.display_name) <= 128, "display_name has at most 128 characters")
    must(len(job.labels) <= 64, "at most 64 labels")
    for key, value in job.labels.items():
        must(re.fullmatch(r"[^\W\d_][\w-]{0,62}", key) and key == key.lower(), f"label {key}")
        must(re.fullmatch(r"[\w-]{0,63}", value) and value == value.lower(), f"value {value} of label {key}")
    account, network, key = job.service_account, job.network, job.encryption_spec.kms_key_name
    must(not account or re.fullmatch(r"[\w.-]+@[\w.-]+\.gserviceaccount\.com", account), f"service_account {account}")
    must(not network or re.fullmatch(r"projects/\d+/global/networks/[\w-]+", network), f"network {network}")
    keys = r"projects/[^/]+/locations/us-central1/keyRings/[\w-]+/cryptoKeys/[\w-]+"
    must(not key or re.fullmatch(keys, key), f"kms_key_name {key}")
    config = type(job).pb(job).runtime_config
    must(re.match(r"gs://[a-z0-9][a-z0-9._-]{2,}", config.gcs_output_directory), "gcs_output_directory is required")
    must(not config.parameters, "parameters are for schema 2.0.0 and older")
    spec = json_format.MessageToDict(type(job).pb(job).pipeline_spec)
    message = ir_schema().PipelineSpec()
    try:
        json_format.ParseDict(spec, message)
    except json_format.ParseError as error:
        raise Refused(400, f"pipeline_spec: {error}") from None
    _check_ir(spec, message)
    _check_values(message, {name: json_format.MessageToDict(v) for name, v in config.parameter_values.items()})


@cache
def ir_schema() -> Any:
    """The published messages of the IR, without importing kfp and its clients."""
    found = importlib.util.find_spec("kfp")
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin).parent / "pipeline_spec" / "pipeline_spec_pb2.py"
    spec = importlib.util.spec_from_file_location("pipeline_spec_of_the_tests", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _check_ir(spec: Any, message: Any) -> None:
    must(message.schema_version == "2.1.0", f"schemaVersion {message.schema_version}")
    must(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,127}", message.pipeline_info.name), "pipelineInfo.name")
    must(message.root.dag.tasks, "a pipeline has tasks")
    executors = spec["deploymentSpec"]["executors"]
    for name, task in message.root.dag.tasks.items():
        must(task.component_ref.name in message.components, f"task {name}: its component is not there")
        for other in task.dependent_tasks:
            must(other in message.root.dag.tasks, f"task {name} waits for {other}")
    for name, component in message.components.items():
        must(not component.executor_label or component.executor_label in executors, f"component {name}: its executor")
    for name, executor in executors.items():
        if "container" in executor:
            _check_executor(name, executor["container"])


def _check_executor(name: str, container: Any) -> None:
    must(container.get("image"), f"{name}: image is required")
    words = [*container.get("command", []), *container.get("args", [])]
    must(all(len(word) <= 131_071 for word in words), f"{name}: an argument is too long")
    limits = container.get("resources", {})
    must(not [key for key in limits if "Request" in key], f"{name}: resources have limits only")
    kind = limits.get("accelerator", {}).get("type") or limits.get("accelerator", {}).get("resourceType")
    must(kind is None or kind in ACCELERATORS, f"{name}: accelerator {kind}")


def _check_values(message: Any, values: Mapping[str, Any]) -> None:
    declared = message.root.input_definitions.parameters
    kinds = ir_schema().ParameterType.ParameterTypeEnum
    for name, value in values.items():
        must(name in declared, f"the pipeline has no parameter {name}")
        kind = kinds.Name(declared[name].parameter_type)
        must(VALUES[kind](value), f"parameter {name} is {kind}, {value!r} is not")
    for name, parameter in declared.items():
        optional = parameter.is_optional or parameter.HasField("default_value")
        must(optional or name in values, f"parameter {name} is required")


def check_schedule(schedule: Any, parent: str) -> None:
    """A Schedule of pipeline jobs."""
    must(1 <= len(schedule.display_name) <= 128, "display_name has 1 to 128 characters")
    must(re.fullmatch(CRON, schedule.cron), f"cron {schedule.cron!r}")
    must(schedule.max_concurrent_run_count >= 1, "max_concurrent_run_count is required")
    must(schedule.create_pipeline_job_request.parent == parent, "create_pipeline_job_request.parent")
    must(not schedule.create_pipeline_job_request.pipeline_job_id, "each run gets an id of its own")
    check_pipeline_job(schedule.create_pipeline_job_request.pipeline_job)


CHECKS: Mapping[str, Callable[[Any], None]] = {
    "customJobs": check_custom_job,
    "hyperparameterTuningJobs": check_tuning_job,
    "pipelineJobs": check_pipeline_job,
}


def parsed(kind: Any, body: bytes) -> Any:
    """The message in a body; what the API does not know in it is refused."""
    from google.protobuf import json_format

    message = kind()
    try:
        json_format.Parse(body, kind.pb(message))
    except json_format.ParseError as error:
        raise Refused(400, str(error)) from None
    return message
