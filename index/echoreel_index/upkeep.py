"""Forgetting files, and making again what can be made again.

Both hold the library's right to write and are one transaction; the FAISS file, which follows, can always be made again.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from echoreel_index import bans
from echoreel_index.captions import Words, name_words
from echoreel_index.damage import damaged_captions, damaged_looks, damaged_windows
from echoreel_index.database import SEARCHED
from echoreel_index.editing import editing, forget, set_meta, sweep
from echoreel_index.errors import UsageError
from echoreel_index.files import Places, absolute, within
from echoreel_index.store import Store
from echoreel_index.word_index import spaced


@dataclass(frozen=True, slots=True)
class Removal:
    """What was forgotten, or would be."""

    paths: tuple[str, ...]
    windows: int
    roots: tuple[str, ...]
    """Folders and files that the next `echoreel index` without a path does not look at any more."""
    banned: tuple[str, ...]
    returning: tuple[str, ...]
    """Forgotten files that are still there, in a folder that is still indexed: the next run takes them in again."""


@dataclass(frozen=True, slots=True)
class Rebuilding:
    """What was made again, and what could not be kept."""

    windows: int
    """In the library now."""
    dropped: int
    """Damaged windows."""
    again: tuple[str, ...]
    """Files that the next `echoreel index` reads again."""
    files: int
    """Whose words were put into the full-text index."""


def remove(store: Store, paths: Sequence[Path], *, ban: bool = False, dry_run: bool = False) -> Removal:
    """Forget the files at or below `paths`; with `ban` for good, so that indexing the folder around them leaves them out.

    Raises UsageError for a path of which the library knows nothing.
    """
    asked = [absolute(path) for path in paths]
    if dry_run:
        return _remove(store, asked, ban, dry_run=True)
    with store.writing():
        removal = _remove(store, asked, ban, dry_run=False)
        store.write_vectors()
    return removal


def _remove(store: Store, asked: Sequence[str], ban: bool, *, dry_run: bool) -> Removal:
    known = [*(row.path for row in store.files()), *store.failures()]
    roots = store.roots()
    if not ban:
        for path in asked:
            if not any(within(one, (path,)) for one in (*known, *roots)):
                raise UsageError(f"the library knows nothing at {path}", hint="see what it knows with: echoreel library list")
    places = Places(asked)
    gone = sorted({path for path in known if path in places})
    left = [root for root in roots if root not in places]
    kept_out = [*bans.banned(store), *(asked if ban else ())]
    with editing(store.folder, dry_run=dry_run) as db:
        windows = forget(db, gone)
        db.executemany("DELETE FROM roots WHERE path = ?", [(os.fsencode(root),) for root in roots if root not in left])
        set_meta(db, bans.BANNED, bans.written(kept_out))
    still, out = Places(left), Places(kept_out)
    returning = [path for path in gone if path in still and path not in out and os.path.exists(path)]
    dropped = [root for root in roots if root not in left]
    return Removal(tuple(gone), windows, tuple(dropped), tuple(asked) if ban else (), tuple(returning))


def unban(store: Store, paths: Sequence[Path], *, dry_run: bool = False) -> tuple[str, ...]:
    """Let paths in again. Raises UsageError for one that is not banned."""
    asked = [absolute(path) for path in paths]
    with store.writing():
        kept_out = bans.banned(store)
        for path in asked:
            if path not in kept_out:
                known = f"banned are: {', '.join(kept_out)}" if kept_out else "nothing is banned"
                raise UsageError(f"{path} is not banned from this library", hint=known)
        if not dry_run:
            store.set_meta(bans.BANNED, bans.written(path for path in kept_out if path not in asked))
    return tuple(asked)


def rebuild(store: Store) -> Rebuilding:
    """Make the full-text index and the FAISS file again; damaged windows are dropped and their files marked to be read again.

    Raises LibraryError when the database itself is too damaged for that: then nothing has changed.
    """
    with store.writing():
        windows, looks = list(damaged_windows(store)), list(damaged_looks(store))
        marked = sorted({one.sha256 for one in windows} | {one.sha256 for one in looks})
        captions = [one.caption for one in damaged_captions(store)]
        roots = store.roots()
        with editing(store.folder) as db:
            db.execute("REINDEX")
            db.executemany("DELETE FROM windows WHERE row = ?", [(one.row,) for one in windows])
            db.executemany("DELETE FROM looks WHERE sha256 = ?", [(one.sha256,) for one in looks])
            # A content that was cut with unknown settings is cut again.
            db.executemany("UPDATE contents SET settings = '' WHERE sha256 = ?", [(sha256,) for sha256 in marked])
            db.executemany("DELETE FROM caption_vectors WHERE caption = ?", [(caption,) for caption in captions])
            sweep(db)
            files = _index_words(db, roots)
            set_meta(db, "faiss_sha256", "")  # what is on disk is not believed any more
        store.write_vectors()
        again = tuple(row.path for row in store.files() if row.sha256 in set(marked))
        return Rebuilding(store.count(), len(windows), again, files)


def _index_words(db: sqlite3.Connection, roots: Sequence[str]) -> int:
    """Empty full-text tables, filled from what is stored with each file; how many files had words."""
    for table in ("file_words", "cue_words"):
        db.execute(f"DROP TABLE IF EXISTS {table}")
    db.execute("DELETE FROM cues")
    for statement in SEARCHED.split(";"):
        if "USING fts5" in statement:
            db.execute(statement)
    count = 0
    for row, path, words in db.execute("SELECT row, path, words FROM files WHERE words NOT NULL ORDER BY row").fetchall():
        read = Words.from_json(words)  # if these are damaged, the next `echoreel index` takes them from the sidecars again
        values = (read.caption, read.source, read.licence, read.date, row)
        db.execute("UPDATE files SET caption = ?, source = ?, licence = ?, date = ? WHERE row = ?", values)
        for statement, entry in _entries(row, os.fsdecode(path), read, roots):
            db.execute(statement, entry)
        count += 1
    return count


def _entries(row: int, path: str, words: Words, roots: Sequence[str]) -> Iterator[tuple[str, tuple[object, ...]]]:
    root = next((root for root in roots if within(path, (root,))), os.path.dirname(path))
    values = (row, spaced(name_words(path, root)), spaced(words.text))
    yield "INSERT INTO file_words (rowid, names, said) VALUES (?, ?, ?)", values
    for start, end, text in words.cues:
        yield "INSERT INTO cues (file, start, end) VALUES (?, ?, ?)", (row, start, end)
        yield "INSERT INTO cue_words (rowid, said) VALUES (last_insert_rowid(), ?)", (spaced(text),)
