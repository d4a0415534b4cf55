"""Jobs on Kubernetes: a TrainJob or TFJob for each distributed step, a Katib Experiment for tuning.

The manifests are the files in jobs/, which may be edited; this module fills in what only a run
knows, creates the job, and waits for its end. The pipeline's service account must be allowed to
create, get and delete them, and to read the logs of pods.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import signal
import sys
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
POLL_SECONDS = float(os.environ.get("JOB_POLL_SECONDS", "10"))
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
LOG_LINES = 40

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
    """Whether this process runs on a cluster."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


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
    job |= {name: {key: uris[path] for key, path in group.items()} for name, group in groups.items()}
    manifest = filled(load(step), job, files)
    started = _created(manifest)
    _wait(started, manifest)
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
    from digits_torch import task, trial

    manifest = load("tune")
    fixed = {name: value for name, value in parameters.items() if name not in trial.TUNED}
    filled(manifest, {"parameters": fixed, "given": dict(uris)}, files)
    manifest["spec"] |= {"maxTrialCount": trials, "parallelTrialCount": min(parallel, trials)}
    manifest["spec"]["maxFailedTrialCount"] = trials
    ended = _wait(_created(manifest), manifest)
    rows = ended.get("status", {}).get("currentOptimalTrial", {}).get("parameterAssignments") or []
    if not rows:
        raise JobError(
            f"the experiment {ended['metadata']['name']} ended without a trial that completed"
        )
    kinds = {
        name: row[0] for step in trial.STEPS for name, row in task.STEPS[step]["parameters"].items()
    }
    return {row["name"]: task.parse_value(kinds[row["name"]], row["value"]) for row in rows}


# --- manifests --------------------------------------------------------------------------------------
def load(name: str) -> dict[str, Any]:
    """The manifest of a distributed step, or of "tune", from its file in jobs/."""
    import yaml

    manifest: dict[str, Any] = yaml.safe_load((ROOT / MANIFESTS[name]).read_text("utf-8"))
    return manifest


def filled(
    manifest: dict[str, Any], job: Mapping[str, Any], files: Mapping[str, str] | None
) -> dict[str, Any]:
    """`manifest`, changed in place, with a name of its own and in its containers what they are to run.

    "$JOB" in a container's command or arguments is the job as JSON, "$PROGRAM" a Python program
    that unpacks the project's `files` and runs it.
    """
    metadata = manifest["metadata"]
    metadata["name"] = f"{metadata.pop('generateName')}{uuid.uuid4().hex[:8]}"
    owner = _owner()
    if owner:
        metadata["ownerReferences"] = [owner]
    # Kubernetes would replace $(NAME) in a word.
    words = {"$JOB": json.dumps(job).replace("$", "\\u0024"), "$PROGRAM": _program(files)}
    stored_here = "minio://" in words["$JOB"]
    for container in _containers(manifest["spec"]):
        container["env"] = [*container.get("env", []), *(MINIO if stored_here else ())]
        for key in ("command", "args"):
            if key in container:
                container[key] = [words.get(word, word) for word in container[key]]
    return manifest


def _program(files: Mapping[str, str] | None) -> str:
    """A program that unpacks the files where the container works, and runs remote.py in them."""
    run = "import runpy; runpy.run_module('digits_torch.remote', run_name='__main__')"
    if files is None:
        return run
    packed = base64.b64encode(zlib.compress(json.dumps(dict(files)).encode(), 9)).decode()
    return "\n".join(
        [
            "import base64, json, pathlib, sys, tempfile, zlib",
            f"files = json.loads(zlib.decompress(base64.b64decode('{packed}')))",
            "root = pathlib.Path(tempfile.mkdtemp())",
            "for name, text in files.items():",
            "    (root / name).parent.mkdir(parents=True, exist_ok=True)",
            "    (root / name).write_bytes(text.encode())",
            "sys.path.insert(0, str(root))",
            run,
        ]
    )


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


