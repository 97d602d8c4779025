"""Fetches one file over HTTP(S) so that a cut line costs nothing: what has arrived stays, and the next try goes on from there.

    target.part        what has arrived so far
    target.part.json   which file of which server it is a part of (address, ETag or date, full size)
    target             the whole file, only once size and checksum are right
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any

from echoreel_cli import __version__
from echoreel_cli.models.folder import Origin, sha256_of
from echoreel_index.errors import DownloadError, UsageError, WeightsError

CHUNK = 1 << 20
RESERVE = 64 << 20
"""Bytes to leave free on the disk."""
LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP states after which trying again makes sense."""


LOCAL = frozenset({errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EISDIR, errno.ENOENT, errno.ENOSPC, errno.EPERM, errno.EROFS})
"""What goes wrong on our side of the line."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """How far a download is, bytes; `total` is None where the server does not say. `note` is set when something happened."""

    done: int
    total: int | None
    note: str | None = None


Progress = Callable[[Transfer], None]


@dataclass(frozen=True, slots=True)
class _Part:
    """What a `.part` file is a part of."""

    url: str
    validator: str | None
    """A strong ETag or a date: with If-Range the server sends the rest only if the file is still the same."""
    total: int | None
    sha256: str | None = None
    revision: str | None = None


class _Broken(Exception):
    """A transfer that may work when it is tried again."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    offline: bool = False,
    progress: Progress = lambda transfer: None,
    tries: int = 6,
    pause: Callable[[float], None] = time.sleep,
    timeout: float = 30.0,
) -> Origin:
    """Fetch `url` to `target`, going on from an earlier attempt if there was one.

    A checksum is compared if one is given, or else if the hub names one; otherwise the file is trusted as it comes and its hash
    is in the answer. `tries` counts attempts in a row that bring nothing new; between them the wait doubles from one second.

    Raises:
        WeightsError: `offline`.
        DownloadError: the server refuses, the line stays broken, the disk is full, or size or checksum are wrong.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"cannot download from {url}", hint="give an http(s) address or the path of a file")
    if offline:
        hint = "unset ECHOREEL_OFFLINE and HF_HUB_OFFLINE, or use --from FILE"
        raise WeightsError(f"{url} is not here, and the network must not be used", hint=hint)
    target.parent.mkdir(parents=True, exist_ok=True)
    part, failures = _part_file(target), 0
    with _alone(part):
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                known = _attempt(url, part, expected=size, progress=progress, timeout=timeout)
                break
            except _Broken as error:
                grown = part.exists() and part.stat().st_size > before
                failures = 1 if grown else failures + 1
                if failures >= tries:
                    raise DownloadError(f"{url}: {error}", hint="what has arrived is kept; run the same command again to go on") from error
                wait = min(30.0, 2.0 ** (failures - 1))
                progress(Transfer(part.stat().st_size if part.exists() else 0, None, f"{error}; trying again in {wait:.0f} s"))
                pause(wait)
        return _accept(url, part, target, known, sha256=sha256, size=size)


def _accept(url: str, part: Path, target: Path, known: _Part, *, sha256: str | None, size: int | None) -> Origin:
    """Check the whole file, give it its name and say what it is; a wrong file is thrown away."""
    wanted = sha256 or known.sha256
    found_size = part.stat().st_size
    found = sha256_of(part)
    wrong = f"expected {size} bytes, got {found_size}" if size is not None and found_size != size else None
    if wanted is not None and found != wanted:
        wrong = f"wrong checksum: expected {wanted}, got {found}"
    if wrong is not None:
        _forget(part)
        raise DownloadError(f"{url}: {wrong}", hint="the file was thrown away; try again or use another --from")
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    part.replace(target)
    _forget(part)
    return Origin(url=url, sha256=found, size=found_size, revision=known.revision)


def _attempt(url: str, part: Path, *, expected: int | None, progress: Progress, timeout: float) -> _Part:
    """One request; appends to the part or starts it anew. Returns when everything is there, raises _Broken when not."""
    earlier = _remembered(part, url)
    have = part.stat().st_size if earlier is not None else 0
    if earlier is not None and earlier.total is not None and have >= earlier.total:
        if have == earlier.total:
            return earlier
        have, earlier = 0, None
    headers = {"User-Agent": f"echoreel/{__version__}", "Accept-Encoding": "identity"}
    if have and earlier is not None and earlier.validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": earlier.validator}
    hops = _Hops()
    try:
        with urllib.request.build_opener(hops).open(urllib.request.Request(url, headers=headers), timeout=timeout) as answer:
            start = _start_of(answer, have)
            known = _describe(url, answer, start, hops.seen)
            if expected is not None and known.total is not None and known.total != expected:
                _forget(part)
                raise DownloadError(f"{url} has {known.total} bytes, expected {expected}", hint="another file lies there; use --from")
            _check_room(part, (known.total or expected or 0) - start)
            _sidecar(part).write_text(json.dumps(asdict(known)), encoding="utf-8")
            _receive(answer, part, start, known.total, progress)
            return known
    except urllib.error.HTTPError as error:
        with contextlib.closing(error):
            _explain(error, url, part)
        raise _Broken(f"the server answers {error.code} {error.reason}") from error
    except (http.client.HTTPException, OSError) as error:  # URLError is an OSError too
        reason = error.reason if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception) else error
        if isinstance(reason, (socket.gaierror, ssl.SSLCertVerificationError)):
            raise DownloadError(f"{url} cannot be reached: {reason}", hint="without a network use --from FILE") from error
        if isinstance(reason, OSError) and reason.errno in LOCAL:
            raise DownloadError(f"{part} cannot be written: {reason.strerror}") from error
        raise _Broken(f"the transfer broke off ({str(reason) or type(reason).__name__})") from error


def _explain(error: urllib.error.HTTPError, url: str, part: Path) -> None:
    """Raise what cannot get better by itself."""
    if error.code == 416:  # our part does not fit the server's file
        _forget(part)
        return
    if error.code not in LATER:
        moved = "the address may have changed; use --from URL or --from FILE"
        hint = moved if error.code in (404, 410) else "the file may not be public; use --from URL or --from FILE"
        raise DownloadError(f"{url}: the server answers {error.code} {error.reason}", hint=hint) from error


def _start_of(answer: Any, have: int) -> int:
    """Where the answer's first byte belongs: `have` if the server goes on, 0 if it starts again."""
    if answer.status != 206:
        return 0
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != have:
        raise _Broken("the server sent another part than was asked for")
    return have


