"""A finished download -> a video in the folder with its origin beside it, once it is known to be one.

What a server calls its answer counts for nothing: the file is looked into, and gets the suffix that its content asks for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from echoreel_index.decoder import Decoder
from echoreel_index.errors import VideoError
from echoreel_index.excerpt import Showing, excerpt
from echoreel_index.filenames import free_path, is_text, safe_part, safe_path, video_suffix
from echoreel_index.files import content_hash
from echoreel_index.origins import Origin, is_from, record, sidecar_of
from echoreel_index.sections import Section

Write = Callable[[Iterable[Showing]], bytes]
"""Frames -> the bytes of an MP4 file; raises what the frames raise."""


class Unwanted(Exception):
    """A video is none of those that were asked for; the message says why."""


class BeyondEnd(Exception):
    """A section begins after the end of its video; others may not."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that has come into the folder."""

    path: Path
    seconds: float
    size: tuple[int, int]
    """(h w)."""


class Intake:
    """The folder that takes videos in."""

    def __init__(
        self, folder: Path, render: Callable[[dict[str, Any]], str], decoder: Decoder, *, tallest: int | None, write: Write | None
    ) -> None:
        """`render` makes a name of what is known about a video, in which `/` makes folders."""
        self._folder, self._render, self._decoder, self._tallest, self._write = folder, render, decoder, tallest, write

    def take(self, file: Path, info: Mapping[str, Any], origin: Origin, section: Section | None) -> Taken:
        """Move the download `file`, or write the `section` of it, under its final name.

        Raises VideoError for what is no video, Unwanted for too tall a picture, BeyondEnd, OSError, and ValueError for a name
        that leads out of the folder.
        """
        with file.open("rb") as opened:
            head = opened.read(4096)
        if is_text(head):
            raise VideoError("it is a text or a page")
        suffix = video_suffix(head, str(info.get("ext")))
        seconds, size = self._look_into(file)
        made = file
        if section is not None:
            if section.start >= seconds:
                raise BeyondEnd(f"it ends at {seconds:.1f} s, before section {section}")
            made, suffix = self._cut(file, section), ".mp4"
            seconds, size = self._look_into(made)
        target = self._target(info, origin, section, suffix)
        sha256 = content_hash(str(made))
        text = record(info, origin, sha256=sha256, seconds=seconds, size=size, section=section, now=datetime.now(UTC))
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(".info.json")
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, sidecar_of(target))
        os.replace(made, target)
        return Taken(target, seconds, size)

    def _look_into(self, file: Path) -> tuple[float, tuple[int, int]]:
        """(seconds, (h w)) of a video with at least two frames, of which the first can be decoded."""
        probe = self._decoder.probe(str(file))
        timeline = self._decoder.timeline(str(file))
        if len(timeline.times) < 2:
            raise VideoError("it is a still picture")
        for _ in self._decoder.read(str(file), [float(timeline.times[0])], size=64):
            pass
        if self._tallest is not None and min(probe.height, probe.width) > self._tallest:
            raise Unwanted(f"it is {probe.width}x{probe.height}, more than {self._tallest} lines")
        return float(timeline.end), (probe.height, probe.width)

    def _cut(self, file: Path, section: Section) -> Path:
        assert self._write is not None, "fetch refuses sections without it"
        made = file.with_suffix(".section.mp4")
        made.write_bytes(self._write(excerpt(file, section.start, section.end, decoder=self._decoder)))
        return made

    def _target(self, info: Mapping[str, Any], origin: Origin, section: Section | None, suffix: str) -> Path:
        """The final name: free, and its sidecar's too, or that of the same video fetched before."""
        name = self._render({key: safe_part(value) if isinstance(value, str) else value for key, value in info.items()})
        relative = safe_path(f"{name} {section}s" if section else name)
        return free_path(self._folder, relative, suffix, sidecar_of, lambda path: is_from(path, origin, section))
