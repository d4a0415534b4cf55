"""The files in jobs/: what runs outside of a step's own container, as each platform describes it.

They hold everything that is known when the notebook is converted. "$PROGRAM" and "$JOB" stand for what only a run
knows: the generated jobs.py puts it there. Both reach a container as variables: what starts a container may join the
words of its command without quotes, as Katib does.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from nb2pipe.pipeline.graph import unique
from nb2pipe.pipeline.kfp_view import GPU, GPU_LABEL, STORAGE, kfp_name, launch
from nb2pipe.pipeline.machines import quantity

Json = dict[str, Any]

RUNTIMES = {"torch": "torch-distributed", "xgboost": "xgboost-distributed"}
"""Kubeflow Trainer's runtimes by framework; it has none for TensorFlow, which takes a TFJob."""

LONGEST_NAME = 31
"""Of a job without its eight last characters: Katib takes 40, and pods add to the name of their job."""

METRICS_FORMAT = r"^objective: ([\w|-]+)=([+-]?\d+(?:\.\d+)?(?:[Ee][+-]?\d+)?)$"
"""The lines in a trial's log that tell Katib its objective, and no others."""

DISTRIBUTIONS = {"loguniform": "logUniform", "logint": "logUniform", "uniform": "uniform", "int": "uniform"}


def job_text(described: Json) -> str:
    """A description as YAML."""
    import yaml

    text: str = yaml.safe_dump(described, sort_keys=False, width=100, allow_unicode=True)
    return text


def kubeflow_jobs(described: Json, trial: Json | None) -> dict[str, Json]:
    """The manifests by the name of the job: a distributed step's, or that of the tuning."""
    found = {step["name"]: _job(described, step) for step in described["steps"] if step["framework"]}
    return found | ({launch(described, trial, "kfp")["tuning"]: _experiment(described, trial)} if trial else {})


def _job(described: Json, step: Json) -> Json:
    if step["framework"] in RUNTIMES:
        return _train_job(described, step)
    return _tf_job(described, step)


def _train_job(described: Json, step: Json) -> Json:
    """A TrainJob of Kubeflow Trainer, trainer.kubeflow.org/v1alpha1; its runtime has one container a node."""
    container = _container(step, described, shell_words(_packages(described, step)))
    trainer: Json = {"numNodes": step["workers"]}
    if step["framework"] == "torch":
        trainer["numProcPerNode"] = 1
    resources = container.pop("resources", None)
    trainer |= container | ({"resourcesPerNode": resources} if resources else {})
    patch = {"manager": "nb2pipe", "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [_node(step)]}}}}
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": _metadata(described, step["name"]),
        "spec": {
            **_deadline(step["resources"]["timeout"]),
            "runtimeRef": {"name": RUNTIMES[step["framework"]]},
            "trainer": trainer,
            "runtimePatches": [patch],
        },
    }


def _node(step: Json) -> Json:
    """What a TrainJob changes in the pods of its runtime."""
    return {"name": "node", "template": {"spec": {"template": _pod(step["resources"], {})}}}


def _tf_job(described: Json, step: Json) -> Json:
    """A TFJob of Kubeflow's training operator, kubeflow.org/v1: a chief and the other workers."""
    container = _container(step, described, shell_words(_packages(described, step)))
    pod = _pod(step["resources"], {"containers": [{"name": "tensorflow", **container}]})
    replicas = {"Chief": 1, "Worker": step["workers"] - 1}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": _metadata(described, step["name"]),
        "spec": {
            # What failed stays for its log; workers that wait for it forever do not. The component tries again.
            "runPolicy": {
                "cleanPodPolicy": "Running",
                "backoffLimit": 0,
                **_deadline(step["resources"]["timeout"]),
            },
            "tfReplicaSpecs": {
                kind: {"replicas": count, "restartPolicy": "Never", "template": pod}
                for kind, count in replicas.items()
                if count
            },
        },
    }


def _experiment(described: Json, trial: Json) -> Json:
    """A Katib Experiment, kubeflow.org/v1beta1, whose trials are Jobs that run a trial by remote.py."""
    spaces = {row["name"]: row["search"] for row in described["parameters"] if row["name"] in trial["tuned"]}
    steps = [step for step in described["steps"] if step["name"] in trial["steps"]]
    objective, metric = described["objective"], kfp_name(described["objective"]["name"])
    names = _trial_names(spaces)
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": _metadata(described, "tune"),
        "spec": {
            "objective": {
                "type": objective["goal"],
                "objectiveMetricName": metric,
                "metricStrategies": [{"name": metric, "value": "latest"}],
            },
            "algorithm": {"algorithmName": "tpe"},
            "earlyStopping": {
                "algorithmName": "medianstop",
                "algorithmSettings": [{"name": "min_trials_required", "value": "5"}],
            },
            "metricsCollectorSpec": {
                "collector": {"kind": "StdOut"},
                "source": {"filter": {"metricsFormat": [METRICS_FORMAT]}},
            },
            "maxTrialCount": described["trials"],
            "parallelTrialCount": min(2, described["trials"]),
            "maxFailedTrialCount": described["trials"],
            "parameters": [katib_parameter(name, space) for name, space in spaces.items()],
            "trialTemplate": {
                "primaryContainerName": "trial",
                # What failed stays for its log.
                "retain": True,
                "trialParameters": [{"name": short, "reference": name} for name, short in names.items()],
                "trialSpec": {"apiVersion": "batch/v1", "kind": "Job", "spec": _trial_job(described, steps, names)},
            },
        },
    }


