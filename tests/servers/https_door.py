"""A door to an HTTP server for clients that only know Google's https addresses, such as TensorFlow's own file system.

They find it as their proxy. Asked to `CONNECT HOST:443` it is HOST itself, with a certificate made for the moment, and
passes what is said on to the one server that it stands before. Clients must be told to trust `certificate`.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def certificate(names: Sequence[str], folder: Path) -> Path:
    """A file with a key and a certificate that signs itself, good for an hour, for servers of these names."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = dt.datetime.now(dt.timezone.utc)
    hour = dt.timedelta(hours=1)
    others = [*map(x509.DNSName, names), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder(own, own, key.public_key(), x509.random_serial_number(), now - hour, now + hour)
        .add_extension(x509.SubjectAlternativeName(others), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "door.pem"
    path.write_bytes(secret + signed.public_bytes(serialization.Encoding.PEM))
    return path


NO_ENCODING = b"Transfer-Encoding: identity\r\n"
"""What TensorFlow says of a request without a body: Google's servers take it, the Go library's refuse it."""


class _Tunnel(socketserver.BaseRequestHandler):
    server: HttpsDoor

    def handle(self) -> None:
        method, target = _head(self.request).split(b" ")[:2]
        host = target.rpartition(b":")[0].decode()
        if method != b"CONNECT" or host not in self.server.names:
            self.request.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            return
        self.server.hosts.add(host)
        self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with (
            suppress(OSError),
            self.server.context.wrap_socket(self.request, server_side=True) as client,
            socket.create_connection(self.server.behind) as behind,
        ):
            back = threading.Thread(target=_pass_on, args=(behind, client), daemon=True)
            back.start()
            behind.sendall(_head(client).replace(NO_ENCODING, b"")[:-2] + b"X-Forwarded-Proto: https\r\n\r\n")
            _pass_on(client, behind)
            back.join()


def _head(source: socket.socket) -> bytes:
    """The first line and the headers of a request."""
    said = b""
    while not said.endswith(b"\r\n\r\n") and (more := source.recv(1)):
        said += more
    return said


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class HttpsDoor(socketserver.ThreadingTCPServer):
    """Stands before the server at `url` as each of `names`, on a free port of this machine; `hosts` were asked for."""

    daemon_threads = True

    def __init__(self, url: str, names: Sequence[str], folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.names = tuple(names)
        self.hosts: set[str] = set()
        self.behind = (urlsplit(url).hostname, urlsplit(url).port)
        self.certificate = certificate(names, folder)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate)

    @contextmanager
    def open(self) -> Iterator[dict[str, str]]:
        """While it lasts the door is open; gives the environment in which libcurl goes through it."""
        thread = threading.Thread(target=self.serve_forever, daemon=True)
        thread.start()
        try:
            proxy = f"http://127.0.0.1:{self.server_address[1]}"
            yield {"HTTPS_PROXY": proxy, "https_proxy": proxy, "CURL_CA_BUNDLE": str(self.certificate)}
        finally:
            self.shutdown()
            self.server_close()
            thread.join()
