"""Hits as one picture: a row for each, its frames with their times, above them file, window, score and fit."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echoreel_cli.generate.sheet import contact_sheet
from echoreel_index.decode import frames_at
from echoreel_index.nouns import Hit

if TYPE_CHECKING:
    import numpy as np

    from echoreel_index.decode import Decoder

FRAMES = 6
"""Of each window."""
HEIGHT = 128
"""Pixels of a frame."""
LONGEST_NAME = 48
"""Letters of a file's name."""
MOST_ROWS = 200
"""A sheet of more could not be opened any more."""


@dataclass(frozen=True, slots=True, eq=False)
class HitRow:
    """One hit, as it stands on the sheet."""

    label: str
    moments: tuple[float, ...]
    """Seconds of the file."""
    frames: np.ndarray[Any, Any]
    """(t h w c) uint8."""


def hit_row(hit: Hit, decoder: Decoder, *, query: str | None = None) -> HitRow:
    """Look at the hit. `query` is written before it where a sheet answers several. Raises VideoError."""
    clip = hit.clip
    step = (clip.end - clip.start) / FRAMES
    moments = tuple(clip.start + (place + 0.5) * step for place in range(FRAMES))
    return HitRow(hit_label(hit, query=query), moments, frames_at(clip.path, moments, size=HEIGHT, decoder=decoder))


def hit_label(hit: Hit, *, query: str | None = None) -> str:
    """`1  flip.mp4  12.50-14.50 s  score 0.312  fit 0.93`, and what is wrong with it."""
    clip = hit.clip
    said = [f"{hit.rank}", _shortened(Path(clip.path).name), f"{clip.start:.2f}-{clip.end:.2f} s", f"score {hit.score:.3f}"]
    if query is not None:
        said.insert(0, f"\u201c{' '.join(query.split())}\u201d")
    if hit.fit is not None:
        said.append(f"fit {hit.fit:.2f}")
    return ", ".join(said) + (f" ({'; '.join(hit.problems)})" if hit.problems else "")


def _shortened(name: str) -> str:
    """The name without its middle where it would push times and score off the sheet."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME // 2]}\u2026{name[-LONGEST_NAME // 2 + 1 :]}"


def hit_sheet(rows: Sequence[HitRow], title: str) -> bytes:
    """The PNG file of at most MOST_ROWS rows. ValueError when there are none."""
    rows = rows[:MOST_ROWS]
    sheet = contact_sheet(
        [(row.label, row.frames) for row in rows],
        title=title,
        moments=[row.moments for row in rows],
        cell_height=HEIGHT,
        columns=FRAMES,
    )
    buffer = io.BytesIO()
    sheet.save(buffer, "png")
    return buffer.getvalue()
