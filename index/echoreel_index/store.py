"""SQLite rows and FAISS vectors as ONE transactional thing.

    library.sqlite   everything, the vectors included: the truth
    vectors.faiss    the same vectors, ready to be searched: can be made again from the truth at any time
    lock             held by the one process that writes; the system lets go of it when that process dies

A file's rows and vectors are one SQLite transaction, so a kill loses nothing that was committed and leaves nothing half
done. The FAISS file is replaced whole (temporary file, then rename); SQLite holds its SHA-256. On opening, a file that does
not have this hash is thrown away; one that has it but is behind is brought up to date by the row numbers, which are never
used twice.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoreel_index.captions import Words
from echoreel_index.errors import LibraryError
from echoreel_index.files import FileStamp
from echoreel_index.nouns import Clip, EncoderCard
from echoreel_index.vectors import VectorFile

DATABASE = "library.sqlite"
VECTORS = "vectors.faiss"
LOCK = "lock"
FORMAT = "echoreel.library/1"
CHUNK = 4096
"""Vectors read from SQLite at once."""

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE roots (path BLOB PRIMARY KEY);
CREATE TABLE contents (sha256 TEXT PRIMARY KEY, settings TEXT NOT NULL, duration REAL NOT NULL, frames INTEGER NOT NULL);
CREATE TABLE windows (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    sha256 TEXT NOT NULL REFERENCES contents ON DELETE CASCADE,
    id TEXT NOT NULL, start REAL NOT NULL, end REAL NOT NULL, vector BLOB NOT NULL
);
CREATE INDEX windows_of ON windows (sha256);
CREATE TABLE files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 TEXT NOT NULL REFERENCES contents,
    caption TEXT, source TEXT, licence TEXT
);
CREATE INDEX files_of ON files (sha256);
CREATE TABLE failures (path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, message TEXT NOT NULL);
"""


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
    """A window as it is stored: name, times in seconds, unit vector (d)."""

    id: str
    start: float
    end: float
    vector: NDArray[np.float32]


