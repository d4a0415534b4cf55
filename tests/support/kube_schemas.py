"""The published schemas of what the generated code sends to Kubernetes: no field may be unknown, none missing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kubernetes import client

Json = Mapping[str, Any]


def schema_errors(manifest: Json) -> list[str]:
    """What the schema of its kind has against a manifest."""
    checks = {"TrainJob": _train_job, "TFJob": _tf_job, "Experiment": _experiment}
    return checks[manifest["kind"]](manifest)


def _train_job(manifest: Json) -> list[str]:
    from kubeflow_trainer_api.models.trainer_v1alpha1_train_job import TrainerV1alpha1TrainJob

    return _round_trip(TrainerV1alpha1TrainJob, manifest)


def _experiment(manifest: Json) -> list[str]:
    from kubeflow_katib_api.models.v1beta1_experiment import V1beta1Experiment

    template = manifest["spec"]["trialTemplate"]["trialSpec"]
    return _round_trip(V1beta1Experiment, manifest) + _swagger("V1Job", template, "trialSpec")


def _tf_job(manifest: Json) -> list[str]:
    return _swagger("KubeflowOrgV1TFJob", manifest, "TFJob")


def _round_trip(model: Any, manifest: Json) -> list[str]:
    """A model that pydantic checks drops what it does not know."""
    try:
        known = model.from_dict(manifest).to_dict()
    except ValueError as error:
        return [str(error)]
    return list(_differences(manifest, known, manifest["kind"]))


def _differences(given: Any, known: Any, where: str) -> list[str]:
    if isinstance(given, Mapping) and isinstance(known, Mapping):
        lost = [f"{where}.{key} is unknown" for key in given if key not in known]
        return lost + [
            e for key in given if key in known for e in _differences(given[key], known[key], f"{where}.{key}")
        ]
    if isinstance(given, list) and isinstance(known, list) and len(given) == len(known):
        return [
            e for i, pair in enumerate(zip(given, known, strict=True)) for e in _differences(*pair, f"{where}[{i}]")
        ]
    return [] if given == known else [f"{where} is {given!r}, becomes {known!r}"]


def _model(name: str) -> Any:
    if name.startswith("KubeflowOrg"):
        from kubeflow.training import models

        return getattr(models, name)
    return getattr(client, name)


PLAIN: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "object": object,
    "float": (int, float),
}


def _swagger(kind: str, value: Any, where: str) -> list[str]:
    """What a model that Swagger generated has against a value of the type `kind`."""
    nested = re.fullmatch(r"(dict\(str, |list\[)(.*)[\])]", kind)
    if nested and nested[1] == "list[":
        if not isinstance(value, list):
            return [f"{where} is no list"]
        return [e for i, item in enumerate(value) for e in _swagger(nested[2], item, f"{where}[{i}]")]
    if not isinstance(value, PLAIN.get(kind, dict)):
        return [f"{where} is {value!r}, not of type {kind}"]
    if nested:
        return [e for key, item in value.items() for e in _swagger(nested[2], item, f"{where}.{key}")]
    if kind in PLAIN or kind == "datetime":
        return []
    model = _model(kind)
    types = {key: model.openapi_types[name] for name, key in model.attribute_map.items()}
    found = [f"{where}.{key} is unknown" for key in value if key not in types]
    names = {key: name for name, key in model.attribute_map.items()}
    try:
        model(**{names[key]: item for key, item in value.items() if key in names})
    except ValueError as error:
        found.append(f"{where}: {error}")
    return found + [
        e for key, item in value.items() if key in types for e in _swagger(types[key], item, f"{where}.{key}")
    ]
