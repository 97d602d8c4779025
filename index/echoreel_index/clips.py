"""A video's timeline -> windows of a few seconds, and the moments to look at in each.

Windows start on a grid of `stride` seconds and last `length` seconds; a video that is shorter gives one window of its
true length, and a tail that no window reaches gets one that ends with the file. The moments of a window are the middles
of `frames` equal parts, so with the default settings neighbouring windows share half of their frames.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from echoreel_index.errors import UsageError

SHORTEST_TAIL = 0.1
"""Seconds: a tail shorter than this is not worth a window of its own."""


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """How videos are cut: all times in seconds."""

    length: float = 2.0
    stride: float = 1.0
    frames: int = 4
    """Moments looked at in each window."""
    policy: Literal["exact", "keyframes"] = "exact"
    """`exact` decodes in one pass and takes the frames of each moment; `keyframes` decodes nothing else than
    keyframes (many times faster on long files) and takes those that fall into the window, or the one before it."""

    def __post_init__(self) -> None:
        if not 0.1 <= self.length <= 3600:
            raise UsageError(f"a window must last 0.1 to 3600 seconds, got {self.length}")
        if not 0.05 <= self.stride <= self.length:
            raise UsageError(f"the stride must be between 0.05 s and the window's length ({self.length} s), got {self.stride}")
        if not 1 <= self.frames <= 256:
            raise UsageError(f"a window needs 1 to 256 frames, got {self.frames}")

    @property
    def key(self) -> str:
        """The settings as text; files that were cut with another key are read again."""
        return f"length={self.length:g} stride={self.stride:g} frames={self.frames} policy={self.policy}"

    @classmethod
    def from_key(cls, key: str) -> WindowSettings:
        """The settings that `key` was made from."""
        values = dict(part.split("=") for part in key.split())
        policy: Literal["exact", "keyframes"] = "keyframes" if values["policy"] == "keyframes" else "exact"
        return cls(length=float(values["length"]), stride=float(values["stride"]), frames=int(values["frames"]), policy=policy)


@dataclass(frozen=True, slots=True)
class Timeline:
    """When the frames of a video are shown; zero is the first frame."""

    times: NDArray[np.float64]
    """(n) seconds, ascending."""
    keys: NDArray[np.int64]
    """(k) which of them are keyframes, ascending indices."""
    end: float
    """When the last frame stops being shown, seconds."""

    def index_at(self, second: float) -> int:
        """The frame shown at `second`: the last one that starts at or before it (a millisecond is forgiven)."""
        return max(0, int(np.searchsorted(self.times, second + 1e-3, side="right")) - 1)


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of a video and the moments at which it is looked at, all in seconds."""

    start: float
    end: float
    moments: tuple[float, ...]


def spans(end: float, settings: WindowSettings) -> list[tuple[float, float]]:
    """Start and end of each window of a video that lasts `end` seconds."""
    if end <= settings.length + SHORTEST_TAIL:
        return [(0.0, max(end, 1e-3))]
    count = int((end - settings.length) / settings.stride + 1e-6) + 1
    found = [(round(i * settings.stride, 6), round(i * settings.stride + settings.length, 6)) for i in range(count)]
    if end - found[-1][1] > SHORTEST_TAIL:
        found.append((round(end - settings.length, 6), round(end, 6)))
    return found


def windows(timeline: Timeline, settings: WindowSettings) -> list[Window]:
    """All windows of a video, first to last."""
    moments = _keyframe_moments if settings.policy == "keyframes" else _even_moments
    return [Window(start, end, moments(timeline, start, end, settings.frames)) for start, end in spans(timeline.end, settings)]


def _even_moments(timeline: Timeline, start: float, end: float, frames: int) -> tuple[float, ...]:
    return tuple(round(start + (i + 0.5) * (end - start) / frames, 6) for i in range(frames))


def _keyframe_moments(timeline: Timeline, start: float, end: float, frames: int) -> tuple[float, ...]:
    keys = timeline.times[timeline.keys] if len(timeline.keys) else timeline.times[:1]
    inside = keys[(keys >= start) & (keys < end)]
    if len(inside) == 0:
        before = keys[keys < start]
        inside = before[-1:] if len(before) else keys[:1]
    chosen = np.unique(np.linspace(0, len(inside) - 1, min(frames, len(inside))).round().astype(int))
    return tuple(float(t) for t in inside[chosen])


def clip_id(sha256: str, start: float, end: float) -> str:
    """The stable name of a window: 16 hexadecimal digits of the content's hash and the times."""
    return hashlib.sha256(f"{sha256}:{start:.3f}:{end:.3f}".encode()).hexdigest()[:16]
