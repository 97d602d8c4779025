"""A container, opened by PyAV: what it says about its video, and what is refused before anything of it is decoded.

This module runs inside the decode worker; `av` is imported where it is used.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Any

from echoreel_index.errors import VideoError
from echoreel_index.passes import forgive

MOST_PIXELS = 64 * 1024 * 1024
"""A frame may have this many pixels (8192 by 8192); a file that claims more is refused before anything is decoded."""
POINTERS = ("concat", "dash", "hls", "imf", "sdp", "rtsp", "tty")
"""What FFmpeg takes for a container though it only names other files, or is text; a file may not make us read another."""
PICTURE_BRANDS = ("avif", "heic", "heix", "mif1")
"""Brands of still pictures in an MP4 coat."""


class Refused(VideoError):
    """No other way of reading would do better."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a container says about its first video stream."""

    duration: float
    """Seconds; 0 if the container does not say."""
    fps: float
    """Average frames a second; 0 if unknown."""
    frames: int
    """0 if the container does not say."""
    width: int
    height: int
    """Both as shown, that is after rotation."""
    codec: str
    rotation: int
    """Degrees that a player turns the picture, counter-clockwise: 0, 90, 180 or 270."""


def probe_file(path: str) -> Probe:
    """What the container at `path` says. Raises VideoError when it cannot be opened or holds no video."""
    with opened(path) as container:
        stream = video_stream(container)
        duration = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else (container.duration or 0) / 1e6
        fps = float(stream.average_rate) if stream.average_rate else 0.0
        frames, width, height = stream.frames, stream.width, stream.height
        codec, rotation = stream.codec_context.name, 0
        try:
            rotation = int(next(container.decode(stream)).rotation) % 360
        except Exception as error:  # damaged from its first frame on: the container's word must do
            forgive(error)
    if rotation in (90, 270):
        width, height = height, width
    return Probe(duration, fps, frames, width, height, codec, rotation)


def opened(path: str) -> Any:
    """The container, which may reach for no network. Raises Refused for what FFmpeg does not know."""
    import av

    check_file(path)
    av.logging.set_level(av.logging.PANIC)  # errors carry FFmpeg's words; only while nothing decodes, see `worker`
    try:
        return av.open(path, metadata_errors="ignore", options={"protocol_whitelist": "file"})
    except (av.error.FFmpegError, OSError, ValueError) as error:
        forgive(error)
        log = getattr(error, "log", None)  # (level, place, words) of FFmpeg's own last message, which says most
        words = log[2].strip() if log else getattr(error, "strerror", None) or last_line(error)
        raise Refused(f"cannot be opened as a video: {' '.join(words.split())[:200]}") from error
    finally:
        av.logging.set_level(None)


def check_file(path: str) -> None:
    """Raises Refused for what is no file with something in it; to open a pipe would be to wait for ever."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise Refused(f"cannot be opened: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise Refused("not a file")
    if status.st_size == 0:
        raise Refused("the file is empty")


def container_of(path: str) -> str:
    """FFmpeg's name of the container. Raises Refused for what no reader should be asked to decode."""
    with opened(path) as container:
        name: str = container.format.name
        if name in POINTERS:
            raise Refused("a list of other files, not a video")
        stream = video_stream(container)
        check_pixels(*(_gif_screen(path) if name == "gif" else (stream.width, stream.height)))
        brand = container.metadata.get("major_brand", "")
        if name.endswith("_pipe") or name == "image2" or brand in PICTURE_BRANDS or (name == "gif" and _one_packet(container, stream)):
            raise Refused("a still picture, not a video")
        return name


def _gif_screen(path: str) -> tuple[int, int]:
    """Width and height that a GIF claims; FFmpeg learns them by decoding."""
    with open(path, "rb") as file:
        head = file.read(10)
    return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")


def _one_packet(container: Any, stream: Any) -> bool:
    packets = (packet for packet in container.demux(stream) if packet.size)
    return next(packets, None) is not None and next(packets, None) is None


def check_pixels(width: int, height: int) -> None:
    """Raises Refused for frames larger than MOST_PIXELS."""
    if width * height > MOST_PIXELS:
        raise Refused(f"its frames of {width} by {height} pixels are larger than {MOST_PIXELS // 2**20} megapixels")


def video_stream(container: Any) -> Any:
    """The first video stream that is more than a cover picture; it will not decode frames larger than MOST_PIXELS."""
    import av

    pictures = [stream for stream in container.streams.video if not stream.disposition & av.stream.Disposition.attached_pic]
    for stream in pictures:
        if stream.codec_context is not None:
            stream.codec_context.options = {**stream.codec_context.options, "max_pixels": str(MOST_PIXELS)}
            return stream
    raise Refused("its codec is not known" if pictures else "there is no video in it")


def last_line(error: BaseException) -> str:
    """One line a person can read, out of a native library's backtrace."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
