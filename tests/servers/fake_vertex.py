"""A Vertex AI on loopback, for the real clients: strict about what it is sent, true about what comes of it.

Every request is decoded into the API's own messages, unknown fields refused; names, required fields and limits are
checked as the documents say; credentials are those of a service account whose signature is verified. Worker pools and
pipelines are run as processes on this machine, with the environment that Vertex AI gives them, so a job ends as its
code does. It proves nothing of quotas, permissions, images and machines: those are only compared with what exists.

What else of Google Cloud a pipeline needs (tokens, logs, secrets) is in fake_google.py, on the same port.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import fake_vertex_pipelines as pipelines
from fake_google import Google, service_account
from fake_vertex_checks import CHECKS, Refused, must, parsed
from fake_vertex_workers import run_custom_job, run_tuning_job
from google.cloud.aiplatform_v1 import types
from loopback import Loopback

__all__ = ["LOCATION", "PROJECT", "FakeVertex", "Fault", "service_account"]
PROJECT, LOCATION = "test-project", "us-central1"
CODES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
         409: "ALREADY_EXISTS", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}  # fmt: skip
OUTPUT_ONLY = ("name", "state", "create_time", "start_time", "end_time", "update_time", "error", "trials",
               "job_detail", "template_metadata", "schedule_name", "started_run_count", "next_run_time")  # fmt: skip
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")


@dataclass
class Fault:
    """Something that goes wrong once, at the first request whose "METHOD path" has `at` in it.

    `what` is a status to answer with, with these `details` and `message`; "lost" does the request but hangs up before
    the answer, "cut" in the middle of it, "slow" takes its time; "page" answers with a page, as a proxy does.
    """

    at: str
    what: int | str
    details: list[Any] = field(default_factory=list)
    message: str = "a fault of the test"


class Kind(NamedTuple):
    """A collection of resources: their message, the answer to a list, and what runs one that was created."""

    message: Any
    listed: Any
    run: Callable[[Any, Any], str]
    states: Any
    prefix: str
    filtered: str = r'labels\.(\w+)="([\w-]+)"'


JOB, PIPELINE = (types.JobState, "JOB_STATE_"), (types.PipelineState, "PIPELINE_STATE_")
KINDS = {
    "customJobs": Kind(
        types.CustomJob, types.ListCustomJobsResponse, lambda job, server: run_custom_job(job, server.folder), *JOB
    ),
    "hyperparameterTuningJobs": Kind(
        types.HyperparameterTuningJob, types.ListHyperparameterTuningJobsResponse,
        lambda job, server: run_tuning_job(job, server.folder), *JOB,
    ),
    "pipelineJobs": Kind(types.PipelineJob, types.ListPipelineJobsResponse, pipelines.run, *PIPELINE),
}  # fmt: skip


@dataclass
class Job:
    """A resource that advances, and what is needed to end it early."""

    message: Any
    kind: Kind
    changed: threading.Condition = field(default_factory=threading.Condition)
    stopped: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def set(self, state: str, error: str = "") -> None:
        """Goes on to a state (its name without the prefix); one that has ended stays as it is."""
        with self.changed:
            if self.kind.states(self.message.state).name.removeprefix(self.kind.prefix) not in ENDED:
                self.message.state = self.kind.states[self.kind.prefix + state]
                if error:
                    self.message.error.code = 3
                    self.message.error.message = error
            self.changed.notify_all()


class FakeVertex:
    """The server. `folder` is where its workers write; `buckets` is a folder with Cloud Storage's buckets, as Vertex AI
    shows them to containers; `credentials` is a file for GOOGLE_APPLICATION_CREDENTIALS. With `executes` false
    pipelines run until they are cancelled, and do nothing."""

    def __init__(self, folder: Path, buckets: Path | None = None, *, executes: bool = True) -> None:
        self.folder, self.executes = folder, executes
        self.buckets = buckets or folder / "gcs"
        self.jobs: dict[str, Job] = {}
        self.schedules: dict[str, Any] = {}
        self.contexts: dict[str, Any] = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self._lock = threading.Lock()
        self._http = Loopback(_handler(self))
        self.url = self._http.url
        self.google = Google(PROJECT, folder / "credentials.json", f"{self.url}/token")
        self.credentials = self.google.credentials

    @contextmanager
    def running(self) -> Iterator[FakeVertex]:
        with self._http.serving():
            try:
                yield self
            finally:
                for job in self.jobs.values():
                    job.stopped.set()
                for job in self.jobs.values():
                    if job.thread:
                        job.thread.join(10)

    def environment(self) -> dict[str, str]:
        """What a client needs in its environment to find this server."""
        services = ("AIPLATFORM", "LOGGING", "SECRETMANAGER")
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.credentials),
            **{f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}": self.url for name in services},
            "NO_PROXY": "127.0.0.1",
        }

    def fault(self, request: str) -> Fault | None:
        """The fault that is due at this request; it happens once."""
        with self._lock:
            found = next((fault for fault in self.faults if fault.at in request), None)
            if found:
                self.faults.remove(found)
            return found

    # --- what it does -------------------------------------------------------------------------------------------------
    def answer(self, method: str, path: str, query: Mapping[str, list[str]], body: bytes) -> Any:
        """The message, or the JSON, for a request. Raises Refused."""
        elsewhere = self.google.answer(method, path, query, body)
        if elsewhere is not None:
            return elsewhere
        found = re.fullmatch(r"/v1/projects/([^/]+)/locations/([^/]+)/(\w+)(?:/([^:]+))?(?::(\w+))?", path)
        if not found:
            raise Refused(404, f"{path} is not known")
        project, location, kind, number, verb = found.groups()
        if (project, location) != (PROJECT, LOCATION):
            raise Refused(404, f"there is no {project} in {location}")
        if kind in pipelines.COLLECTIONS:
            return pipelines.COLLECTIONS[kind](self, method, path.removeprefix("/v1/"), verb, query, body)
        if kind not in KINDS or "/" in (number or ""):
            raise Refused(404, f"{path} is not known")
        if number is None:
            return self._create(kind, query, body) if method == "POST" else self._list(kind, query)
        return self._one(method, f"projects/{PROJECT}/locations/{LOCATION}/{kind}/{number}", verb)

    def _one(self, method: str, name: str, verb: str | None) -> Any:
        if name not in self.jobs:
            raise Refused(404, f"{name} does not exist")
        job = self.jobs[name]
        if (method, verb) == ("POST", "cancel"):
            job.set("CANCELLING")
            job.stopped.set()
            return {}
        if (method, verb) != ("GET", None):
            raise Refused(404, f"{method} {name} is not known")
        with job.changed:
            return job.kind.message(job.message)

    def _create(self, kind: str, query: Mapping[str, list[str]], body: bytes) -> Any:
        message = parsed(KINDS[kind].message, body)
        given = [name for name in OUTPUT_ONLY if name in KINDS[kind].message.meta.fields and name in message]
        must(not given, f"{', '.join(given)} is output only")
        CHECKS[kind](message)
        return self.start(kind, message, query.get("pipelineJobId", [""])[0])

    def start(self, kind: str, message: Any, given: str = "") -> Any:
        """Runs a new resource, whose id may be given; returns it as it is now."""
        with self._lock:
            number = pipelines.job_id(given) if kind == "pipelineJobs" else ""
            message.name = f"projects/{PROJECT}/locations/{LOCATION}/{kind}/{number or len(self.jobs) + 1001}"
            if message.name in self.jobs:
                raise Refused(409, f"{message.name} already exists")
            job = self.jobs[message.name] = Job(message, KINDS[kind])
        job.set("PENDING")
        message.create_time = message.update_time = pipelines.now()
        job.thread = threading.Thread(target=self._run, args=(job,), daemon=True)
        with job.changed:
            answer = job.kind.message(message)
        job.thread.start()
        return answer

    def _run(self, job: Job) -> None:
        try:
            reason = job.kind.run(job, self)
        except Exception as error:
            reason = f"the server's own fault: {error!r}"
        if job.stopped.is_set():
            job.set("CANCELLED")
        job.set("FAILED" if reason else "SUCCEEDED", reason)

    def _list(self, kind: str, query: Mapping[str, list[str]]) -> Any:
        made = [job.message for name, job in self.jobs.items() if f"/{kind}/" in name]
        if kind == "pipelineJobs":
            return pipelines.listed(KINDS[kind].listed, "pipeline_jobs", made, query)
        wanted = re.fullmatch(r'labels\.(\w+)="([\w-]+)"', query.get("filter", [""])[0])
        if not wanted:
            raise Refused(400, f"not understood: {query}")
        jobs = [job for job in made if job.labels.get(wanted[1]) == wanted[2]]
        return KINDS[kind].listed(**{"custom_jobs" if kind == "customJobs" else "hyperparameter_tuning_jobs": jobs})


def _handler(server: FakeVertex) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve()

        do_POST = do_DELETE = do_PATCH = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Prints nothing."""

        def _serve(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = f"{self.command} {unquote(url.path)}"
            server.requests.append(request)
            fault = server.fault(request)
            if fault and fault.what == "page":
                status, text = 200, b"<html><body>Log in to the proxy</body></html>"
            else:
                status, text = self._answered(url.path, parse_qs(url.query), body, fault)
            if fault and fault.what == "slow":
                time.sleep(0.3)
            if fault and fault.what == "lost":
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            cut = fault and fault.what == "cut"
            self.close_connection = bool(cut)
            self.wfile.write(text[: len(text) // 2] if cut else text)

        def _answered(
            self, path: str, query: dict[str, list[str]], body: bytes, fault: Fault | None
        ) -> tuple[int, bytes]:
            try:
                if fault and isinstance(fault.what, int):
                    raise Refused(fault.what, fault.message, fault.details)
                if path != "/token":
                    server.google.verify(self.headers.get("Authorization") or "")
                number = query.pop("$alt", []) == ["json;enum-encoding=int"]
                message = server.answer(self.command, unquote(path), query, body)
                if isinstance(message, dict):
                    return 200, json.dumps(message).encode()
                return 200, type(message).to_json(message, use_integers_for_enums=number).encode()
            except Refused as error:
                told = {"code": error.status, "message": error.message, "status": CODES[error.status]}
                if error.details:
                    told["details"] = error.details
                return error.status, json.dumps({"error": told}).encode()

    return Handler
