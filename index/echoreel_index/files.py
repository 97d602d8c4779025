"""Folders -> video files, who they are and what changed since last time.

A file is recognised first by size and modification time, then by the SHA-256 of its content, so that a touched or
moved file costs one read and no decoding. Paths stay as the user reaches them (symlinks are followed, not resolved).
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from echoreel_index.errors import UsageError, VideoError

VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .apng .asf .avi .divx .dv .f4v .flv .gif .m1v .m2ts .m2v .m4v .mjpeg .mkv .mov .mp4 .mpe .mpeg .mpg .mts .mxf"
    " .ogm .ogv .qt .rm .rmvb .ts .vob .webm .webp .wmv .y4m".split()
)
"""What a folder is searched for; a file that is named itself is taken whatever its suffix."""
NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""What the system says where there is nothing; anything else says that it could not look."""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What tells cheaply that a file is probably the same as before."""

    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A video file that a walk came upon."""

    path: str
    stamp: FileStamp


@dataclass(frozen=True, slots=True)
class Changes:
    """What a walk means against what was known; every list is in walking order."""

    new: tuple[FoundFile, ...]
    changed: tuple[FoundFile, ...]
    same: tuple[FoundFile, ...]
    known_bad: tuple[FoundFile, ...]
    gone: tuple[str, ...]
    unread: tuple[str, ...] = ()
    """Folders and files that could not be looked at; nothing within them is `gone`."""

    @property
    def to_read(self) -> tuple[FoundFile, ...]:
        """Files whose content must be looked at."""
        return self.new + self.changed


def absolute(path: Path) -> str:
    """The path from the root of the file system, `~` and `..` worked out, symlinks kept."""
    return os.path.abspath(os.path.expanduser(path))


def pattern(text: str) -> str:
    """A path or a glob pattern, made absolute; patterns that begin with `*` or `/` stay as they are."""
    path = os.path.expanduser(text)
    if os.path.exists(path) or not glob.has_magic(path):
        return os.path.abspath(path)
    return path if path.startswith(("*", os.sep)) else os.path.normpath(os.path.join(glob.escape(os.getcwd()), path))


