"""An S3 on loopback with the two requests that uploads make, for the real client: signatures are verified."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loopback import Loopback

KEY, SECRET, REGION = "tests", "a secret of the tests", "us-east-1"


class FakeS3:
    """The server with one bucket, whose objects are files in `folder`."""

    def __init__(self, bucket: str, folder: Path) -> None:
        self.bucket, self.folder = bucket, folder
        self.requests: list[str] = []
        self._http = Loopback(_handler(self))
        self.url = self._http.url

    @contextmanager
    def running(self) -> Iterator[FakeS3]:
        with self._http.serving():
            yield self

    def environment(self) -> dict[str, str]:
        """What a client needs in its environment."""
        return {
            "AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required", "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }  # fmt: skip

    def file(self, uri: str) -> Path:
        """Where the object of a URI lies."""
        parts = urlsplit(uri)
        assert (parts.scheme, parts.netloc) == ("minio", self.bucket)
        return self.folder / parts.path.lstrip("/")

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, int]:
        """The status and the length of the object."""
        if not self._signed(method, path, headers):
            return 403, 0
        bucket, _, name = path.lstrip("/").partition("/")
        place = self.folder / name
        if bucket != self.bucket:
            return 404, 0
        if method == "PUT":
            if headers["X-Amz-Content-SHA256"] not in (hashlib.sha256(body).hexdigest(), "UNSIGNED-PAYLOAD"):
                return 400, 0
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(body)
            return 200, 0
        return (200, place.stat().st_size) if place.is_file() else (404, 0)

    def _signed(self, method: str, path: str, headers: Any) -> bool:
        """Whether the request carries the signature that its own parts give with our secret."""
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        told = dict(part.strip().split("=", 1) for part in headers["Authorization"].partition(" ")[2].split(","))
        names = told["SignedHeaders"].split(";")
        request = AWSRequest(method, self.url + path, headers={name: headers[name] for name in names})
        request.context["timestamp"] = headers["X-Amz-Date"]
        signer = S3SigV4Auth(Credentials(KEY, SECRET), "s3", REGION)
        signer._modify_request_before_signing = lambda request: None  # type: ignore[method-assign]
        canonical = signer.canonical_request(request)
        wanted = signer.signature(signer.string_to_sign(request, canonical), request)
        return bool(told["Signature"] == wanted and told["Credential"].startswith(f"{KEY}/"))


def _handler(server: FakeS3) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_PUT(self) -> None:
            if self.headers.get("Expect") == "100-continue":
                pass  # the base class has answered it
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server.requests.append(f"{self.command} {self.path}")
            status, length = server.answer(self.command, self.path, self.headers, body)
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()

        do_HEAD = do_PUT

        def log_message(self, format: str, *args: Any) -> None:
            """Prints nothing."""

    return Handler
