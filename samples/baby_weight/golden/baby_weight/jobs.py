"""Jobs on Kubernetes: a TrainJob or TFJob for each distributed step, a Katib Experiment for tuning.

The manifests are the files in jobs/, which may be edited; this module fills in what only a run
knows, creates the job, and waits for its end. The pipeline's service account must be allowed to
create, get and delete these jobs, to list pods, and to get their logs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from baby_weight import remote

ROOT = Path(__file__).resolve().parent.parent
MANIFESTS = {
    "train": "jobs/train.yaml",
    "tune": "jobs/tune.yaml",
}
PLURALS = {"TrainJob": "trainjobs", "TFJob": "tfjobs", "Experiment": "experiments"}
POD_LABELS = {
    "TrainJob": "jobset.sigs.k8s.io/jobset-name",
    "TFJob": "training.kubeflow.org/job-name",
    "Experiment": "katib.kubeflow.org/experiment",
}
ATTEMPTS = 20  # of a request, before the cluster counts as gone
POLL_SECONDS = float(os.environ.get("JOB_POLL_SECONDS", "10"))
LOG_LINES = 40
LONGEST_TEXT = 128 * 1024 - 32  # bytes of one variable, with its name

# What workers need to reach the object store that comes with Kubeflow.
MINIO: tuple[dict[str, Any], ...] = (
    {"name": "AWS_ENDPOINT_URL", "value": "http://minio-service.kubeflow:9000"},
    *(
        {
            "name": name,
            "valueFrom": {"secretKeyRef": {"name": "mlpipeline-minio-artifact", "key": key}},
        }
        for name, key in (
            ("AWS_ACCESS_KEY_ID", "accesskey"),
            ("AWS_SECRET_ACCESS_KEY", "secretkey"),
        )
    ),
)

# What decides how a job ended: the type of its condition that is true.
SUCCEEDED, FAILED = ("Complete", "Succeeded"), ("Failed",)


class JobError(Exception):
    """A job failed, was deleted, or took too long; the text says which and why."""


def available() -> bool:
    """Whether this process runs in a pipeline on a cluster; in a pod of a notebook it does not."""
    return {"KUBERNETES_SERVICE_HOST", "KFP_POD_NAME"} <= os.environ.keys()


def train(
    step: str,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    files_in: Mapping[str, str],
    files_out: Mapping[str, str],
    *,
    uris: Mapping[str, str],
    files: Mapping[str, str] | None,
) -> dict[str, float]:
    """Runs `step` on its workers and returns its metrics. `uris` gives the URI behind each path."""
    groups = {"inputs": inputs, "outputs": outputs, "files_in": files_in, "files_out": files_out}
    job: dict[str, Any] = {"step": step, "parameters": dict(parameters)}
    for name, paths in groups.items():
        job[name] = {key: uris[path] for key, path in paths.items()}
    started, _ = _run(filled(load(step), job, files))
    return started.metrics()


def search(
    trials: int,
    parallel: int,
    parameters: Mapping[str, Any],
    given: Mapping[str, str],
    *,
    uris: Mapping[str, str],
    files: Mapping[str, str] | None,
) -> dict[str, Any]:
    """Tunes with a Katib Experiment; returns the parameters of its best trial."""
    from baby_weight import task, trial

    manifest = load("tune")
    fixed = {name: value for name, value in parameters.items() if name not in trial.TUNED}
    filled(manifest, {"parameters": fixed, "given": dict(uris)}, files)
    manifest["spec"] |= {"maxTrialCount": trials, "parallelTrialCount": min(parallel, trials)}
    manifest["spec"]["maxFailedTrialCount"] = trials
    started, ended = _run(manifest)
    rows = ended.get("status", {}).get("currentOptimalTrial", {}).get("parameterAssignments") or []
    if not rows:
        raise JobError(f"{started} ended without a trial that completed: {started.reason()}")
    best = trial.tuned([f"--{row['name']}={row['value']}" for row in rows])
    return {name: task.parse_value(trial.kind(name), text) for name, text in best.items()}


# --- manifests ------------------------------------------------------------------------------------
def load(name: str) -> dict[str, Any]:
    """The manifest of a distributed step, or of the tuning, from its file in jobs/."""
    import yaml

    manifest: dict[str, Any] = yaml.safe_load((ROOT / MANIFESTS[name]).read_text("utf-8"))
    return manifest


def filled(
    manifest: dict[str, Any], job: Mapping[str, Any], files: Mapping[str, str] | None
) -> dict[str, Any]:
    """`manifest`, changed in place: with a name of its own, and in its containers what they run.

    A variable of the value "$JOB" gets the job as JSON, one of "$PROGRAM" a Python program that
    unpacks the project's `files` and runs it. Raises JobError where one is too large.
    """
    metadata = manifest["metadata"]
    metadata["name"] = f"{metadata.pop('generateName')}{uuid.uuid4().hex[:8]}"
    owner = _owner()
    if owner:
        metadata["ownerReferences"] = [owner]
    # Kubernetes would replace $(NAME) in a value, and Katib ${NAME}.
    texts = {"$JOB": json.dumps(job).replace("$", "\\u0024"), "$PROGRAM": remote.program(files)}
    for what, text in texts.items():
        if len(text.encode()) > LONGEST_TEXT:
            raise JobError(f"{metadata['name']}: {what} is too large for a variable")
    stored_here = "minio://" in texts["$JOB"]
    for container in _containers(manifest["spec"]):
        rows = [*container.get("env", []), *(MINIO if stored_here else ())]
        container["env"] = [
            {**row, "value": texts[row["value"]]} if row.get("value") in texts else row
            for row in rows
        ]
    return manifest


def _containers(node: Any) -> Iterator[dict[str, Any]]:
    """Everything in a manifest that has a command."""
    if isinstance(node, dict):
        if "command" in node:
            yield node
        for value in node.values():
            yield from _containers(value)
    elif isinstance(node, list):
        for value in node:
            yield from _containers(value)


def _owner() -> dict[str, Any] | None:
    """The pod of this component as the owner of the job, so that the job goes when the pod goes."""
    name, uid = os.environ.get("KFP_POD_NAME"), os.environ.get("KFP_POD_UID")
    return {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid} if name and uid else None


# --- the cluster ----------------------------------------------------------------------------------
class Job:
    """A job on the cluster."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        from kubernetes import client, config
        from kubernetes.config import incluster_config

        config.load_incluster_config()
        group, version = manifest["apiVersion"].split("/")
        self.api = client.CustomObjectsApi()
        self.pods = client.CoreV1Api()
        self.name = manifest["metadata"]["name"]
        self.kind = manifest["kind"]
        account = Path(incluster_config.SERVICE_TOKEN_FILENAME)
        self.namespace = account.with_name("namespace").read_text("utf-8").strip()
        self.place = {
            "group": group,
            "version": version,
            "namespace": self.namespace,
            "plural": PLURALS[self.kind],
        }

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def create(self, manifest: Mapping[str, Any]) -> None:
        """Creates the job; one that is there already is that of an answer that was lost."""
        self._asked(self.api.create_namespaced_custom_object, "created", (409,), body=manifest)

    def state(self) -> dict[str, Any] | None:
        """The job as it is now; None when it was deleted."""
        get = self.api.get_namespaced_custom_object
        found: dict[str, Any] | None = self._asked(get, "watched", (404,), name=self.name)
        return found

    def delete(self) -> None:
        """Deletes the job with its pods; one that is gone is no error."""
        try:
            self._asked(self.api.delete_namespaced_custom_object, "deleted", (404,), name=self.name)
        except JobError as error:
            print(error, file=sys.stderr, flush=True)

    def _asked(
        self, ask: Callable[..., Any], done: str, fine: tuple[int, ...], **words: Any
    ) -> Any:
        """What the cluster answers, asked again where that may help; None for a `fine` status."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        why = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(min(POLL_SECONDS, 2.0**attempt))
            try:
                return ask(**words, **self.place)
            except ApiException as error:
                if error.status in fine:
                    return None
                why = _said(error)
                if error.status and error.status < 500 and error.status != 429:
                    break
            except HTTPError as error:
                why = f"the cluster does not answer: {error}"
        raise JobError(f"{self} cannot be {done}: {why}")

    def messages(self) -> list[dict[str, Any]]:
        """The last messages of the containers of the job, also of those that were started again."""
        statuses = [row for pod in self._pods() for row in pod.status.container_statuses or ()]
        states = [state for row in statuses for state in (row.state, row.last_state) if state]
        ended = [state.terminated.message or "" for state in states if state.terminated]
        return [json.loads(text) for text in ended if text.startswith("{")]

    def metrics(self) -> dict[str, float]:
        """The metrics that the chief left. Raises JobError when there are none."""
        for message in self.messages():
            if "metrics" in message:
                return dict(message["metrics"])
        raise JobError(f"{self} left no metrics: its pods are gone")

    def error(self) -> str:
        """Why a worker failed, with the notebook's cell and line; "" while none did."""
        failed = [message for message in self.messages() if "error" in message]
        # The first takes the others with it.
        first = min(failed, key=lambda message: message.get("at", 0), default={"error": ""})
        return str(first["error"])

    def reason(self) -> str:
        """Why a worker failed, or ""; prints the last lines of all of them."""
        from kubernetes.client.exceptions import ApiException

        try:
            for pod in self._pods():
                name = pod.metadata.name
                with suppress(ApiException):  # a pod that never started has no log
                    log = self.pods.read_namespaced_pod_log(
                        name, self.namespace, tail_lines=LOG_LINES
                    )
                    print(f"--- {name}\n{log}", file=sys.stderr, flush=True)
            return self.error()
        except ApiException as error:
            print(f"the pods of {self.name} cannot be read: {_said(error)}", file=sys.stderr)
            return ""

    def _pods(self) -> list[Any]:
        selector = f"{POD_LABELS[self.kind]}={self.name}"
        return list(self.pods.list_namespaced_pod(self.namespace, label_selector=selector).items)


