"""The services of Google Cloud that a submission needs, through Google's own clients: login, attempts, and errors that
say which command mends them.

The clients of the API are used, not the classes above them: those look at the owner of the bucket first, which takes
minutes where that is not allowed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit

from nb2pipe.findings import Finding, finding
from nb2pipe.targets.base import OnEvent
from nb2pipe.targets.sending import SubmitError, http_status, sent
from nb2pipe.targets.submission import SubmitOptions
from nb2pipe.targets.vertex_request import endpoint

T = TypeVar("T")
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LOGIN = "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a service account's key."
CLOCK = "Set this machine's clock: it is not the time of Google's servers, which a key is signed with."
LOG_HOST = "logging.googleapis.com"
ROLES = {
    "aiplatform": "roles/aiplatform.user",
    "storage": "roles/storage.objectUser",
    "logging": "roles/logging.viewer",
}
"""The role that has the permissions of a service which a submission needs."""


class Api:
    """Google Cloud as one submission sees it. Nothing is asked of it, and no login looked for, before it is used."""

    def __init__(self, options: SubmitOptions, on_event: OnEvent) -> None:
        self._options, self._on_event = options, on_event
        self.project, self.region = options.vertex.project or "", options.vertex.region or ""

    def ask(
        self,
        call: Callable[[dict[str, Any]], T],
        what: str,
        already: Callable[[Exception], T | None] = lambda error: None,
    ) -> T:
        """What `call` gives, tried again while that may help; it takes the keywords of a client's method.

        `already` is asked before another attempt for what an earlier one, which failed so, made. Raises SubmitError;
        `what` says in words what is done.
        """
        settings = {"retry": None, "timeout": self._options.patience.answer}
        try:
            return sent(
                lambda: call(settings),
                patience=self._options.patience,
                on_event=self._on_event,
                already=already,
            )
        except SubmitError:
            raise
        except Exception as error:
            if not _of_a_service(error):
                raise
            raise SubmitError([explained(error, what, self._options)]) from error

    @cached_property
    def credentials(self) -> Any:
        """Application Default Credentials. Raises SubmitError where there are none."""
        import google.auth
        from google.auth.exceptions import GoogleAuthError

        try:
            credentials, _ = google.auth.default(default_scopes=[SCOPE])
        except GoogleAuthError as error:
            raise SubmitError([explained(error, "log in", self._options)]) from error
        return credentials

    @cached_property
    def pipelines(self) -> Any:
        """The service of pipeline jobs."""
        from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient

        return self._client(PipelineServiceClient)

    @cached_property
    def schedules(self) -> Any:
        """The service of schedules."""
        from google.cloud.aiplatform_v1.services.schedule_service import ScheduleServiceClient

        return self._client(ScheduleServiceClient)

    @cached_property
    def metadata(self) -> Any:
        """The service of experiments."""
        from google.cloud.aiplatform_v1.services.metadata_service import MetadataServiceClient

        return self._client(MetadataServiceClient)

    def _client(self, kind: Any) -> Any:
        settings = {"api_endpoint": endpoint(self.region)}
        return kind(credentials=self.credentials, transport="rest", client_options=settings)

    def find_bucket(self) -> None:
        """Raises SubmitError if the bucket is not there; who may only use what is in it is not told."""
        from google.api_core.exceptions import Forbidden, NotFound
        from google.cloud import storage

        name = urlsplit(self._options.bucket or "").netloc
        client = storage.Client(project=self.project, credentials=self.credentials)

        def look(settings: dict[str, Any]) -> None:
            try:
                client.get_bucket(name, **settings)
            except Forbidden:
                return
            except NotFound as error:
                command = f"gcloud storage buckets create gs://{name} --project {self.project} --location {self.region}"
                message, hint = f"There is no bucket gs://{name}.", f"Run `{command}`, or correct --bucket."
                raise SubmitError([finding("not-there", message, name=name, hint=hint)]) from error

        self.ask(look, f"find gs://{name}")

    def log_lines(self, job: str, most: int) -> list[str]:
        """The last lines that the container of a job (its number) printed. Raises SubmitError."""
        from google.auth.transport.requests import AuthorizedSession

        variable = "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING"
        server = (os.environ.get(variable) or f"https://{LOG_HOST}").rstrip("/")
        body = {
            "resourceNames": [f"projects/{self.project}"],
            "filter": f'resource.type="ml_job" AND resource.labels.job_id="{job}"',
            "orderBy": "timestamp desc",
            "pageSize": most,
        }
        with AuthorizedSession(self.credentials, default_host=LOG_HOST) as session:

            def read(settings: dict[str, Any]) -> Any:
                answer = session.post(f"{server}/v2/entries:list", json=body, timeout=settings["timeout"])
                answer.raise_for_status()
                return answer.json()

            entries = self.ask(read, "read the log").get("entries", [])
        return [line for entry in reversed(entries) for line in _text(entry).splitlines()]


def _text(entry: dict[str, Any]) -> str:
    payload = entry.get("jsonPayload", {})
    return str(entry.get("textPayload") or payload.get("message") or "")


def _of_a_service(error: Exception) -> bool:
    """Whether an error is an answer of a service, or the lack of one; all others are faults of this program."""
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return bool(modules & {"google", "requests", "urllib3"})


# --- what an error means, and what mends it ---------------------------------------------------------------------------
def explained(error: Exception, what: str, options: SubmitOptions) -> Finding:
    """The finding for an error of a service: what was said, and the command or setting that mends it."""
    status, said = http_status(error), said_by(error)
    kind, hint = _without_answer(error) if not status else _answered(error, status, said, options)
    return finding(kind, f"Cannot {what}: {said}", hint=hint)


def said_by(error: Exception) -> str:
    """What a service said, in one line, without the request."""
    text = str(getattr(error, "message", "") or error)
    if "Expecting value" in text:
        return "what answers is not Google's API but a page, most likely a proxy's."
    response = getattr(error, "response", None)
    if "://" in text.partition(" ")[2][:200]:
        text = text.split(": ", 1)[-1]
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        text = str(json.loads(response.content)["error"]["message"]) if response is not None else text
    return " ".join(text.split())[:500] or type(error).__name__


def _without_answer(error: Exception) -> tuple[str, str]:
    names, text = {kind.__name__ for kind in type(error).__mro__}, str(error)
    if "SSLError" in text:
        return "no-answer", "Set REQUESTS_CA_BUNDLE to a file with the certificate of the proxy that stands between."
    if "GoogleAuthError" in names and "TransportError" not in names:
        return "not-logged-in", CLOCK if "iat and exp" in text else LOGIN
    return "no-answer", "Check --region and the network (a proxy, a firewall), then submit again."


def _answered(error: Exception, status: int, said: str, options: SubmitOptions) -> tuple[str, str]:
    project = options.vertex.project
    if status == 401:
        return "not-logged-in", LOGIN
    if "quota project" in said:
        return "not-allowed", f"Run `gcloud auth application-default set-quota-project {project}`."
    reason, metadata = _reason(error)
    if reason == "SERVICE_DISABLED":
        service = metadata.get("service", "aiplatform.googleapis.com")
        return "not-allowed", f"Run `gcloud services enable {service} --project {project}`, and wait a minute."
    if reason == "BILLING_DISABLED":
        return "not-allowed", f"Run `gcloud billing projects link {project} --billing-account ACCOUNT`."
    if reason in ("CONSUMER_INVALID", "USER_PROJECT_DENIED"):
        return "not-there", "Correct --project; `gcloud projects list` shows those that you may use."
    if status == 403:
        return "not-allowed", _role_hint(said, metadata, options)
    kinds = {404: "not-there", 413: "beyond-limit", 429: "no-answer"}
    if status in kinds or status < 500:
        hint = f"Ask for more at https://console.cloud.google.com/iam-admin/quotas?project={project}."
        own = "Check the name, --project and --region." if status == 404 else "Correct what the message names."
        return kinds.get(status, "request-refused"), hint if status == 429 or "quota" in said.lower() else own
    return "no-answer", "Submit again in a while; https://status.cloud.google.com says what is known."


def _role_hint(said: str, metadata: dict[str, str], options: SubmitOptions) -> str:
    project = options.vertex.project
    if "act as" in said or "actAs" in said:
        account = options.service_account or f"the default service account of Compute Engine in {project}"
        return (
            f"Run `gcloud iam service-accounts add-iam-policy-binding '{account}' --project {project} "
            "--member user:YOU --role roles/iam.serviceAccountUser`."
        )
    found = re.search(r"\b([a-z]+)\.[A-Za-z]+\.[A-Za-z]+\b", metadata.get("permission", "") or said.replace("'", " "))
    role = ROLES.get(found[1] if found else "", ROLES["aiplatform"])
    return f"Run `gcloud projects add-iam-policy-binding {project} --member user:YOU --role {role}`."


def _reason(error: Exception) -> tuple[str, dict[str, str]]:
    """The reason that an error names, for programs, and what it is about."""
    reason, metadata = getattr(error, "reason", None), getattr(error, "metadata", None)
    if isinstance(reason, str) and isinstance(metadata, dict):
        return reason, metadata
    try:
        details = json.loads(error.response.content)["error"]["details"]  # type: ignore[attr-defined]
        rows = [row for row in details if row.get("@type", "").endswith("google.rpc.ErrorInfo")]
        return str(rows[0]["reason"]), dict(rows[0].get("metadata", {}))
    except (AttributeError, ValueError, LookupError, TypeError):
        return "", {}
