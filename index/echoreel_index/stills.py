"""Animated WebP, of which FFmpeg gives one frame or none: read by Pillow. And what is a picture and no video.

This module runs inside the decode worker; `PIL` is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from echoreel_index.clips import Timeline
from echoreel_index.containers import Probe, Refused, check_file, check_pixels
from echoreel_index.errors import VideoError
from echoreel_index.passes import ArrayPass, Frame
from echoreel_index.readers import Size, resize

SHORTEST_DELAY = 0.02
"""Seconds: browsers show frames of WebP and GIF files that ask for less than this for a tenth of a second, and so do we."""


def is_webp(path: str) -> bool:
    """Whether the first bytes say so. Raises Refused for what is no file at all."""
    check_file(path)
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"


class WebpReader:
    """One animated WebP file. Raises Refused for a still picture."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._timeline: Timeline | None = None
        with _opened(path) as image:
            check_pixels(image.width, image.height)
            if getattr(image, "n_frames", 1) < 2:
                raise Refused("a still picture, not a video")
            self._size = (image.height, image.width)
            self._frames: int = image.n_frames

    @property
    def timeline(self) -> Timeline:
        """Made by one pass over the file."""
        if self._timeline is None:
            times, end = [], 0.0
            for _, time, end in self._pictures():  # noqa: B007
                times.append(time)
            self._timeline = Timeline(np.array(times), np.arange(len(times)), end)
        return self._timeline

    def probe(self) -> Probe:
        """What the file says about itself."""
        line = self.timeline
        height, width = self._size
        return Probe(line.end, len(line.times) / line.end, len(line.times), width, height, "webp", 0)

    def read(self, seconds: Sequence[float], size: Size) -> Iterator[tuple[Frame, float]]:
        wanted = [self.timeline.index_at(second) for second in seconds]
        turn = 0
        for place, (image, time, _) in enumerate(self._pictures()):
            if turn < len(wanted) and wanted[turn] == place:
                frame = resize(_rgb(image), size)
                while turn < len(wanted) and wanted[turn] == place:
                    yield frame, time
                    turn += 1
            if turn == len(wanted):
                return
        raise VideoError("the file breaks off")

    def watch(self, *, keyframes: bool, threads: int) -> ArrayPass:
        """Every frame once: `keyframes` would be all of them."""
        ended = 0.0

        def frames() -> Iterator[tuple[Frame, float]]:
            nonlocal ended
            for image, time, ended in self._pictures():  # noqa: B007
                yield _rgb(image), time

        return ArrayPass(frames(), end=lambda: ended, fps=0.0, codec="webp")

    def _pictures(self) -> Iterator[tuple[Any, float, float]]:
        """The image standing at one frame after the other, with that frame's start and end."""
        with _opened(self._path) as image:
            start = 0.0
            for place in range(self._frames):
                try:
                    image.seek(place)
                    image.load()
                except (OSError, EOFError, ValueError) as error:
                    if place:
                        return  # what came before the damage counts
                    raise VideoError("no frame of it can be decoded") from error
                delay = image.info.get("duration", 0) / 1000
                end = round(start + (delay if delay >= SHORTEST_DELAY else 0.1), 6)
                yield image, start, end
                start = end


def _rgb(image: Any) -> Frame:
    return np.asarray(image.convert("RGB"))


def _opened(path: str) -> Any:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # check_pixels says it in our words
    try:
        return Image.open(path, formats=["WEBP"])
    except (OSError, ValueError, SyntaxError) as error:
        raise Refused("cannot be opened as a video: damaged WebP data") from error
