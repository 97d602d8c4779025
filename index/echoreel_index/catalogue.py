"""What a search asks of the database: which windows may be found, which words they have, what is known about them."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoreel_index.clips import clip_id
from echoreel_index.database import marks, portions
from echoreel_index.errors import LibraryError
from echoreel_index.files import within
from echoreel_index.filters import Filters
from echoreel_index.licences import licensed
from echoreel_index.nouns import Clip
from echoreel_index.store import VERIFY, Store
from echoreel_index.word_index import match

MOST_FILES = 2000
"""Files that the word index gives at most, the best first."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What passes the filters: rows of windows, and the names under which their contents may be shown."""

    rows: NDArray[np.int64]
    paths: frozenset[str]


class Catalogue:
    """Questions to one store; everything is as it was committed last."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def allowed(self, filters: Filters) -> Allowed | None:
        """What passes; None when there is no condition."""
        if filters.empty:
            return None
        query = "SELECT path, sha256, duration, COALESCE(date, mtime_ns / 1e9), licence FROM files JOIN contents USING (sha256)"
        passing = [(os.fsdecode(r[0]), r[1]) for r in self._store.ask(query) if _passes(os.fsdecode(r[0]), r[2], r[3], r[4], filters)]
        contents = sorted({sha256 for _, sha256 in passing})
        rows: list[int] = []
        for some in portions(contents):
            windows = self._store.ask(f"SELECT row, id, motion FROM windows WHERE sha256 IN ({marks(some)})", some)
            rows += [row for row, name, motion in windows if name not in filters.without and _moves(motion, filters.min_motion)]
        return Allowed(np.array(sorted(rows), dtype=np.int64), frozenset(path for path, _ in passing))

    def clips(self, rows: Sequence[int], allowed: Allowed | None = None) -> dict[int, Clip]:
        """Row -> the window as a clip of the first of its files that is there now; rows that have none are left out."""
        found: dict[int, list[Clip]] = {}
        for some in portions(rows):
            for r in self._store.ask(f"SELECT {CLIP} {CLIPS} WHERE w.row IN ({marks(some)}) ORDER BY w.row, path", some):
                found.setdefault(r[0], []).append(clip_of(self._store, r))
        names = {clip.path for clips in found.values() for clip in clips}
        there = {name for name in names if (allowed is None or name in allowed.paths) and os.path.exists(name)}
        present = {row: next((clip for clip in clips if clip.path in there), None) for row, clips in found.items()}
        return {row: clip for row, clip in present.items() if clip is not None}

    def with_words(
        self, words: Sequence[str], *, names: bool = True, allowed: Allowed | None = None, every: bool = False
    ) -> dict[int, float]:
        """Row -> how well what is said of the window fits the words (BM25, higher is better); without `names`, names do not count.

        With `every`, only what holds all of the words.
        What is said of a file counts for all its windows, a subtitle for those during which it is shown.
        """
        wanted = match(words, () if names else ("said",), every=every)
        cued = match(words, every=every)
        if wanted is None or cued is None:
            return {}
        most = MOST_FILES if allowed is None else -1  # the best of all may all be filtered out
        files = self._store.ask(
            "SELECT f.sha256, MAX(score) FROM (SELECT rowid AS place, -bm25(file_words) AS score FROM file_words"
            " WHERE file_words MATCH ? ORDER BY score DESC LIMIT ?) JOIN files f ON f.row = place GROUP BY f.sha256",
            (wanted, most),
        )
        scores: dict[str, float] = dict(files)
        found: dict[int, float] = {}
        for some in portions(sorted(scores)):
            for row, sha256 in self._store.ask(f"SELECT row, sha256 FROM windows WHERE sha256 IN ({marks(some)})", some):
                found[row] = scores.get(sha256, 0.0)  # a damaged index may give what was not asked for
        cues = self._store.ask(
            "SELECT w.row, MAX(score) FROM (SELECT rowid AS place, -bm25(cue_words) AS score FROM cue_words"
            " WHERE cue_words MATCH ? ORDER BY score DESC LIMIT ?) JOIN cues c ON c.row = place JOIN files f ON f.row = c.file"
            " JOIN windows w ON w.sha256 = f.sha256 AND w.start < c.end AND c.start < w.end GROUP BY w.row",
            (cued, most),
        )
        for row, score in cues:
            found[row] = found.get(row, 0.0) + score
        if allowed is None:
            return found
        rows = set(allowed.rows.tolist())
        return {row: score for row, score in found.items() if row in rows}

    def caption_vectors(self, captions: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Caption -> its unit vector (d), for those that were embedded when they were indexed."""
        found: dict[str, NDArray[np.float32]] = {}
        for some in portions(captions):
            for caption, blob in self._store.ask(f"SELECT caption, vector FROM caption_vectors WHERE caption IN ({marks(some)})", some):
                found[caption] = np.frombuffer(blob, "<f2").astype(np.float32)
        return found

    def captions_without_vectors(self) -> list[str]:
        """Captions that nobody has embedded yet."""
        query = "SELECT DISTINCT caption FROM files WHERE caption NOT NULL AND caption NOT IN (SELECT caption FROM caption_vectors)"
        return [row[0] for row in self._store.ask(query)]


CLIP = (
    "w.row, w.id, path, w.start, w.end, caption, source, licence, w.sha256, duration, width, height, motion, brightness,"
    " one_shot, COALESCE(date, mtime_ns / 1e9)"
)
"""The columns of which `clip_of` makes a clip."""
CLIPS = "FROM windows w JOIN files USING (sha256) JOIN contents USING (sha256)"


def clip_of(store: Store, r: Sequence[Any]) -> Clip:
    """A row of a query that begins with the columns CLIP, as a clip.

    Raises LibraryError when the times are not those that the window's name was made from: a damaged page must not pass.
    """
    if not isinstance(r[3], float) or not isinstance(r[4], float) or clip_id(str(r[8]), r[3], r[4]) != r[1]:
        raise LibraryError(f"the library in {store.folder} is damaged: the times of window {r[0]}", hint=VERIFY)
    return Clip(
        id=r[1], path=os.fsdecode(r[2]), start=r[3], end=r[4], caption=r[5], source=r[6], licence=r[7], sha256=r[8], duration=r[9],
        width=r[10], height=r[11], motion=r[12], brightness=r[13], one_shot=None if r[14] is None else bool(r[14]), date=r[15],
    )  # fmt: skip


def _passes(path: str, duration: float, date: float, licence: str | None, filters: Filters) -> bool:
    under = not filters.under or any(within(path, (one,)) or fnmatch.fnmatch(path, one) for one in filters.under)
    long_enough = filters.min_duration is None or duration >= filters.min_duration
    short_enough = filters.max_duration is None or duration <= filters.max_duration
    late_enough = filters.since is None or date >= filters.since
    early_enough = filters.until is None or date < filters.until
    wanted = path not in filters.without
    return under and long_enough and short_enough and late_enough and early_enough and wanted and licensed(licence, filters.licences)


def _moves(motion: float | None, least: float | None) -> bool:
    return least is None or (motion is not None and motion >= least)


def best(scores: Mapping[int, float], most: int) -> list[int]:
    """The rows with the highest scores, at most so many."""
    return sorted(scores, key=lambda row: (-scores[row], row))[:most]
