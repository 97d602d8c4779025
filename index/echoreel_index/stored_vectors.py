"""The database of a library as its vectors need it, and the vectors: those of windows ready to be searched, those of looks.

vector: (d) float32, unit; stored as float16, with a CRC-32 for those of windows
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoreel_index.clips import looks_within
from echoreel_index.database import FAILURES, marks, portions, transaction, unusable
from echoreel_index.errors import LibraryError
from echoreel_index.nouns import EncoderCard
from echoreel_index.vector_forms import open_vectors
from echoreel_index.vectors import VectorIndex, VectorReport

CHUNK = 4096
"""Vectors read from SQLite at once."""
VERIFY = "see what else is: echoreel library verify; videos are not touched"
UNIT_ERROR = 2e-3
"""How far float16 may bring a unit vector's length from 1."""
Vector = NDArray[np.float32]


class StoredVectors:
    """One library folder, open, as far as vectors go; `Store` is the whole. All reads see what was committed last."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, card: EncoderCard) -> None:
        self.folder, self.card, self._db = folder, card, connection
        self._opened_vectors: VectorIndex | None = None

    def close(self) -> None:
        """Let go of the database and of the file of vectors."""
        self._opened_vectors = None
        self._db.close()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Everything that is asked inside sees one state of the library, whatever another process commits meanwhile."""
        if self._db.in_transaction:
            yield
            return
        self.ask("BEGIN")
        try:
            self.ask("SELECT 1 FROM meta")  # the state is taken with the first read
            yield
        finally:
            self.ask("COMMIT")

    def _generation(self) -> int:
        return int(self.meta("generation") or 0)

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction after which vectors may have changed."""
        with transaction(self._db, self.folder) as db:
            yield db
            db.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation'")

    def ask(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows that a query gives. Raises LibraryError when the database is damaged."""
        try:
            return self._db.execute(query, tuple(values)).fetchall()
        except FAILURES as error:
            raise unusable(self.folder, error) from error

    def meta(self, key: str) -> str | None:
        """A remembered value."""
        rows = self.ask("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def nearest(self, vector: Vector, k: int, among: NDArray[np.int64] | None = None) -> list[tuple[int, float]]:
        """The k windows, of those in `among` if given, whose vectors are closest to `vector` (d): (row, cosine), best first."""
        return self._fresh().nearest(vector, k, among)

    def vectors(self) -> Iterator[tuple[list[int], Vector]]:
        """All vectors by row: (rows, (n d)) in chunks."""
        yield from self._vectors_after(-1)

    def vectors_of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], Vector]:
        """Those of `rows` that (still) exist, and their vectors (n d). Raises LibraryError when one is damaged."""
        found: dict[int, Vector] = {}
        for some in portions([int(row) for row in rows]):
            for row, blob, crc in self.ask(f"SELECT row, vector, crc FROM windows WHERE row IN ({marks(some)})", some):
                found[row] = self._sound(row, blob, crc)
        there = np.array(list(found), dtype=np.int64)
        return there, np.stack(list(found.values())) if found else np.zeros((0, self.card.width), np.float32)

    def looks_of(self, rows: Sequence[int]) -> list[Vector]:
        """For each window the vectors (n d) of its looks; none where the library is of the first form."""
        found: dict[int, Vector] = {}
        query = (
            "SELECT w.row, w.start, w.end, c.step, l.rowid, LENGTH(l.vectors) FROM windows w"
            " JOIN contents c USING (sha256) JOIN looks l USING (sha256) WHERE w.row IN ({})"
        )
        size = 2 * self.card.width
        for some in portions(rows):
            for row, start, end, step, place, length in self.ask(query.format(marks(some)), some):
                try:
                    first, beyond = looks_within(start, end, step, length // size)
                    with self._db.blobopen("looks", "vectors", place, readonly=True) as blob:
                        blob.seek(first * size)
                        looks = _vector(blob.read((beyond - first) * size)).reshape(-1, self.card.width)
                except (sqlite3.Error, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
                    raise self._damaged(f"the looks of window {row}") from error
                if not (np.abs(np.linalg.norm(looks, axis=1) - 1) < UNIT_ERROR).all():
                    raise self._damaged(f"the looks of window {row}")
                found[row] = looks
        nothing = np.zeros((0, self.card.width), np.float32)
        return [found.get(row, nothing) for row in rows]

    def use_vectors(self, setting: str, budget: int | None = None) -> None:
        """Hold the vectors in another form from now on: see `vector_forms`; `budget`: bytes that lists may take in memory.

        Raises UsageError for a form that nobody knows.
        """
        if (setting, budget) == (self.vector_setting, self.vector_budget):
            return
        open_vectors(setting, self.folder, self.card.width, self.vectors_of, budget)
        with transaction(self._db, self.folder) as db:
            values = [("vectors", setting), ("vector_budget", str(budget or "")), ("faiss_sha256", ""), ("faiss_generation", "")]
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values)
        self._opened_vectors = None

    @property
    def vector_setting(self) -> str:
        """The form that was asked for; `auto` if none was."""
        return self.meta("vectors") or "auto"

    @property
    def vector_budget(self) -> int | None:
        """Bytes that lists may take in memory; None is a quarter of the machine's."""
        stored = self.meta("vector_budget")
        return int(stored) if stored else None

    def vector_report(self) -> VectorReport:
        """How the vectors are held."""
        return self._fresh().describe()

    def write_vectors(self) -> None:
        """Bring the FAISS file up to date; the caller holds the right to write."""
        generation = self._generation()
        vectors = self._fresh()
        if self.meta("faiss_generation") == str(generation) and vectors.intact:
            return
        try:
            values = [("faiss_sha256", vectors.write()), ("faiss_generation", str(generation))]
        except (OSError, RuntimeError) as error:
            message = f"cannot write the vectors in {self.folder}: {error}"
            raise LibraryError(message, hint="make room; nothing is lost: the file is made again from the database") from error
        with transaction(self._db, self.folder) as db:
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values)

    def _fresh(self) -> VectorIndex:
        """The vectors of what is committed now, ready to be searched."""
        generation = self._generation()
        if self._opened_vectors is None:
            self._opened_vectors = open_vectors(self.vector_setting, self.folder, self.card.width, self.vectors_of, self.vector_budget)
        vectors = self._opened_vectors
        if vectors.generation != generation:
            first = vectors.generation == -1
            vectors.load(self.meta("faiss_sha256") or "")
            if not first or not vectors.intact or self.meta("faiss_generation") != str(generation):
                rows = np.array([r[0] for r in self.ask("SELECT row FROM windows ORDER BY row")], dtype=np.int64)
                vectors.catch_up(rows, self._vectors_after)
            vectors.generation = generation
        return vectors

    def _vectors_after(self, row: int) -> Iterator[tuple[list[int], Vector]]:
        while rows := self.ask("SELECT row, vector, crc FROM windows WHERE row > ? ORDER BY row LIMIT ?", (row, CHUNK)):
            yield [r[0] for r in rows], np.stack([self._sound(*r) for r in rows])
            row = rows[-1][0]

    def _sound(self, row: int, blob: object, crc: object) -> Vector:
        """(d) the stored vector. Raises LibraryError when it is not the one that was written."""
        if not isinstance(blob, bytes) or len(blob) != 2 * self.card.width or zlib.crc32(blob) != crc:
            raise self._damaged(f"the vector of window {row}")
        return _vector(blob)

    def _damaged(self, what: str) -> LibraryError:
        return LibraryError(f"the library in {self.folder} is damaged: {what}", hint=VERIFY)


def packed(vectors: Vector) -> bytes:
    """Vectors as they are stored."""
    return vectors.astype("<f2").tobytes()


def _vector(blob: bytes) -> Vector:
    return np.frombuffer(blob, "<f2").astype(np.float32)