class Places:
    """Folders and files, of which there may be many: a look-up takes as long for ten thousand as for one."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(path.rstrip(os.sep) or os.sep for path in paths)

    def over(self, path: str) -> str | None:
        """The one, the nearest if there are several, that is `path` or above it."""
        return next((one for one in _upwards(path) if one in self._paths), None) if self._paths else None

    def __contains__(self, path: str) -> bool:
        return self.over(path) is not None


def _upwards(path: str) -> Iterator[str]:
    """`path` and every folder above it, the nearest first."""
    yield path
    place = path.rfind(os.sep)
    while place > 0:
        yield path[:place]
        place = path.rfind(os.sep, 0, place)
    yield os.sep


def is_gone(path: str) -> bool:
    """Whether there surely is nothing at `path`; a disk that fails or a folder that is locked does not say so."""
    try:
        os.stat(path)
    except OSError as error:
        return error.errno in NOTHING
    except ValueError:  # no name at all: it has a null byte
        return True
    return False


def walk(paths: Sequence[Path], *, skip: Path | None = None, unread: list[str] | None = None) -> Iterator[FoundFile]:
    """Every video file under `paths`, each once however many ways lead to it; `skip` (the library itself) is left out.

    Hidden names are passed over, symlinks followed, loops cut. What is there and cannot be looked at is added to `unread`:
    nobody knows what it holds. Raises UsageError for a path that does not exist.
    """
    walk = _Walk(None if skip is None else os.path.realpath(skip), [] if unread is None else unread)
    for path in paths:
        root = absolute(path)
        if is_gone(root):
            raise UsageError(f"no such file or folder: {root}", hint="check the spelling; quote names that contain spaces")
        yield from walk.below(root)


class _Walk:
    """What was met so far, by device and inode, and what could not be looked at."""

    def __init__(self, skip: str | None, unread: list[str]) -> None:
        self._skip, self._unread = skip, unread
        self._seen: set[tuple[int, int]] = set()

    def below(self, root: str) -> Iterator[FoundFile]:
        """The files in the folder `root`, those of a folder before those of the folders in it; or the file `root`, whatever its suffix."""
        status = self._status(root)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            yield from self._file(root, status)
            return
        stack = [(root, status)] if status is not None else []
        while stack:
            folder, status = stack.pop()
            folders: list[tuple[str, os.stat_result]] = []
            for path in self._names(folder, status):
                status = self._status(path)
                if status is not None and stat.S_ISDIR(status.st_mode):
                    folders.append((path, status))
                elif status is not None and self._may_be_video(path):
                    yield from self._file(path, status)
            stack.extend(reversed(folders))

    def _status(self, path: str) -> os.stat_result | None:
        try:
            return os.stat(path)
        except OSError as error:
            self._failed(path, error)
            return None

    def _names(self, folder: str, status: os.stat_result) -> list[str]:
        """What is in a folder that was not met before, by name."""
        if (status.st_dev, status.st_ino) in self._seen or os.path.realpath(folder) == self._skip:
            return []
        try:
            names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
        except OSError as error:
            self._failed(folder, error)
            return []
        self._seen.add((status.st_dev, status.st_ino))
        return [os.path.join(folder, name) for name in names]

    def _file(self, path: str, status: os.stat_result) -> Iterator[FoundFile]:
        """The file at `path` if it is a regular file that was not met before."""
        key = (status.st_dev, status.st_ino)
        if key not in self._seen and stat.S_ISREG(status.st_mode):
            self._seen.add(key)
            yield FoundFile(path, FileStamp(status.st_size, status.st_mtime_ns))

    def _may_be_video(self, path: str) -> bool:
        """By its suffix; of WebP files, most of which are pictures, by the header's flag for animations."""
        suffix = os.path.splitext(path)[1].lower()
        if suffix != ".webp":
            return suffix in VIDEO_SUFFIXES
        try:
            with open(path, "rb") as file:
                head = file.read(21)
        except OSError as error:
            self._failed(path, error)
            return False
        return len(head) == 21 and head[12:16] == b"VP8X" and bool(head[20] & 2)

    def _failed(self, path: str, error: OSError) -> None:
        if error.errno not in NOTHING:
            self._unread.append(path)


def stamp(path: str) -> FileStamp:
    """Size and modification time now. Raises VideoError when the file cannot be looked at."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise VideoError(f"cannot be read: {error.strerror}") from error
    return FileStamp(status.st_size, status.st_mtime_ns)


def content_hash(path: str) -> str:
    """SHA-256 of the file's bytes, hexadecimal. Raises VideoError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise VideoError(f"cannot be read: {error.strerror}") from error


def within(path: str, roots: Iterable[str]) -> bool:
    """Whether `path` is one of `roots` or lies below one."""
    return any(path == root or path.startswith(root.rstrip(os.sep) + os.sep) for root in roots)


def merge_roots(known: Iterable[str], added: Iterable[str]) -> list[str]:
    """All roots, less those that lie below another."""
    every = {*known, *added}
    places = Places(every)
    return sorted(root for root in every if os.path.dirname(root) == root or os.path.dirname(root) not in places)


def compare(
    found: Sequence[FoundFile],
    *,
    roots: Sequence[str],
    good: Mapping[str, tuple[FileStamp, bool]],
    bad: Mapping[str, FileStamp],
    retry: bool = False,
    unread: Sequence[str] = (),
) -> Changes:
    """What must be done so that the library shows what lies under `roots`, except within what is `unread`.

    `good` maps path -> (stamp, whether it was cut with the settings of now), `bad` path -> stamp at the last failure.
    """
    new: list[FoundFile] = []
    changed: list[FoundFile] = []
    same: list[FoundFile] = []
    known_bad: list[FoundFile] = []
    for file in found:
        if (known := good.get(file.path)) is not None:
            (same if known == (file.stamp, True) else changed).append(file)
        elif file.path in bad and not retry:
            (known_bad if bad[file.path] == file.stamp else changed).append(file)
        else:
            new.append(file)
    here = {file.path for file in found}
    places, dark = Places(roots), Places(unread)
    gone = {path for path in (*good, *bad) if path not in here and path in places and path not in dark}
    return Changes(tuple(new), tuple(changed), tuple(same), tuple(known_bad), tuple(sorted(gone)), tuple(unread))
