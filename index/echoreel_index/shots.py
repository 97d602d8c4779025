"""What one sequential pass over a video finds out: frames on a grid of moments, shots, motion, brightness.

Shots are found by PySceneDetect (https://scenedetect.com), frame by frame, on true times. Motion is the mean absolute
difference, divided by 255, of small grey pictures that lie about an eighth of a second apart, so that it depends neither
on the size nor (above eight frames a second) on the frame rate of a video.
This module runs inside the decode worker; `scenedetect` is imported where it is used.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from echoreel_index.clips import SHORTEST_SHOT
from echoreel_index.containers import Refused
from echoreel_index.errors import VideoError
from echoreel_index.passes import Frame, Pass, Picture
from echoreel_index.readers import Sample, Scan, ScanSettings, target_size

ADAPTIVE_THRESHOLD = 3.5
CONTENT_THRESHOLD = 27.0
CUT_SIDE = 256
"""Long side of the pictures in which cuts are looked for."""
MOTION_SIDE = 64
"""Short side of the grey pictures whose differences are the motion."""
MOTION_GAP = 0.12
"""Seconds, at least, between them: 3 frames of 24 or 25 a second, 4 of 30, 8 of 60."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32) / np.float32(255)
"""RGB to grey, by ITU-R BT.601."""
LONGEST = 48 * 3600.0
"""Seconds: a video that goes on for longer is given up."""
BEAT = 1.0
"""Seconds of work after which a sign of life is due."""


def scan(watched: Pass, settings: ScanSettings, *, skip: int = 0) -> Iterator[Sample | float | Scan]:
    """Samples in order of time, now and then the seconds reached as a sign of life, and last of all the Scan.

    The first `skip` samples are left out. Raises VideoError when no frame can be decoded.
    """
    cuts = None if settings.policy == "keyframes" or settings.splitter == "none" else CutFinder(settings.splitter)
    curve = Curve()
    shown: _Shown | None = None
    turn, beat = 0, time.monotonic()
    for picture, second in watched:
        if shown is None:
            height, width = picture.height, picture.width
            size = target_size(height, width, settings.size)  # a stream may change its size half-way; what we give may not
        else:
            while (moment := round((turn + 0.5) * settings.step, 6)) + 1e-3 < second:
                if turn >= skip:
                    yield shown.at(moment)
                turn += 1
        if second > LONGEST:
            raise Refused(f"goes on for more than {LONGEST / 3600:.0f} hours")
        if time.monotonic() > beat + BEAT:
            yield second
            beat = time.monotonic()
        if cuts is not None:
            cuts.look(picture, second)
        curve.look(picture, second)
        shown = _Shown(picture, second, size)
    if shown is None:
        raise VideoError("no frame of it can be decoded")
    end = max(watched.end, shown.second + 1e-3)
    while (moment := round((turn + 0.5) * settings.step, 6)) < end or turn == 0:
        if turn >= skip:
            yield shown.at(moment if moment < end else shown.second)
        turn += 1
    shots = pieces(cuts.seconds if cuts is not None else (), end)
    times, motion, brightness = curve.drawn(shots)
    yield Scan(end, width, height, watched.fps, watched.codec, shots, times, motion, brightness, watched.broken)


class _Shown:
    """The latest picture, turned into pixels at most once."""

    def __init__(self, picture: Picture, second: float, size: tuple[int, int]) -> None:
        self.second = second
        self._picture, self._size = picture, size
        self._frame: Frame | None = None

    def at(self, moment: float) -> Sample:
        if self._frame is None:
            self._frame = self._picture.pixels(*self._size)
        return Sample(moment, self.second, self._frame)


class CutFinder:
    """PySceneDetect, fed with one picture after the other."""

    def __init__(self, splitter: Literal["content", "adaptive"]) -> None:
        import cv2
        from scenedetect.detectors import AdaptiveDetector, ContentDetector

        cv2.setNumThreads(1)  # for pictures this small, threads cost more than they save
        self._detector: Any
        if splitter == "adaptive":
            self._detector = AdaptiveDetector(adaptive_threshold=ADAPTIVE_THRESHOLD, min_scene_len=SHORTEST_SHOT)
        else:
            self._detector = ContentDetector(threshold=CONTENT_THRESHOLD, min_scene_len=SHORTEST_SHOT)
        self._size: tuple[int, int] | None = None
        self.seconds: list[float] = []
        """Where a new shot starts."""

    def look(self, picture: Picture, second: float) -> None:
        from scenedetect.common import FrameTimecode, Timecode

        if self._size is None:
            self._size = _within(picture, long_side=CUT_SIDE)
        # The rate is only asked for by parts of PySceneDetect that count frames; none of ours does.
        code = FrameTimecode(Timecode(round(second * 1e6), Fraction(1, 1_000_000)), fps=Fraction(25))
        pixels = picture.pixels(*self._size, order="bgr24", way="FAST_BILINEAR")
        self.seconds += [cut.seconds for cut in self._detector.process_frame(code, pixels)]


class Curve:
    """Motion and brightness, of pictures at least MOTION_GAP apart."""

    def __init__(self) -> None:
        self._size: tuple[int, int] | None = None
        self._before: NDArray[np.float32] | None = None
        self._times: list[float] = []
        self._motion: list[float] = []
        self._brightness: list[float] = []

    def look(self, picture: Picture, second: float) -> None:
        if self._times and second < self._times[-1] + MOTION_GAP - 1e-3:
            return
        if self._size is None:
            self._size = _within(picture, long_side=4 * MOTION_SIDE, short_side=MOTION_SIDE)
        grey: NDArray[np.float32] = picture.pixels(*self._size, way="AREA") @ LUMA
        self._times.append(second)
        self._brightness.append(float(grey.mean()))
        self._motion.append(0.0 if self._before is None else float(np.abs(grey - self._before).mean()))
        self._before = grey

    def drawn(self, shots: Sequence[tuple[float, float]]) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
        """(times, motion, brightness), the motion without what happens from shot to shot."""
        times = np.array(self._times, np.float64)
        motion = within_shots(times, np.array(self._motion, np.float32), [start for start, _ in shots])
        return times, motion.clip(0, 1), np.array(self._brightness, np.float32).clip(0, 1)


def within_shots(times: NDArray[np.float64], motion: NDArray[np.float32], starts: Sequence[float]) -> NDArray[np.float32]:
    """`motion` with the value of each shot's first time taken from the time after it, if that lies in the same shot; else 0."""
    shot = np.searchsorted(np.asarray(starts), times + 1e-3, side="right")
    first = np.r_[True, shot[1:] != shot[:-1]]
    after = np.r_[np.where(first[1:], np.float32(0), motion[1:]), np.float32(0)]
    return np.where(first, after, motion).astype(np.float32)


def pieces(cuts: Sequence[float], end: float) -> tuple[tuple[float, float], ...]:
    """The shots between the cuts, from 0 to `end`."""
    edges = [0.0, *sorted({cut for cut in cuts if 0 < cut < end}), end]
    return tuple(zip(edges[:-1], edges[1:], strict=True))


def _within(picture: Picture, *, long_side: int, short_side: int | None = None) -> tuple[int, int]:
    """Height and width, aspect kept, never enlarged, of a picture that fits into the sides given."""
    longer, shorter = max(picture.height, picture.width), min(picture.height, picture.width)
    scale = min(1.0, long_side / longer, 1.0 if short_side is None else short_side / shorter)
    return max(2, round(picture.height * scale)), max(2, round(picture.width * scale))