def _said(error: Any) -> str:
    """What the cluster said about a request that it refused."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"


def _run(manifest: dict[str, Any]) -> tuple[Job, dict[str, Any]]:
    """The job and its last state, once it succeeded. Raises JobError.

    A job that this process cannot wait for is deleted; one that failed stays, for its logs.
    """
    job = Job(manifest)
    with _deleting(job):
        job.create(manifest)
        print(f"{job} in namespace {job.namespace}", flush=True)
        ended, state = _waited(job, _limit(manifest))
    if ended["type"] not in SUCCEEDED:
        said = f"{ended.get('reason')}: {ended.get('message')}"
        raise JobError(f"{job} failed: {job.reason() or said}")
    return job, state


def _limit(manifest: Mapping[str, Any]) -> int | None:
    """The seconds that a job may take, with the time until it starts."""
    spec = manifest["spec"]
    found: int | None = spec.get("runPolicy", spec).get("activeDeadlineSeconds")
    return found


def _waited(job: Job, limit: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """How a job ended, and its last state."""
    deadline = time.monotonic() + limit if limit else None
    while True:
        state = job.state()
        if state is None:
            raise JobError(f"{job} was deleted before it ended")
        ended = _ended(state)
        if ended is not None:
            return ended, state
        if deadline is not None and time.monotonic() > deadline:
            raise JobError(f"{job} took longer than {limit} s and was deleted")
        # Its runtime may start a worker again and again that cannot succeed.
        if job.kind != "Experiment" and job.error():
            raise JobError(f"{job} failed: {job.reason()}")
        time.sleep(POLL_SECONDS)


def _ended(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """The condition that says that a job ended; None while it runs."""
    for condition in state.get("status", {}).get("conditions") or []:
        if condition["type"] in (*SUCCEEDED, *FAILED) and condition["status"] == "True":
            return dict(condition)
    return None


@contextmanager
def _deleting(job: Job) -> Iterator[None]:
    """Deletes the job when it is not waited for to its end: the pipeline may be cancelled."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except BaseException:
        job.delete()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
