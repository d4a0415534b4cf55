"""A Kubeflow Pipelines API on loopback, for the real client: strict about what it is sent, true about what comes of it.

Every request is decoded into the API's own messages, unknown fields refused; pipelines and their Kubernetes settings
are checked by the published protos; names, arguments and limits as the server's own code does. Runs are really
executed (`executed` of fake_kfp_runs), or go the way that a test writes. It proves nothing of clusters: pods, images,
permissions, object stores and the server's scheduling of recurring runs are not there.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import kfp_server_api
import yaml
from fake_kfp_checks import (
    LARGEST_REQUEST,
    Refused,
    check_arguments,
    check_name,
    check_pipeline,
    check_schedule,
    decoded,
    must,
    wanted_name,
)
from loopback import Loopback

CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 413: 8, 429: 8, 500: 13, 503: 14}
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


@dataclass
class Fault:
    """Something that goes wrong once, at the first request whose "METHOD path" has `at` in it.

    `what` is a status to answer with; "page" answers with a page to log in; "lost" does the request and hangs up,
    "half" does it and hangs up in the middle of the answer, "slow" does it and answers when nobody listens any more;
    "twice" does it, and then once more for the answer, as if another client had asked for the same just before;
    "late" hangs up, and does it as soon as `after` requests more have come, before it answers the last of them.
    """

    at: str
    what: int | str
    after: int = 1


@dataclass
class Run:
    """A run, its pipeline, and what advances it: `look` is called before each answer about it."""

    message: Any
    spec: Any
    document: dict[str, Any]
    look: Callable[[Run], None] = lambda run: None
    logs: dict[str, str] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)


Start = Callable[[Run], None]


class FakeKfp:
    """The server. `start` begins what a run does; `tokens` are those that it knows, None for a server without login."""

    def __init__(self, start: Start = lambda run: None, *, multi_user: bool = False) -> None:
        self.start, self.multi_user = start, multi_user
        self.tokens: set[str] | None = None
        self.experiments: list[Any] = []
        self.runs: dict[str, Run] = {}
        self.recurring: list[Any] = []
        self.pipelines: list[Any] = []
        self.versions: list[Any] = []
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.faults: list[Fault] = []
        self._late: list[tuple[int, tuple[Any, ...]]] = []
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._http = Loopback(_handler(self))
        self.url = self._http.url

    @contextmanager
    def running(self) -> Iterator[FakeKfp]:
        with self._http.serving():
            try:
                yield self
            finally:
                self._over.set()
                for run in self.runs.values():
                    run.stopped.set()

    def asked(self, text: str) -> int:
        """How many requests had `text` in their "METHOD path"."""
        return sum(text in request for request in self.requests)

    # --- what it does -------------------------------------------------------------------------------------------------
    def answer(self, method: str, path: str, query: dict[str, list[str]], headers: Any, body: bytes) -> Any:
        """The message, or the bytes, for a request. Raises Refused."""
        token = (headers.get("Authorization") or "").removeprefix("Bearer ")
        must(self.tokens is None or token in self.tokens, "Request header error: there is no user identity.", 401)
        must(len(body) <= LARGEST_REQUEST, "request entity too large", 413)
        with self._lock:
            for pattern, action in ROUTES.items():
                found = re.fullmatch(pattern, f"{method} {path}")
                if found:
                    return getattr(self, action)(*found.groups(), query=query, headers=headers, body=body)
        raise Refused(404, f"{method} {path} is not known")

    def healthz(self, **request: Any) -> Any:
        return kfp_server_api.V2beta1GetHealthzResponse(multi_user=self.multi_user)

    def _scoped(self, namespace: str | None) -> None:
        must(not self.multi_user or namespace, "Namespace is empty in multi-user mode")
        must(not namespace or re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", namespace), f"namespace {namespace!r}")
        must(namespace != "forbidden", "User 'me' is not authorized with reason: list experiments", 403)

    def create_experiment(self, body: bytes, **request: Any) -> Any:
        made = decoded("V2beta1Experiment", body)
        check_name(made.display_name, 128, "an experiment")
        self._scoped(made.namespace)
        known = [one for one in self.experiments if one.display_name == made.display_name]
        must(not known, f"experiment {made.display_name} already exists", 409)
        made.experiment_id, made.created_at = str(uuid.uuid4()), _now()
        self.experiments.append(made)
        return made

    def list_experiments(self, query: Any, **request: Any) -> Any:
        self._scoped(query.get("namespace", [None])[0])
        found = _named(self.experiments, query)
        return kfp_server_api.V2beta1ListExperimentsResponse(experiments=found or None)

    def create_run(self, body: bytes, **request: Any) -> Any:
        made = decoded("V2beta1Run", body)
        check_name(made.display_name, 255, "a run")
        self._experiment(made.experiment_id)
        document = self._document(made)
        spec = check_pipeline(document)
        check_arguments(spec, made.runtime_config)
        made.run_id, made.created_at, made.state = str(uuid.uuid4()), _now(), "PENDING"
        made.run_details = kfp_server_api.V2beta1RunDetails(task_details=[])
        run = self.runs[made.run_id] = Run(made, spec, document)
        self.start(run)
        return made

    def _document(self, made: Any) -> dict[str, Any]:
        """The pipeline that is given, or referred to: exactly one of them."""
        reference = made.pipeline_version_reference
        must((made.pipeline_spec is None) != (reference is None), "one of pipeline_spec and pipeline_version_reference")
        if reference is None:
            return dict(made.pipeline_spec)
        return dict(self.get_version(reference.pipeline_id, reference.pipeline_version_id).pipeline_spec)

    def _experiment(self, number: str | None) -> None:
        must(number in [one.experiment_id for one in self.experiments], f"experiment {number} not found", 404)

    def list_runs(self, query: Any, **request: Any) -> Any:
        experiment = query.get("experiment_id", [None])[0]
        if experiment is None:
            self._scoped(query.get("namespace", [None])[0])
        runs = [one.message for one in self.runs.values()]
        runs = [one for one in runs if experiment in (None, one.experiment_id)]
        order = query.get("sort_by", [""])[0]
        must(order in ("", "created_at asc", "created_at desc"), f"sort_by {order!r}")
        found = _named(runs[::-1] if order == "created_at desc" else runs, query)
        size, start = int(query.get("page_size", ["20"])[0]), int(query.get("page_token", ["0"])[0] or 0)
        must(1 <= size <= 200, f"page_size {size}")
        more = str(start + size) if start + size < len(found) else None
        page = found[start : start + size]
        return kfp_server_api.V2beta1ListRunsResponse(runs=page or None, next_page_token=more)

    def get_run(self, number: str, **request: Any) -> Any:
        must(number in self.runs, f"Run {number} not found", 404)
        run = self.runs[number]
        if run.message.state == "CANCELING":
            run.message.state, run.message.finished_at = "CANCELED", _now()
        elif run.message.state not in ENDED:
            run.look(run)
        return run.message

    def terminate_run(self, number: str, **request: Any) -> Any:
        must(number in self.runs, f"Run {number} not found", 404)
        run = self.runs[number]
        must(run.message.state not in ENDED, f"Run {number} has ended")
        run.message.state = "CANCELING"
        run.stopped.set()
        return {}

    def log(self, number: str, node: str, **request: Any) -> Any:
        must(number in self.runs and node in self.runs[number].logs, f"there is no log of {node}", 404)
        return self.runs[number].logs[node].encode()

    def create_recurring(self, body: bytes, **request: Any) -> Any:
        made = decoded("V2beta1RecurringRun", body)
        check_name(made.display_name, 255, "a recurring run")
        self._experiment(made.experiment_id)
        check_arguments(check_pipeline(self._document(made)), made.runtime_config)
        check_schedule(made)
        made.recurring_run_id, made.status = str(uuid.uuid4()), "ENABLED"
        self.recurring.append(made)
        return made

    def list_recurring(self, query: Any, **request: Any) -> Any:
        found = _named(self.recurring, query)
        found = [one for one in found if one.experiment_id == query["experiment_id"][0]]
        return kfp_server_api.V2beta1ListRecurringRunsResponse(recurring_runs=found or None)

    def delete_recurring(self, number: str, **request: Any) -> Any:
        kept = [one for one in self.recurring if one.recurring_run_id != number]
        must(len(kept) < len(self.recurring), f"Recurring run {number} not found", 404)
        self.recurring = kept
        return {}

    def create_pipeline(self, body: bytes, **request: Any) -> Any:
        made = decoded("V2beta1Pipeline", body)
        check_name(made.name, 128, "a pipeline")
        must(made.name not in [one.name for one in self.pipelines], f"pipeline {made.name} already exists", 409)
        made.pipeline_id = str(uuid.uuid4())
        self.pipelines.append(made)
        return made

    def list_pipelines(self, query: Any, **request: Any) -> Any:
        return kfp_server_api.V2beta1ListPipelinesResponse(pipelines=_named(self.pipelines, query) or None)

    def upload_version(self, query: Any, headers: Any, body: bytes, **request: Any) -> Any:
        name, pipeline = query["name"][0], query["pipelineid"][0]
        must(pipeline in [one.pipeline_id for one in self.pipelines], f"pipeline {pipeline} not found", 404)
        check_name(name, 127, "a version")
        known = [one.name for one in self.versions if one.pipeline_id == pipeline]
        must(name not in known, f"version {name} already exists", 409)
        head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
        [part] = BytesParser().parsebytes(head + body).get_payload()
        must(part.get_param("name", header="Content-Disposition") == "uploadfile", "the file is named uploadfile")
        spec, *platform = yaml.safe_load_all(part.get_payload(decode=True))
        document = {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec
        check_pipeline(document)
        made = kfp_server_api.V2beta1PipelineVersion(
            pipeline_id=pipeline, pipeline_version_id=str(uuid.uuid4()), display_name=query["display_name"][0],
            name=name, pipeline_spec=document,
        )  # fmt: skip
        self.versions.append(made)
        return made

    def list_versions(self, pipeline: str, query: Any, **request: Any) -> Any:
        found = [one for one in _named(self.versions, query) if one.pipeline_id == pipeline]
        return kfp_server_api.V2beta1ListPipelineVersionsResponse(pipeline_versions=found or None)

    def get_version(self, pipeline: str, version: str, **request: Any) -> Any:
        found = [one for one in self.versions if (one.pipeline_id, one.pipeline_version_id) == (pipeline, version)]
        must(found, f"version {version} not found", 404)
        return found[0]

    def fault(self, request: str) -> Fault | None:
        """The fault that is due at this request; it happens once."""
        with self._lock:
            self.requests.append(request)
            found = next((fault for fault in self.faults if fault.at in request), None)
            if found:
                self.faults.remove(found)
            return found

    def later(self, after: int, *request: Any) -> None:
        """Does a request when `after` more have come."""
        with self._lock:
            self._late.append((len(self.requests) + after, request))

    def catch_up(self) -> None:
        """Does the requests that are due by now."""
        with self._lock:
            due = [request for number, request in self._late if number <= len(self.requests)]
            self._late = [row for row in self._late if row[0] > len(self.requests)]
            for request in due:
                self.answer(*request)

    def until_over(self) -> None:
        """Waits for the server's end."""
        self._over.wait(30)


