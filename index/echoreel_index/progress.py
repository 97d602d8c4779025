"""What an update tells while it runs, and what it says in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from echoreel_index.files import Changes, FoundFile


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that cannot be read, and why."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class IndexEvent:
    """One step of an update."""

    kind: Literal["start", "file", "bad"]
    """A file is being read; it is in the library; it cannot be read."""
    path: str
    files_done: int
    files_total: int
    frames: int
    """Looked at so far."""
    rate: float
    """Files a second so far."""
    seconds_left: float | None
    """By the bytes that are still to be read; None before the first file is done."""
    message: str | None = None
    """Why the file is bad, or what is wrong with it though it was taken."""


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an update did."""

    new: int
    changed: int
    moved: int
    """Files whose content was known under another path that is gone now."""
    copies: int
    """Files whose content was known under another path that is still there."""
    unchanged: int
    removed: int
    bad: tuple[BadFile, ...]
    """Failed this time."""
    known_bad: int
    """Failed before, have not changed since and were not tried again."""
    missing_roots: tuple[str, ...]
    """Indexed before and not there now; their files are kept but not found."""
    frames: int
    """Embedded this time."""
    windows: int
    """In the whole library now."""
    seconds: float
    unread: tuple[str, ...] = ()
    """Folders and files that could not be looked at; what was known of them is kept."""

    @property
    def taken(self) -> int:
        """Files that were read and are in the library."""
        return self.new + self.changed + self.moved + self.copies


class Tally:
    """Counts while an update runs."""

    def __init__(self, changes: Changes, progress: Callable[[IndexEvent], None], missing: Sequence[str]) -> None:
        self._changes, self._progress, self._missing = changes, progress, tuple(missing)
        self._counts = dict.fromkeys(("new", "changed", "moved", "copy", "same"), 0)
        self._bad: list[BadFile] = []
        self._frames = self._done = self._bytes = 0
        self._total = len(changes.to_read)
        self._all_bytes = sum(file.stamp.size for file in changes.to_read)
        self._began = time.monotonic()

    def start(self, file: FoundFile) -> None:
        """`file` is looked at now."""
        self._tell("start", file, None)

    def done(self, file: FoundFile, how: str, frames: int, message: str | None = None) -> None:
        """`file` came in as new, changed, moved, copy or same; `message`: what is wrong with it all the same."""
        self._counts[how] += 1
        self._frames += frames
        self._finish("file", file, message)

    def bad(self, file: FoundFile, message: str) -> None:
        """`file` cannot be read."""
        self._bad.append(BadFile(file.path, message))
        self._finish("bad", file, message)

    def report(self, windows: int) -> IndexReport:
        """The end."""
        changes, counts = self._changes, self._counts
        return IndexReport(
            new=counts["new"],
            changed=counts["changed"],
            moved=counts["moved"],
            copies=counts["copy"],
            unchanged=len(changes.same) + counts["same"],
            removed=max(0, len(changes.gone) - counts["moved"]),  # one that is gone may be back under two names
            bad=tuple(self._bad),
            known_bad=len(changes.known_bad),
            missing_roots=self._missing,
            frames=self._frames,
            windows=windows,
            seconds=time.monotonic() - self._began,
            unread=changes.unread,
        )

    def _finish(self, kind: Literal["file", "bad"], file: FoundFile, message: str | None) -> None:
        self._done += 1
        self._bytes += file.stamp.size
        self._tell(kind, file, message)

    def _tell(self, kind: Literal["start", "file", "bad"], file: FoundFile, message: str | None) -> None:
        spent = time.monotonic() - self._began
        left = spent * (self._all_bytes - self._bytes) / self._bytes if self._bytes else None
        rate = self._done / spent if spent > 0 else 0.0
        self._progress(IndexEvent(kind, file.path, self._done, self._total, self._frames, rate, left, message))
