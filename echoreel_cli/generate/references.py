"""A `Reference` on disk -> the pixels that the model looks at.

    frames: (t h w c)     uint8, RGB: the disk's side
    video:  (b c t h w)   float32 in [-1, 1]: the model's side

`to_video` and `to_frames` are the only places that convert between the two. Frames are resized directly to the model's
size (the aspect ratio is not kept), as the public model was trained; see `ReferencePolicy` for which moments are taken.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from echoreel_index.errors import UsageError, VideoError
from echoreel_index.nouns import Reference

if TYPE_CHECKING:
    from torch import Tensor

    from echoreel_cli.models.info import ReferencePolicy

SLACK = 0.15
"""Seconds by which an end may lie past the file's: containers round their durations."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A reference whose file was looked at: true end, and the hash of what is on disk now."""

    reference: Reference
    changed: bool
    """The file is not the one that was indexed: its hash differs from the library's."""


def resolve(reference: Reference) -> Resolved:
    """Find out what the request left open (end, hash) and refuse what cannot be read.

    Raises:
        UsageError: the file is not there, or the times lie outside of it.
        VideoError: it is no video.
    """
    from echoreel_index.decode import probe

    path = Path(reference.path)
    if not path.is_file():
        raise UsageError(f"reference {path} does not exist", hint="run `echoreel index` again if the file has moved")
    duration = probe(path).duration
    if reference.start >= duration:
        raise UsageError(f"reference {path} starts at {reference.start:g} s, but the file is only {duration:.2f} s long")
    if math.isfinite(reference.end) and reference.end > duration + SLACK:
        raise UsageError(f"reference {path} ends at {reference.end:g} s, but the file is only {duration:.2f} s long")
    sha256 = file_sha256(path)
    changed = reference.sha256 is not None and reference.sha256 != sha256
    # A window's recorded end is kept as it is (for its id); only an open end is filled in.
    end = reference.end if math.isfinite(reference.end) else max(duration, reference.start + 0.001)
    return Resolved(replace(reference, end=end, sha256=sha256), changed)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_frames(reference: Reference, policy: ReferencePolicy, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """The frames (t h w c) uint8 that the model sees; `size` is (height, width).

    With a stride every stride-th frame of the file counts, whatever its rate (the public model); with fps the moments
    start, start + 1/fps, ... . A window that ends too early repeats its last frame.
    """
    from echoreel_index.decode import frames_at, frames_strided, probe

    path = Path(reference.path)
    if policy.fps is not None:
        last = max(reference.start, reference.end - 0.5 / policy.fps)
        moments = [min(reference.start + number / policy.fps, last) for number in range(policy.frames)]
        frames = frames_at(path, moments, size=size)
    else:
        stride = policy.stride or 1
        inside = max(1, math.ceil((reference.end - reference.start) * probe(path).fps / stride - 1e-6))
        frames = frames_strided(path, reference.start, stride, min(policy.frames, inside), size=size)
    if len(frames) == 0:
        raise VideoError(f"no frame of {path} could be read at {reference.start:g} s")
    return repeat_last(frames, policy.frames)


def repeat_last(frames: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """The first `count` frames; the last one stands still when there are fewer."""
    missing = max(0, count - len(frames))
    return np.concatenate([frames[:count], np.repeat(frames[-1:], missing, axis=0)])


def to_video(frames: np.ndarray[Any, Any]) -> Tensor:
    """Frames (t h w c) uint8 -> video (1 c t h w) float32 in [-1, 1]: (v/255 - 1/2) * 2."""
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2)[None]
    return (pixels.float() / 255 - 0.5) * 2


def to_frames(video: Tensor) -> list[np.ndarray[Any, Any]]:
    """Video (b c t h w), clamped to [-1, 1] -> b times frames (t h w c) uint8, truncated as the public code does."""
    import torch

    pixels = ((video.float().clamp(-1, 1) + 1) / 2 * 255).to(torch.uint8)
    return list(pixels.permute(0, 2, 3, 4, 1).cpu().numpy())
