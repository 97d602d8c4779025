"""A folder of videos that can be searched in words: the one file that composes the others.

library = Library.create_or_open(folder, encoder)
report = library.update([Path("videos")], settings=WindowSettings(), progress=draw)
hits = library.search("a person doing a backflip", k=3, encoder=encoder)
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from echoreel_index import bans
from echoreel_index.background import SENTENCES
from echoreel_index.captions import Words, name_words, words
from echoreel_index.catalogue import Catalogue
from echoreel_index.clips import WindowSettings
from echoreel_index.decoder import Decoder
from echoreel_index.encode import Encoder
from echoreel_index.engine import Begun, Engine, Failed, LocalEngine, Taken
from echoreel_index.errors import EncoderMismatch, LibraryError, UsageError
from echoreel_index.files import Changes, FoundFile, Places, absolute, compare, is_gone, merge_roots, walk
from echoreel_index.filters import Filters
from echoreel_index.finder import Finder
from echoreel_index.nouns import EncoderCard, Hit
from echoreel_index.progress import BadFile, IndexEvent, IndexReport, Tally
from echoreel_index.query import Query, parse_query
from echoreel_index.search import Ranking
from echoreel_index.sidecars import Folders
from echoreel_index.store import FileRow, Store
from echoreel_index.vectors import VectorReport

__all__ = ["BadFile", "IndexEvent", "IndexReport", "Library"]

CUT_SHORT = "it breaks off before its announced end; what there is of it was taken"
CAPTIONS = 256
"""Captions embedded at once."""


class _Sidecars:
    """The words beside each file and in its name; every folder is read once."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots, self._folders = Places(roots), Folders()

    def of(self, path: str) -> tuple[Words, str]:
        """What is said about the file, and the words of its name and of its folders below what was indexed."""
        root = self._roots.over(path) or os.path.dirname(path)
        return words(path, root=root, folders=self._folders), name_words(path, root)


@dataclass(frozen=True, slots=True)
class _Scope:
    """What an update looks at: roots that were walked, and those that are not there now."""

    roots: list[str]
    missing: list[str]
    found: list[FoundFile]
    unread: list[str]


