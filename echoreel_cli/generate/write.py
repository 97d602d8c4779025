"""Frames -> an H.264 MP4 whose bytes depend on nothing but the frames, the tags and the encoder's version.

    frames: (t h w c)   uint8, RGB

`video_bytes` writes frames at one rate, as the generator makes them; `excerpt_bytes` writes frames as they come out of a
film, each for its own time.

A fixed number of encoder threads and no time of day in the file, so that the same frames give the same bytes again. x264's
macroblock tree is off: with AVX-512 it reads memory that nobody has written, and what it finds there changes the picture by
some grey levels.
Colours are converted by BT.709 and the file says so, so that players and our own decoder read back what was meant.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from echoreel_index.errors import OutputExists

if TYPE_CHECKING:
    from echoreel_index.excerpt import Showing
    from echoreel_index.sound import Sound

CRF = 12
"""Constant rate factor: visually lossless for small pictures, a tenth of the size of truly lossless."""
EXCERPT_CRF = 16
"""For pieces of films: large pictures hide more."""
EXCERPT_THREADS = 4
"""Whatever the machine has: x264 gives other bytes with another number."""
CLOCK = 90_000
"""Ticks a second of videos whose frames last as long as they please; what MPEG uses."""

# Code points of ISO/IEC 23091-2: BT.709 primaries, transfer and matrix; "tv" (limited) range.
_BT709 = 1
_LIMITED_RANGE = 1


def video_bytes(frames: np.ndarray[Any, Any], fps: float, *, tags: Mapping[str, str] | None = None, streamable: bool = False) -> bytes:
    """The MP4 file of frames (t h w c) uint8.

    `tags` are the container's words: `title`, `comment` and what else MP4 knows. With `streamable` the file is
    fragmented, so that it can be read from a pipe before its end is there.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) == 0:
        raise ValueError(f"frames must be (t h w 3) uint8 with t > 0, got {frames.shape} {frames.dtype}")
    if not fps > 0:
        raise ValueError(f"frames per second must be positive, got {fps}")
    frames = _even(frames)
    movflags = "frag_keyframe+empty_moov+default_base_moof" if streamable else "faststart"
    # A real file: to put the index first, the muxer opens its own output again for reading.
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "video.mp4"
        _mux(frames, fps, file, tags or {}, movflags)
        return file.read_bytes()


def excerpt_bytes(showings: Iterable[Showing], *, sound: Sound | None = None, tags: Mapping[str, str] | None = None) -> bytes:
    """The MP4 file of the frames of an excerpt, each shown from its start for its duration, to a tick of CLOCK; sound as AAC.

    Frames are taken one at a time, so that a long excerpt needs no more memory than a short one. Whatever `showings` raises
    goes through. ValueError when there are none.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "video.mp4"
        _mux_timed(showings, sound, file, tags or {})
        return file.read_bytes()


def _mux(frames: np.ndarray[Any, Any], fps: float, file: Path, tags: Mapping[str, str], movflags: str) -> None:
    import av

    with av.open(str(file), "w", format="mp4", options={"movflags": movflags}) as container:
        container.metadata.update(tags)
        stream = _h264(container, frames.shape[1], frames.shape[2], Fraction(fps).limit_denominator(1001))
        for picture in frames:
            container.mux(stream.encode(_yuv(picture)))
        container.mux(stream.encode(None))


def _mux_timed(showings: Iterable[Showing], sound: Sound | None, file: Path, tags: Mapping[str, str]) -> None:
    import av

    with av.open(str(file), "w", format="mp4", options={"movflags": "faststart"}) as container:
        container.metadata.update(tags)
        stream, ends = None, {}
        for showing in showings:
            picture = _even(showing.frame[None])[0]
            if stream is None:
                stream = _h264(container, picture.shape[0], picture.shape[1], Fraction(30), excerpt=True)
                stream.codec_context.time_base = Fraction(1, CLOCK)
                if sound is not None:
                    _put_sound(container, sound)
            frame = _yuv(picture)
            frame.pts, frame.time_base = round(showing.start * CLOCK), Fraction(1, CLOCK)
            ends[frame.pts] = round((showing.start + showing.duration) * CLOCK)
            _put(container, stream.encode(frame), ends)
        if stream is None:
            raise ValueError("an excerpt needs at least one frame")
        _put(container, stream.encode(None), ends)


def _put_sound(container: Any, sound: Sound) -> None:
    """All of it before the first picture; the muxer sorts."""
    import av

    layout = "mono" if sound.samples.shape[1] == 1 else "stereo"
    stream = container.add_stream("aac", rate=sound.rate, layout=layout)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.samples).reshape(1, -1), format="s16", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = sound.rate, 0, Fraction(1, sound.rate)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _put(container: Any, packets: Iterable[Any], ends: Mapping[int, int]) -> None:
    """Without a duration of its own the last frame would last as long as a frame at the nominal rate does."""
    for packet in packets:
        packet.duration = ends[packet.pts] - packet.pts
        container.mux(packet)


def _h264(container: Any, height: int, width: int, rate: Fraction, *, excerpt: bool = False) -> Any:
    """A stream of `container`. In an excerpt no frame refers to a later one, so that the last packet is the last frame."""
    stream = container.add_stream("libx264", rate=rate)
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    crf, threads = (EXCERPT_CRF, EXCERPT_THREADS) if excerpt else (CRF, 1)
    in_order = {"bf": "0"} if excerpt else {}
    stream.options = {"crf": str(crf), "preset": "medium", "threads": str(threads), "x264-params": "mbtree=0", **in_order}
    codec = stream.codec_context
    codec.thread_count = threads
    codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
    codec.color_range = _LIMITED_RANGE
    return stream


def _yuv(picture: np.ndarray[Any, Any]) -> Any:
    """(h w c) uint8 RGB -> a frame as H.264 has it."""
    import av

    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")


def _even(frames: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """4:2:0 needs even sides; a last odd row or column is doubled."""
    h, w = frames.shape[1:3]
    if h % 2 == 0 and w % 2 == 0:
        return frames
    return np.pad(frames, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")


def write_atomically(path: Path, content: bytes, *, force: bool) -> None:
    """The whole file or nothing: write beside it, then rename. OutputExists if it is there and `force` is not set."""
    if path.exists() and not force:
        raise OutputExists(f"{path} already exists", hint="--force overwrites it; -o writes elsewhere")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(part, 0o666 & ~_umask())
        os.replace(part, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(part)
        raise


def _umask() -> int:
    """mkstemp makes files that only the owner reads; outputs get the permissions that `open` would have given."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
