"""One sequential pass over a file: its frames as they come, each scaled only when somebody looks.

All passes see the clock of `readers`: zero is the first frame that is shown. This module runs inside the decode worker.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
LONGEST_HOLD = 3600.0
"""Seconds: a file whose clock jumps further than this between two frames is taken to end before the jump."""
RESTART = 1.0
"""Seconds: a clock that falls back by more than this has started anew (joined files); what follows is put behind."""
LEAP = 10.0
"""Seconds: a broadcast container (MPEG streams) may leap; a clock that goes on by more than this in one has started anew too."""
DEMUX_RETRIES = 16
"""How often in a row a container may fail to give a packet before it counts as broken off."""


class Picture:
    """One decoded frame, upright."""

    def __init__(self, frame: Any, scalers: dict[object, Any]) -> None:
        """`frame`: an av.VideoFrame. `scalers`: kept between pictures, so that swscale's tables are built once."""
        self._frame = frame
        self._scalers = scalers
        self._quarters = round(frame.rotation / 90) % 4
        turned = self._quarters % 2 == 1
        self.height: int = frame.width if turned else frame.height
        self.width: int = frame.height if turned else frame.width

    def pixels(self, height: int, width: int, *, order: Literal["rgb24", "bgr24"] = "rgb24", way: str = "BICUBIC") -> Frame:
        """(h w c) uint8, scaled by swscale straight from the file's own pixel format; `way` is one of its interpolations."""
        from av.video.reformatter import VideoReformatter

        if (scaler := self._scalers.get((order, way))) is None:
            scaler = self._scalers[order, way] = VideoReformatter()
        if self._quarters % 2:
            height, width = width, height
        scaled = scaler.reformat(self._frame, width=width, height=height, format=order, interpolation=way, threads=1)
        pixels: Any = scaled.to_ndarray()
        upright: Frame = np.ascontiguousarray(np.rot90(pixels, k=self._quarters))
        return upright


class Pass(Protocol):
    """A pass that is under way. The other attributes are true once it has been read to its end."""

    announced: float
    """How long the container says the video is, seconds; 0 if it does not. True from the first picture on."""
    fps: float
    codec: str
    end: float
    """When the last frame stops being shown, seconds."""
    broken: bool
    """The file broke off before its announced end."""

    def __iter__(self) -> Iterator[tuple[Picture, float]]:
        """Pictures and the seconds at which they start, ascending. A damaged part is left out."""
        ...


