"""A `Reference` on disk -> the pixels that the model looks at.

    frames: (t h w c)     uint8, RGB: the disk's side
    video:  (b c t h w)   float32 in [-1, 1]: the model's side

`to_video` and `to_frames` are the only places that convert between the two. Frames are resized directly to the model's
size (the aspect ratio is not kept), as the public model was trained; see `ReferenceShape` for which moments are taken.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from echoreel_cli.models.folder import sha256_of
from echoreel_index.captions import Words, words
from echoreel_index.errors import UsageError, VideoError
from echoreel_index.nouns import Reference

if TYPE_CHECKING:
    from torch import Tensor

    from echoreel_cli.models.folder import ModelInfo, ReferenceShape
    from echoreel_index.decode import Decoder

SLACK = 0.15
"""Seconds by which an end may lie past the file's: containers round their durations."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A reference whose file was looked at: true end, and the hash of what is on disk now."""

    reference: Reference
    changed: bool
    """The file is not the one that was indexed: its hash differs from the library's."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A reference and the pixels of it that the model sees, (t h w c) uint8."""

    reference: Reference
    frames: np.ndarray[Any, Any]
    key: str = field(init=False, repr=False)
    """The same for the same pixels."""

    def __post_init__(self) -> None:
        digest = hashlib.sha256(f"{self.frames.shape}".encode() + np.ascontiguousarray(self.frames).tobytes())
        object.__setattr__(self, "key", digest.hexdigest())


def resolve(reference: Reference, decoder: Decoder) -> Resolved:
    """Find out what the request left open (end, hash, source and licence) and refuse what cannot be read.

    Raises:
        UsageError: the file is not there, or the times lie outside of it.
        VideoError: it is no video.
    """
    path = Path(reference.path)
    if not path.is_file():
        raise UsageError(f"reference {path} does not exist", hint="if the file has moved, run `echoreel index` again")
    length = decoder.timeline(str(path)).end
    if reference.start >= length:
        raise UsageError(f"reference {path} starts at {reference.start:g} s, but the file is only {length:.2f} s long")
    if math.isfinite(reference.end) and reference.end > length + SLACK:
        raise UsageError(f"reference {path} ends at {reference.end:g} s, but the file is only {length:.2f} s long")
    sha256 = sha256_of(path)
    changed = reference.sha256 is not None and reference.sha256 != sha256
    # A window's recorded end is kept as it is; only an open end is filled in.
    end = reference.end if math.isfinite(reference.end) else round(length, 3)
    # A clip that was named by hand keeps the source and licence that stand beside it, as one out of a library does.
    said = words(str(path)) if reference.source is None and reference.licence is None else Words()
    source, licence = reference.source or said.source, reference.licence or said.licence
    return Resolved(replace(reference, end=max(end, reference.start + 1e-3), sha256=sha256, source=source, licence=licence), changed)


def read_frames(reference: Reference, shape: ReferenceShape, size: tuple[int, int], decoder: Decoder) -> np.ndarray[Any, Any]:
    """The frames (t h w c) uint8 that the model sees; `size` is (height, width).

    With a stride every stride-th frame of the file counts, whatever its rate (the public model); with fps the moments
    start, start + 1/fps, ... . A window that ends too early repeats its last frame. Raises VideoError.
    """
    times = decoder.timeline(reference.path).times
    inside = times[(times >= reference.start - 1e-3) & (times < reference.end - 1e-3)]
    if shape.fps is not None:
        last = float(inside[-1]) if len(inside) else reference.start
        moments = [min(reference.start + number / shape.fps, max(last, reference.start)) for number in range(shape.frames)]
    else:
        moments = [float(second) for second in inside[:: shape.stride][: shape.frames]] or [reference.start]
    distinct = sorted(set(moments))
    frames = [frame for frame, _ in decoder.read(reference.path, distinct, size=size)]
    if len(frames) != len(distinct):
        raise VideoError(f"{reference.path} gave {len(frames)} of {len(distinct)} frames from {reference.start:g} s on")
    return repeat_last(np.stack(frames), shape.frames)


def show(references: Sequence[Reference], info: ModelInfo, decoder: Decoder | None = None) -> tuple[Shown, ...]:
    """The references with their pixels, in the number, rate and size that the model was trained with.

    Raises:
        UsageError: the model takes no references.
        VideoError: a file cannot be read.
    """
    from echoreel_index.decode import Decoder

    if not references:
        return ()
    if info.reference is None:
        raise UsageError(f"the model {info.name} takes no references", hint="--k 0 generates without")
    size = (info.defaults.height, info.defaults.width)
    with ExitStack() as stack:
        open_one = decoder or stack.enter_context(Decoder())
        return tuple(Shown(reference, read_frames(reference, info.reference, size, open_one)) for reference in references)


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
