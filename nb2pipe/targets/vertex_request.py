"""What is sent to Vertex AI, as its REST interface spells it: made and checked here, before anything is sent.

The limits are those of the API's own descriptions of its messages (google.cloud.aiplatform.v1): the id of a job at
CreatePipelineJobRequest.pipeline_job_id ("less than 128 characters"), names and labels, with the reserved key, at
PipelineJob and Schedule. How many labels there are, and what is in them, is as in "Requirements for labels" of
https://cloud.google.com/resource-manager/docs/labels-overview: up to 64 of a resource, 63 characters each. For the
size of a pipeline, its tasks and the values of its parameters they name none; one word of a command is held to what
Linux takes when it is compiled (targets/kfp.py), and the value of a parameter when it is read (targets/base.py).
"""

from __future__ import annotations

import copy
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from nb2pipe.findings import Finding, finding
from nb2pipe.pipeline.kfp_view import kfp_name
from nb2pipe.targets.sending import (
    SubmitError,
    cron_fields,
    missing_places,
    new_id,
    no_secrets,
    pipeline_arguments,
    unused_options,
)
from nb2pipe.targets.storage import Staged
from nb2pipe.targets.submission import SubmitOptions

Json = dict[str, Any]
ENDPOINT = "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM"
"""gcloud's variable for another server; LOGGING and SECRETMANAGER have theirs."""

MARK = "nb2pipe"
"""The label with the mark of the command that made a job: how it is known when an answer was lost."""

EXPERIMENT = "nb2pipe-experiment"
"""The label with the experiment of a job."""

