"""The library's SQLite file: its tables, its forms through time, its transactions, and what is said when it cannot be used.

    contents        what was seen in a file's bytes, by their SHA-256: however many names the bytes have, they are stored once
    windows         the pieces that a search finds, each with its mean vector
    looks           the vectors of single frames of a content, evenly spaced in time: (n d) float16 in one blob
    files           names of contents, and what is known about them in words
    file_words      full-text index over those words (row: that of the file)
    cues            subtitles with their times; cue_words is the full-text index over them
    caption_vectors vectors of captions by the text tower
    failures        files that cannot be read, and why

Vectors are little-endian float16; `crc` is the CRC-32 of a window's vector, so that a damaged page cannot pass for a vector.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import numpy as np

from echoreel_index.errors import LibraryError
from echoreel_index.nouns import EncoderCard

DATABASE = "library.sqlite"
FORMAT = "echoreel.library/2"
FIRST_FORMAT = "echoreel.library/1"
MOST = 500
"""Values in one SQL list."""
FAILURES = (sqlite3.Error, UnicodeDecodeError)
"""What Python's sqlite3 raises for a damaged file: the second where SQLite's own message has damaged names in it."""
T = TypeVar("T")

CONTENTS = """
CREATE TABLE contents (
    sha256 TEXT PRIMARY KEY, settings TEXT NOT NULL, duration REAL NOT NULL, frames INTEGER NOT NULL,
    width INTEGER, height INTEGER, fps REAL, codec TEXT, step REAL
);
CREATE TABLE windows (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    sha256 TEXT NOT NULL REFERENCES contents ON DELETE CASCADE,
    id TEXT NOT NULL, start REAL NOT NULL, end REAL NOT NULL, vector BLOB NOT NULL, crc INTEGER NOT NULL,
    motion REAL, brightness REAL, one_shot INTEGER
);
CREATE INDEX windows_of ON windows (sha256)
"""
FILES = """
CREATE TABLE files (
    row INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    sha256 TEXT NOT NULL REFERENCES contents, caption TEXT, source TEXT, licence TEXT, words TEXT, date REAL
);
CREATE INDEX files_of ON files (sha256)
"""
SEARCHED = """
CREATE TABLE looks (sha256 TEXT PRIMARY KEY REFERENCES contents ON DELETE CASCADE, vectors BLOB NOT NULL);
CREATE VIRTUAL TABLE file_words USING fts5(names, said, tokenize = 'porter unicode61 remove_diacritics 2');
CREATE TABLE cues (row INTEGER PRIMARY KEY, file INTEGER NOT NULL REFERENCES files ON DELETE CASCADE, start REAL, end REAL);
CREATE INDEX cues_of ON cues (file);
CREATE VIRTUAL TABLE cue_words USING fts5(said, tokenize = 'porter unicode61 remove_diacritics 2');
CREATE TABLE caption_vectors (caption TEXT PRIMARY KEY, vector BLOB NOT NULL)
"""
SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE roots (path BLOB PRIMARY KEY);
{CONTENTS};{FILES};{SEARCHED};
CREATE TABLE failures (path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, message TEXT NOT NULL)
"""


def connect(path: Path) -> sqlite3.Connection:
    """The database at `path`; made if it is not there. Where its folder cannot be written it can only be read."""
    if not os.access(path.parent, os.W_OK):
        return sqlite3.connect(readable(path), timeout=30, isolation_level=None, check_same_thread=False, uri=True)
    db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA foreign_keys = ON")
    return db


def readable(path: Path) -> str:
    """The address under which SQLite reads a database and leaves it as it is, even on a disk that cannot be written."""
    settled = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
    return address(path, "immutable=1" if settled else "mode=ro")


def address(path: Path, how: str) -> str:
    """A path as SQLite's address."""
    return f"file:{quote(os.fsencode(path.absolute()))}?{how}"


@contextmanager
def transaction(db: sqlite3.Connection, folder: Path) -> Iterator[sqlite3.Connection]:
    """All of it or nothing. Raises LibraryError when it cannot be written: then nothing has changed."""
    try:
        db.execute("BEGIN IMMEDIATE")
        yield db
        db.execute("COMMIT")
    except BaseException as error:
        if db.in_transaction:  # a full disk has ended it already
            db.execute("ROLLBACK")
        if isinstance(error, FAILURES):
            raise unusable(folder, error) from error
        raise


def create(folder: Path, card: EncoderCard) -> None:
    """Tables for a new library, unless they are there already."""
    db = connect(folder / DATABASE)
    try:
        with transaction(db, folder):
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
                _run(db, SCHEMA)
                meta = {"format": FORMAT, "card": json.dumps(asdict(card)), "generation": "0", "faiss_sha256": ""}
                db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
    finally:
        db.close()


