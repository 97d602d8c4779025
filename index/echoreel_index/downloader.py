"""yt-dlp with its doors locked: the one place that knows its options.

- Connections go through `addresses.Reach`; yt-dlp's other ways to the network (curl_cffi, websockets, requests) are not used,
  nor are programs that would open connections of their own: FFmpeg, rtmpdump, aria2c. So sites that insist on a browser's
  fingerprint, live streams and RTMP are out of reach, and pictures and sound are never merged: the best picture alone is taken.
  (Deno, where it is installed, runs a site's own script for yt-dlp, without access to files or to the network.)
- Nothing is printed, no update is looked for, no settings file is read, cookies are read and never written back.
- Files go to a folder of ours under a name of ours: what a server calls its file never becomes a path.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import Cookie, MozillaCookieJar
from pathlib import Path
from typing import Any

from echoreel_index.addresses import Reach, request_handler
from echoreel_index.errors import UsageError
from echoreel_index.sidecars import clean

PROTOCOLS = ("http", "https", "m3u8", "m3u8_native", "http_dash_segments", "http_dash_segments_generator", "ism", "f4m")
"""What yt-dlp fetches by itself, over its own connections."""
TIMEOUT = 20.0
"""Seconds of silence after which a transfer counts as broken."""
ENOUGH = 720
"""Lines: encoders and video models see far fewer."""
NEVER = "/nonexistent/ffmpeg"
"""A place where no FFmpeg is: yt-dlp must not find the user's."""


@dataclass(frozen=True, slots=True)
class Access:
    """How the network is used."""

    reach: Reach = Reach()
    retries: int = 5
    rate: float | None = None
    """Bytes a second at most."""
    cookies: Path | None = None
    """A file in Netscape's format."""
    browser: str | None = None
    """A browser, or BROWSER:PROFILE, whose cookies are used."""
    cache: Path | None = None
    """Where yt-dlp may keep what it learned about sites; None: nowhere."""
    timeout: float = TIMEOUT


class Heard:
    """What yt-dlp has to say; it gets this as its logger and thinks that it talks to somebody."""

    def __init__(self) -> None:
        self.refused: str | None = None
        """Why a connection was not made."""
        self.marks: dict[str, str] = {}
        """ETag of each address that was asked for."""

    def debug(self, text: str) -> None:
        """Steps; nobody listens."""

    def info(self, text: str) -> None:
        """Steps; nobody listens."""

    def warning(self, text: str, once: bool = False) -> None:
        """Doubts; nobody listens."""

    def error(self, text: str) -> None:
        """Errors come as exceptions, too."""

    def refuse(self, why: str) -> None:
        """A connection was not made."""
        self.refused = why


def open_downloader(
    access: Access, parts: Path, heard: Heard, *, tallest: int | None, progress: Callable[[Mapping[str, Any]], None]
) -> Any:
    """A YoutubeDL that downloads into `parts`; close it. Raises UsageError when cookies cannot be read."""
    from yt_dlp import YoutubeDL
    from yt_dlp.utils import YoutubeDLError

    class Downloader(YoutubeDL):  # type: ignore[misc]  # yt-dlp has no types
        def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:
            return super().build_request_director([request_handler(access.reach, heard.refuse, heard.marks)], preferences)

        def prepare_filename(self, info: Any, dir_type: str = "", *, outtmpl: Any = None, warn: bool = False) -> str:
            return str(part_of(parts, info))

    cookies = _cookies(access.cookies)
    try:
        opened = Downloader(_options(access, heard, tallest))
        jar = opened.cookiejar  # a browser's cookies are read here
        for cookie in cookies:
            jar.set_cookie(cookie)
    except (YoutubeDLError, ValueError, OSError) as error:
        raise UsageError(f"cannot use the cookies of {access.browser}: {said(error)}", hint="--cookies takes a cookies.txt") from error
    opened.add_progress_hook(progress)
    return opened


def part_of(parts: Path, info: Mapping[str, Any]) -> Path:
    """Where a download is kept until it is whole: always the same place for the same video in the same format."""
    what = "\0".join(str(info.get(key)) for key in ("extractor_key", "id", "webpage_url", "format_id"))
    return parts / f"{hashlib.sha256(what.encode('utf-8', 'replace')).hexdigest()[:24]}.mp4"


def lacks_format(error: BaseException) -> bool:
    """Whether a video was found, but no version of it that `formats` asks for."""
    return "Requested format is not available" in str(error)


def said(error: BaseException) -> str:
    """An error of yt-dlp in one line, without passwords and its advice to write to its authors."""
    text = clean(re.sub(r"\x1b\[[0-9;]*m", "", str(error))).strip() or type(error).__name__
    text = re.sub(r"(https?://)[^/\s@]*@", r"\1", text)
    text = re.sub(r"^ERROR:\s*", "", text)
    text = re.sub(r"^\[[\w:.+ -]+\]\s+(?:\S+: )?(?=\S)", "", text)
    text = re.split(r"\s*\(caused by |; please report this issue|;? ?see {1,2}https://github", text)[0]
    if "ffmpeg" in text.lower():
        return "it is a live or encrypted stream, which is not fetched"
    known = isinstance(error, (OSError, ValueError)) or type(error).__module__.startswith("yt_dlp")
    return " ".join((text if known else f"{type(error).__name__}: {text}").split())[:300]


def formats(tallest: int | None) -> str:
    """The best picture of at most `tallest` lines, with sound or without, that yt-dlp can fetch by itself.

    Without a limit the best up to ENOUGH lines, or the smallest where all are taller.
    """
    known = f"[protocol~='^({'|'.join(PROTOCOLS)})$']"
    limit = f"[height<=?{tallest or ENOUGH}]"
    strict = f"bv*{known}{limit}/b{known}{limit}"
    return strict if tallest else f"{strict}/wv*{known}/w{known}"


def _options(access: Access, heard: Heard, tallest: int | None) -> dict[str, Any]:
    browser, _, profile = (access.browser or "").partition(":")
    return {
        "logger": heard, "quiet": True, "no_warnings": True, "noprogress": True, "color": "never", "warn_when_outdated": False,
        "format": formats(tallest), "format_sort": ["res", "vcodec:h264"], "allow_multiple_video_streams": False,
        "enable_file_urls": False, "default_search": "error", "external_downloader": {"default": "native"}, "hls_prefer_native": True,
        "ffmpeg_location": NEVER, "fixup": "never", "postprocessors": [], "updatetime": False, "skip_unavailable_fragments": False,
        "ignoreerrors": False, "continuedl": True, "nopart": False, "overwrites": False, "restrictfilenames": False,
        "retries": access.retries, "fragment_retries": access.retries, "extractor_retries": min(access.retries, 3),
        "socket_timeout": access.timeout, "ratelimit": access.rate,
        "cookiesfrombrowser": (browser, profile or None, None, None) if browser else None,
        "cachedir": str(access.cache) if access.cache else False, "remote_components": [], "geo_bypass": False,
    }  # fmt: skip


def _cookies(file: Path | None) -> list[Cookie]:
    """The cookies of a file, which yt-dlp would write back when it closes. Raises UsageError."""
    if file is None:
        return []
    jar = MozillaCookieJar(file.expanduser())
    try:
        jar.load(ignore_discard=True, ignore_expires=True)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it has another format"
        raise UsageError(f"cannot read the cookies in {file}: {why}", hint="it takes a cookies.txt in Netscape's format") from error
    found = list(jar)
    for cookie in found:
        if cookie.expires == 0:  # how browsers write that it ends with the session
            cookie.expires, cookie.discard = None, True
    return found
