"""A folder of links to videos, so that what is indexed cannot read the labels that it is measured by.

The labels stand in a file beside the videos, or are the names of their folders; an index takes both for words. So it is shown a
view: everything but the hidden files, or, without names, each video and its own sidecars under a name that tells nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from echoreel_index.errors import EchoreelError
from echoreel_index.files import VIDEO_SUFFIXES, absolute, within


@dataclass(frozen=True, slots=True)
class View:
    """A folder of links, made."""

    folder: Path
    real: Mapping[str, str]
    """Absolute path in the view -> absolute path of the video."""


def view_without(videos: Path, files: Iterable[str], folder: Path, hidden: Iterable[Path]) -> View:
    """`files` and what lies beside them or above them, under the names that they have, but for the `hidden` ones.

    Raises EchoreelError where no links can be made.
    """
    top, secret, wanted = absolute(videos), {os.path.realpath(path) for path in hidden}, set(files)
    folders = {os.path.dirname(file) for file in wanted} | {top}
    for inner in list(folders):
        while inner not in ("", "/", top):
            inner = os.path.dirname(inner)
            folders.add(inner)
    links: dict[str, str] = {}
    for parent in sorted(folder for folder in folders if within(folder, [top])):
        for name in sorted(os.listdir(parent)):
            path = os.path.join(parent, name)
            is_other_video = os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES and path not in wanted
            if os.path.isfile(path) and not is_other_video and os.path.realpath(path) not in secret:
                links[os.path.relpath(path, top)] = path
    return _linked(folder, links, wanted)


def view_without_names(videos: Path, files: Iterable[str], folder: Path) -> View:
    """Each of `files` and the sidecars of its own (`NAME.txt`, `NAME.info.json`), all in one folder, under numbers.

    Tables that are about many files are left out. The numbers depend only on the path below `videos`.
    """
    top = absolute(videos)
    beside: dict[str, list[str]] = {}
    links: dict[str, str] = {}
    for file in files:
        parent, name = os.path.split(file)
        stem, suffix = os.path.splitext(name)
        # Digits only: of letters an index might make words.
        plain = f"{int(hashlib.sha256(os.fsencode(os.path.relpath(file, top))).hexdigest(), 16) % 10**18:018d}"
        links[plain + suffix] = file
        if parent not in beside:
            beside[parent] = sorted(os.listdir(parent))
        for other in beside[parent]:
            if other.startswith(f"{stem}.") and os.path.splitext(other)[1].lower() not in VIDEO_SUFFIXES:
                links[plain + other[len(stem) :]] = os.path.join(parent, other)
    return _linked(folder, links, files)


def _linked(folder: Path, links: Mapping[str, str], files: Iterable[str]) -> View:
    """Make `folder` hold these links and no others; files that are no links are left alone."""
    top = absolute(folder)
    for parent, _, names in os.walk(top):
        for name in names:
            path = os.path.join(parent, name)
            if os.path.islink(path) and links.get(os.path.relpath(path, top)) != os.readlink(path):
                os.unlink(path)
    for name, target in links.items():
        path = os.path.join(top, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.lexists(path):
            try:
                os.symlink(target, path)
            except OSError as error:
                raise EchoreelError(f"a link cannot be made in {folder}: {error.strerror}", hint="--out names another place") from error
    wanted = set(files)
    return View(Path(top), {os.path.join(top, name): target for name, target in links.items() if target in wanted})
