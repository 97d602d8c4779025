"""The words of a video: what the files beside it say about it, and, apart from that, what its own name says.

    NAME.txt                      the caption
    NAME.json, NAME.info.json,    caption or title, source, licence, tags, uploader, date, description; `.info.json` is
    NAME.SUFFIX.json              what yt-dlp and `echoreel fetch` write, its chapters become cues
    NAME.srt, NAME.vtt, NAME.en.vtt   cues: words that belong to a part of the video
    captions.csv, metadata.jsonl ...  a row for each video of the folder, see `sidecars`

What is said closer to the video wins: its own files in the order above (JSON before text), then the tables of its
folder, then those of the folders above up to the root. Every other text is kept for the word index.
"""

from __future__ import annotations

import json
import math
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from echoreel_index.sidecars import FILE_KEYS, LONGEST_TEXT, Folders, clean, kept, parsed, read_json, read_text
from echoreel_index.subtitles import LONGEST_CUE, MOST_CUES, Cue, cues

CAPTION_KEYS = ("caption", "title", "text", "label", "sentence", "action")
SOURCE_KEYS = ("source", "webpage_url", "original_url", "url")
LICENCE_KEYS = ("licence", "license")
TAG_KEYS = ("tags", "keywords", "categories", "labels")
UPLOADER_KEYS = ("uploader", "channel", "creator", "author")
DATE_KEYS = ("timestamp", "release_timestamp", "upload_date", "date")
DAY_KEYS = ("upload_date", "date")
"""Those of them that hold a day where others hold seconds; seconds of eight digits would be of the year 1973 or before."""
MORE_KEYS = ("description", "captions", "comment", "summary", "prompt")

LONGEST = 5000
"""Characters of one text that are kept."""
MOST_TAGS = 100
LONGEST_SUBTITLE_FILE = 4 << 20
ABOVE_WITHOUT_ROOT = 1
"""How many folders above a video's own are asked for tables when nobody says where the root is."""

_TIGHT = (",", ":")


