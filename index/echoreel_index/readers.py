"""Two ways to read frames, behind one small interface: decord2, and PyAV for what decord refuses.

Here are the nouns of scanning, too: what is asked (ScanSettings) and what is answered (Samples and a Scan).

Both readers see the same clock (zero is the first frame that is shown), turn frames as the file's rotation says, and read in
one pass: targets come in ascending order and a reader only ever jumps forward to a keyframe.
This module runs inside the decode worker; `av` and `decord` are imported where they are used.

    frame: (h w c) uint8 RGB
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from echoreel_index.clips import Timeline
from echoreel_index.containers import last_line, opened, video_stream
from echoreel_index.errors import VideoError
from echoreel_index.passes import LEAP, RESTART, ArrayPass, Frame, Pass, PyavPass, counts, forgive, leaps, plausible

Size = tuple[int, int] | int | None
"""(h w): exactly so, aspect not kept. int: the short side, aspect kept, never enlarged. None: as in the file."""

JUMP = 1.0
"""Seconds: PyAV jumps to a later keyframe only over a gap longer than this."""
DECORD_READS = ("mov", "matroska")
"""Containers that decord is asked to read: it hangs for ever on some MPEG program streams, and its times are wrong in others."""


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """How a file is looked through."""

    step: float = 0.5
    """Seconds between the moments of which a frame is wanted."""
    size: Size = 224
    """Of those frames, as `Decoder.read` takes it."""
    splitter: Literal["none", "content", "adaptive"] = "adaptive"
    """How cuts are found; `none` makes the whole file one shot."""
    policy: Literal["exact", "keyframes"] = "exact"
    """`keyframes` decodes nothing else than keyframes: many times faster, no cuts (one shot), and the motion is between keyframes."""

    def __post_init__(self) -> None:
        if not self.step > 0:
            raise ValueError(f"step must be positive, got {self.step}")


@dataclass(frozen=True, slots=True)
class Sample:
    """The frame that is shown at one moment of the grid."""

    moment: float
    """(i + 0.5) * step, seconds; when the last frame starts, of a file that is shorter than half a step."""
    shown_at: float
    """When the frame starts; moments that fall into one frame have the same (and share the array)."""
    frame: Frame
    """(h w c) uint8 RGB, upright."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What is known about a file when it has been looked through."""

    end: float
    """When the last frame stops being shown, seconds."""
    width: int
    height: int
    """Both as shown, that is after rotation."""
    fps: float
    """Average frames a second, as the container says; 0 if it does not."""
    codec: str
    shots: tuple[tuple[float, float], ...]
    """(start, end) of each shot in seconds, covering 0 to `end` without gaps."""
    times: NDArray[np.float64]
    """(m) seconds at which motion and brightness were looked at, ascending."""
    motion: NDArray[np.float32]
    """(m) how much the picture differs from that of the time before, 0 to 1. Never across a cut: the first value of a shot
    is that of its second."""
    brightness: NDArray[np.float32]
    """(m) mean luma, 0 (black) to 1 (white)."""
    cut_short: bool
    """The file broke off before the end that it announces."""


class Reader(Protocol):
    """One open video."""

    @property
    def timeline(self) -> Timeline:
        """When its frames are shown."""
        ...

    def read(self, seconds: Sequence[float], size: Size) -> Iterator[tuple[Frame, float]]:
        """For each of the ascending `seconds` the frame shown then, and when that frame starts.

        Moments past the end give the last frame. Raises VideoError when no frame can be decoded.
        """
        ...

    def watch(self, *, keyframes: bool, threads: int) -> Pass:
        """One pass over every frame, or over the keyframes alone, by up to `threads` threads."""
        ...


