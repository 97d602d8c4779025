"""Hits -> files of their own: `01-name-12.50-14.50.mp4`, and beside it a `.json` that says where the piece came from.

The MP4 has exactly the frames of the window, each shown as long as in the film, and its sound (see `echoreel_index.excerpt`).
The JSON carries caption, source, licence, title, tags, uploader and date under the keys that `echoreel index` reads beside any
video, so a folder of clippings can be indexed and given to `gen --ref` without losing whom the pictures belong to.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from echoreel_cli.generate.naming import refuse_overwrite
from echoreel_cli.generate.write import excerpt_bytes, write_atomically
from echoreel_index.captions import Words, words
from echoreel_index.errors import VideoError
from echoreel_index.excerpt import Showing, excerpt
from echoreel_index.filenames import safe_stem, shortened
from echoreel_index.files import content_hash
from echoreel_index.nouns import Hit
from echoreel_index.sound import Sound, sound

if TYPE_CHECKING:
    from echoreel_index.decode import Decoder

SCHEMA = "echoreel.clipping/1"
LONGEST_NAME = 120
"""Bytes of a film's name that are kept; file systems allow 255 in all."""


@dataclass(frozen=True, slots=True)
class Clipping:
    """One hit and the file that it becomes."""

    hit: Hit
    query: str
    video: Path

    @property
    def record(self) -> Path:
        """The JSON beside it."""
        return self.video.with_suffix(".json")


@dataclass(frozen=True, slots=True)
class Cut:
    """A clipping that is on disk."""

    clipping: Clipping
    frames: int
    troubles: tuple[str, ...]
    """What is not as one would expect, in words: the film has changed, its sound cannot be decoded."""


def clippings(hits: Sequence[Hit], query: str, folder: Path, *, first: int = 1) -> list[Clipping]:
    """Where each hit goes; numbers run from `first`, in the order of the hits."""
    return [Clipping(hit, query, folder / f"{_name(hit, number)}.mp4") for number, hit in enumerate(hits, start=first)]


def refuse_clippings(planned: Sequence[Clipping], *, force: bool) -> None:
    """OutputExists if one of the files is there already, UsageError if the folder cannot be: before anything is written."""
    refuse_overwrite([file for one in planned for file in (one.video, one.record)], force=force, hint="--force overwrites")


def write_clipping(clipping: Clipping, decoder: Decoder, *, library: str, encoder: str, force: bool) -> Cut:
    """Cut it out and write both files; the JSON last, so that it never speaks of a video that is not there.

    Raises VideoError when the film cannot be read, OutputExists.
    """
    clip = clipping.hit.clip
    count = 0

    def counted() -> Iterator[Showing]:
        nonlocal count
        for showing in excerpt(clip.path, clip.start, clip.end, decoder=decoder):
            count += 1
            yield showing

    sha256 = content_hash(clip.path)
    troubles = ["the file has changed since it was indexed"] if clip.sha256 not in (None, sha256) else []
    heard: Sound | None = None
    try:
        heard = sound(clip.path, clip.start, clip.end)
    except VideoError as error:
        troubles.append(error.message)
    said = words(clip.path)
    content = excerpt_bytes(counted(), sound=heard, tags=_tags(clipping, said))
    cut = Cut(clipping, count, tuple(troubles))
    write_atomically(clipping.video, content, force=force)
    record = _record(clipping, said, sha256) | {
        "frames": count,
        "sound": heard is not None,
        "library": library,
        "encoder": encoder,
        "video": {"file": clipping.video.name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)},
    }
    write_atomically(clipping.record, (_json(record) + "\n").encode(), force=force)
    return cut


def _name(hit: Hit, number: int) -> str:
    """`01-name-12.50-14.50`, without what some file system refuses."""
    stem = shortened(safe_stem(Path(hit.clip.path).stem), LONGEST_NAME)
    return f"{number:02d}-{stem}-{hit.clip.start:.2f}-{hit.clip.end:.2f}"


def _record(clipping: Clipping, said: Words, sha256: str) -> dict[str, object]:
    """First what any video's JSON may say, then what only a clipping's does."""
    hit, clip = clipping.hit, clipping.hit.clip
    date = clip.date if clip.date is not None else said.date
    about: dict[str, object] = {
        "caption": clip.caption or said.caption,
        "title": said.title,
        "source": clip.source or said.source,
        "licence": clip.licence or said.licence,
        "uploader": said.uploader,
        "tags": list(said.tags),
        "date": None if date is None else datetime.fromtimestamp(date, UTC).isoformat(),
    }
    return {
        "schema": SCHEMA,
        **{key: value for key, value in about.items() if value},
        "cut_from": {"path": clip.path, "sha256": sha256, "start": clip.start, "end": clip.end, "id": clip.id},
        "query": clipping.query,
        "rank": hit.rank,
        "score": round(hit.score, 6),
        "fused": round(hit.fused, 6),
        "fit": None if hit.fit is None else round(hit.fit, 6),
        "problems": list(hit.problems),
    }


def _tags(clipping: Clipping, said: Words) -> dict[str, str]:
    """The same in the MP4 itself, for those who lose the JSON."""
    clip = clipping.hit.clip
    origin = clip.source or said.source or Path(clip.path).name
    tags = {
        "title": clip.caption or said.caption or said.title,
        "artist": said.uploader,
        "copyright": clip.licence or said.licence,
        "comment": f"{clip.start:.3f} to {clip.end:.3f} s of {origin}",
    }
    return {key: value.encode(errors="replace").decode() for key, value in tags.items() if value}


def _json(record: dict[str, object]) -> str:
    """Readable; names that are no text are written as JSON escapes."""
    text = json.dumps(record, ensure_ascii=False, indent=2, allow_nan=False)
    return text if text.isascii() or not re.search("[\ud800-\udfff]", text) else json.dumps(record, indent=2, allow_nan=False)