LONGEST_ID, LONGEST_NAME, MOST_LABELS = 127, 128, 64
RESERVED = "vertex-ai-pipelines-run-billing-id"
POLICIES = {"slow": "PIPELINE_FAILURE_POLICY_FAIL_SLOW", "fast": "PIPELINE_FAILURE_POLICY_FAIL_FAST"}
NOT_HERE = {
    "upload": "--upload",
    "kfp.host": "--host",
    "kfp.namespace": "--namespace",
    "kfp.token": "--token",
    "kfp.token_file": "--token-file",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A submission that is ready to be sent: the job's `body`, its `id`, made once; `name` is for people.

    `schedule` is the body of a schedule, None to start the job now. `url` is where both are created.
    """

    id: str
    name: str
    mark: str
    url: str
    body: Json
    schedule: Json | None
    experiment: str | None


def endpoint(region: str) -> str:
    """The server of a region."""
    return (os.environ.get(ENDPOINT) or f"https://{region}-aiplatform.googleapis.com").rstrip("/")


def parent(options: SubmitOptions) -> str:
    """The resource that jobs and schedules belong to."""
    return f"projects/{options.vertex.project}/locations/{options.vertex.region}"


def located(options: SubmitOptions) -> None:
    """Raises SubmitError unless it is said, as it can be, in which project and region."""
    place = options.vertex
    missing_places(
        [
            (
                place.project,
                "It is not said in which project.",
                "Give `--project ID` or set GOOGLE_CLOUD_PROJECT; `gcloud projects list` shows yours.",
            ),
            (place.region, "It is not said in which region.", "Give `--region europe-west4` (or another)."),
        ]
    )
    _refuse(
        [
            (re.fullmatch(r"[a-z0-9][a-z0-9.:-]{4,60}", place.project or ""), f"{place.project!r} is no project's id."),
            (re.fullmatch(r"[a-z]+(-[a-z]+)+[0-9]+", place.region or ""), f"{place.region!r} is no region."),
        ]
    )


def checked(options: SubmitOptions) -> None:
    """Raises SubmitError for options that a job on Vertex AI cannot have."""
    unused_options(options, NOT_HERE, "vertex")
    no_secrets(options)
    located(options)
    hint = "Give `--bucket gs://BUCKET`: artifacts and input files go there."
    missing_places([(options.bucket, "It is not said in which bucket.", hint)])
    parts, place = urlsplit(options.bucket or ""), options.vertex
    _refuse(
        [
            (
                parts.scheme == "gs" and re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", parts.netloc),
                f"{options.bucket!r} is no bucket of Cloud Storage: write gs://BUCKET or gs://BUCKET/FOLDER.",
            ),
            (
                not options.service_account or re.fullmatch(r"[^@\s/]+@[^@\s/]+", options.service_account),
                f"{options.service_account!r} is no service account: write NAME@PROJECT.iam.gserviceaccount.com.",
            ),
            (
                not place.network or re.fullmatch(r"projects/[^/\s]+/global/networks/[^/\s]+", place.network),
                f"{place.network!r} is no network: write projects/NUMBER/global/networks/NAME.",
            ),
            (
                not place.cmek or re.fullmatch(_key(place.region), place.cmek),
                f"{place.cmek!r} is no key in {place.region}: write projects/P/locations/R/keyRings/K/cryptoKeys/KEY.",
            ),
            (
                not options.experiment or re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", options.experiment),
                f"{options.experiment!r} is no experiment's name: lower-case letters, digits and dashes, 63 at most.",
            ),
            (
                not (options.schedule and options.experiment),
                "An experiment takes runs that are started now, not those of a schedule.",
            ),
            *_names(options),
        ]
    )
    if options.schedule:
        cron_fields(re.sub(r"^(CRON_)?TZ=\S+ ", "", options.schedule))


def _key(region: str | None) -> str:
    return rf"projects/[^/\s]+/locations/{re.escape(region or '')}/keyRings/[^/\s]+/cryptoKeys/[^/\s]+"


def _names(options: SubmitOptions) -> Iterator[tuple[Any, str]]:
    name = options.name or ""
    yield len(name) <= LONGEST_NAME, f"A name has at most {LONGEST_NAME} characters; {name[:40]!r}... has {len(name)}."
    yield not re.search(r"[\"\\\x00-\x1f]", name), f"A name has no quotes, backslashes and line ends; {name!r} has."
    most = MOST_LABELS - 3  # ours
    yield len(options.labels) <= most, f"A job has at most {most} labels beside nb2pipe's own."
    for key, value in options.labels.items():
        shaped = re.fullmatch(r"[^\W\d_][\w-]{0,62}", key) and re.fullmatch(r"[\w-]{0,63}", value)
        right = shaped and (key + value).lower() == key + value
        rule = f"lower-case letters, digits, - and _, 63 at most, the key begins with a letter and not with {MARK}"
        yield right and not key.startswith(MARK), f"The label {key}={value} cannot be: {rule}."
        yield key != RESERVED, f"The label {RESERVED} is Vertex AI's own, which would write over it."


def _refuse(rows: Any) -> None:
    wrong: list[Finding] = [finding("bad-run-option", message) for holds, message in rows if not holds]
    if wrong:
        raise SubmitError(wrong)


# --- bodies -----------------------------------------------------------------------------------------------------------
def planned(graph: Mapping[str, Any], spec: Json, options: SubmitOptions, files: Mapping[str, str]) -> Plan:
    """What will be sent, from the compiled pipeline and the URIs of its input files. Raises ParameterError."""
    mark, plain = new_id(), kfp_name(graph["name"]).lower().replace("_", "-").strip("-")
    config: Json = {"gcsOutputDirectory": f"{(options.bucket or '').rstrip('/')}/nb2pipe/runs"}
    values = pipeline_arguments(graph, spec, _in_own_project(graph, options), files)
    if values:
        config["parameterValues"] = values
    if options.vertex.failure_policy:
        config["failurePolicy"] = POLICIES[options.vertex.failure_policy]
    labels = {MARK: mark, f"{MARK}-pipeline": plain[:63], **options.labels}
    when, base = time.strftime("%Y%m%d%H%M%S", time.gmtime()), plain[: LONGEST_ID - 28].strip("-")
    name = options.name or (str(graph["name"]) if options.schedule else f"{base}-{when}")
    body: Json = {
        "displayName": name[:LONGEST_NAME],
        "labels": labels | ({EXPERIMENT: options.experiment} if options.experiment else {}),
        "pipelineSpec": without_cache(spec) if options.caching is False else spec,
        "runtimeConfig": config,
    }
    own = {"serviceAccount": options.service_account, "network": options.vertex.network}
    body |= {key: value for key, value in own.items() if value}
    if options.vertex.cmek:
        body["encryptionSpec"] = {"kmsKeyName": options.vertex.cmek}
    schedule = _schedule(body, options) if options.schedule else None
    url = f"{endpoint(options.vertex.region or '')}/v1/{parent(options)}"
    return Plan(f"{base}-{when}-{mark}", body["displayName"], mark, url, body, schedule, options.experiment)


def _in_own_project(graph: Mapping[str, Any], options: SubmitOptions) -> SubmitOptions:
    """The options with the job's project for clients of BigQuery that are given none: a login there has another one."""
    names = {step["bigquery"]["project"] for step in graph["steps"] if "bigquery" in step}
    missing = [name for name in names if not options.parameters.get(name)]
    return replace(options, parameters={**options.parameters, **dict.fromkeys(missing, options.vertex.project)})


def _schedule(body: Json, options: SubmitOptions) -> Json:
    return {
        "displayName": body["displayName"],
        "cron": options.schedule,
        "maxConcurrentRunCount": 1,
        "createPipelineJobRequest": {"parent": parent(options), "pipelineJob": body},
    }


def without_cache(spec: Json) -> Json:
    """The pipeline with no task that takes an earlier result."""
    changed = copy.deepcopy(spec)
    for component in [changed["root"], *changed.get("components", {}).values()]:
        for task in component.get("dag", {}).get("tasks", {}).values():
            task["cachingOptions"] = {}
    return changed


def requests(plan: Plan, files: Staged) -> list[Json]:
    """Everything that would be sent, in order: `{"what", "body"}` each; an upload has the file's name for its body."""
    rows: list[Json] = [
        {"what": f"upload to gs://{urlsplit(files.bucket or '').netloc}/{one.name}", "body": str(one.path)}
        for one in files.uploads
    ]
    return [*rows, request(plan)]


def request(plan: Plan) -> Json:
    """The request that makes the job, or the schedule."""
    if plan.schedule is not None:
        return {"what": f"POST {plan.url}/schedules", "body": plan.schedule}
    return {"what": f"POST {plan.url}/pipelineJobs?pipelineJobId={plan.id}", "body": plan.body}
