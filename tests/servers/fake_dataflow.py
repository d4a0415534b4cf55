"""A Dataflow on loopback, for Beam's real DataflowRunner: strict about jobs, and it runs what it is sent.

Every request is decoded into the API's own messages, unknown fields refused; names and required fields are checked as
the documents say. A job is run in a process that has Beam, the packages that the job staged, and nothing else of the
submitting step: so its functions must be importable there, or whole in themselves. It proves nothing of permissions,
quotas, machines, images, or of how Dataflow splits work.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from google.cloud import dataflow_v1beta3 as dataflow
from google.protobuf import json_format
from loopback import Loopback

WORKER = Path(__file__).with_name("dataflow_worker.py")
PROJECT, REGION = "test-project", "us-central1"
JOBS = rf"/v1b3/projects/{PROJECT}/locations/{REGION}/jobs"
NAME = re.compile(r"[a-z]([-a-z0-9]{0,1022}[a-z0-9])?")


class Refused(Exception):
    """A request that the API would not take: its status, and why."""


class FakeDataflow:
    """The server; `storage` is the address of the Cloud Storage that jobs use. `jobs` are those that were created."""

    def __init__(self, folder: Path, storage: str) -> None:
        self.folder, self.storage = folder, storage
        self.jobs: dict[str, dataflow.Job] = {}
        self.messages: dict[str, list[dataflow.JobMessage]] = {}
        self._lock = threading.Lock()
        self._http = Loopback(_handler(self), name="localhost")
        self.url = self._http.url

    @contextmanager
    def running(self) -> Iterator[FakeDataflow]:
        with self._http.serving():
            yield self

    def answer(self, method: str, path: str, body: bytes) -> Any:
        """The message for a request. Raises Refused."""
        if method == "POST" and re.fullmatch(JOBS, path):
            return self._create(body)
        found = re.fullmatch(rf"{JOBS}/([\w-]+)(/messages)?", path)
        if method != "GET" or not found or found[1] not in self.jobs:
            raise Refused(404, f"{method} {path} is not known")
        if found[2]:
            return dataflow.ListJobMessagesResponse(job_messages=self.messages[found[1]])
        with self._lock:  # a job runs when it is first asked for: nothing here waits for a clock
            return self._advanced(found[1])

    def _create(self, body: bytes) -> dataflow.Job:
        job = dataflow.Job()
        try:
            json_format.Parse(body, dataflow.Job.pb(job), ignore_unknown_fields=False)
        except json_format.ParseError as error:
            raise Refused(400, str(error)) from None
        _check(job)
        if any(other.name == job.name for other in self.jobs.values()):
            raise Refused(409, f"there is a job {job.name}")
        job.id = f"job-{len(self.jobs)}"
        job.current_state = dataflow.JobState.JOB_STATE_PENDING
        self.jobs[job.id], self.messages[job.id] = job, []
        return job

    def _advanced(self, number: str) -> dataflow.Job:
        job = self.jobs[number]
        if job.current_state == dataflow.JobState.JOB_STATE_PENDING:
            done = self._run(number, job)
            failed = done.returncode != 0
            job.current_state = dataflow.JobState["JOB_STATE_FAILED" if failed else "JOB_STATE_DONE"]
            if failed:
                error = dataflow.JobMessageImportance.JOB_MESSAGE_ERROR
                message = dataflow.JobMessage(id="1", message_text=done.stderr[-8000:], message_importance=error)
                message.time = "2026-01-01T00:00:00Z"
                self.messages[number].append(message)
        return job

    def _run(self, number: str, job: dataflow.Job) -> subprocess.CompletedProcess[str]:
        options = json_format.MessageToDict(dataflow.Environment.pb(job.environment))["sdkPipelineOptions"]
        packages = [f"gs://{p.location.split('/', 1)[1]}" for p in job.environment.worker_pools[0].packages]
        place = self.folder / number
        place.mkdir()
        given = {"pipeline": options["options"]["pipelineUrl"], "packages": packages, "folder": str(place)}
        env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "GOOGLE_APPLICATION_CREDENTIALS")}
        env["STORAGE_EMULATOR_HOST"] = self.storage
        command = [sys.executable, "-P", str(WORKER), json.dumps(given)]
        return subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=240)


def _check(job: dataflow.Job) -> None:
    """Raises Refused for what Dataflow requires of a job and this one has not."""
    environment = job.environment
    options = json_format.MessageToDict(dataflow.Environment.pb(environment))["sdkPipelineOptions"]["options"]
    wrong = [
        "name" if not NAME.fullmatch(job.name) else "",
        "type" if job.type_ != dataflow.JobType.JOB_TYPE_BATCH else "",
        "worker pools" if len(environment.worker_pools) != 1 else "",
        "temp_storage_prefix" if not environment.temp_storage_prefix.startswith("storage.googleapis.com/") else "",
        "pipelineUrl" if not str(options.get("pipelineUrl")).startswith("gs://") else "",
    ]
    if any(wrong):
        raise Refused(400, f"bad {', '.join(filter(None, wrong))}")


def _handler(server: FakeDataflow) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                message = server.answer(self.command, urlsplit(self.path).path, body)
                status, text = 200, type(message).to_json(message)
            except Refused as refused:
                status, reason = refused.args
                text = json.dumps({"error": {"code": status, "message": reason}})
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = _reply

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
