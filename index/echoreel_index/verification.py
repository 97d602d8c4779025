"""Is everything in a library as it was written? Each check says what it looked at, what it found, and what to do about it.

Nothing is changed. What SQLite cannot know is checked by what echoreel knows: a window's vector has a checksum and the length
of one, its name is a hash of its content and its times, and its vector is the mean of its looks.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoreel_index.captions import Words
from echoreel_index.damage import damaged_captions, damaged_looks, damaged_windows
from echoreel_index.database import DATABASE, connect
from echoreel_index.errors import EchoreelError
from echoreel_index.faiss_file import FaissFile
from echoreel_index.files import FileStamp
from echoreel_index.lance import LanceTable
from echoreel_index.store import VECTORS, FileRow, Store
from echoreel_index.stored_vectors import CHUNK
from echoreel_index.vector_forms import open_vectors
from echoreel_index.vectors import held_rows
from echoreel_index.word_index import spaced

MOST_FINDINGS = 100
"""Findings of one check that are told; the rest are counted."""
TRIES = 5
"""How often two things that another process may have changed in between are compared."""
FAISS_FORMS = ("auto", "exact", "ivf")
REBUILD = "echoreel library rebuild"
START_AGAIN = "bring the folder back from a copy, or delete it and index again; videos are not touched"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be; `damage` is what makes the library wrong, anything else mends itself."""

    subject: str
    message: str
    damage: bool = True


@dataclass(frozen=True, slots=True)
class Check:
    """One check: how many things were looked at, and what was found."""

    name: str
    checked: int
    findings: tuple[Finding, ...]
    mend: str | None = None
    """What to do about it."""

    @property
    def damaged(self) -> bool:
        """Whether something is wrong."""
        return any(finding.damage for finding in self.findings)


def verify(store: Store, *, deep: bool = False, progress: Callable[[str], None] = lambda what: None) -> Iterator[Check]:
    """All checks, one after another; `deep` reads every video to see whether it is still the one that was indexed.

    `progress` is told what is being looked at. A check that cannot be carried out is damage.
    """
    checks = (
        ("database", _database, START_AGAIN),
        ("windows", _windows, REBUILD),
        ("looks", _looks, REBUILD),
        ("captions", _captions, REBUILD),
        ("words", _words, REBUILD),
        ("vectors", _vectors, REBUILD),
    )
    for name, check, mend in checks:
        progress(name)
        yield _run(name, lambda check=check: check(store), mend)  # type: ignore[misc]
    yield _run("files", lambda: _files(store, deep, progress), "echoreel index")


def _run(name: str, check: Callable[[], tuple[int, list[Finding]]], mend: str) -> Check:
    try:
        checked, findings = check()
    except (EchoreelError, sqlite3.Error, OSError, ValueError, TypeError, OverflowError) as error:
        checked, findings, mend = 0, [Finding(name, f"cannot be read: {error}")], START_AGAIN
    return Check(name, checked, tuple(findings), mend if findings else None)


# The database.


def _database(store: Store) -> tuple[int, list[Finding]]:
    pages = int(store.ask("PRAGMA page_count")[0][0])
    said = [str(row[0]) for row in store.ask(f"PRAGMA integrity_check({MOST_FINDINGS})")]
    findings = [Finding(DATABASE, line) for line in said if line != "ok"]
    for table, row, other, _ in store.ask("PRAGMA foreign_key_check"):
        findings.append(Finding(f"{table} {row}", f"belongs to something in {other} that is not there"))
    return pages, findings


def _windows(store: Store) -> tuple[int, list[Finding]]:
    with store.reading():
        return store.count(), _told(Finding(f"window {one.id}", one.message) for one in damaged_windows(store))


def _looks(store: Store) -> tuple[int, list[Finding]]:
    with store.reading():
        count = int(store.ask("SELECT COUNT(*) FROM looks")[0][0])
        return count, _told(Finding(f"looks of {one.sha256}", one.message) for one in damaged_looks(store))


