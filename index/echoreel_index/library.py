"""A folder of videos that can be searched in words: the one file that composes the others.

library = Library.create_or_open(folder, encoder)
report = library.update([Path("videos")], settings=WindowSettings(), progress=draw)
hits = library.search("a person doing a backflip", k=3, encoder=encoder)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from echoreel_index.captions import words
from echoreel_index.clips import WindowSettings
from echoreel_index.decoder import Decoder
from echoreel_index.embed import embed_file
from echoreel_index.encode import Encoder
from echoreel_index.errors import EncoderMismatch, LibraryError, UsageError, VideoError
from echoreel_index.files import Changes, FileStamp, FoundFile, absolute, compare, content_hash, merge_roots, stamp, walk, within
from echoreel_index.nouns import Clip, EncoderCard, Hit
from echoreel_index.progress import BadFile, IndexEvent, IndexReport, Tally
from echoreel_index.search import rank
from echoreel_index.store import FileRow, Store

__all__ = ["BadFile", "IndexEvent", "IndexReport", "Library"]

FIRST_CANDIDATES = 64
"""Windows that a search looks at first; four times as many each time that overlap leaves too few."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """What an update looks at: roots that were walked, and those that are not there now."""

    roots: list[str]
    missing: list[str]
    found: list[FoundFile]


class Library:
    """A library folder, open. `encoder` is only needed to index; a search brings its own."""

    def __init__(self, store: Store, encoder: Encoder | None = None) -> None:
        self._store, self._encoder = store, encoder

    @classmethod
    def create_or_open(cls, folder: Path, encoder: Encoder | None) -> Library:
        """The library in `folder`, made for `encoder` if there is none.

        Raises EncoderMismatch when the library was made by another encoder, LibraryError when it cannot be made or read.
        """
        if Store.exists(folder):
            library = cls(Store.open(folder), encoder)
            if encoder is not None:
                try:
                    library.check(encoder)
                except EncoderMismatch:
                    library.close()
                    raise
            return library
        if encoder is None:
            return cls.open(folder)
        return cls(Store.create(folder, encoder.card), encoder)

    @classmethod
    def open(cls, folder: Path) -> Library:
        """The library in `folder`. Raises LibraryError if there is none."""
        return cls(Store.open(folder))

    def close(self) -> None:
        """Let go of the folder."""
        self._store.close()

    @property
    def folder(self) -> Path:
        """Where the library is."""
        return self._store.folder

    @property
    def card(self) -> EncoderCard:
        """The encoder that made the vectors."""
        return self._store.card

    @property
    def settings(self) -> WindowSettings | None:
        """How the videos were cut the last time; None before the first time."""
        key = self._store.meta("settings")
        return WindowSettings.from_key(key) if key else None

    def roots(self) -> list[str]:
        """The folders and files that were indexed."""
        return self._store.roots()

    def files(self) -> list[FileRow]:
        """Every file that can be found, ordered by path."""
        return self._store.files()

    def failures(self) -> list[BadFile]:
        """Files that could not be read the last time."""
        return [BadFile(path, message) for path, (_, message) in self._store.failures().items()]

    def count(self) -> int:
        """Number of windows."""
        return self._store.count()

    def check(self, encoder: Encoder) -> None:
        """Raises EncoderMismatch unless `encoder` is the one that made this library."""
        mine, other = self.card, encoder.card
        if mine.fingerprint == other.fingerprint:
            return
        same_name = mine.name == other.name
        raise EncoderMismatch(
            f"the library in {self.folder} was made by encoder {mine.name}"
            + (", but with other weights than the ones here now" if same_name else f", not by {other.name}"),
            hint=f"leave --encoder out or say --encoder {mine.name}; for another encoder make another library with --library",
        )

    def plan(self, paths: Sequence[Path], *, settings: WindowSettings, retry: bool = False) -> Changes:
        """What `update` would have to look at, without looking into any file."""
        return self._compare(self._scope(paths), settings, retry)

    def update(
        self,
        paths: Sequence[Path],
        *,
        settings: WindowSettings,
        progress: Callable[[IndexEvent], None] = lambda event: None,
        retry: bool = False,
        decoder: Decoder | None = None,
    ) -> IndexReport:
        """Make the library show what lies under `paths`, or under everything indexed before when there are none.

        Each file is one transaction. Files that cannot be read are reported, remembered and not tried again until they
        change or `retry` is given. Raises LibraryError when another process writes, UsageError for a path that is not there.
        """
        with self._store.writing():
            scope = self._scope(paths)
            changes = self._compare(scope, settings, retry)
            tally = Tally(changes, progress, scope.missing)
            self._store.set_roots(merge_roots(self._store.roots(), scope.roots), settings.key)
            self._refresh_words(changes.same)
            known = {row.path: row.sha256 for row in self._store.files()}
            with nullcontext(decoder) if decoder is not None else Decoder() as worker:
                for file in changes.to_read:
                    tally.start(file)
                    try:
                        tally.done(file, *self._take(file, settings, worker, known, changes.gone))
                    except VideoError as error:
                        self._store.put_failure(file.path, file.stamp, error.message)
                        tally.bad(file, error.message)
            if changes.gone:
                self._store.remove_files(changes.gone)
            self._store.sweep()
            self._store.write_vectors()
            return tally.report(self._store.count())

    def search(self, text: str, *, k: int, encoder: Encoder, min_score: float | None = None) -> list[Hit]:
        """The k windows that show best what `text` says, best first, no two overlapping ones of one file.

        Files that are not there any more are left out. Raises EncoderMismatch, UsageError for an empty text or k < 1.
        """
        if not text.strip():
            raise UsageError("there is nothing to search for: the text is empty")
        if k < 1:
            raise UsageError(f"k must be at least 1, got {k}")
        self.check(encoder)
        vector = encoder.embed_texts([text])[0]
        total, wanted = self._store.count(), max(FIRST_CANDIDATES, 8 * k)
        while True:
            near = self._store.nearest(vector, wanted)
            hits = rank(self._present(near), k=k, min_score=min_score)
            below_floor = min_score is not None and near and near[-1][1] < min_score
            if len(hits) == k or wanted >= total or below_floor:
                return hits
            wanted *= 4

    def _present(self, near: Sequence[tuple[int, float]]) -> list[tuple[Clip, float]]:
        """Candidates with the first of their files that exists; a content that lies nowhere any more is left out."""
        clips = self._store.clips([row for row, _ in near])
        there = {path: os.path.exists(path) for found in clips.values() for path in {clip.path for clip in found}}
        found: list[tuple[Clip, float]] = []
        for row, score in near:
            clip = next((clip for clip in clips.get(row, []) if there[clip.path]), None)
            if clip is not None:
                found.append((clip, score))
        return found

    def _scope(self, paths: Sequence[Path]) -> _Scope:
        known = self._store.roots()
        if not paths and not known:
            raise UsageError("nothing was indexed in this library yet", hint="say which folder: echoreel index FOLDER")
        asked = [absolute(path) for path in paths] or known
        missing = [root for root in asked if not os.path.exists(root)]
        strange = [root for root in missing if not within(root, known)]
        if strange:
            raise UsageError(f"no such file or folder: {strange[0]}", hint="check the spelling; quote names that contain spaces")
        found = list(walk([Path(root) for root in asked if root not in missing], skip=self.folder))
        # A folder that was named and is gone takes its files with it; one that was only remembered may be an unplugged disk.
        return _Scope(asked if paths else [root for root in asked if root not in missing], [] if paths else missing, found)

    def _compare(self, scope: _Scope, settings: WindowSettings, retry: bool) -> Changes:
        good = {row.path: (row.stamp, row.settings == settings.key) for row in self._store.files()}
        bad = {path: seen for path, (seen, _) in self._store.failures().items()}
        return compare(scope.found, roots=scope.roots, good=good, bad=bad, retry=retry)

    def _refresh_words(self, same: Sequence[FoundFile]) -> None:
        """A sidecar may change while its video does not."""
        known = {row.path: row for row in self._store.files()}
        for file in same:
            row = known[file.path]
            if (said := words(file.path)) != row.words:
                self._store.put_file(row.path, row.stamp, row.sha256, said)

    def _take(
        self, file: FoundFile, settings: WindowSettings, decoder: Decoder, known: dict[str, str], gone: Sequence[str]
    ) -> tuple[str, int]:
        """Bring one file in; how it came (`new`, `changed`, `moved`, `same`, `copy`) and how many frames were looked at."""
        sha256 = content_hash(file.path)
        frames = 0
        if self._store.has_content(sha256, settings.key):
            moved = any(known.get(path) == sha256 for path in gone)
            how = "same" if known.get(file.path) == sha256 else "moved" if moved else "copy"
        else:
            how = "changed" if file.path in known else "new"
            if self._encoder is None:
                raise LibraryError("this library was opened without an encoder, so nothing can be added to it")
            duration, frames, rows = embed_file(file.path, sha256, settings, self._encoder, decoder)
            self._unmoved(file)
            self._store.put_content(sha256, settings.key, duration, frames, rows)
        self._store.put_file(file.path, file.stamp, sha256, words(file.path))
        known[file.path] = sha256
        return how, frames

    @staticmethod
    def _unmoved(file: FoundFile) -> None:
        seen: FileStamp = stamp(file.path)
        if seen != file.stamp:
            raise VideoError("it changed while it was being read; the next run takes it")
