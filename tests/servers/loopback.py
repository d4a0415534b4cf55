"""The one way in which a stand-in serves: on loopback, on a free port, in threads that end with it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Loopback:
    """A server that answers by `handler` once it is started; its address is known before that.

    With `tls` it speaks HTTPS. `name` is what clients call this machine.
    """

    def __init__(
        self,
        handler: Callable[..., BaseHTTPRequestHandler],
        tls: ssl.SSLContext | None = None,
        name: str = "127.0.0.1",
    ) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.host, self.port = name, self._http.server_address[1]
        self.url = f"{'https' if tls else 'http'}://{name}:{self.port}"

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Answers until the block ends."""
        thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._http.shutdown()
            self._http.server_close()
