"""The files in jobs/: what runs outside of a step's own container, as each platform describes it.

They hold everything that is known when the notebook is converted. "$PROGRAM" and "$JOB" stand for what only a run
knows: the generated jobs.py puts it there.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from nb2pipe.pipeline.kfp_view import GPU, GPU_LABEL, kfp_name

Json = dict[str, Any]

STORAGE = ("fsspec[gcs,s3]",)
"""What a container outside of the pipeline needs to fetch and store artifacts."""

RUNTIMES = {"torch": "torch-distributed", "xgboost": "xgboost-distributed"}
"""Kubeflow Trainer's runtimes by framework; it has none for TensorFlow, which takes a TFJob."""

DISTRIBUTIONS = {"loguniform": "logUniform", "logint": "logUniform", "uniform": "uniform", "int": "uniform"}


def job_text(described: Json) -> str:
    """A description as YAML."""
    import yaml

    text: str = yaml.safe_dump(described, sort_keys=False, width=100, allow_unicode=True)
    return text


def kubeflow_jobs(described: Json, trial: Json | None) -> dict[str, Json]:
    """The manifests by what they run: a distributed step, or "tune"."""
    found = {step["name"]: _job(described, step) for step in described["steps"] if step["framework"]}
    return found | ({"tune": _experiment(described, trial)} if trial else {})


def _job(described: Json, step: Json) -> Json:
    if step["framework"] in RUNTIMES:
        return _train_job(described, step)
    return _tf_job(described, step)


def _train_job(described: Json, step: Json) -> Json:
    """A TrainJob of Kubeflow Trainer, trainer.kubeflow.org/v1alpha1."""
    container = _container(described, step)
    trainer: Json = {
        "numNodes": step["workers"],
        "numProcPerNode": 1,
        "image": container["image"],
        "command": container["command"],
        "args": container["args"],
        "env": container["env"],
    }
    if "resources" in container:
        trainer["resourcesPerNode"] = container["resources"]
    if step["framework"] != "torch":
        del trainer["numProcPerNode"]
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": _metadata(described, step["name"], step),
        "spec": {"runtimeRef": {"name": RUNTIMES[step["framework"]]}, "trainer": trainer},
    }


def _tf_job(described: Json, step: Json) -> Json:
    """A TFJob of Kubeflow's training operator, kubeflow.org/v1: a chief and the other workers."""
    pod: Json = {"containers": [{"name": "tensorflow", **_container(described, step)}]}
    selector = _node_selector(step["resources"])
    if selector:
        pod["nodeSelector"] = selector
    replicas = {"Chief": 1, "Worker": step["workers"] - 1}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": _metadata(described, step["name"], step),
        "spec": {
            "runPolicy": {"cleanPodPolicy": "None", "backoffLimit": step["resources"]["retries"] or 0},
            "tfReplicaSpecs": {
                kind: {"replicas": count, "restartPolicy": "Never", "template": {"spec": pod}}
                for kind, count in replicas.items()
                if count
            },
        },
    }


def _experiment(described: Json, trial: Json) -> Json:
    """A Katib Experiment, kubeflow.org/v1beta1, whose trials are Jobs that run trial.py."""
    spaces = {row["name"]: row["search"] for row in described["parameters"] if row["name"] in trial["tuned"]}
    steps = [step for step in described["steps"] if step["name"] in trial["steps"]]
    objective = described["objective"]
    container = _container(described, merged(steps))
    container["args"] += [f"--{name}=${{trialParameters.{kfp_name(name)}}}" for name in spaces]
    pod = {"containers": [{"name": "trial", **container}], "restartPolicy": "Never"}
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": _metadata(described, "tune"),
        "spec": {
            "objective": {
                "type": objective["goal"],
                "objectiveMetricName": objective["name"],
                "metricStrategies": [{"name": objective["name"], "value": "latest"}],
            },
            "algorithm": {"algorithmName": "tpe"},
            "earlyStopping": {
                "algorithmName": "medianstop",
                "algorithmSettings": [{"name": "min_trials_required", "value": "5"}],
            },
            "metricsCollectorSpec": {"collector": {"kind": "StdOut"}},
            "maxTrialCount": described["trials"],
            "parallelTrialCount": 2,
            "maxFailedTrialCount": described["trials"],
            "parameters": [katib_parameter(name, space) for name, space in spaces.items()],
            "trialTemplate": {
                "primaryContainerName": "trial",
                "trialParameters": [{"name": kfp_name(name), "reference": name} for name in spaces],
                "trialSpec": {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "spec": {"backoffLimit": 0, "template": {"spec": pod}},
                },
            },
        },
    }


