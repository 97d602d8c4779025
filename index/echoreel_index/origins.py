"""Where a downloaded video came from and what was said about it there: the `.info.json` beside it.

The names of the fields are yt-dlp's, so that other programs read them too, with three of ours: `fetch_date`, `sha256` and
`section`. Only what is listed here is written: no formats, headers, cookies, media addresses or anything else that tells
who fetched it or from which machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from echoreel_index.sections import Section
from echoreel_index.sidecars import clean, read_json

SCHEMA = "echoreel.origin/1"
KEPT = (
    "id", "title", "description", "tags", "categories", "uploader", "uploader_id", "uploader_url", "channel", "channel_id",
    "channel_url", "creator", "license", "extractor", "extractor_key", "upload_date", "timestamp", "release_timestamp", "duration",
    "language", "location", "age_limit", "series", "season", "episode", "playlist_title", "playlist_id",
)  # fmt: skip
NAMELESS = ("generic", "html5mediaembed")
"""yt-dlp's extractors for any site, whose ids are unique on one page only."""
LONGEST = 20_000
"""Characters of one text, and items of one list."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known about a video before it is fetched."""

    url: str
    """The page or address that stands for the video, without a password."""
    asked: str
    """The address that the user gave: the same, a playlist or a search."""
    key: str
    """What the archive calls it: the site and the site's name for the video."""
    title: str | None
    licence: str | None
    seconds: float | None
    size: int | None
    """Bytes, where the site says so."""


def origin_of(info: Mapping[str, Any], asked: str) -> Origin:
    """The origin of what yt-dlp calls an info dictionary."""
    url = without_password(str(info.get("webpage_url") or info.get("original_url") or asked))
    size = info.get("filesize") or info.get("filesize_approx")
    seconds = info.get("duration")
    return Origin(
        url=url,
        asked=without_password(asked),
        key=archive_key(info, url),
        title=_word(info.get("title")),
        licence=_word(info.get("license")),
        seconds=float(seconds) if isinstance(seconds, (int, float)) else None,
        size=int(size) if isinstance(size, (int, float)) else None,
    )


def archive_key(info: Mapping[str, Any], url: str) -> str:
    """A line of yt-dlp's archive; ids of plain files are no more than their names, so the address goes with them."""
    site = str(info.get("extractor_key") or info.get("ie_key") or "generic").lower()
    name = quote(clean(str(info.get("id"))), safe="")
    return f"{site} {name} {quote(url, safe=':/?&=%#+,;@~')}" if site in NAMELESS else f"{site} {name}"


def without_password(url: str) -> str:
    """The address without `user:password@`, and without what yt-dlp's extractors hide in it for each other."""
    url = clean(url.partition("#__youtubedl_smuggle=")[0])
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else url


def sidecar_of(video: Path) -> Path:
    """Where the origin of `video` is written."""
    return video.with_name(f"{video.stem}.info.json")


def record(
    info: Mapping[str, Any], origin: Origin, *, sha256: str, seconds: float, size: tuple[int, int], section: Section | None, now: datetime
) -> str:
    """The text of the sidecar; `size` is (h w), `seconds` the length of the file as it is."""
    said = {key: _shortened(info[key]) for key in KEPT if info.get(key) not in (None, "", [], {})}
    for key in ("uploader_url", "channel_url", "playlist_id"):  # the id of a feed is its address
        if isinstance(said.get(key), str):
            said[key] = without_password(str(said[key]))
    start = section.start if section else 0.0
    written = {
        "schema": SCHEMA,
        **said,
        "webpage_url": origin.url,
        "duration": round(seconds, 3),
        "height": size[0],
        "width": size[1],
        "chapters": _chapters(info.get("chapters"), start, start + seconds),
        "section": {"start": section.start, "end": round(start + seconds, 3)} if section else None,
        "fetch_date": now.astimezone(UTC).isoformat(timespec="seconds"),
        "sha256": sha256,
    }
    return clean(json.dumps({key: value for key, value in written.items() if value is not None}, ensure_ascii=False, indent=1)) + "\n"


def is_from(video: Path, origin: Origin, section: Section | None) -> bool:
    """Whether the sidecar of `video` says that it is this very video, or this part of it."""
    said = read_json(sidecar_of(video))
    if not isinstance(said, dict) or said.get("schema") != SCHEMA or archive_key(said, str(said.get("webpage_url"))) != origin.key:
        return False
    part = said.get("section")
    return (section is None) == (part is None) and (section is None or (isinstance(part, dict) and part.get("start") == section.start))


def _word(value: object) -> str | None:
    return clean(value).strip() or None if isinstance(value, str) else None


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value[:LONGEST]
    return [_shortened(one) for one in value[:1000] if isinstance(one, (str, int, float))] if isinstance(value, list) else value


def _chapters(value: object, start: float, end: float) -> list[dict[str, object]] | None:
    """Chapters in the time of the file that was kept."""
    found: list[dict[str, object]] = []
    for chapter in value[:1000] if isinstance(value, list) else ():
        first, last = chapter.get("start_time"), chapter.get("end_time")
        if isinstance(first, (int, float)) and isinstance(last, (int, float)) and first < end and last > start:
            times = {"start_time": max(first, start) - start, "end_time": min(last, end) - start}
            found.append({**times, "title": _shortened(str(chapter.get("title")))})
    return found or None