def _describe(url: str, answer: Any, start: int, hops: Mapping[str, str]) -> _Part:
    headers: Message = answer.headers
    seen = dict(hops) | {key.lower(): value for key, value in headers.items()}
    etag = headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
    length = headers.get("Content-Length", "")
    total = start + int(length) if length.isdigit() else None
    linked = seen.get("x-linked-etag", "").strip('"')
    sha256 = linked if re.fullmatch(r"[0-9a-f]{64}", linked) else None
    return _Part(url, validator, total, sha256, seen.get("x-repo-commit"))


def _receive(answer: IO[bytes], part: Path, start: int, total: int | None, progress: Progress) -> None:
    """Write what comes; the part keeps everything that arrived, whatever happens."""
    done = start
    with part.open("r+b" if start else "wb") as out:
        out.seek(start)
        out.truncate()
        progress(Transfer(done, total, f"going on from {start} bytes" if start else None))
        while chunk := answer.read(CHUNK):
            out.write(chunk)
            done += len(chunk)
            progress(Transfer(done, total))
    if total is not None and done < total:
        raise _Broken(f"the transfer broke off after {done} of {total} bytes")


class _Hops(urllib.request.HTTPRedirectHandler):
    """Follows redirects, never from https to http, and keeps what the hub says about the file before it hands over."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}

    def redirect_request(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> Any:
        """See urllib; `headers` are those of the answer that redirects."""
        self.seen |= {key.lower(): value for key, value in headers.items() if key.lower().startswith("x-")}
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise DownloadError(f"{req.full_url} redirects to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed + RESERVE > free:
        raise DownloadError(
            f"{part.parent} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB more are needed",
            hint="free some space, or move the folders with XDG_CACHE_HOME and XDG_DATA_HOME",
        )


@contextlib.contextmanager
def _alone(part: Path) -> Any:
    """Two downloads of one file at the same time would spoil each other's part."""
    with part.with_name(part.name + ".lock").open("wb") as lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # no such locks on this system
            pass
        except OSError as error:
            raise DownloadError(f"{part.name} is being downloaded by another process", hint="wait for it to finish") from error
        yield


def _part_file(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _sidecar(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _sidecar(part).unlink(missing_ok=True)


def _remembered(part: Path, url: str) -> _Part | None:
    """What the part is a part of, if it can be used for this address."""
    try:
        known = _Part(**json.loads(_sidecar(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return known if part.exists() and known.url == url else None
