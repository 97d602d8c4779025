"""The two ends of one file's way into a library: its looks as they are decoded, and its windows once it has been seen whole.

These are plain functions of one file, so that every engine, on one machine or on many, does the very same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoreel_index.clips import WindowSettings, clip_id, looks_within, spans
from echoreel_index.decoder import Decoder
from echoreel_index.encode import Encoder, unit
from echoreel_index.errors import VideoError
from echoreel_index.passes import Frame
from echoreel_index.readers import Scan, ScanSettings
from echoreel_index.store import Content, WindowRow

PART = 16
"""Frames that are handed on at once."""


@dataclass(frozen=True, slots=True)
class Look:
    """A frame, and the looks at which it is shown: more than one where a frame lasts longer than a step."""

    frame: Frame
    first: int
    count: int


def looks_of_file(path: str, settings: WindowSettings, size: int, decoder: Decoder) -> Iterator[list[Look] | Scan]:
    """The looks at a video in parts, in order, then what was seen of it as a whole. Raises VideoError."""
    part: list[Look] = []
    shown_at, index = -1.0, -1
    wanted = ScanSettings(step=settings.step, size=size, splitter=settings.splitter, policy=settings.policy)
    for one in decoder.scan(path, wanted):
        if isinstance(one, Scan):
            yield part
            yield one
            return
        index += 1
        if part and one.shown_at == shown_at:
            part[-1] = Look(part[-1].frame, part[-1].first, part[-1].count + 1)
            continue
        if len(part) == PART:
            yield part
            part = []
        part.append(Look(one.frame, index, 1))
        shown_at = one.shown_at
    raise VideoError("the decoder ended without a last word")


def embedded(looks: Sequence[Look], encoder: Encoder) -> NDArray[np.float32]:
    """(n d) unit vectors of looks whose frames have one size; a vector that is none has NaN in it."""
    return encoder.embed_frames(np.stack([look.frame for look in looks]))


Parts = dict[int, tuple[int, NDArray[np.float32]]]
"""First look -> how many looks show one frame, and its vector (d)."""


def stacked(parts: Parts) -> NDArray[np.float32]:
    """(n d) a vector for each look, in their order."""
    rows = [np.repeat(vector[None], count, axis=0) for _, (count, vector) in sorted(parts.items(), key=lambda item: item[0])]
    return np.concatenate(rows) if rows else np.zeros((0, 1), np.float32)


def cut(sha256: str, scan: Scan, vectors: NDArray[np.float32], settings: WindowSettings) -> Content:
    """The windows of a file whose looks have the unit vectors `vectors` (n d). Raises VideoError when there is nothing to see.

    A window's vector is the mean of the vectors of its looks, made a unit vector again.
    """
    if len(vectors) == 0:
        raise VideoError("no frame of it can be decoded")
    if not np.isfinite(vectors).all():
        raise VideoError("its frames have no meaning to the encoder")
    rows = [_window(sha256, start, end, scan, vectors, settings) for start, end in spans(scan.shots, settings)]
    return Content(
        duration=scan.end,
        width=scan.width,
        height=scan.height,
        fps=scan.fps,
        codec=scan.codec,
        step=settings.step,
        looks=vectors,
        windows=tuple(row for row in rows if row is not None),
        cut_short=scan.cut_short,
    )


def _window(
    sha256: str, start: float, end: float, scan: Scan, vectors: NDArray[np.float32], settings: WindowSettings
) -> WindowRow | None:
    first, beyond = looks_within(start, end, settings.step, len(vectors))
    if first == beyond:
        if len(scan.shots) > 1:
            return None  # a shot too short to be looked at
        first, beyond = max(0, first - 1), max(1, first)  # a file shorter than half a step has been looked at once
    moving = (scan.times > start) & (scan.times < end)
    shown = (scan.times >= start) & (scan.times < end)
    return WindowRow(
        id=clip_id(sha256, start, end),
        start=start,
        end=end,
        vector=unit(vectors[first:beyond].mean(0)),
        motion=float(scan.motion[moving].mean()) if moving.any() else None,
        brightness=float(scan.brightness[shown].mean()) if shown.any() else None,
        one_shot=True if settings.finds_shots else None,
    )
