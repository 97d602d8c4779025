"""One video file -> its windows, each with a unit vector.

A window's vector is the mean of the unit vectors of its frames, made a unit vector again. Frames that neighbouring windows
share are decoded and embedded once. Of the pixels only one batch is held at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from echoreel_index.clips import Window, WindowSettings, clip_id, windows
from echoreel_index.decoder import Decoder
from echoreel_index.encode import Encoder, unit
from echoreel_index.errors import VideoError
from echoreel_index.readers import Frame
from echoreel_index.store import WindowRow

BATCH = 32
"""Frames embedded at once."""
Seen = dict[float, tuple[NDArray[np.float32], float]]
"""Moment -> (unit vector (d) of the frame shown then, second at which that frame starts)."""


def embed_file(path: str, sha256: str, settings: WindowSettings, encoder: Encoder, decoder: Decoder) -> tuple[float, int, list[WindowRow]]:
    """(duration in seconds, frames looked at, windows) of the video at `path`. Raises VideoError.

    A file that breaks off in the middle gives the windows up to its last whole frame.
    """
    timeline = decoder.timeline(path)
    planned = windows(timeline, settings)
    moments = sorted({moment for window in planned for moment in window.moments})
    seen = _look(path, moments, encoder, decoder)
    last = max(second for _, second in seen.values())
    expected = float(timeline.times[timeline.index_at(moments[-1])])
    end = timeline.end if last >= expected - 1e-3 else last + (timeline.end - float(timeline.times[-1]))
    rows = [_row(sha256, window, min(window.end, end), seen, last) for window in planned if window.start < end]
    return end, len(seen), [row for row in rows if row.end > row.start]


def _row(sha256: str, window: Window, end: float, seen: Seen, last: float) -> WindowRow:
    moments = [moment for moment in window.moments if moment < end] or list(window.moments[:1])
    mean = np.mean([seen[moment][0] for moment in moments], axis=0)
    return WindowRow(clip_id(sha256, window.start, end), window.start, end, unit(mean))


def _look(path: str, moments: Sequence[float], encoder: Encoder, decoder: Decoder) -> Seen:
    """The vector of each moment; a frame that serves several moments is embedded once."""
    seen: Seen = {}
    waiting: list[tuple[list[float], float, Frame]] = []

    def embed() -> None:
        vectors = encoder.embed_frames(np.stack([frame for _, _, frame in waiting]))
        for (times, second, _), vector in zip(waiting, vectors, strict=True):
            if not np.isfinite(vector).all():
                raise VideoError("its frames have no meaning to the encoder")
            seen.update(dict.fromkeys(times, (vector, second)))
        waiting.clear()

    answers = decoder.read(path, moments, size=encoder.frame_size)
    for moment, (frame, second) in zip(moments, answers, strict=True):
        if waiting and waiting[-1][1] == second and waiting[-1][2].shape == frame.shape:
            waiting[-1][0].append(moment)
            continue
        if waiting and (len(waiting) == BATCH or waiting[-1][2].shape != frame.shape):
            embed()
        waiting.append(([moment], second, frame))
    embed()
    return seen