class PyavPass:
    """By PyAV: no index is built first, damaged packets are forgiven."""

    def __init__(self, opened: Callable[[], Any], stream_of: Callable[[Any], Any], *, keyframes: bool, threads: int) -> None:
        self._opened, self._stream_of = opened, stream_of
        self._keyframes, self._threads = keyframes, threads
        self.announced, self.fps, self.codec, self.end, self.broken = 0.0, 0.0, "", 0.0, False

    def __iter__(self) -> Iterator[tuple[Picture, float]]:
        with self._opened() as container:
            stream = self._stream_of(container)
            stream.thread_type = "AUTO"
            stream.thread_count = self._threads
            if self._keyframes:
                stream.codec_context.skip_frame = "NONKEY"
            self.fps = float(stream.average_rate) if stream.average_rate else 0.0
            self.codec = getattr(stream.codec_context.codec, "canonical_name", None) or stream.codec_context.name
            self.announced, exact = announced_length(container, stream)
            yield from self._watch(container, stream)
        slack = max(0.5, 3 / self.fps if self.fps else 0.5) if exact else max(2.0, 0.1 * self.announced)
        self.broken = self.broken or self.end < self.announced - slack

    def _watch(self, container: Any, stream: Any) -> Iterator[tuple[Picture, float]]:
        unit = float(stream.time_base) if stream.time_base else 1e-3
        step = 1 / self.fps if self.fps else 0.04
        first = stream.start_time
        zero = None if first is None else first * unit
        leap = LEAP if leaps(container) else float("inf")
        counted, count = counts(container) and not self._keyframes, 0
        scalers: dict[object, Any] = {}
        last, seen, lasts = -1.0, 0.0, 0.0
        for frame, packet_time in self._frames(container, stream):
            if frame is None:
                seen = max(seen, packet_time * unit)
                continue
            if counted:
                time = round(count * step, 6)
            elif frame.pts is None:
                time = 0.0 if last < 0 else last + step
            else:
                zero = frame.pts * unit if zero is None else zero
                time = round(frame.pts * unit - zero, 6)
            count += 1
            if last >= 0 and not self._keyframes and not last - max(RESTART, 10 * step) <= time <= last + leap:
                zero = (zero or 0.0) + time - (last + step)
                time = round(last + step, 6)
            if time < -1e-3 or time <= last:
                continue
            if last >= 0 and time > last + LONGEST_HOLD:
                self.broken = True
                break
            time = max(0.0, time)
            lasts = (frame.duration or 0) * unit
            yield Picture(frame, scalers), time
            last = time
        if last >= 0:
            self.end = round(last + plausible(lasts, step), 6)
            if self._keyframes and last < seen - (zero or 0.0) < last + LONGEST_HOLD:
                self.end = seen - (zero or 0.0) + step

    def _frames(self, container: Any, stream: Any) -> Iterator[tuple[Any, float]]:
        """Decoded frames; where only keyframes are decoded, also (None, time) for every packet."""
        packets, failures = container.demux(stream), 0
        while True:
            try:
                packet = next(packets, None)
            except Exception as error:
                forgive(error)
                failures += 1
                if failures > DEMUX_RETRIES:
                    self.broken = True
                    return
                packets = container.demux(stream)
                continue
            if packet is None:
                return
            failures = 0
            if self._keyframes and packet.size and packet.pts is not None:
                yield None, packet.pts
            try:
                frames = packet.decode()
            except Exception as error:  # a damaged packet; what follows the next keyframe may be whole
                forgive(error)
                continue
            for frame in frames:
                yield frame, 0.0


class ArrayPass:
    """Of frames (h w c) uint8 RGB that stand upright already."""

    def __init__(self, frames: Iterator[tuple[Frame, float]], *, end: Callable[[], float], fps: float, codec: str) -> None:
        """`end` is asked when the frames are through."""
        self._frames, self._end = frames, end
        self.announced, self.fps, self.codec, self.end, self.broken = 0.0, fps, codec, 0.0, False

    def __iter__(self) -> Iterator[tuple[Picture, float]]:
        import av

        scalers: dict[object, Any] = {}
        last = -1.0
        try:
            for frame, time in self._frames:
                yield Picture(av.VideoFrame.from_ndarray(frame, format="rgb24"), scalers), time
                last = time
        except Exception as error:
            forgive(error)
            if last < 0:
                raise
            self.broken = True
        self.end = min(self._end(), last + 1.0) if self.broken else self._end()


def announced_length(container: Any, stream: Any) -> tuple[float, bool]:
    """(seconds, whether that is the video's own length and not that of the longest stream); (0, False) if nothing is said."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base), True
    tag = stream.metadata.get("DURATION", "")  # Matroska: hours:minutes:seconds
    try:
        hours, minutes, seconds = tag.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds), True
    except ValueError:
        return (container.duration or 0) / 1e6, False


def leaps(container: Any) -> bool:
    """Whether FFmpeg says of the container that its clock may be discontinuous."""
    return bool(int(container.format.flags) & 0x0200)  # AVFMT_TS_DISCONT


def counts(container: Any) -> bool:
    """Whether frames are to be counted: AVI keeps no times, and FFmpeg's guess is wrong where there are B-frames."""
    return bool(container.format.name == "avi")


def plausible(lasts: float, step: float) -> float:
    """Seconds for which the last frame is shown: as the container says, or one average step, or a 25th where both are absurd."""
    return next((claim for claim in (lasts, step) if 1e-3 <= claim <= max(1.0, 4 * step) and claim <= LONGEST_HOLD), 0.04)


def forgive(error: Exception) -> None:
    """Damage is forgiven; want of memory is not, because what follows would fare no better."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) in (errno.ENOMEM, errno.EAGAIN):  # EAGAIN: no room for a thread
        raise MemoryError from error
