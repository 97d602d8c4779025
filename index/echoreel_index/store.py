"""SQLite rows and FAISS vectors as ONE transactional thing.

    library.sqlite   everything, the vectors included: the truth (`database.py` has its tables)
    vectors.faiss    the windows' vectors, ready to be searched: can be made again from the truth at any time
                     (`vectors.faiss.json` is a note beside it; `vectors.lance` in its place where LanceDB holds them)
    lock             held by the one process that writes; the system lets go of it when that process dies

A file's rows and vectors are one SQLite transaction, so a kill loses nothing that was committed and leaves nothing half
done. The FAISS file is replaced whole (temporary file, then rename); SQLite holds its SHA-256. On opening, a file that does
not have this hash is made again; one that has it but is behind is brought up to date by the row numbers, which are never
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

from echoreel_index.captions import Words
from echoreel_index.database import DATABASE, FAILURES, connect, create, migrate, read_card, transaction, unusable
from echoreel_index.editing import set_meta, sweep
from echoreel_index.errors import LibraryError
from echoreel_index.files import FileStamp
from echoreel_index.nouns import EncoderCard
from echoreel_index.stored_vectors import VERIFY, StoredVectors, Vector, packed
from echoreel_index.vector_forms import FILE as VECTORS
from echoreel_index.word_index import spaced

LOCK = "lock"
__all__ = ["VECTORS", "VERIFY", "Content", "FileRow", "Store", "Vector", "WindowRow"]
OWNER = "see who owns it, and whether its disk can be written"


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
    cut_short: bool = False
    """Whether the file breaks off before the end that it announces."""


class Store(StoredVectors):
    """One library folder, open. All reads see what was committed last."""

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

    # Rows.

    def files(self) -> list[FileRow]:
        """Every file, ordered by path."""
        rows = self.ask(
            "SELECT path, size, mtime_ns, f.sha256, words, settings, duration, caption, source, licence,"
            " (SELECT COUNT(*) FROM windows w WHERE w.sha256 = f.sha256) FROM files f JOIN contents USING (sha256) ORDER BY path"
        )
        return [FileRow(os.fsdecode(r[0]), FileStamp(r[1], r[2]), r[3], _words(r[4], r[7], r[8], r[9]), r[5], r[6], r[10]) for r in rows]

    def contents_of_files(self) -> dict[str, tuple[FileStamp, str, str]]:
        """Path -> what the file looked like, the SHA-256 of its content, and how that was cut: as little as an update needs."""
        rows = self.ask("SELECT path, size, mtime_ns, f.sha256, settings FROM files f JOIN contents USING (sha256)")
        return {os.fsdecode(r[0]): (FileStamp(r[1], r[2]), r[3], r[4]) for r in rows}

    def words_of_file(self, path: str) -> Words:
        """What is known in words about a file of the library."""
        row = self.ask("SELECT words, caption, source, licence FROM files WHERE path = ?", (os.fsencode(path),))[0]
        return _words(row[0], row[1], row[2], row[3])

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
            db.execute("INSERT OR REPLACE INTO looks VALUES (?, ?)", (sha256, packed(content.looks)))
            blobs = [packed(window.vector) for window in content.windows]
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
        with transaction(self._db, self.folder) as db:
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
        with transaction(self._db, self.folder) as db:
            self._forget(db, [name])
            db.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", (name, stamp.size, stamp.mtime_ns, message))

    def remove_files(self, paths: Sequence[str]) -> None:
        """Forget files, good or bad."""
        names = [os.fsencode(path) for path in paths]
        with transaction(self._db, self.folder) as db:
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
            set_meta(db, key, value)

    def put_caption_vectors(self, captions: Sequence[str], vectors: Vector) -> None:
        """Remember the unit vectors (n d) of captions by the text tower."""
        with transaction(self._db, self.folder) as db:
            rows = [(caption, packed(vector)) for caption, vector in zip(captions, vectors, strict=True)]
            db.executemany("INSERT OR REPLACE INTO caption_vectors VALUES (?, ?)", rows)

    def sweep(self) -> None:
        """Drop contents that no file holds any more."""
        orphans = "SELECT sha256 FROM contents WHERE sha256 NOT IN (SELECT sha256 FROM files)"
        if self.ask(f"{orphans} LIMIT 1"):
            with self._changing() as db:
                sweep(db)

    @staticmethod
    def _forget(db: sqlite3.Connection, names: Sequence[bytes]) -> None:
        for name in names:
            for (row,) in db.execute("SELECT row FROM files WHERE path = ?", (name,)).fetchall():
                db.execute("DELETE FROM file_words WHERE rowid = ?", (row,))
                db.execute("DELETE FROM cue_words WHERE rowid IN (SELECT row FROM cues WHERE file = ?)", (row,))
                db.execute("DELETE FROM files WHERE row = ?", (row,))


def _words(stored: str | None, caption: str | None, source: str | None, licence: str | None) -> Words:
    """Libraries of the first form know caption, source and licence only."""
    return Words.from_json(stored) if stored else Words(caption, source, licence)