def _captions(store: Store) -> tuple[int, list[Finding]]:
    with store.reading():
        count = int(store.ask("SELECT COUNT(*) FROM caption_vectors")[0][0])
        return count, _told(Finding(f"caption {one.caption!r}", one.message) for one in damaged_captions(store))


# The full-text index.


def _words(store: Store) -> tuple[int, list[Finding]]:
    findings: list[Finding] = []
    # SQLite takes the check for a write, so it gets a connection of its own, and is taken back.
    tables = ("file_words", "cue_words") if os.access(store.folder, os.W_OK) else ()
    with closing(connect(store.folder / DATABASE)) as db:
        for table in tables:
            try:
                db.execute("BEGIN IMMEDIATE")
                db.execute(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")
            except sqlite3.DatabaseError as error:
                findings.append(Finding(table, f"the full-text index does not fit its texts: {error}"))
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
    with store.reading():
        findings += [*_missing_words(store), *_told(_other_words(store))]
        return int(store.ask("SELECT COUNT(*) FROM files WHERE words NOT NULL")[0][0]), findings


def _missing_words(store: Store) -> Iterator[Finding]:
    """Files of the first form have no words until they are read again."""
    conditions = (
        ("file_words without a file", "SELECT COUNT(*) FROM file_words WHERE rowid NOT IN (SELECT row FROM files)"),
        ("files without file_words", "SELECT COUNT(*) FROM files WHERE words NOT NULL AND row NOT IN (SELECT rowid FROM file_words)"),
        ("cue_words without a cue", "SELECT COUNT(*) FROM cue_words WHERE rowid NOT IN (SELECT row FROM cues)"),
        ("cues without cue_words", "SELECT COUNT(*) FROM cues WHERE row NOT IN (SELECT rowid FROM cue_words)"),
    )
    for what, query in conditions:
        count = store.ask(query)[0][0]
        if count:
            yield Finding("full-text index", f"{count} {what}")


def _other_words(store: Store) -> Iterator[Finding]:
    """The same words are in three places: as they were read, in columns, and in the index."""
    rows = store.ask(
        "SELECT path, words, caption, source, licence, date, said FROM files f LEFT JOIN file_words w ON w.rowid = f.row"
        " WHERE words NOT NULL ORDER BY path"
    )
    for path, stored, *columns, said in rows:
        words = Words.from_json(stored)
        if columns != [words.caption, words.source, words.licence, words.date]:
            yield Finding(os.fsdecode(path), "what is said about it was stored in two ways that differ")
        elif said is not None and said != spaced(words.text):
            yield Finding(os.fsdecode(path), "other words are in the full-text index than were read")


# The FAISS file.


def _vectors(store: Store) -> tuple[int, list[Finding]]:
    for _ in range(TRIES):
        with store.reading():
            seen = store.meta("generation")
            checked, findings = _vectors_now(store)
        # A process that writes commits its changes before it replaces the file: then the two were of different moments.
        if not any(finding.damage for finding in findings) or store.meta("generation") == seen:
            return checked, findings
    return 0, [Finding(VECTORS, "cannot be judged while another process writes", damage=False)]


def _vectors_now(store: Store) -> tuple[int, list[Finding]]:
    path = store.folder / VECTORS
    expected, of, now = store.meta("faiss_sha256") or "", store.meta("faiss_generation"), store.meta("generation")
    if (store.meta("vectors") or "auto") not in FAISS_FORMS:
        return _lance_now(store, current=of == now and bool(expected))
    if not path.exists():
        return 0, [Finding(VECTORS, "is not there yet; it is made with the next echoreel index", damage=False)]
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if of != now or not expected:
        return 0, [Finding(VECTORS, "is behind the database; searches make up for it, the next echoreel index writes it", damage=False)]
    if digest != expected:
        return 0, [Finding(VECTORS, "is not the file that was written; searches do without it, which takes longer")]
    held = FaissFile(path)
    index = held.read(mapped=True) if held.open(expected) else None
    if index is None:
        return 0, [Finding(VECTORS, "FAISS cannot read it")]
    findings = [] if index.ntotal == store.count() else [Finding(VECTORS, f"holds {index.ntotal} vectors, the database {store.count()}")]
    # Lists of codes cannot be compared number by number: they choose candidates, whose vectors come from the database.
    return index.ntotal, findings + (_compared(store, index) if held.note().get("form") == "exact" else [])


def _lance_now(store: Store, *, current: bool) -> tuple[int, list[Finding]]:
    """The rows of a LanceDB table against those of the database; it guards its files itself."""
    if not current:
        behind = "the LanceDB table is behind the database; searches make up for it, the next echoreel index writes it"
        return 0, [Finding("vectors", behind, damage=False)]
    table = open_vectors(store.vector_setting, store.folder, store.card.width, store.vectors_of)
    assert isinstance(table, LanceTable)
    held = table.held(store.meta("faiss_sha256") or "")
    known = np.array([row for (row,) in store.ask("SELECT row FROM windows ORDER BY row")], np.int64)
    missing, unknown = len(np.setdiff1d(known, held)), len(np.setdiff1d(held, known))
    counts = f"the LanceDB table holds {len(held)} vectors, the database {len(known)}"
    findings = [Finding("vectors", f"{counts}: {missing} are missing")] if missing else []
    if unknown:  # a search passes them over
        findings.append(Finding("vectors", f"{counts}: {unknown} are not in the database; echoreel index removes them", damage=False))
    return len(held), findings


def _compared(store: Store, index: Any) -> list[Finding]:
    """Every vector of an exact FAISS file against the database."""
    rows = held_rows(index)
    wrong = np.zeros(len(rows), bool)
    for first in range(0, len(rows), CHUNK):
        some = rows[first : first + CHUNK]
        held = index.index.reconstruct_n(first, len(some)).astype("<f2")
        known = {row: blob for row, blob in _blobs(store, some)}
        wrong[first : first + CHUNK] = [known.get(int(row)) != vector.tobytes() for row, vector in zip(some, held, strict=True)]
    return _told(Finding(f"row {row}", f"has another vector in {VECTORS} than in the database") for row in rows[wrong])


def _blobs(store: Store, rows: NDArray[np.int64]) -> list[tuple[Any, ...]]:
    # Rows are ascending in the file except after a rebuild, so a range serves most of them at once.
    query = "SELECT row, vector FROM windows WHERE row BETWEEN ? AND ?"
    return store.ask(query, (int(rows.min()), int(rows.max())))


# The videos.


def _files(store: Store, deep: bool, progress: Callable[[str], None]) -> tuple[int, list[Finding]]:
    rows = store.files()
    return len(rows), _told(finding for row in rows for finding in _file(row, deep, progress))


def _file(row: FileRow, deep: bool, progress: Callable[[str], None]) -> Iterator[Finding]:
    path = row.path
    try:
        status = os.stat(path)
        if FileStamp(status.st_size, status.st_mtime_ns) != row.stamp:
            yield Finding(path, "has changed since it was indexed", damage=False)
        elif deep:
            progress(path)
            with open(path, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != row.sha256:
                    hint = "echoreel library remove it, then index again"
                    yield Finding(path, f"holds other bytes than when it was indexed, with the same size and time: {hint}")
    except FileNotFoundError:
        yield Finding(path, "is not there; it is not found until it is back", damage=False)
    except OSError as error:
        yield Finding(path, f"cannot be read: {error.strerror}", damage=False)


def _told(findings: Iterator[Finding]) -> list[Finding]:
    """The first ones, and how many more there are."""
    told: list[Finding] = []
    more, damage = 0, False
    for finding in findings:
        if len(told) < MOST_FINDINGS:
            told.append(finding)
        else:
            more, damage = more + 1, damage or finding.damage
    return [*told, Finding("and more", f"{more} more of this kind", damage)] if more else told
