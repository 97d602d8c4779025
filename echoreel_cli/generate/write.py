"""Frames -> an H.264 MP4 whose bytes depend on nothing but the frames, the tags and the encoder's version.

    frames: (t h w c)   uint8, RGB

One encoder thread and no time of day in the file, so that the same frames give the same bytes again. x264's macroblock tree is off: with
AVX-512 it reads memory that nobody has written, and what it finds there changes the picture by some grey levels.
Colours are converted by BT.709 and the file says so, so that players and our own decoder read back what was meant.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from echoreel_index.errors import OutputExists

CRF = 12
"""Constant rate factor: visually lossless for small pictures, a tenth of the size of truly lossless."""

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


def _mux(frames: np.ndarray[Any, Any], fps: float, file: Path, tags: Mapping[str, str], movflags: str) -> None:
    import av

    with av.open(str(file), "w", format="mp4", options={"movflags": movflags}) as container:
        for key, value in tags.items():
            container.metadata[key] = value
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(CRF), "preset": "medium", "threads": "1", "x264-params": "mbtree=0"}
        codec = stream.codec_context
        codec.thread_count = 1
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        codec.color_range = _LIMITED_RANGE
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")))
        container.mux(stream.encode(None))


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
