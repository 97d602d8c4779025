"""SQLite rows and FAISS vectors as ONE transactional thing.

    library.sqlite   everything, the vectors included: the truth (`database.py` has its tables)
    vectors.faiss    the windows' vectors, ready to be searched: can be made again from the truth at any time
    lock             held by the one process that writes; the system lets go of it when that process dies

A file's rows and vectors are one SQLite transaction, so a kill loses nothing that was committed and leaves nothing half
done. The FAISS file is replaced whole (temporary file, then rename); SQLite holds its SHA-256. On opening, a file that does
not have this hash is thrown away; one that has it but is behind is brought up to date by the row numbers, which are never
used twice.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoreel_index.captions import Words
from echoreel_index.clips import looks_within
from echoreel_index.database import DATABASE, FAILURES, connect, create, marks, migrate, portions, read_card, transaction, unusable
from echoreel_index.errors import LibraryError
from echoreel_index.files import FileStamp
from echoreel_index.nouns import EncoderCard
from echoreel_index.vector_forms import FILE as VECTORS
from echoreel_index.vector_forms import open_vectors
from echoreel_index.vectors import VectorIndex, VectorReport
from echoreel_index.word_index import spaced

LOCK = "lock"
__all__ = ["VECTORS", "Content", "FileRow", "Store", "WindowRow"]
CHUNK = 4096
"""Vectors read from SQLite at once."""
VERIFY = "see what else is: echoreel library verify; videos are not touched"
OWNER = "see who owns it, and whether its disk can be written"
UNIT_ERROR = 2e-3
"""How far float16 may bring a unit vector's length from 1."""
Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file of the library."""

    path: str
    stamp: FileStamp
    sha256: str
    words: Words
    settings: str
    duration: float
    windows: int


@dataclass(frozen=True, slots=True)
class WindowRow:
    """A window as it is stored: name, times in seconds, unit vector (d), and what it looks like (see `Clip`)."""

    id: str
    start: float
    end: float
    vector: Vector
    motion: float | None = None
    brightness: float | None = None
    one_shot: bool | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What was seen in a file's bytes."""

    duration: float
    """Seconds."""
    width: int
    height: int
    """Pixels, as shown."""
    fps: float
    codec: str
    step: float
    """Seconds from one look to the next."""
    looks: Vector
    """(n d) unit vectors of single frames, at the moments (i + 1/2) * step."""
    windows: tuple[WindowRow, ...]