class Store:
    """One library folder, open. All reads see what was committed last."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, card: EncoderCard) -> None:
        self.folder, self.card, self._db = folder, card, connection
        self._vectors = VectorFile(folder / VECTORS, card.width)

    @classmethod
    def exists(cls, folder: Path) -> bool:
        """Whether `folder` holds a library."""
        return _read_card(folder) is not None

    @classmethod
    def create(cls, folder: Path, card: EncoderCard) -> Store:
        """A new, empty library. Raises LibraryError when the folder cannot be written."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            db = _connect(folder / DATABASE)
            with _transaction(db):
                if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
                    for statement in SCHEMA.split(";\n"):
                        db.execute(statement)
                    meta = {"format": FORMAT, "card": json.dumps(asdict(card)), "generation": "0", "faiss_sha256": ""}
                    db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            db.close()
        except (OSError, sqlite3.Error) as error:
            raise LibraryError(f"cannot make a library in {folder}: {error}", hint="choose another folder with --library") from error
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Store:
        """The library in `folder`. Raises LibraryError if there is none or it is damaged."""
        card = _read_card(folder)
        if card is None:
            raise LibraryError(f"there is no library in {folder}", hint="make one with: echoreel index FOLDER")
        return cls(folder, _connect(folder / DATABASE), card)

    def close(self) -> None:
        """Let go of the database."""
        self._db.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The right to write, for one process at a time. Raises LibraryError when another has it."""
        with open(self.folder / LOCK, "a+b") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                lock.seek(0)
                holder = lock.read(32).decode("ascii", "replace").strip() or "unknown"
                message = f"the library in {self.folder} is being written by another process (id {holder})"
                raise LibraryError(message, hint="wait until it has ended") from error
            lock.truncate(0)
            lock.write(str(os.getpid()).encode())
            lock.flush()
            yield

    # Rows.

    def files(self) -> list[FileRow]:
        """Every file, ordered by path."""
        rows = self._all(
            "SELECT path, size, mtime_ns, f.sha256, caption, source, licence, settings, duration,"
            " (SELECT COUNT(*) FROM windows w WHERE w.sha256 = f.sha256) FROM files f JOIN contents USING (sha256) ORDER BY path"
        )
        return [FileRow(os.fsdecode(r[0]), FileStamp(r[1], r[2]), r[3], Words(r[4], r[5], r[6]), r[7], r[8], r[9]) for r in rows]

    def failures(self) -> dict[str, tuple[FileStamp, str]]:
        """Path -> what the file looked like when it failed, and why it did."""
        rows = self._all("SELECT path, size, mtime_ns, message FROM failures ORDER BY path")
        return {os.fsdecode(r[0]): (FileStamp(r[1], r[2]), r[3]) for r in rows}

    def roots(self) -> list[str]:
        """What was indexed: folders and single files."""
        return [os.fsdecode(r[0]) for r in self._all("SELECT path FROM roots ORDER BY path")]

    def count(self) -> int:
        """Number of windows."""
        return int(self._all("SELECT COUNT(*) FROM windows")[0][0])

    def meta(self, key: str) -> str | None:
        """A remembered value."""
        rows = self._all("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def has_content(self, sha256: str, settings: str) -> bool:
        """Whether this content was cut with these settings already, under whatever name."""
        return bool(self._all("SELECT 1 FROM contents WHERE sha256 = ? AND settings = ?", (sha256, settings)))

    # Writing; each call is one transaction.

    def put_content(self, sha256: str, settings: str, duration: float, frames: int, windows: Sequence[WindowRow]) -> None:
        """Store what was seen in a content, in place of what was stored of it before."""
        with self._changing() as db:
            old = db.execute("SELECT 1 FROM contents WHERE sha256 = ?", (sha256,)).fetchone()
            db.execute("DELETE FROM windows WHERE sha256 = ?", (sha256,))
            values = (settings, duration, frames, sha256)
            if old:
                db.execute("UPDATE contents SET settings = ?, duration = ?, frames = ? WHERE sha256 = ?", values)
            else:
                db.execute("INSERT INTO contents (settings, duration, frames, sha256) VALUES (?, ?, ?, ?)", values)
            rows = [(sha256, w.id, w.start, w.end, w.vector.astype("<f4").tobytes()) for w in windows]
            db.executemany("INSERT INTO windows (sha256, id, start, end, vector) VALUES (?, ?, ?, ?, ?)", rows)

    def put_file(self, path: str, stamp: FileStamp, sha256: str, words: Words) -> None:
        """Say which content a path holds; it is no failure any more."""
        name = os.fsencode(path)
        with self._changing() as db:
            db.execute("DELETE FROM failures WHERE path = ?", (name,))
            values = (name, stamp.size, stamp.mtime_ns, sha256, words.caption, words.source, words.licence)
            db.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def put_failure(self, path: str, stamp: FileStamp, message: str) -> None:
        """Remember that a file cannot be read; what it held before is no longer true."""
        name = os.fsencode(path)
        with self._changing() as db:
            db.execute("DELETE FROM files WHERE path = ?", (name,))
            db.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", (name, stamp.size, stamp.mtime_ns, message))

    def remove_files(self, paths: Sequence[str]) -> None:
        """Forget files, good or bad."""
        names = [(os.fsencode(path),) for path in paths]
        with self._changing() as db:
            db.executemany("DELETE FROM files WHERE path = ?", names)
            db.executemany("DELETE FROM failures WHERE path = ?", names)

    def set_roots(self, roots: Sequence[str], settings: str) -> None:
        """Remember what was indexed and how it was cut."""
        with _transaction(self._db) as db:
            db.execute("DELETE FROM roots")
            db.executemany("INSERT INTO roots VALUES (?)", [(os.fsencode(root),) for root in roots])
            db.execute("INSERT OR REPLACE INTO meta VALUES ('settings', ?)", (settings,))

    def sweep(self) -> None:
        """Drop contents that no file holds any more."""
        orphans = "SELECT sha256 FROM contents WHERE sha256 NOT IN (SELECT sha256 FROM files)"
        if self._all(f"{orphans} LIMIT 1"):
            with self._changing() as db:
                db.execute(f"DELETE FROM windows WHERE sha256 IN ({orphans})")
                db.execute(f"DELETE FROM contents WHERE sha256 IN ({orphans})")

    # Vectors.

    def nearest(self, vector: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """The k windows whose vectors are closest to `vector` (d): (row, cosine), best first."""
        return self._fresh().nearest(vector, k)

    def clips(self, rows: Sequence[int]) -> dict[int, list[Clip]]:
        """Row -> the window as a clip, once for each file that holds it, ordered by path."""
        found: dict[int, list[Clip]] = {}
        for first in range(0, len(rows), 500):
            some = rows[first : first + 500]
            query = (
                "SELECT row, id, path, start, end, caption, source, licence, w.sha256 FROM windows w JOIN files USING (sha256)"
                f" WHERE row IN ({','.join('?' * len(some))}) ORDER BY row, path"
            )
            for r in self._all(query, some):
                found.setdefault(r[0], []).append(Clip(r[1], os.fsdecode(r[2]), r[3], r[4], r[5], r[6], r[7], r[8]))
        return found

    def vectors(self) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """All vectors by row: (rows, (n d)) in chunks."""
        yield from self._vectors_after(-1)

    def write_vectors(self) -> None:
        """Bring the FAISS file up to date; the caller holds the right to write."""
        generation = self._generation()
        vectors = self._fresh()
        if self.meta("faiss_generation") == str(generation) and vectors.intact:
            return
        values = [("faiss_sha256", vectors.write()), ("faiss_generation", str(generation))]
        with _transaction(self._db) as db:
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values)

    def _fresh(self) -> VectorFile:
        """The vectors of what is committed now, ready to be searched."""
        generation = self._generation()
        if self._vectors.generation != generation:
            self._vectors.load(self.meta("faiss_sha256") or "")
            rows = np.array([r[0] for r in self._all("SELECT row FROM windows ORDER BY row")], dtype=np.int64)
            self._vectors.catch_up(rows, self._vectors_after)
            self._vectors.generation = generation
        return self._vectors

    def _vectors_after(self, row: int) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        while rows := self._all("SELECT row, vector FROM windows WHERE row > ? ORDER BY row LIMIT ?", (row, CHUNK)):
            vectors = np.frombuffer(b"".join(r[1] for r in rows), "<f4").reshape(len(rows), self.card.width)
            yield [r[0] for r in rows], vectors.astype(np.float32)
            row = rows[-1][0]

    # The database.

    def _generation(self) -> int:
        return int(self.meta("generation") or 0)

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction after which vectors may have changed."""
        with _transaction(self._db) as db:
            yield db
            db.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation'")

    def _all(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(query, tuple(values)).fetchall()
        except sqlite3.DatabaseError as error:
            raise _damaged(self.folder, error) from error


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA foreign_keys = ON")
    return db


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _read_card(folder: Path) -> EncoderCard | None:
    """The card of the library in `folder`; None where there is no library."""
    if not (folder / DATABASE).is_file():
        return None
    try:
        db = _connect(folder / DATABASE)
        try:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
                return None  # killed while it was being made
            meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        finally:
            db.close()
    except sqlite3.DatabaseError as error:
        raise _damaged(folder, error) from error
    if meta.get("format") != FORMAT:
        message = f"the library in {folder} has the form {meta.get('format')!r}, not {FORMAT!r}"
        raise LibraryError(message, hint="use the version that made it")
    return EncoderCard(**json.loads(meta["card"]))


def _damaged(folder: Path, error: Exception) -> LibraryError:
    hint = "if its file is damaged, delete the folder and index again; videos are not touched"
    return LibraryError(f"the library in {folder} cannot be read: {error}", hint=hint)