API = "/apis/v2beta1"
ROUTES = {
    f"GET {API}/healthz": "healthz",
    f"GET {API}/experiments": "list_experiments",
    f"POST {API}/experiments": "create_experiment",
    f"GET {API}/runs": "list_runs",
    f"POST {API}/runs": "create_run",
    f"GET {API}/runs/([\\w-]+)": "get_run",
    f"POST {API}/runs/([\\w-]+):terminate": "terminate_run",
    f"GET {API}/recurringruns": "list_recurring",
    f"POST {API}/recurringruns": "create_recurring",
    f"DELETE {API}/recurringruns/([\\w-]+)": "delete_recurring",
    f"GET {API}/pipelines": "list_pipelines",
    f"POST {API}/pipelines": "create_pipeline",
    f"POST {API}/pipelines/upload_version": "upload_version",
    f"GET {API}/pipelines/([\\w-]+)/versions": "list_versions",
    f"GET {API}/pipelines/([\\w-]+)/versions/([\\w-]+)": "get_version",
    "GET /apis/v1alpha1/runs/([\\w-]+)/nodes/([\\w-]+)/log": "log",
}


def _named(items: list[Any], query: Any) -> list[Any]:
    name = wanted_name(query)
    return [one for one in items if name in (None, one.display_name)]


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


