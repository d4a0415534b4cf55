"""The files in jobs/ for Vertex AI: resources of its API as its REST interface spells them."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Sequence
from typing import Any

from nb2pipe.codegen.jobs import merged
from nb2pipe.pipeline.kfp_view import HYPERTUNE, SECRET_PACKAGES, kfp_name, launch, reads_secrets
from nb2pipe.pipeline.machines import accelerator, machine

Json = dict[str, Any]

SCALES = {"loguniform": "UNIT_LOG_SCALE", "logint": "UNIT_LOG_SCALE"}


def vertex_jobs(described: Json, trial: Json | None) -> dict[str, Json]:
    """The jobs by their name: a CustomJob for each distributed step, a HyperparameterTuningJob to tune."""
    found = {step["name"]: _custom_job(described, step) for step in described["steps"] if step["framework"]}
    return found | ({launch(described, trial, "vertex")["tuning"]: _tuning_job(described, trial)} if trial else {})


def _custom_job(described: Json, step: Json) -> Json:
    spec = _job_spec(described, step, step["workers"], [*step["requirements"], *_secret_packages(step)])
    return {"displayName": _display_name(described, step["name"]), "labels": _labels(described), "jobSpec": spec}


def _tuning_job(described: Json, trial: Json) -> Json:
    spaces = {row["name"]: row["search"] for row in described["parameters"] if row["name"] in trial["tuned"]}
    steps = merged([step for step in described["steps"] if step["name"] in trial["steps"]])
    objective = described["objective"]
    return {
        "displayName": _display_name(described, "tune"),
        "labels": _labels(described),
        "studySpec": {
            "metrics": [{"metricId": objective["name"], "goal": objective["goal"].upper()}],
            "parameters": [parameter_spec(name, space) for name, space in spaces.items()],
            "algorithm": "ALGORITHM_UNSPECIFIED",
            "measurementSelectionType": "LAST_MEASUREMENT",
            "medianAutomatedStoppingSpec": {"useElapsedDuration": False},
        },
        "maxTrialCount": described["trials"],
        "parallelTrialCount": 2,
        "maxFailedTrialCount": described["trials"],
        "trialJobSpec": _job_spec(described, steps, 1, [*steps["requirements"], HYPERTUNE, *_secret_packages(steps)]),
    }


def _secret_packages(step: Json) -> tuple[str, ...]:
    return SECRET_PACKAGES if reads_secrets(step, "vertex") else ()


def parameter_spec(name: str, space: Json) -> Json:
    """A search space in the terms of Vertex AI.

    Choices that are not all numbers are texts, written as in a URL as far as it must be; lists are JSON.
    """
    if space["kind"] == "choice":
        values = space["values"]
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            return {"parameterId": name, "discreteValueSpec": {"values": sorted(set(map(float, values)))}}
        texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
        return {"parameterId": name, "categoricalValueSpec": {"values": [text.replace("%", "%25") for text in texts]}}
    kind = "integerValueSpec" if space["kind"] in ("int", "logint") else "doubleValueSpec"
    scale = SCALES.get(space["kind"], "UNIT_LINEAR_SCALE")
    bounds = {"minValue": space["low"], "maxValue": space["high"]}
    return {"parameterId": name, kind: bounds, "scaleType": scale}


def _job_spec(described: Json, step: Json, workers: int, packages: Sequence[str]) -> Json:
    """A pool for the chief, who is the first worker, and one for the others."""
    resources = step["resources"]
    # Workers cannot go on without one that left: all begin anew.
    scheduling: Json = {"strategy": "STANDARD", "restartJobOnWorkerRestart": workers > 1}
    if resources["timeout"]:
        scheduling["timeout"] = f"{resources['timeout']}s"
    pool = {"machineSpec": _machine_spec(resources), "containerSpec": _container(described, resources, packages)}
    pools = [{"replicaCount": count, **copy.deepcopy(pool)} for count in (1, workers - 1) if count]
    return {"workerPoolSpecs": pools, "scheduling": scheduling}


def _machine_spec(resources: Json) -> Json:
    """The machine; one that there is none for is refused by the target, with its reason."""
    found, kind = machine(resources), accelerator(resources)
    spec: Json = {"machineType": found.name if found else ""}
    return spec | ({"acceleratorType": kind, "acceleratorCount": resources["accelerators"]} if kind else {})


def _container(described: Json, resources: Json, packages: Sequence[str]) -> Json:
    thin = bool(described["image"]) and not resources["image"]
    container: Json = {
        "imageUri": resources["image"] or described["image"] or described["base_image"],
        "command": program_words([] if thin else packages),
        "args": ["$JOB"],
    }
    env = [{"name": name, "value": value} for name, value in resources["env"].items()]
    return container | ({"env": env} if env else {})


def program_words(packages: Sequence[str]) -> list[str]:
    """The command that installs `packages` and runs the program; the arguments that follow are passed on."""
    if not packages:
        return ["python", "-u", "-c", "$PROGRAM"]
    install = f"python -m pip install --quiet --no-warn-script-location {shlex.join(packages)}"
    return ["sh", "-c", f'{install} && exec python -u -c "$0" "$@"', "$PROGRAM"]


def _display_name(described: Json, name: str) -> str:
    return f"{described['name']}-{name}"[:128]


def _labels(described: Json) -> Json:
    """Labels hold lowercase letters, digits, dashes and underscores, 63 at most."""
    return {"pipeline": kfp_name(described["name"]).lower()[:63]}
