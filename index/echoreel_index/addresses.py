"""Which machines a download may talk to: the public internet, and private addresses only where the user asked for them.

A page that names `http://169.254.169.254/` or `http://router.lan/` as its video must not make us ask there. So every
connection is looked at when it is made, on the address that it goes to and not on the name, and goes to that very address:
names that resolve to a private address, odd spellings of one (`http://2130706433/`), every hop of a redirect, manifests,
fragments and a name that changes its address between two questions are all covered.

Not covered: a proxy that the environment names (`https_proxy`) resolves names itself. It is the user's own choice, so it may
be private; the names behind it are looked at here as well as this machine can resolve them.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import urllib.request
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urlsplit

SCHEMES = ("http", "https")
_EMBEDDED = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that a NAT64 gateway turns into IPv4 ones (RFC 6052)."""


class Forbidden(Exception):
    """A connection was about to go where it may not; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Where connections may go."""

    private: bool = False
    """Everywhere."""
    hosts: tuple[str, ...] = ()
    """Names and addresses, as they stand in a URL, that may be private."""

    def allows(self, host: str, address: str) -> bool:
        """Whether a connection that was asked for as `host` may go to `address`."""
        return self.private or _plain(host) in {_plain(known) for known in self.hosts} or is_public(address)

    def refusal(self, host: str, address: str) -> str | None:
        """Why not, or None."""
        if self.allows(host, address):
            return None
        where = host if _plain(host) == address else f"{host} ({address})"
        return f"{where} is no public address; --allow-host or --allow-private lets it be fetched"


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet: not private, loopback, link-local, shared, multicast or reserved."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is None and found in _EMBEDDED:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast and not found.is_reserved


def web_address(url: str) -> str | None:
    """Why `url` cannot be one of the web, or None if it can."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no web address"
    if parts.scheme.lower() not in SCHEMES:
        scheme = f"{parts.scheme}: addresses are not fetched, " if parts.scheme else "is no web address: "
        return f"{scheme}only http and https"
    return None if host else "names no host"


def request_handler(reach: Reach, refused: Callable[[str], None], marks: MutableMapping[str, str]) -> type[Any]:
    """yt-dlp's own request handler on top of urllib, whose connections all go through `reach`.

    `refused` hears why a connection was not made; whoever asked gets yt-dlp's RequestError, which is not tried again.
    `marks` keeps the strong ETag of each address: who asks for the rest of a file gets the whole when it has changed meanwhile
    (RFC 9110, 13.1.5), which yt-dlp itself would not notice.
    """
    from yt_dlp.networking._urllib import UrllibRH
    from yt_dlp.networking.exceptions import RequestError

    class GuardedRH(UrllibRH):  # type: ignore[misc]  # yt-dlp has no types
        RH_NAME = "guarded"
        _SUPPORTED_URL_SCHEMES = (*SCHEMES, "data")

        def _create_instance(self, proxies: Any, cookiejar: CookieJar, legacy_ssl_support: Any = None) -> Any:
            opener = super()._create_instance(proxies=proxies, cookiejar=cookiejar, legacy_ssl_support=legacy_ssl_support)
            self._door = _Door(reach, self._make_sslcontext(legacy_ssl_support=legacy_ssl_support), self.source_address)
            opener.add_handler(self._door)
            return opener

        def _send(self, request: Any) -> Any:
            before = getattr(self, "_door", None) and self._door.passed
            if "Range" in request.headers and request.url in marks:
                request.headers["If-Range"] = marks[request.url]
            try:
                response = super()._send(request)
            except Forbidden as error:
                refused(str(error))
                raise RequestError(str(error)) from error
            if urlsplit(request.url).scheme.lower() in SCHEMES and self._door.passed == before:
                response.close()  # a yt-dlp whose inside has changed: better nothing than unguarded
                raise RequestError("this version of yt-dlp cannot be guarded against private addresses")
            mark = response.headers.get("ETag") or ""
            if mark.startswith('"'):  # a weak one says nothing about bytes
                marks[request.url] = mark
            return response

    return GuardedRH


class _Door(urllib.request.AbstractHTTPHandler):
    """Opens connections in place of yt-dlp's own handler: behind the one for proxies (100), before the usual ones (500)."""

    handler_order = 400

    def __init__(self, reach: Reach, context: ssl.SSLContext, source: str | None) -> None:
        super().__init__()
        self.passed = 0
        self._reach, self._context, self._source = reach, context, (source, 0) if source else None

    def http_open(self, request: urllib.request.Request) -> Any:
        """A plain connection; None leaves it to the next handler, which knows proxies."""
        return self._open(http.client.HTTPConnection, request, {})

    def https_open(self, request: urllib.request.Request) -> Any:
        """The same over TLS."""
        return self._open(http.client.HTTPSConnection, request, {"context": self._context})

    def ftp_open(self, request: urllib.request.Request) -> Any:
        """A redirect may try this."""
        raise Forbidden("it leads to an address that is neither http nor https")

    def _open(self, kind: Any, request: urllib.request.Request, options: dict[str, Any]) -> Any:
        self.passed += 1
        if self._by_proxy(request):
            self._look_behind(request)
            return None

        def connection(host: str, **given: Any) -> Any:
            made = kind(host, **given)
            made._create_connection = self._connect
            return made

        # urllib asks for a class, and only ever calls it.
        return self.do_open(connection, request, **options)

    @staticmethod
    def _by_proxy(request: urllib.request.Request) -> bool:
        tunnel = getattr(request, "_tunnel_host", None)
        return bool(request.has_proxy() or tunnel or request.has_header("Ytdl-socks-proxy"))

    def _look_behind(self, request: urllib.request.Request) -> None:
        parts = urlsplit(request.full_url)
        if parts.scheme not in SCHEMES:
            raise Forbidden("it leads to an address that is neither http nor https")
        try:
            addresses = _resolved(parts.hostname or "", parts.port or 80)
        except OSError:
            return
        for _, address in addresses:
            self._check(parts.hostname or "", str(address[0]))

    def _connect(self, where: tuple[str, int], timeout: Any = None, source: Any = None) -> socket.socket:
        host, port = where
        last: OSError | None = None
        for family, address in _resolved(host, port):
            self._check(host, str(address[0]))
            made = socket.socket(family, socket.SOCK_STREAM)
            try:
                if isinstance(timeout, (int, float)):
                    made.settimeout(timeout)
                if self._source is not None:
                    made.bind(self._source)
                made.connect(address)
                return made
            except OSError as error:
                made.close()
                last = error
        raise last or OSError(f"{host} has no address")

    def _check(self, host: str, address: str) -> None:
        if (why := self._reach.refusal(host, address)) is not None:
            raise Forbidden(why)


def _resolved(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    return [(family, address) for family, _, _, _, address in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)]


def _plain(host: str) -> str:
    return host.strip("[]").lower().rstrip(".")