def _handler(server: FakeKfp) -> type[BaseHTTPRequestHandler]:
    written = kfp_server_api.ApiClient().sanitize_for_serialization

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            with suppress(ConnectionError):  # clients hang up when an answer takes too long
                self._serve()

        do_POST = do_DELETE = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Prints nothing."""

        def _serve(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server.bodies.append(body)
            fault = server.fault(f"{self.command} {unquote(url.path)}")
            what = fault.what if fault else None
            request = (self.command, unquote(url.path), parse_qs(url.query), self.headers, body)
            server.catch_up()
            if fault and what == "late":
                server.later(fault.after, *request)
                self.close_connection = True
                return
            try:
                if isinstance(what, int):
                    raise Refused(what, "a fault of the test")
                if what == "twice":
                    server.answer(*request)
                found = server.answer(*request)
                status, data = 200, found if isinstance(found, bytes) else json.dumps(written(found)).encode()
            except Refused as error:
                status = error.status
                data = json.dumps({"error": error.message, "code": CODES[status], "message": error.message}).encode()
            if what == "page":
                data = b"<html><body>Log in to Your Account</body></html>"
            if what == "slow":
                server.until_over()
            self._send(status, data, what)

        def _send(self, status: int, data: bytes, what: int | str | None) -> None:
            if what != "lost":
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if what == "page" else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if what == "half" else data)
            self.close_connection = what in ("lost", "half")

    return Handler
