"""Taking what other libraries know into this one, without reading a single video.

Contents are taken once, by the hash of their bytes. Where both libraries know a path, this one is believed. Each library is
taken whole, in one transaction, or not at all; it is only read, and a run that was killed is finished by running it again.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from echoreel_index import bans
from echoreel_index.database import DATABASE, FAILURES, FIRST_FORMAT, FORMAT, connect, migrate, readable, unusable
from echoreel_index.editing import editing, set_meta
from echoreel_index.errors import EncoderMismatch, LibraryError, UsageError
from echoreel_index.files import merge_roots, within
from echoreel_index.nouns import EncoderCard
from echoreel_index.store import Store

COPIES = "merging."
"""Folders in the library that hold a source of the first form while it is read begin so."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What was taken from one library, or would be."""

    folder: str
    files: int
    windows: int
    failures: int
    known: int
    """Files that this library knew already."""
    differing: int
    """Of these, how many hold another content here; this library's was kept."""
    left_out: int
    """Files that are banned here."""


@dataclass(frozen=True, slots=True)
class Source:
    """A library that something is taken from."""

    folder: Path
    card: EncoderCard
    form: str
    settings: str | None


def source(folder: Path) -> Source:
    """What the library in `folder` is. Raises LibraryError when there is none or it cannot be read."""
    if not (folder / DATABASE).is_file():
        raise LibraryError(f"there is no library in {folder}", hint="name the folder of a library, as echoreel library show prints it")
    try:
        with closing(sqlite3.connect(readable(folder / DATABASE), uri=True, timeout=30)) as db:
            meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        card = EncoderCard(**json.loads(meta["card"]))
    except FAILURES as error:
        raise unusable(folder, error) from error
    except (KeyError, TypeError, ValueError) as error:
        raise LibraryError(f"the library in {folder} is damaged: it does not say which encoder made it") from error
    if meta.get("format") not in (FORMAT, FIRST_FORMAT):
        message = f"the library in {folder} has the form {meta.get('format')!r}, not {FORMAT!r}"
        raise LibraryError(message, hint="use the version that made it")
    return Source(folder, card, meta["format"], meta.get("settings"))


