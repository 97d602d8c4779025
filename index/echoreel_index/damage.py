"""Which windows, looks and captions of a library cannot be trusted: their vectors, names or times are not those that were written."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoreel_index.clips import clip_id, looks_within
from echoreel_index.store import Store
from echoreel_index.stored_vectors import CHUNK, UNIT_ERROR

SAME = 0.999
"""Cosine of a window's vector and the mean of its looks, both float16."""


@dataclass(frozen=True, slots=True)
class DamagedWindow:
    """A window that cannot be trusted."""

    row: int
    id: str
    sha256: str
    message: str


@dataclass(frozen=True, slots=True)
class DamagedLooks:
    """Looks of a content that cannot be trusted."""

    sha256: str
    message: str


@dataclass(frozen=True, slots=True)
class DamagedCaption:
    """The vector of a caption that cannot be trusted."""

    caption: str
    message: str


def damaged_windows(store: Store) -> Iterator[DamagedWindow]:
    """Windows whose vector, name or times are not what was written."""
    row = -1
    while rows := store.ask(
        "SELECT row, id, sha256, start, end, vector, crc FROM windows WHERE row > ? ORDER BY row LIMIT ?", (row, CHUNK)
    ):
        sound = _lengths_right([r[5] for r in rows], store.card.width)
        for r, right in zip(rows, sound, strict=True):
            message = _wrong_window(*r[1:], unit=bool(right))
            if message is not None:
                yield DamagedWindow(r[0], str(r[1]), str(r[2]), message)
        row = rows[-1][0]


def _wrong_window(name: Any, sha256: Any, start: Any, end: Any, vector: Any, crc: Any, *, unit: bool) -> str | None:
    """Why a window cannot be trusted, if it cannot; a damaged page may hold values of any type."""
    if not isinstance(vector, bytes) or zlib.crc32(vector) != crc:
        return "its vector is not the one that was written"
    if not unit:
        return "its vector has not the length of one"
    if not isinstance(start, float) or not isinstance(end, float) or not end > start or clip_id(str(sha256), start, end) != name:
        return "its times are not those that were written"
    return None


def damaged_looks(store: Store) -> Iterator[DamagedLooks]:
    """Contents whose looks are not those that their windows were made from."""
    for (sha256,) in store.ask("SELECT sha256 FROM looks ORDER BY sha256"):
        message = _wrong_looks(store, sha256)
        if message is not None:
            yield DamagedLooks(str(sha256), message)


def _wrong_looks(store: Store, sha256: str) -> str | None:
    width = store.card.width
    ((blob, frames, step),) = store.ask("SELECT vectors, frames, step FROM looks JOIN contents USING (sha256) WHERE sha256 = ?", (sha256,))
    if not isinstance(blob, bytes) or not isinstance(frames, int) or len(blob) != 2 * width * frames:
        return f"they are not {frames} vectors"
    looks = np.frombuffer(blob, "<f2").astype(np.float32).reshape(frames, width)
    if not _unit(looks).all():
        return "a vector has not the length of one"
    if not isinstance(step, float) or not step > 0:
        return "nobody knows how far they are apart"
    for start, end, vector in store.ask("SELECT start, end, vector FROM windows WHERE sha256 = ?", (sha256,)):
        if isinstance(vector, bytes) and len(vector) == 2 * width and not _mean_of(looks, vector, start, end, step):
            return "a window's vector is not their mean"
    return None


def _mean_of(looks: NDArray[np.float32], vector: bytes, start: float, end: float, step: float) -> bool:
    first, beyond = looks_within(start, end, step, len(looks))
    if first == beyond:
        return True  # a window of a very short file, which was looked at once
    mean = looks[first:beyond].mean(0)
    return bool(mean @ np.frombuffer(vector, "<f2").astype(np.float32) > SAME * np.linalg.norm(mean))


def damaged_captions(store: Store) -> Iterator[DamagedCaption]:
    """Captions whose vector is none."""
    rows = store.ask("SELECT caption, vector FROM caption_vectors")
    for (caption, _), right in zip(rows, _lengths_right([row[1] for row in rows], store.card.width), strict=True):
        if not right:
            yield DamagedCaption(str(caption), "its vector has not the length of one")


def _lengths_right(blobs: Sequence[Any], width: int) -> NDArray[np.bool_]:
    """For each blob whether it is a unit vector (width) of float16."""
    right = np.array([isinstance(blob, bytes) and len(blob) == 2 * width for blob in blobs], bool)
    if right.any():
        whole = b"".join(blob for blob, fits in zip(blobs, right, strict=True) if fits)
        right[right] = _unit(np.frombuffer(whole, "<f2").astype(np.float32).reshape(-1, width))
    return right


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore", over="ignore"):
        near: NDArray[np.bool_] = np.abs(np.linalg.norm(vectors, axis=1) - 1) < UNIT_ERROR
    return near