def _trial_job(described: Json, steps: Sequence[Json], names: Mapping[str, str]) -> Json:
    """The Job of a trial; Katib puts its values into the text of it."""
    whole = merged(steps)
    words = [f"'--{name}=${{trialParameters.{short}}}'" for name, short in names.items()]
    command = shell_words(_packages(described, whole), words, replaces=False)
    container = _container(whole, described, command)
    container["env"] = [{"name": "KATIB_TRIAL", "value": "1"}, *container["env"]]
    limits = [step["resources"]["timeout"] for step in steps]
    pod = {"containers": [{"name": "trial", **container}], "restartPolicy": "Never"}
    return {
        "backoffLimit": whole["resources"]["retries"],
        **_deadline(sum(limits) if all(limits) else None),
        "template": _pod(whole["resources"], pod),
    }


def _trial_names(spaces: Mapping[str, Json]) -> dict[str, str]:
    """The name of each parameter in Katib's template."""
    names: dict[str, str] = {}
    for name in spaces:
        names[name] = unique(kfp_name(name), names.values())
    return names


def katib_parameter(name: str, space: Json) -> Json:
    """A search space in Katib's terms, where every bound and choice is text.

    Choices are written as in a URL, lists as JSON: Katib puts them unquoted into JSON and into a shell's command.
    """
    if space["kind"] == "choice":
        values = [value if isinstance(value, str) else json.dumps(value) for value in space["values"]]
        return {"name": name, "parameterType": "categorical", "feasibleSpace": {"list": [_plain(v) for v in values]}}
    whole = space["kind"] in ("int", "logint")
    bounds = {"min": str(space["low"]), "max": str(space["high"]), "distribution": DISTRIBUTIONS[space["kind"]]}
    return {"name": name, "parameterType": "int" if whole else "double", "feasibleSpace": bounds}


def _plain(text: str) -> str:
    return quote(text, safe=" ,:+/=@()[]{}")


# --- what all of them have --------------------------------------------------------------------------------------------
def merged(steps: Sequence[Json]) -> Json:
    """What a container needs that runs several steps: all their packages and variables, the largest resources."""
    resources = dict(steps[0]["resources"])
    for step in steps[1:]:
        other = step["resources"]
        resources["env"] = {**resources["env"], **other["env"]}
        resources["secrets"] = [*resources["secrets"], *(s for s in other["secrets"] if s not in resources["secrets"])]
        for key in ("cpu", "memory"):
            resources[key] = max(resources[key], other[key], key=lambda text: quantity(text) if text else 0)
        for key in ("accelerators", "retries"):
            resources[key] = max(resources[key] or 0, other[key] or 0)
        for key in ("accelerator", "image"):
            resources[key] = resources[key] or other[key]
    specs = sorted({spec for step in steps for spec in step["requirements"]}, key=str.casefold)
    return {"requirements": specs, "resources": {**resources, "retries": resources["retries"] or 0}}


def _metadata(described: Json, name: str) -> Json:
    """A name for jobs of which each run gets its own: short enough for the names of pods made from it."""
    plain = kfp_name(f"{described['name']}-{name}").replace("_", "-").lower()
    return {"generateName": f"{plain[:LONGEST_NAME].strip('-')}-"}


def _deadline(seconds: int | None) -> Json:
    return {"activeDeadlineSeconds": seconds} if seconds else {}


def _pod(resources: Json, spec: Json) -> Json:
    """A template of pods, without the sidecar of a service mesh: it would never end, nor let workers talk."""
    kind = resources["accelerator"] or "gpu"
    chosen = resources["accelerators"] and kind != "gpu" and "/" not in kind
    selector: Json = {"nodeSelector": {GPU_LABEL: kind}} if chosen else {}
    annotated = {"metadata": {"annotations": {"sidecar.istio.io/inject": "false"}}}
    return annotated | ({"spec": selector | spec} if selector | spec else {})


def _packages(described: Json, step: Json) -> list[str]:
    """What a container installs first; an image that was built of the project has everything."""
    thin = bool(described["image"]) and not step["resources"]["image"]
    return [] if thin else [*step["requirements"], *STORAGE]


def _container(step: Json, described: Json, command: list[str]) -> Json:
    """Image, command, environment and resources of a container that runs remote.py."""
    resources = step["resources"]
    program = [{"name": "JOB_PROGRAM", "value": "$PROGRAM"}, {"name": "JOB_SPEC", "value": "$JOB"}]
    container: Json = {
        "image": resources["image"] or described["image"] or described["base_image"],
        "command": command,
        "env": [*_environment(resources), *program],
    }
    wanted = _resources(resources)
    return container | ({"resources": wanted} if wanted else {})


def shell_words(packages: Sequence[str], words: Sequence[str] = (), *, replaces: bool = True) -> list[str]:
    """The command that installs `packages` and runs the program with `words`, which stand as a shell reads them.

    The program `replaces` the shell, to be told of signals, unless something is put behind it.
    """
    run = " ".join(['exec python -u -c "$JOB_PROGRAM" "$JOB_SPEC"'[0 if replaces else 5 :], *words])
    install = f"python -m pip install --quiet --no-warn-script-location {shlex.join(packages)} && "
    return ["sh", "-c", (install if packages else "") + run]


def _environment(resources: Json) -> list[Json]:
    # Kubernetes would replace $(NAME) in a value.
    plain = [{"name": name, "value": value.replace("$(", "$$(")} for name, value in resources["env"].items()]
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
