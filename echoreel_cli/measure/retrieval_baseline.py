"""The plain search that everything is compared with: one vector a file, the mean over evenly spread frames.

This is how published research code retrieves reference videos: no shots, no windows, no moment in the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoreel_cli.measure.retrieval import Found
from echoreel_index.decode import Decoder, frames_at, probe
from echoreel_index.encode import Encoder, unit
from echoreel_index.errors import VideoError

FRAMES = 8
"""Frames looked at in each file."""


@dataclass(frozen=True, slots=True)
class PooledFiles:
    """Files with a vector each; those that cannot be read are not among them."""

    files: tuple[str, ...]
    ends: tuple[float, ...]
    """Length of each file, seconds."""
    vectors: NDArray[np.float32]
    """(n d) unit rows."""

    def ranked(self, text: NDArray[np.float32]) -> list[Found]:
        """All files by the cosine with the vector (d) of a sentence, best first; ties by path."""
        scores = self.vectors @ text
        order = sorted(range(len(self.files)), key=lambda i: (-float(scores[i]), self.files[i]))
        return [Found(self.files[i], 0.0, self.ends[i]) for i in order]


def pooled_files(
    files: Sequence[str],
    encoder: Encoder,
    decoder: Decoder,
    *,
    frames: int = FRAMES,
    progress: Callable[[], None] = lambda: None,
) -> PooledFiles:
    """Read `frames` frames of each file, the middles of equal parts, and take the unit mean of their unit vectors."""
    kept: list[tuple[str, float, NDArray[np.float32]]] = []
    for file in files:
        progress()
        try:
            duration = max(probe(file, decoder=decoder).duration, 1e-3)
            moments = [(i + 0.5) * duration / frames for i in range(frames)]
            vectors = encoder.embed_frames(frames_at(file, moments, size=encoder.frame_size, decoder=decoder))
        except VideoError:
            continue  # the index reports what cannot be read
        kept.append((file, duration, vectors.mean(0)))
    means = np.stack([vector for _, _, vector in kept]) if kept else np.zeros((0, encoder.card.width), np.float32)
    return PooledFiles(tuple(file for file, _, _ in kept), tuple(end for _, end, _ in kept), unit(means))
