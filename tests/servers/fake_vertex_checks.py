"""What the documents of Vertex AI say about jobs, and the machine does not: required fields, limits, names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

MACHINE = re.compile(
    r"(n1|n2|e2)-(standard|highmem|highcpu)-\d+|c2-standard-\d+|g2-standard-(4|8|12|16|24|32|48|96)"
    r"|a2-(highgpu|ultragpu)-[1248]g|a2-megagpu-16g|a3-highgpu-[1248]g|a3-(mega|ultra)gpu-8g|a4-highgpu-8g"
)
ARGUMENTS = 100_000


class Refused(Exception):
    """An answer with an HTTP status that is not 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


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


CHECKS: Mapping[str, Callable[[Any], None]] = {
    "customJobs": check_custom_job,
    "hyperparameterTuningJobs": check_tuning_job,
}
