"""What a pipeline needs of Google Cloud beside Vertex AI: tokens, logs and secrets, as strict as fake_vertex.py."""

from __future__ import annotations

import base64
import json
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fake_vertex_checks import Refused, must

Query = Mapping[str, list[str]]
SECRET = re.compile(r"/v1/projects/([^/]+)/secrets/([A-Za-z0-9_-]{1,255})/versions/(latest|\d+):access")
LOG_FILTER = re.compile(r'resource\.type="ml_job" AND resource\.labels\.job_id="(\d+)"')
LOG_FIELDS = {"resourceNames", "filter", "orderBy", "pageSize", "pageToken"}


class Google:
    """Secret Manager, Cloud Logging and the server of tokens.

    `secrets` has the payload of each version by the secret's name; `denied` the names that may not be read; `logs` the
    lines of each job by its number. `tokens` are those that were given out: a test that empties it lets them expire.
    """

    def __init__(self, project: str, credentials: Path, token_uri: str) -> None:
        self.project = project
        self.credentials, self._signed = service_account(credentials, token_uri, _first_key())
        self.tokens: set[str] = set()
        self.secrets: dict[str, list[bytes]] = {}
        self.denied: set[str] = set()
        self.logs: dict[str, list[str]] = {}
        self.lock = threading.Lock()

    def verify(self, header: str) -> None:
        """Refuses a request without valid credentials."""
        if header.removeprefix("Bearer ") not in self.tokens:
            self._signed(header)

    def answer(self, method: str, path: str, query: Query, body: bytes) -> dict[str, Any] | None:
        """The JSON for a request of one of these services; None for another's. Raises Refused."""
        if (method, path) == ("POST", "/token"):
            return self._token(body)
        if (method, path) == ("POST", "/v2/entries:list"):
            return self._entries(json.loads(body))
        if "/secrets/" in path:
            return self._secret(method, path, query)
        return None

    def _token(self, body: bytes) -> dict[str, Any]:
        given = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        must(given.keys() == {"assertion", "grant_type"}, f"not understood: {given.keys()}")
        must(given["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer", "grant_type")
        self._signed(f"Bearer {given['assertion']}")
        token = f"ya29.{uuid.uuid4().hex}"
        self.tokens.add(token)
        return {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}

    def _secret(self, method: str, path: str, query: Query) -> dict[str, Any]:
        found = SECRET.fullmatch(path)
        if not found or method != "GET" or query:
            raise Refused(404, f"{method} {path} is not known")
        project, name, version = found.groups()
        resource = f"projects/{project}/secrets/{name}/versions/{version}"
        if project != self.project or name not in self.secrets or name in self.denied:
            # Whether it is not there or may not be read is not told.
            message = (
                f"Permission 'secretmanager.versions.access' denied for resource '{resource}' (or it may not exist)."
            )
            missing = project == self.project and name not in self.secrets
            raise (
                Refused(404, f"Secret [{resource}] not found or has no versions.") if missing else Refused(403, message)
            )
        versions = self.secrets[name]
        number = len(versions) if version == "latest" else int(version)
        if not 1 <= number <= len(versions):
            raise Refused(404, f"Secret Version [{resource}] not found.")
        data = versions[number - 1]
        import google_crc32c

        payload = {"data": base64.b64encode(data).decode(), "dataCrc32c": str(google_crc32c.value(data))}
        return {"name": f"projects/123456/secrets/{name}/versions/{number}", "payload": payload}

    def _entries(self, given: dict[str, Any]) -> dict[str, Any]:
        must(given.keys() <= LOG_FIELDS, f"unknown: {given.keys() - LOG_FIELDS}")
        must(given.get("resourceNames") == [f"projects/{self.project}"], "resourceNames")
        must(given.get("orderBy", "timestamp asc") in ("timestamp asc", "timestamp desc"), "orderBy")
        must(1 <= given.get("pageSize", 50) <= 1000, "pageSize is between 1 and 1000")
        found = LOG_FILTER.fullmatch(given.get("filter", ""))
        if not found:
            raise Refused(400, f"not understood: {given.get('filter')}")
        with self.lock:
            lines = list(enumerate(self.logs.get(found[1], [])))
        if given.get("orderBy") == "timestamp desc":
            lines.reverse()
        entries = [_entry(self.project, found[1], number, line) for number, line in lines[: given.get("pageSize", 50)]]
        return {"entries": entries} if entries else {}


def _entry(project: str, job: str, number: int, line: str) -> dict[str, Any]:
    """A line that a container printed, as Vertex AI logs it."""
    return {
        "logName": f"projects/{project}/logs/workerpool0-0",
        "resource": {"type": "ml_job", "labels": {"job_id": job, "project_id": project, "task_name": "workerpool0-0"}},
        "timestamp": f"2026-01-01T00:00:{number // 1000 % 60:02}.{number % 1000:03}Z",
        "severity": "ERROR",
        "insertId": f"{number:08}",
        "jsonPayload": {"message": f"{line}\n", "levelname": "ERROR"},
    }


def _new_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


_first_key = cache(_new_key)  # one for all servers of a process: it takes a while


def service_account(
    path: Path, token_uri: str = "http://127.0.0.1:9/token", key: Any = None
) -> tuple[Path, Callable[[str], None]]:
    """Writes the key of a service account; gives the file, and what checks a header that was signed with it."""
    from cryptography.hazmat.primitives import serialization
    from google.auth import jwt

    project = "test-project"
    key = key or _new_key()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    email = f"tests@{project}.iam.gserviceaccount.com"
    described = {
        "type": "service_account", "project_id": project, "private_key_id": "1", "private_key": private.decode(),
        "client_email": email, "client_id": "1", "token_uri": token_uri,
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