def merge(store: Store, sources: Sequence[Source], *, dry_run: bool = False) -> list[Merged]:
    """Take everything that `sources` know; with `dry_run` only count it, for each by itself.

    All are checked before the first is taken. Raises EncoderMismatch and UsageError for libraries that do not fit, LibraryError for
    damaged ones: then nothing has changed. What fails later, a disk that is full or a library that breaks meanwhile, undoes only the
    library that is being taken; those before it stay.
    """
    with store.writing():
        for left in store.folder.glob(f"{COPIES}*"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        settings = store.meta("settings")
        for one in sources:
            settings = _fitting(store, one, settings)
        for one in sources:
            with _present_form(store, one) as place, editing(store.folder, dry_run=True, beside=place) as db:
                _check(db, one, store.card.width)
        taken: list[Merged] = []
        try:
            for one in sources:
                taken.append(_merge_one(store, one, settings, dry_run))
        finally:
            if taken and not dry_run:
                store.write_vectors()
    return taken


def _fitting(store: Store, one: Source, settings: str | None) -> str | None:
    """How the merged library is cut. Raises what `merge` raises."""
    if os.path.samefile(one.folder, store.folder):
        raise UsageError(f"{one.folder} is the library itself", hint="name other libraries")
    if one.card.fingerprint != store.card.fingerprint:
        weights = ", with other weights" if one.card.name == store.card.name else ""
        message = f"the library in {one.folder} was made by encoder {one.card.name}{weights}, this one by {store.card.name}"
        raise EncoderMismatch(message, hint="vectors of two encoders cannot be compared: index its videos here instead")
    if settings is not None and one.settings is not None and one.settings != settings:
        message = f"the library in {one.folder} was cut otherwise: {one.settings}, not {settings}"
        raise UsageError(message, hint="index one of the two again with the window settings of the other")
    return settings if settings is not None else one.settings


def _merge_one(store: Store, one: Source, settings: str | None, dry_run: bool) -> Merged:
    banned, roots = bans.banned(store), store.roots()
    with _present_form(store, one) as address, editing(store.folder, dry_run=dry_run, beside=address) as db:
        db.create_function("banned", 1, lambda path: within(os.fsdecode(path), banned), deterministic=True)
        _check(db, one, store.card.width)
        merged = _take(db, str(one.folder), settings)
        added = [os.fsdecode(row[0]) for row in db.execute("SELECT path FROM other.roots").fetchall()]
        every = merge_roots(roots, (root for root in added if not within(root, banned)))
        db.execute("DELETE FROM main.roots")
        db.executemany("INSERT INTO main.roots VALUES (?)", [(os.fsencode(root),) for root in every])
        if settings is not None:
            set_meta(db, "settings", settings)
    return merged


@contextmanager
def _present_form(store: Store, one: Source) -> Iterator[str]:
    """The address of the source; of a copy in the present form, if it is of the first."""
    if one.form == FORMAT:
        yield readable(one.folder / DATABASE)
        return
    with tempfile.TemporaryDirectory(dir=store.folder, prefix=COPIES) as folder:
        try:
            with (
                closing(sqlite3.connect(readable(one.folder / DATABASE), uri=True, timeout=30)) as old,
                closing(connect(Path(folder) / DATABASE)) as new,
            ):
                old.backup(new)
                migrate(new, Path(folder))
        except FAILURES as error:
            raise unusable(one.folder, error) from error
        yield readable(Path(folder) / DATABASE)


def _check(db: sqlite3.Connection, one: Source, width: int) -> None:
    """Raises LibraryError for a source whose vectors are damaged: they would be damaged here too."""
    db.create_function("crc", 1, zlib.crc32, deterministic=True)
    query = "SELECT COUNT(*) FROM other.windows WHERE typeof(vector) <> 'blob' OR LENGTH(vector) <> ? OR crc(vector) <> crc"
    (damaged,) = db.execute(query, (2 * width,)).fetchone()
    if damaged:
        hint = f"see: echoreel library rebuild --library {one.folder}"
        raise LibraryError(f"the library in {one.folder} is damaged: {damaged} of its windows", hint=hint)


def _take(db: sqlite3.Connection, folder: str, settings: str | None) -> Merged:
    def count(query: str) -> int:
        return int(db.execute(f"SELECT COUNT(*) FROM {query}").fetchone()[0])

    # A file that could not be read here comes if it is still the file that could not be read, and was read there.
    db.execute(
        "CREATE TEMP TABLE coming AS SELECT row, path, sha256 FROM other.files f WHERE NOT banned(path)"
        " AND path NOT IN (SELECT path FROM main.files) AND NOT EXISTS (SELECT 1 FROM main.failures x"
        " WHERE x.path = f.path AND (x.size, x.mtime_ns) <> (f.size, f.mtime_ns))"
    )
    known = "other.files f JOIN main.files m USING (path)"
    numbers = (count("coming"), count(known), count(f"{known} WHERE m.sha256 <> f.sha256"), count("other.files WHERE banned(path)"))
    windows = _take_contents(db, settings)
    _take_files(db)
    db.execute("INSERT OR IGNORE INTO main.caption_vectors SELECT * FROM other.caption_vectors")
    failures = db.execute(
        "INSERT OR IGNORE INTO main.failures SELECT * FROM other.failures WHERE path NOT IN (SELECT path FROM main.files)"
        " AND NOT banned(path)"
    ).rowcount
    return Merged(folder, numbers[0], windows, failures, numbers[1], numbers[2], numbers[3])


def _take_contents(db: sqlite3.Connection, settings: str | None) -> int:
    """Contents that are not here, or are cut as the library is there and not here; how many windows they have."""
    db.execute(
        "CREATE TEMP TABLE taken AS SELECT sha256 FROM other.contents o"
        " WHERE (sha256 IN (SELECT sha256 FROM coming) AND sha256 NOT IN (SELECT sha256 FROM main.contents))"
        " OR (settings = ?1 AND EXISTS (SELECT 1 FROM main.contents m WHERE m.sha256 = o.sha256 AND m.settings <> ?1))",
        (settings,),
    )
    some = "sha256 IN (SELECT sha256 FROM taken)"
    db.execute(f"DELETE FROM main.windows WHERE {some}")
    db.execute(f"DELETE FROM main.looks WHERE {some}")
    names = _columns(db, "contents")
    updates = ", ".join(f"{name} = excluded.{name}" for name in names if name != "sha256")
    listed = ", ".join(names)
    db.execute(
        f"INSERT INTO main.contents ({listed}) SELECT {listed} FROM other.contents WHERE {some}"
        f" ON CONFLICT (sha256) DO UPDATE SET {updates}"
    )
    looks = ", ".join(_columns(db, "looks"))
    db.execute(f"INSERT INTO main.looks ({looks}) SELECT {looks} FROM other.looks WHERE {some}")
    listed = ", ".join(name for name in _columns(db, "windows") if name != "row")
    windows = db.execute(f"INSERT INTO main.windows ({listed}) SELECT {listed} FROM other.windows WHERE {some} ORDER BY row").rowcount
    db.execute("DROP TABLE taken")
    return windows


def _take_files(db: sqlite3.Connection) -> None:
    """The files that come, with their words and subtitles."""
    listed = ", ".join(name for name in _columns(db, "files") if name != "row")
    db.execute(f"INSERT INTO main.files ({listed}) SELECT {listed} FROM other.files WHERE row IN (SELECT row FROM coming) ORDER BY path")
    db.execute("DELETE FROM main.failures WHERE path IN (SELECT path FROM coming)")
    db.execute(
        "INSERT INTO main.file_words (rowid, names, said) SELECT m.row, w.names, w.said FROM coming c JOIN main.files m USING (path)"
        " JOIN other.file_words w ON w.rowid = c.row"
    )
    (above,) = db.execute("SELECT COALESCE(MAX(row), 0) FROM main.cues").fetchone()
    db.execute(
        "INSERT INTO main.cues (row, file, start, end) SELECT ? + o.row, m.row, o.start, o.end FROM other.cues o"
        " JOIN coming c ON c.row = o.file JOIN main.files m USING (path)",
        (above,),
    )
    db.execute(
        "INSERT INTO main.cue_words (rowid, said) SELECT ? + w.rowid, w.said FROM other.cue_words w"
        " WHERE w.rowid IN (SELECT row FROM other.cues WHERE file IN (SELECT row FROM coming))",
        (above,),
    )
    db.execute("DROP TABLE coming")


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in db.execute(f"PRAGMA main.table_info({table})")]