class Library:
    """A library folder, open. `encoder` is only needed to index; a search brings its own."""

    def __init__(self, store: Store, encoder: Encoder | None = None) -> None:
        self._store, self._encoder, self._catalogue = store, encoder, Catalogue(store)

    @classmethod
    def create_or_open(cls, folder: Path, encoder: Encoder | None) -> Library:
        """The library in `folder`, made for `encoder` if there is none.

        Raises EncoderMismatch when the library was made by another encoder, LibraryError when it cannot be made or read.
        """
        if encoder is None:
            return cls.open(folder)
        # Made or found: another process may be making one at this moment, for another encoder.
        library = cls(Store.open(folder) if Store.exists(folder) else Store.create(folder, encoder.card), encoder)
        try:
            library.check(encoder)
        except EncoderMismatch:
            library.close()
            raise
        return library

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

    def vectors(self) -> VectorReport:
        """How the vectors are held."""
        return self._store.vector_report()

    def use_vectors(self, setting: str | None, budget: int | None = None) -> None:
        """Hold them in another form from the next update on: `auto`, `exact`, `ivf`, `lance` or an address (see `vector_forms`).

        None leaves the form, or the `budget` in bytes that lists may take in memory, as it is.

        Raises UsageError for a form that nobody knows, LibraryError when another process writes.
        """
        with self._store.writing():
            self._store.use_vectors(setting or self._store.vector_setting, budget or self._store.vector_budget)

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
        workers: int | None = None,
        engine: Engine | None = None,
    ) -> IndexReport:
        """Make the library show what lies under `paths`, or under everything indexed before when there are none.

        Each file is one transaction. Files that cannot be read are reported, remembered and not tried again until they
        change or `retry` is given. `workers` decode at once, or `decoder` alone, or `engine` does the whole reading.
        Raises LibraryError when another process writes or the disk is full, UsageError for a path that is not there.
        """
        with self._store.writing():
            scope = self._scope(paths)
            changes = self._compare(scope, settings, retry)
            tally = Tally(changes, progress, scope.missing)
            roots = merge_roots(self._store.roots(), scope.roots)
            self._store.set_roots(roots, settings.key)
            sidecars = _Sidecars(roots)
            self._refresh_words(changes.same, sidecars)
            if changes.to_read:
                reading = engine or self._local_engine(settings, decoder, workers)
                self._read(changes, settings, reading, tally, sidecars)
            if changes.gone:
                self._store.remove_files(changes.gone)
            self._store.sweep()
            self._embed_captions()
            self._store.write_vectors()
            return tally.report(self._store.count())

    def search(
        self,
        query: str | Query,
        *,
        k: int,
        encoder: Encoder,
        min_score: float | None = None,
        filters: Filters = Filters(),
        ranking: Ranking = Ranking(),
    ) -> list[Hit]:
        """The k windows that show best what is asked for and differ, best first; [] says that nothing fits.

        Files that are not there any more are left out. Raises EncoderMismatch, UsageError for an empty query or k < 1,
        VideoError when a clip that is searched for cannot be read.
        """
        if k < 1:
            raise UsageError(f"k must be at least 1, got {k}")
        with self._store.reading():
            return self._finder(encoder).search(_parsed(query), k=k, filters=filters, ranking=ranking, min_score=min_score)

    def ranked(
        self, query: str | Query, *, encoder: Encoder, filters: Filters = Filters(), ranking: Ranking = Ranking()
    ) -> list[Hit]:
        """Every window in the ranking's order, also those that overlap, repeat or do not fit. Raises as `search`."""
        with self._store.reading():
            return self._finder(encoder).ranked(_parsed(query), filters=filters, ranking=ranking)

    def _finder(self, encoder: Encoder) -> Finder:
        self.check(encoder)
        return Finder(self._store, self._catalogue, encoder)

    def _scope(self, paths: Sequence[Path]) -> _Scope:
        known = self._store.roots()
        if not paths and not known:
            raise UsageError("nothing was indexed in this library yet", hint="say which folder: echoreel index FOLDER")
        asked = [absolute(path) for path in paths] or known
        missing = {root: None for root in asked if is_gone(root)}
        places, unread = Places(known), list[str]()
        strange = [root for root in missing if root not in places]
        if strange:
            raise UsageError(f"no such file or folder: {strange[0]}", hint="check the spelling; quote names that contain spaces")
        walked = walk([Path(root) for root in asked if root not in missing], skip=self.folder, unread=unread)
        found = bans.admitted(walked, asked if paths else (), bans.banned(self._store))
        # A folder that was named and is gone takes its files with it; one that was only remembered may be an unplugged disk.
        scope = asked if paths else [root for root in asked if root not in missing]
        return _Scope(scope, [] if paths else list(missing), found, unread)

    def _compare(self, scope: _Scope, settings: WindowSettings, retry: bool) -> Changes:
        good = {path: (seen, cut == settings.key) for path, (seen, _, cut) in self._store.contents_of_files().items()}
        bad = {path: seen for path, (seen, _) in self._store.failures().items()}
        return compare(scope.found, roots=scope.roots, good=good, bad=bad, retry=retry, unread=scope.unread)

    def _local_engine(self, settings: WindowSettings, decoder: Decoder | None, workers: int | None) -> Engine:
        if self._encoder is None:
            message = "this library was opened without an encoder, so nothing can be added to it"
            raise LibraryError(message, hint="if a file has appeared just now: run it again")
        return LocalEngine(self._encoder, settings, workers=workers, decoders=None if decoder is None else [decoder])

    def _read(self, changes: Changes, settings: WindowSettings, engine: Engine, tally: Tally, sidecars: _Sidecars) -> None:
        """Bring the new and changed files in, each as soon as it has been seen whole."""
        known = {path: sha256 for path, (_, sha256, _) in self._store.contents_of_files().items()}
        left = Counter(known[path] for path in changes.gone if path in known)

        def has(sha256: str) -> bool:
            return self._store.has_content(sha256, settings.key)

        for outcome in engine.read(changes.to_read, has):
            file = outcome.file
            if isinstance(outcome, Begun):
                tally.start(file)
            elif isinstance(outcome, Failed):
                self._store.put_failure(file.path, file.stamp, outcome.message)
                tally.bad(file, outcome.message)
            else:
                how = self._how(outcome, known, left)
                if outcome.content is not None:
                    self._store.put_content(outcome.sha256, settings.key, outcome.content)
                self._store.put_file(file.path, file.stamp, outcome.sha256, *sidecars.of(file.path))
                known[file.path] = outcome.sha256
                seen = outcome.content
                tally.done(file, how, len(seen.looks) if seen else 0, CUT_SHORT if seen and seen.cut_short else None)

    @staticmethod
    def _how(taken: Taken, known: dict[str, str], left: Counter[str]) -> str:
        """How a file came: `new`, `changed`, `moved`, `same` or `copy`; `left` counts the contents of files that are gone."""
        path = taken.file.path
        if taken.content is not None:
            return "changed" if path in known else "new"
        if known.get(path) == taken.sha256:
            return "same"
        if left[taken.sha256] == 0:
            return "copy"
        left[taken.sha256] -= 1
        return "moved"

    def _refresh_words(self, same: Sequence[FoundFile], sidecars: _Sidecars) -> None:
        """A sidecar may change while its video does not."""
        known = self._store.contents_of_files() if same else {}
        for file in same:
            said, names = sidecars.of(file.path)
            if said != self._store.words_of_file(file.path):
                seen, sha256, _ = known[file.path]
                self._store.put_file(file.path, seen, sha256, said, names)

    def _embed_captions(self) -> None:
        """Captions, and the sentences that every query competes with; without an encoder at hand the search does it itself."""
        if self._encoder is None:
            return
        known = self._catalogue.caption_vectors(SENTENCES)
        missing = [*self._catalogue.captions_without_vectors(), *(text for text in SENTENCES if text not in known)]
        for first in range(0, len(missing), CAPTIONS):
            some = missing[first : first + CAPTIONS]
            self._store.put_caption_vectors(some, self._encoder.embed_texts(some))


def _parsed(query: str | Query) -> Query:
    return parse_query(query) if isinstance(query, str) else query