def katib_parameter(name: str, space: Json) -> Json:
    """A search space in Katib's terms; every bound and choice is text there, lists are JSON."""
    import json

    if space["kind"] == "choice":
        values = [value if isinstance(value, str) else json.dumps(value) for value in space["values"]]
        return {"name": name, "parameterType": "categorical", "feasibleSpace": {"list": values}}
    whole = space["kind"] in ("int", "logint")
    bounds = {"min": str(space["low"]), "max": str(space["high"]), "distribution": DISTRIBUTIONS[space["kind"]]}
    return {"name": name, "parameterType": "int" if whole else "double", "feasibleSpace": bounds}


# --- what all of them have --------------------------------------------------------------------------------------------
def merged(steps: Sequence[Json]) -> Json:
    """What a container needs that runs several steps: all their packages and variables, the largest resources."""
    resources = dict(steps[0]["resources"])
    for step in steps[1:]:
        other = step["resources"]
        resources["env"] = {**resources["env"], **other["env"]}
        resources["secrets"] = [*resources["secrets"], *(s for s in other["secrets"] if s not in resources["secrets"])]
        for key in ("cpu", "memory", "accelerator", "accelerators", "image"):
            resources[key] = resources[key] or other[key]
    specs = sorted({spec for step in steps for spec in step["requirements"]}, key=str.casefold)
    return {"requirements": specs, "resources": resources}


def _metadata(described: Json, name: str, step: Json | None = None) -> Json:
    plain = f"{described['name']}-{name}".replace("_", "-").lower()
    metadata: Json = {"generateName": f"{kfp_name(plain).replace('_', '-')[:40].strip('-')}-"}
    if step and step["resources"]["timeout"]:
        metadata["annotations"] = {"nb2pipe/timeout-seconds": str(step["resources"]["timeout"])}
    return metadata


def _container(described: Json, step: Json) -> Json:
    """Image, command, environment and resources of a container that runs remote.py."""
    resources = step["resources"]
    thin = bool(described["image"]) and not resources["image"]
    container: Json = {
        "image": resources["image"] or described["image"] or described["base_image"],
        "command": program_words([] if thin else [*step["requirements"], *STORAGE]),
        "args": ["$JOB"],
        "env": _environment(resources),
    }
    wanted = _resources(resources)
    return container | ({"resources": wanted} if wanted else {})


def program_words(packages: Sequence[str]) -> list[str]:
    """The command that installs `packages` and runs the program; the arguments that follow are passed on."""
    if not packages:
        return ["python", "-u", "-c", "$PROGRAM"]
    install = f"python -m pip install --quiet --no-warn-script-location {shlex.join(packages)}"
    return ["sh", "-c", f'{install} && exec python -u -c "$0" "$@"', "$PROGRAM"]


def _environment(resources: Json) -> list[Json]:
    plain = [{"name": name, "value": value} for name, value in resources["env"].items()]
    secret = [
        {"name": s["env"], "valueFrom": {"secretKeyRef": {"name": s["name"], "key": s["key"]}}}
        for s in resources["secrets"]
    ]
    return [*plain, *secret]


def _resources(resources: Json) -> Json:
    wanted = {kind: resources[kind] for kind in ("cpu", "memory") if resources[kind]}
    kind = resources["accelerator"] or ""
    gpus = {kind if "/" in kind else GPU: str(resources["accelerators"])} if resources["accelerators"] else {}
    if not wanted and not gpus:
        return {}
    return {"requests": {**wanted, **gpus}, "limits": {**wanted, **gpus}}


def _node_selector(resources: Json) -> Mapping[str, Any]:
    kind = resources["accelerator"] or "gpu"
    return {GPU_LABEL: kind} if resources["accelerators"] and kind != "gpu" and "/" not in kind else {}
