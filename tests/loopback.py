"""A real HTTP server on this machine's loopback address, with the faults that servers and lines have."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of each request."""
    port: int = 0
    gone: threading.Event = field(default_factory=threading.Event)
    """Set when the server ends, so that no answer stalls for longer."""

    def url(self, path: str = "") -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self.port}/{path}"


@contextmanager
def serving() -> Iterator[Loopback]:
    """Run the server for the length of a block."""
    loopback = Loopback()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None: ...

        def do_GET(self) -> None:
            _answer(self, loopback)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
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
    if wanted and loopback.ranges and handler.headers.get("If-Range") == etag:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            return _empty(handler, 416)
    handler.send_response(206 if start else 200)
    handler.send_header("ETag", etag)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    if loopback.tells_length:
        handler.send_header("Content-Length", str(len(body) - start))
    handler.send_header("Connection", "close")
    handler.end_headers()
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