class Store:
    """One library folder, open. All reads see what was committed last."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, card: EncoderCard) -> None:
        self.folder, self.card, self._db = folder, card, connection
        self._opened_vectors: VectorIndex | None = None

    @classmethod
    def exists(cls, folder: Path) -> bool:
        """Whether `folder` holds a library."""
        return read_card(folder) is not None

    @classmethod
    def create(cls, folder: Path, card: EncoderCard) -> Store:
        """A new, empty library. Raises LibraryError when the folder cannot be written."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            create(folder, card)
        except (OSError, sqlite3.Error) as error:
            raise LibraryError(f"cannot make a library in {folder}: {error}", hint="choose another folder with --library") from error
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Store:
        """The library in `folder`, brought to the present form. Raises LibraryError if there is none or it is damaged."""
        card = read_card(folder)
        if card is None:
            raise LibraryError(f"there is no library in {folder}", hint="make one with: echoreel index FOLDER")
        try:
            db = connect(folder / DATABASE)
            try:
                migrate(db, folder)
            except BaseException:
                db.close()
                raise
        except FAILURES as error:
            raise unusable(folder, error) from error
        return cls(folder, db, card)

    def close(self) -> None:
        """Let go of the database and of the file of vectors."""
        self._opened_vectors = None
        self._db.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The right to write, for one process at a time. Raises LibraryError when another has it."""
        with self._lock() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                lock.seek(0)
                holder = lock.read(32).decode("ascii", "replace").strip() or "unknown"
                message = f"the library in {self.folder} is being written by another process (id {holder})"
                raise LibraryError(message, hint="wait until it has ended") from error
            with suppress(OSError):  # on a full disk nobody learns who writes; the lock holds all the same
                lock.truncate(0)
                lock.write(str(os.getpid()).encode())
            yield

    def _lock(self) -> FileIO:
        try:
            return open(self.folder / LOCK, "a+b", buffering=0)
        except OSError as error:
            raise LibraryError(f"the library in {self.folder} cannot be written: {error.strerror}", hint=OWNER) from error

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

    # Rows.

    def files(self) -> list[FileRow]:
        """Every file, ordered by path."""
        rows = self.ask(
            "SELECT path, size, mtime_ns, f.sha256, words, settings, duration, caption, source, licence,"
            " (SELECT COUNT(*) FROM windows w WHERE w.sha256 = f.sha256) FROM files f JOIN contents USING (sha256) ORDER BY path"
        )
        return [FileRow(os.fsdecode(r[0]), FileStamp(r[1], r[2]), r[3], _words(r[4], r[7], r[8], r[9]), r[5], r[6], r[10]) for r in rows]

    def failures(self) -> dict[str, tuple[FileStamp, str]]:
        """Path -> what the file looked like when it failed, and why it did."""
        rows = self.ask("SELECT path, size, mtime_ns, message FROM failures ORDER BY path")
        return {os.fsdecode(r[0]): (FileStamp(r[1], r[2]), r[3]) for r in rows}

    def roots(self) -> list[str]:
        """What was indexed: folders and single files."""
        return [os.fsdecode(r[0]) for r in self.ask("SELECT path FROM roots ORDER BY path")]

    def count(self) -> int:
        """Number of windows."""
        return int(self.ask("SELECT COUNT(*) FROM windows")[0][0])

    def meta(self, key: str) -> str | None:
        """A remembered value."""
        rows = self.ask("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def has_content(self, sha256: str, settings: str) -> bool:
        """Whether this content was cut with these settings already, under whatever name."""
        return bool(self.ask("SELECT 1 FROM contents WHERE sha256 = ? AND settings = ?", (sha256, settings)))

    # Writing; each call is one transaction.

    def put_content(self, sha256: str, settings: str, content: Content) -> None:
        """Store what was seen in a content, in place of what was stored of it before."""
        seen = (settings, content.duration, len(content.looks), content.width, content.height, content.fps, content.codec, content.step)
        names = ("settings", "duration", "frames", "width", "height", "fps", "codec", "step")
        with self._changing() as db:
            db.execute("DELETE FROM windows WHERE sha256 = ?", (sha256,))
            db.execute(
                f"INSERT INTO contents (sha256, {', '.join(names)}) VALUES ({', '.join('?' * 9)})"
                f" ON CONFLICT (sha256) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in names)}",
                (sha256, *seen),
            )
            db.execute("INSERT OR REPLACE INTO looks VALUES (?, ?)", (sha256, _blob(content.looks)))
            blobs = [_blob(window.vector) for window in content.windows]
            rows = [
                (sha256, w.id, w.start, w.end, blob, zlib.crc32(blob), w.motion, w.brightness, w.one_shot)
                for w, blob in zip(content.windows, blobs, strict=True)
            ]
            columns = "sha256, id, start, end, vector, crc, motion, brightness, one_shot"
            db.executemany(f"INSERT INTO windows ({columns}) VALUES ({', '.join('?' * 9)})", rows)

    def put_file(self, path: str, stamp: FileStamp, sha256: str, words: Words, names: str = "") -> None:
        """Say which content a path holds and what is known about it in words; it is no failure any more.

        `names` are the words of the file's own name and of the folders that it lies in.
        """
        name = os.fsencode(path)
        with self._changing() as db:
            db.execute("DELETE FROM failures WHERE path = ?", (name,))
            self._forget(db, [name])
            values = (name, stamp.size, stamp.mtime_ns, sha256, words.caption, words.source, words.licence, words.to_json(), words.date)
            columns = "path, size, mtime_ns, sha256, caption, source, licence, words, date"
            row = db.execute(f"INSERT INTO files ({columns}) VALUES ({', '.join('?' * 9)})", values).lastrowid
            db.execute("INSERT INTO file_words (rowid, names, said) VALUES (?, ?, ?)", (row, spaced(names), spaced(words.text)))
            for start, end, text in words.cues:
                cue = db.execute("INSERT INTO cues (file, start, end) VALUES (?, ?, ?)", (row, start, end)).lastrowid
                db.execute("INSERT INTO cue_words (rowid, said) VALUES (?, ?)", (cue, spaced(text)))

    def put_failure(self, path: str, stamp: FileStamp, message: str) -> None:
        """Remember that a file cannot be read; what it held before is no longer true."""
        name = os.fsencode(path)
        with self._changing() as db:
            self._forget(db, [name])
            db.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", (name, stamp.size, stamp.mtime_ns, message))

    def remove_files(self, paths: Sequence[str]) -> None:
        """Forget files, good or bad."""
        names = [os.fsencode(path) for path in paths]
        with self._changing() as db:
            self._forget(db, names)
            db.executemany("DELETE FROM failures WHERE path = ?", [(name,) for name in names])

    def set_roots(self, roots: Sequence[str], settings: str) -> None:
        """Remember what was indexed and how it was cut."""
        with transaction(self._db, self.folder) as db:
            db.execute("DELETE FROM roots")
            db.executemany("INSERT INTO roots VALUES (?)", [(os.fsencode(root),) for root in roots])
            db.execute("INSERT OR REPLACE INTO meta VALUES ('settings', ?)", (settings,))

    def set_meta(self, key: str, value: str) -> None:
        """Remember a value."""
        with transaction(self._db, self.folder) as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def put_caption_vectors(self, captions: Sequence[str], vectors: Vector) -> None:
        """Remember the unit vectors (n d) of captions by the text tower."""
        with transaction(self._db, self.folder) as db:
            rows = [(caption, _blob(vector)) for caption, vector in zip(captions, vectors, strict=True)]
            db.executemany("INSERT OR REPLACE INTO caption_vectors VALUES (?, ?)", rows)

    def sweep(self) -> None:
        """Drop contents that no file holds any more."""
        orphans = "SELECT sha256 FROM contents WHERE sha256 NOT IN (SELECT sha256 FROM files)"
        if self.ask(f"{orphans} LIMIT 1"):
            with self._changing() as db:
                db.execute(f"DELETE FROM windows WHERE sha256 IN ({orphans})")
                db.execute(f"DELETE FROM contents WHERE sha256 IN ({orphans})")

    @staticmethod
    def _forget(db: sqlite3.Connection, names: Sequence[bytes]) -> None:
        for name in names:
            for (row,) in db.execute("SELECT row FROM files WHERE path = ?", (name,)).fetchall():
                db.execute("DELETE FROM file_words WHERE rowid = ?", (row,))
                db.execute("DELETE FROM cue_words WHERE rowid IN (SELECT row FROM cues WHERE file = ?)", (row,))
                db.execute("DELETE FROM files WHERE row = ?", (row,))

    # Vectors.

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

    def use_vectors(self, setting: str) -> None:
        """Hold the vectors in another form from now on: see `vector_forms`. Raises UsageError for one that nobody knows."""
        if setting == self.vector_setting:
            return
        open_vectors(setting, self.folder, self.card.width, self.vectors_of)
        with transaction(self._db, self.folder) as db:
            values = [("vectors", setting), ("faiss_sha256", ""), ("faiss_generation", "")]
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values)
        self._opened_vectors = None

    @property
    def vector_setting(self) -> str:
        """The form that was asked for; `auto` if none was."""
        return self.meta("vectors") or "auto"

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
            self._opened_vectors = open_vectors(self.vector_setting, self.folder, self.card.width, self.vectors_of)
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

    # The database.

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


def _blob(vectors: Vector) -> bytes:
    return vectors.astype("<f2").tobytes()


def _vector(blob: bytes) -> Vector:
    return np.frombuffer(blob, "<f2").astype(np.float32)


def _words(stored: str | None, caption: str | None, source: str | None, licence: str | None) -> Words:
    """Libraries of the first form know caption, source and licence only."""
    return Words.from_json(stored) if stored else Words(caption, source, licence)