def read_card(folder: Path) -> EncoderCard | None:
    """The encoder of the library in `folder`; None where there is no library. Raises LibraryError for one that cannot be used."""
    if not (folder / DATABASE).is_file():
        return None
    try:
        db = connect(folder / DATABASE)
        try:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
                return None  # killed while it was being made
            meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        finally:
            db.close()
    except FAILURES as error:
        raise unusable(folder, error) from error
    if meta.get("format") not in (FORMAT, FIRST_FORMAT):
        message = f"the library in {folder} has the form {meta.get('format')!r}, not {FORMAT!r}"
        raise LibraryError(message, hint="use the version that made it")
    try:
        return EncoderCard(**json.loads(meta["card"]))
    except (KeyError, TypeError, ValueError) as error:
        raise unusable(folder, error) from error


def migrate(db: sqlite3.Connection, folder: Path) -> bool:
    """Bring a library of the first form up to date, in one transaction; whether there was something to do.

    What the first form did not know (single looks, motion, cuts) comes with the next `echoreel index`, which reads the files
    again because they were cut with other settings; until then the library can be searched as before.
    """
    if _format(db) == FORMAT:
        return False
    db.execute("PRAGMA foreign_keys = OFF")  # tables are replaced under the same names
    try:
        return _migrate_first_form(db, folder)
    finally:
        db.execute("PRAGMA foreign_keys = ON")


def _migrate_first_form(db: sqlite3.Connection, folder: Path) -> bool:
    with transaction(db, folder):
        if _format(db) == FORMAT:  # another process was quicker
            return False
        for table in ("contents", "windows", "files"):
            db.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
        for index in ("windows_of", "files_of"):
            db.execute(f"DROP INDEX {index}")
        _run(db, f"{CONTENTS};{FILES};{SEARCHED}")
        db.execute("INSERT INTO contents (sha256, settings, duration, frames) SELECT sha256, settings, duration, frames FROM old_contents")
        db.create_function("half", 1, _half, deterministic=True)
        db.create_function("crc", 1, zlib.crc32, deterministic=True)
        db.execute(
            "INSERT INTO windows (row, sha256, id, start, end, vector, crc)"
            " SELECT row, sha256, id, start, end, half(vector), crc(half(vector)) FROM old_windows ORDER BY row"
        )
        columns = "path, size, mtime_ns, sha256, caption, source, licence"
        db.execute(f"INSERT INTO files ({columns}) SELECT {columns} FROM old_files ORDER BY path")
        for table in ("files", "windows", "contents"):
            db.execute(f"DROP TABLE old_{table}")
        # Rows keep their numbers, but their vectors are rounded now: the FAISS file is made again.
        db.execute("UPDATE meta SET value = '' WHERE key = 'faiss_sha256'")
        db.execute("UPDATE meta SET value = ? WHERE key = 'format'", (FORMAT,))
    return True


def unusable(folder: Path, error: Exception) -> LibraryError:
    """What a person is told when the database fails."""
    words = str(error)
    if "full" in words or getattr(error, "errno", None) == errno.ENOSPC:
        return LibraryError(f"the disk with {folder} is full", hint="make room and run again: what was finished is kept")
    if "disk I/O error" in words:
        return LibraryError(f"the disk with {folder} fails: {words}", hint="is it full, or gone? what was finished is kept; run again")
    if "readonly" in words or "locked" in words:
        return LibraryError(f"the library in {folder} cannot be written: {words}", hint="see who owns it, or who is using it")
    if "unable to open" in words:
        return LibraryError(f"the library in {folder} cannot be opened: {words}", hint="see who owns the folder, and what is in the way")
    hint = "if its file is damaged, delete the folder and index again; videos are not touched"
    return LibraryError(f"the library in {folder} cannot be read: {words}", hint=hint)


def portions(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """`values` in parts that one SQL list can take."""
    for first in range(0, len(values), MOST):
        yield values[first : first + MOST]


def marks(values: Sequence[object]) -> str:
    """A question mark for each value."""
    return ", ".join("?" * len(values))


def _format(db: sqlite3.Connection) -> str:
    row = db.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    return str(row[0]) if row else ""


def _half(blob: bytes) -> bytes:
    return np.frombuffer(blob, "<f4").astype("<f2").tobytes()


def _run(db: sqlite3.Connection, script: str) -> None:
    """Statement by statement: `executescript` would end the transaction."""
    for statement in script.split(";"):
        if statement.strip():
            db.execute(statement)