def target_size(height: int, width: int, size: Size) -> tuple[int, int]:
    """The size (h w) that a frame of `height` by `width` is scaled to."""
    if size is None:
        return height, width
    if isinstance(size, tuple):
        return size
    scale = min(1.0, size / min(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(frame: Frame, size: Size) -> Frame:
    """Bicubic with anti-aliasing by swscale, one and the same for both readers."""
    import av

    height, width = target_size(frame.shape[0], frame.shape[1], size)
    if (height, width) == frame.shape[:2]:
        return frame
    shrunk = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    pixels: Frame = shrunk.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC").to_ndarray(format="rgb24")
    return pixels


class DecordReader:
    """Frames by decord2. Refuses files whose clock it does not understand, so that PyAV gets them."""

    def __init__(self, path: str) -> None:
        try:
            import decord
        except (ImportError, OSError) as error:
            raise VideoError(f"decord cannot be loaded: {last_line(error)}") from error
        try:
            self._video: Any = decord.VideoReader(path, num_threads=2)
            shown = np.asarray(self._video.get_frame_timestamp(list(range(len(self._video)))), dtype=np.float64)
            keys = np.asarray(self._video.get_key_indices(), dtype=np.int64)
        except Exception as error:  # decord raises RuntimeError, DECORDError, AssertionError and IndexError alike
            raise VideoError(f"decord: {last_line(error)}") from error
        shown = shown.round(6)  # decord keeps seconds in single precision
        times = shown[:, 0]
        if len(times) == 0 or not np.isfinite(shown).all() or times[0] < 0 or (np.diff(times) <= 0).any():
            raise VideoError("decord: the frames are not in order of time")
        self.timeline = Timeline(times - times[0], keys, _end(times - times[0], float(shown[-1, 1] - times[0])))

    def read(self, seconds: Sequence[float], size: Size) -> Iterator[tuple[Frame, float]]:
        held: tuple[int, Frame] | None = None
        for second in seconds:
            index = self.timeline.index_at(second)
            if held is None or held[0] != index:
                try:
                    frame = self._video.get_batch([index]).asnumpy()[0]
                except Exception as error:
                    raise VideoError(f"decord: {last_line(error)}") from error
                held = (index, resize(frame, size))
            yield held[1], float(self.timeline.times[index])

    def watch(self, *, keyframes: bool, threads: int) -> Pass:
        line = self.timeline
        times = line.times[line.keys] if keyframes else line.times
        fps = len(line.times) / line.end
        return ArrayPass(self.read(times.tolist(), None), end=lambda: line.end, fps=fps, codec="unknown")


class PyavReader:
    """Frames by PyAV: one pass, forgiving damaged packets."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._timeline: Timeline | None = None
        self._zero = 0.0
        self._unit = 1e-3
        self._step = 0.04
        self._entries: dict[int, int] = {}  # of counted frames: keyframe -> the tick to seek for
        self._countable = False  # some packets have no time, or the clock starts anew: count frames instead

    @property
    def timeline(self) -> Timeline:
        """Made by reading all packets once, without decoding."""
        if self._timeline is None:
            self._timeline = self._made_timeline()
        return self._timeline

    def _made_timeline(self) -> Timeline:
        with opened(self._path) as container:
            stream = video_stream(container)
            self._unit = float(stream.time_base) if stream.time_base else 1e-3
            self._step = float(1 / stream.average_rate) if stream.average_rate else 0.04
            stamps, decoded, last, lasts = [], [], 0, 0.0
            leap, counted = LEAP if leaps(container) else float("inf"), counts(container)
            for packet in container.demux(stream):
                if packet.size:
                    stamps.append((packet.pts if packet.pts is not None else packet.dts, packet.is_keyframe))
                    decoded.append(packet.dts)
                    if (stamps[-1][0] or 0) >= last:
                        last, lasts = stamps[-1][0] or 0, (packet.duration or 0) * self._unit
            known = sorted((pts, key) for pts, key in stamps if pts is not None)
            if not known and not stamps:
                raise VideoError("there are no frames in it")
            first = stream.start_time if stream.start_time is not None else (known[0][0] if known else 0)
        self._zero = first * self._unit
        self._entries = self._entry_points(stamps, decoded) if counted else {}
        self._countable = counted or len(known) < len(stamps) or self._starts_anew(decoded, leap)
        if self._countable:
            times = np.arange(len(stamps), dtype=np.float64) * self._step
            keys = np.array(sorted(self._entries) or [i for i, (_, key) in enumerate(stamps) if key], dtype=np.int64)
        else:
            shown = [(pts, key) for pts, key in known if pts >= first] or known
            times = np.array([pts * self._unit - self._zero for pts, _ in shown], dtype=np.float64).round(6)
            keys = np.array([i for i, (_, key) in enumerate(shown) if key], dtype=np.int64)
        return Timeline(times, keys, round(float(times[-1]) + plausible(lasts, self._step), 6))

    def _entry_points(self, stamps: Sequence[tuple[int | None, bool]], decoded: Sequence[int | None]) -> dict[int, int]:
        """Each keyframe's place among the frames as they are shown: its place among the packets, and how much later it is shown
        than decoded, compared with the first."""
        found: dict[int, int] = {}
        first: int | None = None
        for place, ((pts, key), dts) in enumerate(zip(stamps, decoded, strict=True)):
            if key and pts is not None and dts is not None:
                first = pts - dts if first is None else first
                found[place + round((pts - dts - first) * self._unit / self._step)] = dts
        return found

    def _starts_anew(self, decoded: Sequence[int | None], leap: float) -> bool:
        """Whether the clock falls back somewhere, or leaps where it must not: recordings that were joined."""
        ticks = np.array([tick for tick in decoded if tick is not None], dtype=np.float64)
        steps = np.diff(ticks) * self._unit
        return bool(((steps < -RESTART) | (steps > leap)).any())

    def watch(self, *, keyframes: bool, threads: int) -> Pass:
        return PyavPass(lambda: opened(self._path), video_stream, keyframes=keyframes, threads=threads)

    def read(self, seconds: Sequence[float], size: Size) -> Iterator[tuple[Frame, float]]:
        previous: tuple[Any, float] | None = None
        held: tuple[float, Frame] | None = None
        turn = 0
        scaled = size

        def shown() -> tuple[Frame, float]:
            nonlocal held, scaled
            assert previous is not None
            if held is None or held[0] != previous[1]:
                held = (previous[1], _pixels(previous[0], scaled))
                scaled = (held[1].shape[0], held[1].shape[1])  # a stream may change its size half-way; what we give may not
            return held[1], held[0]

        def at() -> int:
            return turn

        indices = [self.timeline.index_at(second) for second in seconds]
        only_keys = set(indices) <= set(self.timeline.keys.tolist())
        for frame, time in self._frames(indices, at, only_keys):
            while turn < len(seconds) and previous is not None and time > seconds[turn] + 1e-3:
                yield shown()
                turn += 1
            if turn == len(seconds):
                return
            previous = (frame, time)
        if previous is None:
            raise VideoError("no frame of it can be decoded")
        for _ in range(turn, len(seconds)):
            yield shown()

    def _frames(self, indices: Sequence[int], turn: Callable[[], int], only_keys: bool) -> Iterator[tuple[Any, float]]:
        """Decoded frames with their times, jumping forward to the keyframe of the next target where that saves work."""
        times, keys = self.timeline.times, self.timeline.keys
        only_keys = only_keys and not self._countable  # there every frame counts
        with opened(self._path) as container:
            stream = video_stream(container)
            stream.thread_type = "AUTO"
            if only_keys:
                stream.codec_context.skip_frame = "NONKEY"
            now, count, jumped, landed = 0.0, 0, -1, False
            packets = container.demux(stream)
            places = {tick: place for place, tick in self._entries.items()}
            while True:
                wanted = indices[min(turn(), len(indices) - 1)]
                at = int(np.searchsorted(keys, wanted, side="right")) - 1
                if (not self._countable or self._entries) and at > 0 and at != jumped and times[keys[at]] > now + JUMP:
                    jumped = at
                    container.seek(self._tick(int(keys[at])), stream=stream, backward=True)
                    packets, landed = container.demux(stream), self._countable
                packet = next(packets, None)
                if packet is None:
                    return
                if landed:
                    count, landed = places.get(packet.dts, int(keys[jumped])), False
                try:
                    frames = packet.decode()
                except Exception as error:  # a damaged packet; what follows the next keyframe may be whole
                    forgive(error)
                    continue
                for frame in frames:
                    if self._countable or frame.pts is None:
                        now = count * self._step
                    else:
                        now = frame.pts * self._unit - self._zero
                    count += 1
                    if now > -1e-3:
                        yield frame, now

    def _tick(self, index: int) -> int:
        """Where to seek for a frame, in the stream's own unit."""
        if self._entries:
            return self._entries[index]
        return int((self.timeline.times[index] + self._zero) / self._unit)


def _pixels(frame: Any, size: Size) -> Frame:
    """A decoded PyAV frame -> RGB, turned upright, scaled."""
    image = frame.to_ndarray(format="rgb24")
    return resize(np.ascontiguousarray(np.rot90(image, k=round(frame.rotation / 90) % 4)), size)


def _end(times: NDArray[np.float64], claimed: float) -> float:
    """When the last frame stops: as claimed, or one usual step after it where the claim is absurd."""
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.04
    last = float(times[-1])
    return claimed if last < claimed <= last + max(1.0, 4 * step) else last + max(step, 1e-3)
