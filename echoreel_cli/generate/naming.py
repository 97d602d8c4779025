"""Where outputs go, decided and checked before any work is done.

-o absent          <slug of the prompt>-<seed>.mp4 in the current folder
-o folder/         the same name, in that folder (a trailing slash or an existing folder)
-o file.mp4        that file; several videos get -0001, -0002, ... before the suffix
-o -               standard output, one video only
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from echoreel_index.errors import OutputExists, UsageError

STDOUT = "-"


@dataclass(frozen=True, slots=True)
class Output:
    """One video and the JSON beside it; `video` is None for standard output."""

    video: Path | None

    @property
    def record(self) -> Path | None:
        """The provenance file: same name, suffix `.json`."""
        return None if self.video is None else self.video.with_suffix(".json")

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that will be written."""
        return () if self.video is None else (self.video, self.video.with_suffix(".json"))


def slug(text: str, limit: int = 48) -> str:
    """A file name out of words: letters of any script and digits, joined by `-`, cut at a word."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).lower().replace("_", " "))
    name = ""
    for word in words:
        longer = f"{name}-{word}" if name else word[:limit]
        if len(longer) > limit:
            break
        name = longer
    return name or "video"


def name_outputs(wanted: str | None, jobs: Sequence[tuple[str, int, str | None]]) -> list[Output]:
    """One output a job; a job is (prompt, seed, its own output or None). `wanted` is what `-o` said.

    A job's own output is taken as written (a folder gets the default name). Two jobs never share a file.
    """
    shared = [number for number, (_, _, own) in enumerate(jobs) if own is None]
    if wanted == STDOUT and (len(jobs) != 1):
        raise UsageError(f"standard output takes one video, {len(jobs)} were asked for", hint="give -o a folder/")
    taken: set[Path] = set()
    outputs: list[Output] = []
    for number, (prompt, seed, own) in enumerate(jobs):
        target = own if own is not None else wanted
        if target == STDOUT:
            outputs.append(Output(None))
            continue
        path = _path(target, f"{slug(prompt)}-{seed}.mp4")
        if own is None and len(shared) > 1 and target is not None and not _is_folder(target):
            path = path.with_stem(f"{path.stem}-{shared.index(number) + 1:04d}")
        if path in taken and own is not None:
            raise UsageError(f"two videos would be written to {path}")
        outputs.append(Output(_free(path, taken)))
        taken.add(outputs[-1].files[0])
    return outputs


def _is_folder(target: str) -> bool:
    return target.endswith(("/", os.sep)) or Path(target).is_dir()


def _path(target: str | None, default: str) -> Path:
    if target is None:
        return Path(default)
    if _is_folder(target):
        return Path(target) / default
    path = Path(target)
    if path.suffix.lower() not in {".mp4", ".m4v"}:
        raise UsageError(f"{target!r} does not end in .mp4", hint="videos are written as MP4; a folder ends in /")
    return path


def _free(path: Path, taken: Iterable[Path]) -> Path:
    """The same prompt and seed twice in one batch: -0002 and so on."""
    candidate, number = path, 1
    while candidate in set(taken):
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number:04d}")
    return candidate


ANOTHER_NAME = "--force overwrites; -o writes elsewhere; --seed makes another"


def refuse_overwrite(files: Iterable[Path], *, force: bool, hint: str = ANOTHER_NAME) -> None:
    """OutputExists if anything is in the way; a folder in the way is refused even with `force`."""
    files = list(files)
    for file in files:
        if file.is_dir():
            raise UsageError(f"{file} is a folder", hint="end the name with / to write into it")
        for parent in file.parents:
            if parent.exists():
                if not parent.is_dir():
                    raise UsageError(f"{parent} is a file, so {file} cannot be written")
                if not os.access(parent, os.W_OK):
                    raise UsageError(f"folder {parent} cannot be written to")
                break
    there = [file for file in files if file.exists()]
    if there and not force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise OutputExists(f"{there[0]}{more} already exists", hint=hint)