# --- the cluster ------------------------------------------------------------------------------------
class Job:
    """A job on the cluster."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        from kubernetes import client, config

        config.load_incluster_config()
        group, version = manifest["apiVersion"].split("/")
        self.api = client.CustomObjectsApi()
        self.pods = client.CoreV1Api()
        self.name = manifest["metadata"]["name"]
        self.kind = manifest["kind"]
        self.namespace = NAMESPACE_FILE.read_text("utf-8").strip()
        self.place = {
            "group": group,
            "version": version,
            "namespace": self.namespace,
            "plural": PLURALS[self.kind],
        }

    def create(self, manifest: Mapping[str, Any]) -> None:
        """Creates the job; one that is there already is that of an answer that was lost."""
        from kubernetes.client.exceptions import ApiException

        try:
            self.api.create_namespaced_custom_object(body=manifest, **self.place)
        except ApiException as error:
            if error.status != 409:
                raise JobError(
                    f"{self.kind} {self.name} cannot be created: {_said(error)}"
                ) from error

    def state(self) -> dict[str, Any] | None:
        """The job as it is now; None when it was deleted. Errors that pass are tried again."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        for attempt in range(5):
            try:
                found: dict[str, Any] = self.api.get_namespaced_custom_object(
                    name=self.name, **self.place
                )
                return found
            except ApiException as error:
                if error.status == 404:
                    return None
                if error.status is not None and error.status < 500 and error.status != 429:
                    raise JobError(
                        f"{self.kind} {self.name} cannot be watched: {_said(error)}"
                    ) from error
            except HTTPError:
                pass
            time.sleep(min(POLL_SECONDS, 2.0**attempt))
        raise JobError(f"{self.kind} {self.name} cannot be watched: the cluster does not answer")

    def delete(self) -> None:
        """Deletes the job with its pods; one that is gone is no error."""
        from kubernetes.client.exceptions import ApiException

        try:
            self.api.delete_namespaced_custom_object(name=self.name, **self.place)
        except ApiException as error:
            print(f"{self.kind} {self.name} cannot be deleted: {_said(error)}", file=sys.stderr)

    def messages(self) -> list[dict[str, Any]]:
        """The last message of each pod of the job that left one."""
        selector = f"{POD_LABELS[self.kind]}={self.name}"
        found = []
        for pod in self.pods.list_namespaced_pod(self.namespace, label_selector=selector).items:
            for status in pod.status.container_statuses or []:
                ended = status.state.terminated or status.last_state.terminated
                if ended and ended.message and ended.message.startswith("{"):
                    found.append(json.loads(ended.message))
        return found

    def metrics(self) -> dict[str, float]:
        """The metrics that the chief left. Raises JobError when there are none."""
        for message in self.messages():
            if "metrics" in message:
                return dict(message["metrics"])
        raise JobError(f"{self.kind} {self.name} left no metrics: its pods are gone")

    def reason(self) -> str:
        """Why a worker failed, with the notebook's cell and line; prints the last lines of all of them."""
        from kubernetes.client.exceptions import ApiException

        try:
            selector = f"{POD_LABELS[self.kind]}={self.name}"
            for pod in self.pods.list_namespaced_pod(self.namespace, label_selector=selector).items:
                name = pod.metadata.name
                log = self.pods.read_namespaced_pod_log(name, self.namespace, tail_lines=LOG_LINES)
                print(f"--- {name}\n{log}", file=sys.stderr, flush=True)
            errors = [message["error"] for message in self.messages() if "error" in message]
        except ApiException as error:
            print(f"the pods of {self.name} cannot be read: {_said(error)}", file=sys.stderr)
            return ""
        return errors[0] if errors else ""


def _said(error: Any) -> str:
    """What the cluster said about a request that it refused."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"


def _created(manifest: Mapping[str, Any]) -> Job:
    job = Job(manifest)
    job.create(copy.deepcopy(dict(manifest)))
    print(f"{job.kind} {job.name} in namespace {job.namespace}", flush=True)
    return job


def _wait(job: Job, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The job once it succeeded. Raises JobError; a job that does not end with this process is deleted."""
    limit = manifest["metadata"].get("annotations", {}).get("nb2pipe/timeout-seconds")
    deadline = time.monotonic() + float(limit) if limit else None
    with _deleting(job):
        while True:
            state = job.state()
            if state is None:
                raise JobError(f"{job.kind} {job.name} was deleted before it ended")
            ended = _ended(state)
            if ended is not None and ended["type"] in SUCCEEDED:
                return state
            if ended is not None:
                why = job.reason() or ended.get("message") or ended.get("reason")
                raise JobError(f"{job.kind} {job.name} failed: {why}")
            if deadline is not None and time.monotonic() > deadline:
                job.delete()
                raise JobError(f"{job.kind} {job.name} took longer than {limit} s and was deleted")
            time.sleep(POLL_SECONDS)


def _ended(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """The condition that says that a job ended; None while it runs."""
    for condition in state.get("status", {}).get("conditions") or []:
        if condition["type"] in (*SUCCEEDED, *FAILED) and condition["status"] == "True":
            return dict(condition)
    return None


@contextmanager
def _deleting(job: Job) -> Iterator[None]:
    """Deletes the job when this process is ended from outside: the pipeline was cancelled."""

    def end(number: int, frame: Any) -> None:
        job.delete()
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
