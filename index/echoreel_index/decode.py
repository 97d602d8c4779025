"""Frames of one video, for callers who do not want to know how: probe, frames at given times, frames at a stride.

Every call decodes in a worker process with a time limit. Who reads many files passes one `Decoder` to all calls and
saves the start of a worker each time.

    frames: (t h w c) uint8 RGB; `size` is (h w) exactly, or the short side, or None for the file's own size
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoreel_index.containers import Probe
from echoreel_index.decoder import Decoder
from echoreel_index.files import absolute
from echoreel_index.readers import Size

__all__ = ["Decoder", "Probe", "Size", "frames_at", "frames_strided", "probe"]


def probe(path: Path | str, *, decoder: Decoder | None = None) -> Probe:
    """What the container says about its video. Raises VideoError."""
    with _decoder(decoder) as worker:
        return worker.probe(absolute(Path(path)))


def frames_at(path: Path | str, seconds: Sequence[float], *, size: Size = None, decoder: Decoder | None = None) -> NDArray[np.uint8]:
    """For each of `seconds`, in any order, the frame shown then: the last one that starts at or before it.

    Times past the end give the last frame. One forward pass over the file. Raises VideoError.
    """
    if not seconds:
        raise ValueError("no moments were asked for")
    ascending = sorted(set(seconds))
    with _decoder(decoder) as worker:
        frames = dict(zip(ascending, (frame for frame, _ in worker.read(absolute(Path(path)), ascending, size=size)), strict=True))
    return np.stack([frames[second] for second in seconds])


def frames_strided(
    path: Path | str, start: float, stride: int, count: int, *, size: Size = None, decoder: Decoder | None = None
) -> NDArray[np.uint8]:
    """`count` frames: the first at or after `start` seconds, then each `stride`-th; the last repeats when the file ends.

    Raises VideoError, also when the file cannot be read at all.
    """
    if stride < 1 or count < 1:
        raise ValueError(f"stride and count must be at least 1, got {stride = } {count = }")
    name = absolute(Path(path))
    with _decoder(decoder) as worker:
        times = worker.timeline(name).times
        first = min(int(np.searchsorted(times, start - 1e-3)), len(times) - 1)
        indices = [i for i in range(first, first + stride * count, stride) if i < len(times)]
        frames = [frame for frame, _ in worker.read(name, [float(times[i]) for i in indices], size=size)]
    return np.stack(frames + frames[-1:] * (count - len(frames)))


@contextmanager
def _decoder(given: Decoder | None) -> Iterator[Decoder]:
    """The caller's decoder, left open, or one of our own, closed afterwards."""
    if given is not None:
        yield given
        return
    with Decoder() as own:
        yield own
