"""The live page: served on this machine only, made anew whenever the notebook or what is known about it changes."""

from __future__ import annotations

import hashlib
import secrets
import threading
import traceback
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from nb2pipe.codegen.write import WriteError
from nb2pipe.findings import finding

HOST = "127.0.0.1"
INTERVAL = 0.3
"""Seconds between two looks at the files."""

Make = Callable[[str], str]
"""The page of a version."""
Watched = Callable[[], Iterable[Path]]


class LivePage:
    """A page that is up to date. `make` makes it, `watched` names the files that it depends on."""

    def __init__(self, make: Make, watched: Watched) -> None:
        self._make, self._watched = make, watched
        self._lock = threading.Lock()
        self._state = ""
        self.version, self.page = "", ""
        self.refresh()

    def refresh(self) -> bool:
        """Make the page anew if a file changed; whether it did."""
        state = _state_of(self._watched())
        with self._lock:
            if state == self._state:
                return False
        version = hashlib.sha256(f"{state}{secrets.token_hex(4)}".encode()).hexdigest()[:16]
        page = self._make(version)
        with self._lock:
            self._state, self.version, self.page = state, version, page
        return True

    def answer(self) -> tuple[str, str]:
        """The version and the page, of the same moment."""
        with self._lock:
            return self.version, self.page


def _state_of(paths: Iterable[Path]) -> str:
    """What the files look like from outside; a file that is gone looks like nothing."""
    rows = []
    for path in sorted(paths):
        try:
            found = path.stat()
            rows.append(f"{path} {found.st_mtime_ns} {found.st_size} {found.st_ino}")
        except OSError:
            continue
    return "\n".join(rows) or "nothing"


class Server(ThreadingHTTPServer):
    """Serves a live page at `url` on the loopback interface, at a free port unless one is given.

    The address holds a secret, so that other users of the machine cannot read the notebook; requests under another host
    name are refused, so that no web site can (DNS rebinding).
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, live: LivePage, port: int = 0) -> None:
        super().__init__((HOST, port), _Handler)
        self.live = live
        self.secret = secrets.token_urlsafe(12)
        number = self.server_address[1]
        self.hosts = frozenset({f"{HOST}:{number}", f"localhost:{number}"})
        self.url = f"http://{HOST}:{number}/{self.secret}/"
        self._stopping = threading.Event()

    def run(self) -> None:
        """Serve until `stop` or KeyboardInterrupt; the port is free when this returns."""
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        try:
            self.serve_forever(poll_interval=0.1)
        finally:
            self._stopping.set()
            watcher.join()
            self.server_close()

    def stop(self) -> None:
        """End `run` from another thread."""
        self.shutdown()

    def _watch(self) -> None:
        while not self._stopping.wait(INTERVAL):
            try:
                self.live.refresh()
            except Exception:  # a bug of ours: said, and the page of before stays
                traceback.print_exc()


def serve(make: Make, watched: Watched, port: int = 0) -> Server:
    """A server of the live page, not yet running. Raises WriteError when the port cannot be had."""
    live = LivePage(make, watched)
    try:
        return Server(live, port)
    except OSError as error:
        message = f"The page cannot be served at port {port}: {error.strerror or error}."
        raise WriteError([finding("cannot-serve", message)]) from error


HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "nb2pipe", ""
    timeout = 30

    def do_GET(self) -> None:
        """The page, or its version as plain text."""
        if self.headers.get("Host", "") not in self.server.hosts:
            self._send(HTTPStatus.FORBIDDEN, "text/plain", "This page is served to this machine only.\n")
            return
        version, page = self.server.live.answer()
        texts = {"": ("text/html", page), "version": ("text/plain", version)}
        kind, text = texts.get(self.path.removeprefix(f"/{self.server.secret}/"), ("", ""))
        if not kind:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", "There is nothing here.\n")
        else:
            self._send(HTTPStatus.OK, kind, text)

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        content = text.encode("utf-8")
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": f"{kind}; charset=utf-8"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is for what people should know."""
