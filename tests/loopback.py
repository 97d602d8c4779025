"""A real HTTP server on this machine's loopback address, with the faults that servers and lines have."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Loopback:
    """What the server serves and how it misbehaves; may be changed between requests."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    tells_length: bool = True
    cuts: list[int] = field(default_factory=list)
    """After so many bytes of the body the line is cut: one entry for each of the next answers."""
    stalls: list[int] = field(default_factory=list)
    """After so many bytes nothing more comes, but the line stays open: one entry for each of the next answers."""
    states: list[int] = field(default_factory=list)
    """HTTP states of the next answers, before any file is looked at."""
    redirects: dict[str, str] = field(default_factory=dict)
    linked_etags: dict[str, str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    """Content-Type of each path; none is sent for the others."""
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    """More headers of the answers for a path."""
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of each request."""
    received: list[dict[str, str]] = field(default_factory=list)
    """All headers of each request, their names in lower case."""
    address: str = "127.0.0.1"
    port: int = 0
    scheme: str = "http"
    gone: threading.Event = field(default_factory=threading.Event)
    """Set when the server ends, so that no answer stalls for longer."""

    def url(self, path: str = "") -> str:
        """The address of a path."""
        return f"{self.scheme}://{self.address}:{self.port}/{path}"


@contextmanager
def serving(address: str = "127.0.0.1", *, tls: tuple[Path, Path] | None = None) -> Iterator[Loopback]:
    """Run the server for the length of a block; every address in 127.0.0.0/8 is this machine. `tls`: certificate and key."""
    loopback = Loopback(address=address, scheme="https" if tls else "http")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None: ...

        def do_GET(self) -> None:
            _answer(self, loopback)

        def do_HEAD(self) -> None:
            _answer(self, loopback)

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up, or does not trust the certificate, is nothing to print about."""

    server = Server((address, 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    loopback.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield loopback
    finally:
        loopback.gone.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(handler: BaseHTTPRequestHandler, loopback: Loopback) -> None:
    path = handler.path.lstrip("/")
    wanted = handler.headers.get("Range")
    loopback.seen.append((path, wanted))
    loopback.received.append({key.lower(): value for key, value in handler.headers.items()})
    handler.close_connection = True
    if loopback.states:
        return _empty(handler, loopback.states.pop(0))
    if path in loopback.redirects:
        return _empty(handler, 302, {"Location": loopback.redirects[path], "X-Linked-Etag": f'"{loopback.linked_etags.get(path, "")}"'})
    body = loopback.files.get(path)
    if body is None:
        return _empty(handler, 404)
    etag = f'"{hashlib.md5(body).hexdigest()}"'
    start = 0
    # A range without a condition is answered, too (RFC 9110, 13.1.5).
    if wanted and loopback.ranges and handler.headers.get("If-Range", etag) == etag:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            return _empty(handler, 416)
    handler.send_response(206 if start else 200)
    handler.send_header("ETag", etag)
    if path in loopback.types:
        handler.send_header("Content-Type", loopback.types[path])
    for key, value in loopback.headers.get(path, {}).items():
        handler.send_header(key, value)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    if loopback.tells_length:
        handler.send_header("Content-Length", str(len(body) - start))
    handler.send_header("Connection", "close")
    handler.end_headers()
    if handler.command == "HEAD":
        return
    rest = body[start:]
    if loopback.stalls:
        handler.wfile.write(rest[: loopback.stalls.pop(0)])
        loopback.gone.wait(30)
        return
    handler.wfile.write(rest[: loopback.cuts.pop(0)] if loopback.cuts else rest)


def _empty(handler: BaseHTTPRequestHandler, state: int, headers: dict[str, str] | None = None) -> None:
    handler.send_response(state)
    for key, value in (headers or {}).items():
        handler.send_header(key, value)
    handler.send_header("Content-Length", "0")
    handler.send_header("Connection", "close")
    handler.end_headers()
