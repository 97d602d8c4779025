"""Pictures and files as data URIs, so that a page needs nothing beside itself."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path

import numpy as np

from echoreel_cli.demo.nouns import Frames


def picture_uri(frame: Frames) -> str:
    """A frame (h w c) as PNG; c may be 4, with transparency."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).save(buffer, "png", optimize=True)
    return uri(buffer.getvalue(), "image/png")


def video_uri(path: Path | str) -> str:
    """A video file as it is."""
    return uri(Path(path).read_bytes(), "video/mp4")


def uri(content: bytes, kind: str) -> str:
    """Any content."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def mosaic(frames: Frames, columns: int) -> Frames:
    """Frames (n h w 3) side by side in rows, (rows*h columns*w 4); cells that are left over are transparent."""
    n, h, w, _ = frames.shape
    rows = math.ceil(n / columns)
    cells = np.zeros((rows * columns, h, w, 4), np.uint8)
    cells[:n, ..., :3], cells[:n, ..., 3] = frames, 255
    return np.ascontiguousarray(cells.reshape(rows, columns, h, w, 4).swapaxes(1, 2).reshape(rows * h, columns * w, 4))
