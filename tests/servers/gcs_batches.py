"""fake-gcs-server with the batches of requests that it takes and leaves undone: each is sent to it by itself."""

from __future__ import annotations

import email
import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from loopback import Loopback

BATCH = "/batch/storage/v1"


@contextmanager
def batching(storage: str) -> Iterator[str]:
    """The URL of a server that hands all requests on to the one at `storage`, batches one by one."""
    server = Loopback(_handler(urlsplit(storage).netloc))
    with server.serving():
        yield server.url


Answer = tuple[int, list[tuple[str, str]], bytes]


def _sent(place: str, verb: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
    connection = http.client.HTTPConnection(place, timeout=60)
    try:
        connection.request(verb, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()


def _batch(place: str, kind: str, body: bytes) -> Answer:
    """The answers to the requests of a batch, in its order, as parts of one answer."""
    parts = []
    for part in email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body).get_payload():
        head, _, data = part.get_payload(decode=True).replace(b"\r\n", b"\n").partition(b"\n\n")
        first, *lines = head.decode().split("\n")
        verb, url, _ = first.split()
        split = urlsplit(url)
        headers = dict(line.split(": ", 1) for line in lines if line)
        status, _, found = _sent(place, verb, f"{split.path}?{split.query}", headers, data)
        parts.append(f"--part\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {status} -\r\n\r\n".encode() + found)
    return 200, [("Content-Type", "multipart/mixed; boundary=part")], b"\r\n".join([*parts, b"--part--"])


def _handler(place: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.startswith(BATCH):
                status, headers, data = _batch(place, self.headers["Content-Type"], body)
            else:
                status, headers, data = _sent(place, self.command, self.path, dict(self.headers), body)
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "date", "connection"):
                    self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _do

        def log_message(self, format: str, *arguments: object) -> None:
            """Be quiet."""

    return Handler
