"""What a library holds, for a person or a program: as a whole, file by file, window by window."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echoreel_index import bans
from echoreel_index.captions import Words
from echoreel_index.catalogue import CLIP, CLIPS, clip_of
from echoreel_index.database import DATABASE
from echoreel_index.faiss_file import FaissFile
from echoreel_index.files import absolute, pattern, within
from echoreel_index.nouns import Clip, EncoderCard
from echoreel_index.store import VECTORS, Store


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of the library; what nobody knows is None."""

    path: str
    size: int
    """Bytes."""
    modified: float
    """Seconds since 1970, when it was indexed."""
    sha256: str
    windows: int
    duration: float
    """Seconds."""
    width: int | None
    height: int | None
    fps: float | None
    codec: str | None
    words: Words
    present: bool
    """Whether there is a file of this name now."""
    current: bool
    """Whether it was cut as the library is cut now; if not, the next `echoreel index` reads it again."""


@dataclass(frozen=True, slots=True)
class ListedFailure:
    """A file that could not be read."""

    path: str
    size: int
    message: str
    present: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """A library as a whole; sizes in bytes, times in seconds."""

    folder: str
    form: str
    card: EncoderCard
    settings: str | None
    roots: tuple[str, ...]
    banned: tuple[str, ...]
    files: int
    contents: int
    """Files with the same bytes count once."""
    windows: int
    failures: int
    captions: int
    cues: int
    duration: float
    videos_size: int
    database_size: int
    vectors_size: int
    vectors_setting: str
    """How the vectors are to be held."""
    vectors_form: str | None
    """How they are held; None where no file says so."""
    recall: float | None
    """Share of the true ten nearest that a search finds; None where it was not measured."""
    vectors_current: bool
    """Whether the file of vectors shows everything; if not, searches make up for it."""


@dataclass(frozen=True, slots=True)
class ListedWindow:
    """A window under one of its names, and what is said while it is shown."""

    row: int
    """The number under which the database holds it."""
    clip: Clip
    said: str


def files(store: Store, under: Sequence[str] = ()) -> list[ListedFile]:
    """Every file, or those below one of `under` (paths or glob patterns), ordered by path."""
    key = store.meta("settings")
    rows = store.ask(
        "SELECT path, size, mtime_ns, f.sha256, (SELECT COUNT(*) FROM windows w WHERE w.sha256 = f.sha256), duration, width, height,"
        " fps, codec, words, caption, source, licence, settings FROM files f JOIN contents USING (sha256) ORDER BY path"
    )
    chosen = [pattern(one) for one in under]
    return [_file(r, key) for r in rows if is_under(os.fsdecode(r[0]), chosen)]


def _file(r: Sequence[Any], key: str | None) -> ListedFile:
    path = os.fsdecode(r[0])
    return ListedFile(
        path=path, size=r[1], modified=r[2] / 1e9, sha256=r[3], windows=r[4], duration=r[5], width=r[6], height=r[7], fps=r[8],
        codec=r[9], words=Words.from_json(r[10]) if r[10] else Words(r[11], r[12], r[13]), present=os.path.exists(path),
        current=r[14] == key,
    )  # fmt: skip


def failures(store: Store, under: Sequence[str] = ()) -> list[ListedFailure]:
    """Every file that could not be read, or those below one of `under`."""
    chosen = [pattern(one) for one in under]
    return [
        ListedFailure(path, stamp.size, message, os.path.exists(path))
        for path, (stamp, message) in store.failures().items()
        if is_under(path, chosen)
    ]


def windows(store: Store, *, path: str | None = None, name: str | None = None, sha256: str | None = None) -> list[ListedWindow]:
    """The windows of the file `path`, those called `name`, or those of a content; one entry for each name of the file."""
    conditions, values = [], []
    for column, value in (("path", None if path is None else os.fsencode(path)), ("w.id", name), ("w.sha256", sha256)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    rows = store.ask(
        f"SELECT {CLIP}, words {CLIPS}"
        f" WHERE {' AND '.join(conditions) or '1'} ORDER BY path, w.start, w.row",
        values,
    )
    said: dict[str | None, Words] = {None: Words()}  # all windows of a file share its words
    for r in rows:
        if r[16] not in said:
            said[r[16]] = Words.from_json(r[16])
    return [ListedWindow(r[0], clip_of(store, r), said[r[16]].during(r[3], r[4])) for r in rows]


def summary(store: Store) -> Summary:
    """The library as a whole."""
    note = FaissFile(store.folder / VECTORS).note()
    form = note.get("form")
    recall = 1.0 if form == "exact" else note.get("recall")
    return Summary(
        folder=absolute(store.folder),
        form=store.meta("format") or "",
        card=store.card,
        settings=store.meta("settings"),
        roots=tuple(store.roots()),
        banned=tuple(bans.banned(store)),
        files=_count(store, "files"),
        contents=_count(store, "contents"),
        windows=_count(store, "windows"),
        failures=_count(store, "failures"),
        captions=_count(store, "files WHERE caption NOT NULL"),
        cues=_count(store, "cues"),
        duration=store.ask("SELECT COALESCE(SUM(duration), 0.0) FROM files JOIN contents USING (sha256)")[0][0],
        videos_size=store.ask("SELECT COALESCE(SUM(size), 0) FROM files")[0][0],
        database_size=_size(store.folder, DATABASE),
        vectors_size=_size(store.folder, "vectors."),
        vectors_setting=store.meta("vectors") or "auto",
        vectors_form=str(form) if form is not None else None,
        recall=float(recall) if isinstance(recall, (int, float)) else None,
        vectors_current=bool(store.meta("faiss_sha256")) and store.meta("faiss_generation") == store.meta("generation"),
    )


def _count(store: Store, what: str) -> int:
    return int(store.ask(f"SELECT COUNT(*) FROM {what}")[0][0])


def _size(folder: Path, prefix: str) -> int:
    """Bytes of everything in the library whose name begins so, folders and SQLite's side files included."""
    total = 0
    for above, _, names in os.walk(folder):
        if Path(above) == folder or os.path.relpath(above, folder).startswith(prefix):
            chosen = [name for name in names if name.startswith(prefix)] if Path(above) == folder else names
            total += sum(os.stat(os.path.join(above, name)).st_size for name in chosen)
    return total


def is_under(path: str, under: Sequence[str]) -> bool:
    """Whether one of `under`, absolute paths or patterns as `files.pattern` makes them, fits; always when there are none."""
    return not under or any(within(path, (one,)) or fnmatch.fnmatch(path, one) for one in under)
