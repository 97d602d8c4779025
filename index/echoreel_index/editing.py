"""Larger changes to a library than one file: each is one transaction on a connection of its own, or nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from echoreel_index.database import DATABASE, FAILURES, address, transaction, unusable


class _Undone(Exception):
    """Somebody only wanted to know what would happen."""


@contextmanager
def editing(folder: Path, *, dry_run: bool = False, beside: str | None = None) -> Iterator[sqlite3.Connection]:
    """A transaction after which windows may have changed; `dry_run` takes everything back. The caller holds the right to write.

    `beside` is the address (`database.readable`) of another database, which is called `other` inside.
    Raises LibraryError when it cannot be written: then nothing has changed.
    """
    try:
        db = sqlite3.connect(address(folder / DATABASE, "mode=rw"), timeout=30, isolation_level=None, uri=True)
    except FAILURES as error:
        raise unusable(folder, error) from error
    with closing(db):
        try:
            db.execute("PRAGMA foreign_keys = ON")
            if beside is not None:
                db.execute("ATTACH ? AS other", (beside,))
        except FAILURES as error:
            raise unusable(folder, error) from error
        try:
            with transaction(db, folder):
                yield db
                db.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation'")
                if dry_run:
                    raise _Undone
        except _Undone:
            pass


def forget(db: sqlite3.Connection, paths: Sequence[str]) -> int:
    """Drop files, good or bad, and the contents that lie nowhere else; how many windows went."""
    db.execute("CREATE TEMP TABLE doomed (path BLOB PRIMARY KEY)")
    db.executemany("INSERT OR IGNORE INTO doomed VALUES (?)", [(os.fsencode(path),) for path in paths])
    files = "SELECT row FROM files WHERE path IN (SELECT path FROM doomed)"
    db.execute(f"DELETE FROM file_words WHERE rowid IN ({files})")
    db.execute(f"DELETE FROM cue_words WHERE rowid IN (SELECT row FROM cues WHERE file IN ({files}))")
    db.execute("DELETE FROM files WHERE path IN (SELECT path FROM doomed)")
    db.execute("DELETE FROM failures WHERE path IN (SELECT path FROM doomed)")
    db.execute("DROP TABLE doomed")
    return sweep(db)


def sweep(db: sqlite3.Connection) -> int:
    """Drop contents that no file holds; how many windows went."""
    windows = db.execute("DELETE FROM windows WHERE sha256 NOT IN (SELECT sha256 FROM files)").rowcount
    db.execute("DELETE FROM contents WHERE sha256 NOT IN (SELECT sha256 FROM files)")
    return windows


def set_meta(db: sqlite3.Connection, key: str, value: str) -> None:
    """Remember a value."""
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
