"""A video's shots -> windows of a few seconds, and which looks at the video belong to each.

A look is one frame, taken at the moments (i + 1/2) * step of a grid that runs through the whole file whatever its shots are,
so one pass over the file serves all windows and neighbouring windows share their looks. Windows lie inside one shot: they
start every `stride` seconds and last `length`, both stretched by one factor so that they end where the shot ends; a shot that
is shorter gives one window of its own length. With the usual 2 s and 1 s, windows last 2 to 3 seconds at half stride.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from echoreel_index.errors import UsageError

Splitter = Literal["none", "content", "adaptive"]
SPLITTERS: tuple[Splitter, ...] = ("none", "content", "adaptive")
SHORTEST_SHOT = 0.6
"""Seconds: shorter ones are merged, so that looks this far apart meet every shot."""


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """How videos are cut: all times in seconds."""

    length: float = 2.0
    stride: float = 1.0
    frames: int = 4
    """Looks at each window of that length."""
    policy: Literal["exact", "keyframes"] = "exact"
    """`exact` decodes every frame; `keyframes` decodes nothing else than keyframes (many times faster on long files), takes the
    one shown at each moment, and finds no shots."""
    splitter: Splitter = "adaptive"
    """How cuts are found: PySceneDetect's adaptive or content detector, or not at all."""

    def __post_init__(self) -> None:
        if not 0.1 <= self.length <= 3600:
            raise UsageError(f"a window must last 0.1 to 3600 seconds, got {self.length}")
        if not 0.05 <= self.stride <= self.length:
            raise UsageError(f"the stride must be between 0.05 s and the window's length ({self.length} s), got {self.stride}")
        if not 1 <= self.frames <= 256:
            raise UsageError(f"a window needs 1 to 256 frames, got {self.frames}")
        if self.splitter not in SPLITTERS:
            raise UsageError(f"there is no splitter {self.splitter!r}", hint=f"use {', '.join(SPLITTERS)}")

    @property
    def finds_shots(self) -> bool:
        """Whether somebody looks for cuts."""
        return self.splitter != "none" and self.policy == "exact"

    @property
    def step(self) -> float:
        """Seconds from one look to the next."""
        step = self.length / self.frames
        return min(step, SHORTEST_SHOT) if self.finds_shots else step

    @property
    def key(self) -> str:
        """The settings as text; files that were cut with another key are read again."""
        times = f"length={self.length:g} stride={self.stride:g} frames={self.frames}"
        return f"{times} policy={self.policy} splitter={self.splitter}"

    @classmethod
    def from_key(cls, key: str) -> WindowSettings:
        """The settings that `key` was made from; keys of the first version know no splitter and get the usual one."""
        values = dict(part.split("=") for part in key.split())
        policy: Literal["exact", "keyframes"] = "keyframes" if values["policy"] == "keyframes" else "exact"
        splitter = next((known for known in SPLITTERS if known == values.get("splitter")), SPLITTERS[-1])
        return cls(float(values["length"]), float(values["stride"]), int(values["frames"]), policy, splitter)


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


def spans(shots: Sequence[tuple[float, float]], settings: WindowSettings) -> list[tuple[float, float]]:
    """Start and end, in seconds, of each window of a video with these shots, first to last."""
    return [span for start, end in shots for span in _within(start, end, settings)]


def _within(start: float, end: float, settings: WindowSettings) -> list[tuple[float, float]]:
    lasts = max(end - start, 1e-3)
    count = max(0, int((lasts - settings.length) / settings.stride + 1e-6)) + 1
    if count == 1:
        return [(round(start, 6), round(start + lasts, 6))]
    factor = lasts / (settings.length + (count - 1) * settings.stride)
    starts = [start + i * settings.stride * factor for i in range(count)]
    return [(round(one, 6), round(one + settings.length * factor, 6)) for one in starts]


def looks_within(start: float, end: float, step: float, count: int) -> tuple[int, int]:
    """(first, last + 1) of the looks i, of `count`, whose moments (i + 1/2) * step lie in [start, end)."""
    first, beyond = (int(np.ceil(second / step - 0.5 - 1e-6)) for second in (start, end))
    return min(max(first, 0), count), min(max(beyond, 0), count)


def clip_id(sha256: str, start: float, end: float) -> str:
    """The stable name of a window: 16 hexadecimal digits of the content's hash and the times."""
    return hashlib.sha256(f"{sha256}:{start:.3f}:{end:.3f}".encode()).hexdigest()[:16]