@dataclass(frozen=True, slots=True)
class Words:
    """What is known about a video in words."""

    caption: str | None = None
    source: str | None = None
    """Where it came from, usually a URL."""
    licence: str | None = None
    title: str | None = None
    tags: tuple[str, ...] = ()
    uploader: str | None = None
    date: float | None = None
    """When it was published, seconds since 1970."""
    more: tuple[str, ...] = ()
    """Everything else that was said about the whole video."""
    cues: tuple[Cue, ...] = ()
    """(start, end, text) in seconds: what was said about, or in, a part of it."""

    @property
    def text(self) -> str:
        """All words about the whole video, one saying a line, none twice; cues are not among them."""
        said = (self.caption, self.title, *self.tags, self.uploader, *self.more)
        return "\n".join(dict.fromkeys(text for text in said if text))

    def during(self, start: float, end: float) -> str:
        """The words of the cues that overlap the window, one cue a line."""
        return "\n".join(dict.fromkeys(text for first, last, text in self.cues if first < end and last > start))

    def to_json(self) -> str:
        """As one compact line of JSON; what is empty is left out."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps({name: value for name, value in said.items() if value not in (None, ())}, ensure_ascii=False, separators=_TIGHT)

    @classmethod
    def from_json(cls, text: str) -> Words:
        """The words that `to_json` wrote; whatever has another shape is left out."""
        data = parsed(text)
        if not isinstance(data, dict):
            return cls()
        return cls(
            caption=_text(data, ("caption",)),
            source=_text(data, ("source",)),
            licence=_text(data, ("licence",)),
            title=_text(data, ("title",)),
            tags=tuple(_texts(data.get("tags"))),
            uploader=_text(data, ("uploader",)),
            date=_number(data.get("date")),
            more=tuple(_texts(data.get("more"))),
            cues=tuple(_cues(data.get("cues"))),
        )


def words(path: str, *, root: str | None = None, folders: Folders | None = None) -> Words:
    """What is said about the video at `path`; nothing if nobody says anything, or nothing that can be understood.

    Tables are looked for up to `root`, a folder that was indexed. Who asks for many videos passes one `Folders`, so that each
    folder is read once. What names of files and folders say is another question: see `name_words`.
    """
    folders = folders if folders is not None else Folders()
    video = Path(path)
    folder = folders.at(str(video.parent))
    said = Words()
    for name in (f"{video.stem}.json", f"{video.stem}.info.json", f"{video.name}.json"):
        if (sidecar := folder.file(name)) is not None:
            said = _joined(said, _from_object(read_json(sidecar)))
    if (sidecar := folder.file(f"{video.stem}.txt")) is not None:
        said = _joined(said, Words(caption=kept(read_text(sidecar, LONGEST_TEXT) or "", LONGEST) or None))
    for above, relative in _tables(video, root):
        for row in folders.at(above).rows(relative):
            said = _joined(said, _from_row(row))
    for sidecar in folder.subtitles(video.stem):
        if spoken := cues(read_text(sidecar, LONGEST_SUBTITLE_FILE) or ""):
            said = replace(said, cues=tuple(sorted({*said.cues, *spoken})))
            break  # the others say the same in other languages
    return said


def name_words(path: str, root: str) -> str:
    """The words in the names of the root, the folders below it and the file: `BackFlips/take_02-Anna.mp4` -> back flips take anna.

    Digits, the file's suffix and a trailing `[identifier]` are dropped; letters of every script are kept.
    """
    inside = os.path.relpath(path, root)
    if inside == ".":
        parts: tuple[str, ...] = (Path(path).name,)
    elif inside.startswith(".."):
        parts = (Path(path).parent.name, Path(path).name)
    else:
        parts = (Path(os.path.abspath(root)).name, *Path(inside).parts)
    stem = re.sub(r"\s*\[(?=[^\s\[\]]*[\d_-]|[^\s\[\]]*[a-z][A-Z])[^\s\[\]]+\]$", "", Path(parts[-1]).stem)
    split = [word for part in (*parts[:-1], stem) for word in _split(clean(part))]
    return " ".join(dict.fromkeys(split))


def _split(name: str) -> Iterator[str]:
    """Words of one name in lower case."""
    word, before, after = "", "", unicodedata.normalize("NFC", name)
    for place, letter in enumerate(after):
        kind = unicodedata.category(letter)
        following = unicodedata.category(after[place + 1]) if place + 1 < len(after) else ""
        new = kind == "Lu" and (before == "Ll" or (before == "Lu" and following == "Ll"))
        if new or kind[0] not in "LM":
            if word:
                yield word.lower()
            word = ""
        if kind[0] in "LM":
            word += letter
        before = kind
    if word:
        yield word.lower()


def _joined(one: Words, other: Words) -> Words:
    """What `one` says and, where it is silent, `other`; a caption that loses is kept among the other words."""
    lost = [text for text in (other.caption, other.title) if text and text not in (one.caption, one.title)]
    caption, title = one.caption or other.caption, one.title or other.title
    more = dict.fromkeys((*one.more, *(text for text in lost if text not in (caption, title)), *other.more))
    return Words(
        caption=caption,
        source=one.source or other.source,
        licence=one.licence or other.licence,
        title=title,
        tags=tuple(dict.fromkeys((*one.tags, *other.tags)))[:MOST_TAGS],
        uploader=one.uploader or other.uploader,
        date=one.date if one.date is not None else other.date,
        more=tuple(more)[:MOST_TAGS],
        cues=one.cues or other.cues,
    )


def _tables(video: Path, root: str | None) -> Iterator[tuple[str, str]]:
    """(folder, path of the video from there): its own folder and the ones above, up to the root."""
    parts = [video.name]
    above = video.parent
    left = ABOVE_WITHOUT_ROOT if root is None else len(video.parts)
    while True:
        yield str(above), "/".join(reversed(parts))
        if left == 0 or above.parent == above or (root is not None and not _below(above, root)):
            return
        parts.append(above.name)
        above = above.parent
        left -= 1


def _below(folder: Path, root: str) -> bool:
    """Whether the folder lies below the root and is not the root itself."""
    return Path(os.path.abspath(root)) in Path(os.path.abspath(folder)).parents


def _from_object(data: object) -> Words:
    """What a JSON file about one video says."""
    if not isinstance(data, dict):
        return Words()
    found = Words(
        caption=_text(data, CAPTION_KEYS),
        source=_text(data, SOURCE_KEYS),
        licence=_text(data, LICENCE_KEYS),
        title=_text(data, ("title",)),
        tags=tuple(tag for key in TAG_KEYS for tag in _tags(data.get(key)))[:MOST_TAGS],
        uploader=_text(data, UPLOADER_KEYS),
        date=next((date for key in DATE_KEYS if (date := _date(key, data.get(key))) is not None), None),
        cues=tuple(_chapters(data.get("chapters"))),
    )
    said = {found.caption, found.title}
    more = dict.fromkeys(text for key in (*MORE_KEYS, *CAPTION_KEYS) for text in _texts(data.get(key)) if text not in said)
    return replace(found, more=tuple(more)[:MOST_TAGS])


def _from_row(row: Mapping[str, object]) -> Words:
    """What a row of a table says: known columns as in `_from_object`, all other texts besides."""
    found = _from_object(row)
    caption = found.caption or next((text for key in (*CAPTION_KEYS, *MORE_KEYS) for text in _texts(row.get(key))), None)
    known = {*CAPTION_KEYS, *SOURCE_KEYS, *LICENCE_KEYS, *TAG_KEYS, *UPLOADER_KEYS, *DATE_KEYS, *MORE_KEYS, *FILE_KEYS}
    other = [text for key, value in row.items() if key not in known for text in _texts(value) if _is_prose(text)]
    more = tuple(text for text in dict.fromkeys((*found.more, *other)) if text != caption)
    return replace(found, caption=caption, more=more[:MOST_TAGS])


def _is_prose(text: str) -> bool:
    return "://" not in text and any(unicodedata.category(letter)[0] == "L" for letter in text)


def _text(data: Mapping[str, object], names: Iterable[str]) -> str | None:
    return next((text for name in names for text in _texts(data.get(name)) if isinstance(data.get(name), str)), None)


def _texts(value: object) -> Iterator[str]:
    """The text of a value, or the texts of a list."""
    for one in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(one, str) and (text := kept(one, LONGEST)):
            yield text


def _tags(value: object) -> Iterator[str]:
    for text in _texts(value):
        for tag in text.split(",") if isinstance(value, str) else (text,):
            if tag.strip():
                yield tag.strip()


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < 1e11 and math.isfinite(value) else None


def _date(key: str, value: object) -> float | None:
    """Seconds since 1970 of a number that says so, of `20260131`, or of a date as ISO 8601 writes it; without a zone it is UTC.

    Eight digits are a day even where they are a number, unless the `key` says that it is a timestamp.
    """
    if isinstance(value, (int, float)) and key in DAY_KEYS and 10_000_000 <= value < 100_000_000 and value == int(value):
        value = str(int(value))
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
            return _number((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
        except (ValueError, OverflowError):
            return None
    return _number(value)


def _chapters(value: object) -> Iterator[Cue]:
    """yt-dlp's chapters as cues."""
    for chapter in value[:MOST_CUES] if isinstance(value, list) else ():
        if isinstance(chapter, dict):
            yield from _cues([(chapter.get("start_time"), chapter.get("end_time"), chapter.get("title"))])


def _cues(value: object) -> Iterator[Cue]:
    for one in value if isinstance(value, list) else ():
        if isinstance(one, (list, tuple)) and len(one) == 3:
            start, end = _number(one[0]), _number(one[1])
            text = kept(one[2], LONGEST_CUE) if isinstance(one[2], str) else ""
            if start is not None and end is not None and end > start and text:
                yield start, end, text
