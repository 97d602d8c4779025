"""An excerpt of a video: exactly the frames that are shown from one moment to another, each as long as it is shown.

    [start, end) of a film at 8 frames a second, start = 0.30, end = 0.80

    frame       2         3         4         5         6
    shown   0.25 .... 0.375 .... 0.500 .... 0.625 .... 0.75 ....
               [--------|---------|---------|---------|---)
    excerpt  0.000    0.075     0.200     0.325     0.450  0.500

The first frame is the one on the screen at `start`, even if it came earlier; the last is the last one that appears before
`end`. What a player shows of the excerpt at t is what it shows of the film at start + t, whatever the frame rate does.
Decoding happens in the worker of a `Decoder`, so a damaged file hurts nobody; frames come upright and one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoreel_index.clips import Timeline
from echoreel_index.decoder import Decoder
from echoreel_index.errors import VideoError
from echoreel_index.files import absolute
from echoreel_index.passes import Frame

FORGIVEN = 1e-3
"""Seconds by which a time may miss a frame's: stored times are rounded."""


@dataclass(frozen=True, slots=True, eq=False)
class Showing:
    """One frame and when it is on the screen, in seconds from the start of the excerpt."""

    frame: Frame
    """(h w c) uint8 RGB, upright."""
    start: float
    duration: float


@dataclass(frozen=True, slots=True, eq=False)
class Extent:
    """Which frames of a file an excerpt has."""

    times: NDArray[np.float64]
    """(n) seconds of the file at which its frames appear, ascending; the first may lie before `start`."""
    start: float
    end: float
    """Seconds of the file; never behind the file's end."""

    def shown(self) -> list[tuple[float, float]]:
        """(start, duration) of each frame, in seconds from the start of the excerpt; without gaps, all longer than 0."""
        begins = np.maximum(self.times - self.start, 0.0)
        begins[0] = 0.0
        ends = np.append(begins[1:], self.end - self.start)
        return [(round(float(begin), 6), round(float(end - begin), 6)) for begin, end in zip(begins, ends, strict=True)]


def extent(timeline: Timeline, start: float, end: float) -> Extent:
    """The frames shown in [start, end); one at least. Raises VideoError when the file ends before `start`."""
    if not end > start:
        raise ValueError(f"an excerpt must end after it starts, got {start = } {end = }")
    if start >= timeline.end:
        raise VideoError(f"it is only {timeline.end:.2f} s long, and the excerpt starts at {start:g} s")
    first = timeline.index_at(start)
    times = timeline.times
    after = max(first + 1, int(np.searchsorted(times, end - FORGIVEN)))
    begin = max(start, float(times[first]))
    return Extent(times[first:after], begin, max(min(end, timeline.end), float(times[after - 1]) + FORGIVEN, begin + FORGIVEN))


def excerpt(path: Path | str, start: float, end: float, *, decoder: Decoder) -> Iterator[Showing]:
    """The frames of [start, end), in order, the file's own size. Raises VideoError, also in the middle."""
    name = absolute(Path(path))
    found = extent(decoder.timeline(name), start, end)
    frames = decoder.read(name, found.times.tolist())
    for (frame, _), (begin, duration) in zip(frames, found.shown(), strict=True):
        yield Showing(frame, begin, duration)
