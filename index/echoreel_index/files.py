"""Folders -> video files, who they are and what changed since last time.

A file is recognised first by size and modification time, then by the SHA-256 of its content, so that a touched or
moved file costs one read and no decoding. Paths stay as the user reaches them (symlinks are followed, not resolved).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from echoreel_index.errors import UsageError, VideoError

VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .apng .asf .avi .divx .dv .f4v .flv .gif .m1v .m2ts .m2v .m4v .mjpeg .mkv .mov .mp4 .mpe .mpeg .mpg .mts .mxf"
    " .ogm .ogv .qt .rm .rmvb .ts .vob .webm .webp .wmv .y4m".split()
)
"""What a folder is searched for; a file that is named itself is taken whatever its suffix."""


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

    @property
    def to_read(self) -> tuple[FoundFile, ...]:
        """Files whose content must be looked at."""
        return self.new + self.changed


def absolute(path: Path) -> str:
    """The path from the root of the file system, `~` and `..` worked out, symlinks kept."""
    return os.path.abspath(os.path.expanduser(path))


def walk(paths: Sequence[Path], *, skip: Path | None = None) -> Iterator[FoundFile]:
    """Every video file under `paths`, each once however many ways lead to it; `skip` (the library itself) is left out.

    Hidden names are passed over, symlinks followed, loops cut. Raises UsageError for a path that does not exist.
    """
    seen: set[tuple[int, int]] = set()
    for path in paths:
        root = absolute(path)
        if os.path.isdir(root):
            yield from _walk_folder(root, seen, None if skip is None else os.path.realpath(skip))
        elif (found := _look(root, seen)) is not None:
            yield found
        elif not os.path.exists(root):
            raise UsageError(f"no such file or folder: {root}", hint="check the spelling; quote names that contain spaces")


def _walk_folder(root: str, seen: set[tuple[int, int]], skip: str | None) -> Iterator[FoundFile]:
    stack = [root]
    while stack:
        folder = stack.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen or os.path.realpath(folder) == skip:
                continue
            seen.add((status.st_dev, status.st_ino))
            names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
        except OSError:
            continue  # a folder that may not be read holds nothing that we could index
        below: list[str] = []
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isdir(path):
                below.append(path)
            elif _may_be_video(path) and (found := _look(path, seen)) is not None:
                yield found
        stack.extend(reversed(below))


def _may_be_video(path: str) -> bool:
    """By its suffix; of WebP files, most of which are pictures, by the header's flag for animations."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix != ".webp":
        return suffix in VIDEO_SUFFIXES
    try:
        with open(path, "rb") as file:
            head = file.read(21)
    except OSError:
        return False
    return len(head) == 21 and head[12:16] == b"VP8X" and bool(head[20] & 2)


def _look(path: str, seen: set[tuple[int, int]]) -> FoundFile | None:
    """The file at `path` if it is a regular file that was not met before."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    key = (status.st_dev, status.st_ino)
    if key in seen or not os.path.isfile(path):
        return None
    seen.add(key)
    return FoundFile(path, FileStamp(status.st_size, status.st_mtime_ns))


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
    every = sorted(set(known) | set(added))
    return [root for root in every if not within(root, (other for other in every if other != root))]


def compare(
    found: Sequence[FoundFile],
    *,
    roots: Sequence[str],
    good: Mapping[str, tuple[FileStamp, bool]],
    bad: Mapping[str, FileStamp],
    retry: bool = False,
) -> Changes:
    """What must be done so that the library shows what lies under `roots`.

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
    gone = [path for path in (*good, *bad) if path not in here and within(path, roots)]
    return Changes(tuple(new), tuple(changed), tuple(same), tuple(known_bad), tuple(sorted(set(gone))))
