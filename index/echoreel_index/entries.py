"""What an address leads to: one video, or the members of a playlist, a search, a feed or a page, one by one.

yt-dlp would follow all of it in one call; following it here lets each member be told as soon as it is known, lets one that
fails stop no other, and leaves members alone that need not be asked for again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from echoreel_index.addresses import web_address
from echoreel_index.errors import DownloadError
from echoreel_index.sidecars import clean

DEEPEST = 8
"""Lists in lists, and pages that point to pages."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A video that an address leads to."""

    url: str
    title: str | None
    info: dict[str, Any] = field(default_factory=dict)
    """All that yt-dlp knows about it, its best format chosen; empty when it was not asked for."""
    unopened: bool = False
    """It is a member of a list that was known before, and was not asked for."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Where no video was found, and why."""

    url: str
    title: str | None
    error: Exception


class Entries:
    """Follows addresses by means of an open YoutubeDL."""

    def __init__(self, downloader: Any, is_known: Callable[[Mapping[str, Any], str], bool]) -> None:
        """`is_known` says of a member of a list (its info, its address) whether it can be left alone."""
        self._downloader, self._is_known = downloader, is_known
        self._left = math.inf

    def of(self, url: str, limit: int | None = None) -> Iterator[Entry | Missing]:
        """At most `limit` videos, found or missing, that `url` leads to."""
        self._left = limit if limit is not None else math.inf
        if not is_search(url) and (why := web_address(url)) is not None:
            yield Missing(url, None, DownloadError(why))
            return
        yield from self._follow({"_type": "url", "url": url}, {}, 0)

    def _follow(self, found: Mapping[str, Any], above: Mapping[str, Any], depth: int) -> Iterator[Entry | Missing]:
        """A result of an extractor: a video, a list of results, or a pointer to another address."""
        if self._left <= 0:
            return
        kind = found.get("_type", "video")
        url, title = str(found.get("url") or found.get("webpage_url")), _title(found)
        if kind in ("playlist", "multi_video", "compat_list") and depth <= DEEPEST:
            yield from self._members(found, depth)
            return
        if kind == "url" and found.get("id") and found.get("ie_key") and self._is_known(found, url):
            self._left -= 1
            yield Entry(url, title, unopened=True)
            return
        try:
            inner = self._open(found, above, depth)
        except Exception as error:  # extractors are a thousand strangers' code: any exception is an answer about this address
            self._left -= 1
            yield Missing(url if kind.startswith("url") else str(found.get("webpage_url") or url), title, error)
            return
        if kind == "url" or inner.get("_type", "video") != "video":
            yield from self._follow(inner, above, depth + 1)
        else:
            self._left -= 1
            yield Entry(str(inner.get("webpage_url") or url), _title(inner), inner)

    def _open(self, found: Mapping[str, Any], above: Mapping[str, Any], depth: int) -> dict[str, Any]:
        """One step further. Raises whatever extractors raise."""
        if depth > DEEPEST:
            raise DownloadError("it lies behind too many lists and pages")
        if found.get("_type") == "url":
            inner = self._downloader.extract_info(found["url"], download=False, process=False, ie_key=found.get("ie_key"))
        else:
            inner = self._downloader.process_ie_result(dict(found), download=False, extra_info=dict(above))
        if not inner:
            raise DownloadError("nothing is there")
        return dict(inner)

    def _members(self, found: Mapping[str, Any], depth: int) -> Iterator[Entry | Missing]:
        """Members are asked for one by one: the list itself may be read over the network, page by page."""
        above = {"playlist_title": found.get("title"), "playlist_id": found.get("id")}
        above |= {key: found[key] for key in ("extractor", "extractor_key", "webpage_url") if found.get(key)}
        members = iter(found.get("entries") or ())
        while self._left > 0:
            try:
                member = next(members, None)
            except Exception as error:  # as in _follow
                yield Missing(str(found.get("webpage_url")), _title(found), error)
                return
            if member is None:
                return
            yield from self._follow(member, above, depth + 1)


def is_search(url: str) -> bool:
    """Whether it is yt-dlp's way to write a search: `ytsearch5:backflip`."""
    head, colon, rest = url.partition(":")
    name = head.rstrip("0123456789").removesuffix("all")
    return bool(colon and rest.strip() and not rest.startswith("//") and name.isascii() and name.isalpha() and "search" in name)


def _title(found: Mapping[str, Any]) -> str | None:
    title = found.get("title")
    return clean(title) if isinstance(title, str) else None
