"""What the files beside a video say about it: `NAME.txt`, `NAME.json`, `NAME.info.json` or `NAME.SUFFIX.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

LONGEST = 65536
"""Characters read from a sidecar; more is not a caption."""


@dataclass(frozen=True, slots=True)
class Words:
    """What is known about a video in words."""

    caption: str | None = None
    source: str | None = None
    licence: str | None = None


def words(path: str) -> Words:
    """What the sidecars of the video at `path` say; nothing if there are none or they cannot be understood."""
    video = Path(path)
    said = Words()
    for sidecar in (video.with_suffix(".json"), video.with_suffix(".info.json"), Path(f"{path}.json")):
        said = _first(said, _from_json(sidecar))
    text = _read(video.with_suffix(".txt"))
    return _first(said, Words(caption=(text or "").strip() or None))


def _first(one: Words, other: Words) -> Words:
    return Words(one.caption or other.caption, one.source or other.source, one.licence or other.licence)


def _read(sidecar: Path) -> str | None:
    try:
        with sidecar.open(encoding="utf-8-sig", errors="replace") as file:
            return file.read(LONGEST)
    except (OSError, ValueError):
        return None


def _from_json(sidecar: Path) -> Words:
    text = _read(sidecar)
    if text is None:
        return Words()
    try:
        data = json.loads(text)
    except ValueError:
        return Words()
    if not isinstance(data, dict):
        return Words()
    return Words(
        caption=_text(data, "caption", "title"),
        source=_text(data, "source", "webpage_url", "url"),
        licence=_text(data, "licence", "license"),
    )


def _text(data: dict[str, object], *names: str) -> str | None:
    for name in names:
        value = data.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None
