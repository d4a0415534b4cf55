"""A Vertex AI on loopback, for the real clients: strict about what it is sent, true about what comes of it.

Every request is decoded into the API's own messages, unknown fields refused; names, required fields and limits are
checked as the documents say; credentials are those of a service account whose signature is verified. Worker pools are
run as processes on this machine, with the environment that Vertex AI gives them, so a job ends as its code does.
It proves nothing of quotas, permissions, images and machines: those are only compared with what exists.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from fake_vertex_checks import CHECKS, Refused
from fake_vertex_workers import run_custom_job, run_tuning_job
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format

PROJECT, LOCATION = "test-project", "us-central1"
CODES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED",
         500: "INTERNAL", 503: "UNAVAILABLE"}  # fmt: skip
KINDS = {
    "customJobs": (types.CustomJob, run_custom_job),
    "hyperparameterTuningJobs": (types.HyperparameterTuningJob, run_tuning_job),
}
OUTPUT_ONLY = ("name", "state", "create_time", "start_time", "end_time", "update_time", "error", "trials")
ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED")


@dataclass
class Fault:
    """Something that goes wrong once, at the first request whose "METHOD path" has `at` in it.

    `what` is a status to answer with; "lost" does the request but hangs up before the answer.
    """

    at: str
    what: int | str


@dataclass
class Job:
    """A resource that advances, and what is needed to end it early."""

    message: Any
    changed: threading.Condition = field(default_factory=threading.Condition)
    stopped: threading.Event = field(default_factory=threading.Event)

    def set(self, state: str, error: str = "") -> None:
        """Goes on to a state; one that has ended stays as it is."""
        with self.changed:
            if types.JobState(self.message.state).name not in ENDED:
                self.message.state = types.JobState[state]
                if error:
                    self.message.error.code = 3
                    self.message.error.message = error
            self.changed.notify_all()


class FakeVertex:
    """The server. `folder` is where its workers write; `credentials` is a file for GOOGLE_APPLICATION_CREDENTIALS."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: dict[str, Job] = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.credentials, self.verify = service_account(folder / "credentials.json")
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[FakeVertex]:
        thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            for job in self.jobs.values():
                job.stopped.set()
            self._http.shutdown()
            self._http.server_close()

    def environment(self) -> dict[str, str]:
        """What a client needs in its environment to find this server."""
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.credentials),
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": self.url,
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
        """The message for a request. Raises Refused."""
        found = re.fullmatch(r"/v1/projects/([^/]+)/locations/([^/]+)/(\w+)(?:/([^/:]+))?(?::(\w+))?", path)
        if not found or found[3] not in KINDS:
            raise Refused(404, f"{path} is not known")
        project, location, kind, number, verb = found.groups()
        if (project, location) != (PROJECT, LOCATION):
            raise Refused(404, f"there is no {project} in {location}")
        if number is None:
            return self._create(kind, body) if method == "POST" else self._list(kind, query)
        name = f"projects/{PROJECT}/locations/{LOCATION}/{kind}/{number}"
        if name not in self.jobs:
            raise Refused(404, f"{name} does not exist")
        if (method, verb) == ("POST", "cancel"):
            self.jobs[name].set("JOB_STATE_CANCELLING")
            self.jobs[name].stopped.set()
            return None
        if (method, verb) != ("GET", None):
            raise Refused(404, f"{method} {path} is not known")
        with self.jobs[name].changed:
            return type(self.jobs[name].message)(self.jobs[name].message)

    def _create(self, kind: str, body: bytes) -> Any:
        message_type, run = KINDS[kind]
        message = message_type()
        try:
            json_format.Parse(body, message_type.pb(message))
        except json_format.ParseError as error:
            raise Refused(400, str(error)) from None
        given = [name for name in OUTPUT_ONLY if name in message_type.meta.fields and name in message]
        if given:
            raise Refused(400, f"{', '.join(given)} is output only")
        CHECKS[kind](message)
        with self._lock:
            message.name = f"projects/{PROJECT}/locations/{LOCATION}/{kind}/{len(self.jobs) + 1001}"
            job = self.jobs[message.name] = Job(message)
        job.set("JOB_STATE_PENDING")
        threading.Thread(target=self._run, args=(job, run), daemon=True).start()
        with job.changed:
            return message_type(message)

    def _run(self, job: Job, run: Callable[[Any, Path], str]) -> None:
        try:
            reason = run(job, self.folder)
        except Exception as error:
            reason = f"the server's own fault: {error!r}"
        if job.stopped.is_set():
            job.message.state = types.JobState.JOB_STATE_CANCELLED
        job.set("JOB_STATE_FAILED" if reason else "JOB_STATE_SUCCEEDED", reason)

    def _list(self, kind: str, query: Mapping[str, list[str]]) -> Any:
        wanted = re.fullmatch(r'labels\.(\w+)="([\w-]+)"', query.get("filter", [""])[0])
        if not wanted:
            raise Refused(400, f"not understood: {query}")
        jobs = [job.message for name, job in self.jobs.items() if f"/{kind}/" in name]
        jobs = [job for job in jobs if job.labels.get(wanted[1]) == wanted[2]]
        if kind == "customJobs":
            return types.ListCustomJobsResponse(custom_jobs=jobs)
        return types.ListHyperparameterTuningJobsResponse(hyperparameter_tuning_jobs=jobs)


def _handler(server: FakeVertex) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve()

        do_POST = do_DELETE = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Prints nothing."""

        def _serve(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = f"{self.command} {unquote(url.path)}"
            server.requests.append(request)
            fault = server.fault(request)
            try:
                if fault and isinstance(fault.what, int):
                    raise Refused(fault.what, "a fault of the test")
                server.verify(self.headers.get("Authorization") or "")
                query = parse_qs(url.query)
                message = server.answer(self.command, unquote(url.path), query, body)
                number = query.get("$alt") == ["json;enum-encoding=int"]
                text = type(message).to_json(message, use_integers_for_enums=number) if message is not None else "{}"
                status = 200
            except Refused as error:
                status, name = error.status, CODES[error.status]
                text = json.dumps({"error": {"code": status, "message": error.message, "status": name}})
            if fault and fault.what == "lost":
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

    return Handler


def service_account(path: Path) -> tuple[Path, Callable[[str], None]]:
    """Writes the key of a service account; gives the file, and what checks a header that was signed with it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from google.auth import jwt

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    email = f"tests@{PROJECT}.iam.gserviceaccount.com"
    described = {
        "type": "service_account", "project_id": PROJECT, "private_key_id": "1", "private_key": private.decode(),
        "client_email": email, "client_id": "1", "token_uri": "http://127.0.0.1:9/token",
    }  # fmt: skip
    path.write_text(json.dumps(described))

    def verify(header: str) -> None:
        try:
            claims = jwt.decode(header.removeprefix("Bearer "), certs=public)
        except Exception as error:
            raise Refused(401, f"no valid credentials: {error}") from None
        if claims["iss"] != email:
            raise Refused(401, f"{claims['iss']} is not known")

    return path, verify
