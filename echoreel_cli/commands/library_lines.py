"""A library as lines for a person and as objects for a program; what `echoreel library` prints."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from echoreel_cli.console import Console
from echoreel_index.errors import EchoreelError

if TYPE_CHECKING:
    from echoreel_index.listing import ListedFailure, ListedFile, ListedWindow, Summary
    from echoreel_index.merging import Merged
    from echoreel_index.upkeep import Rebuilding, Removal
    from echoreel_index.verification import Check

MOST_SHOWN = 10
"""Findings of a check that a person is shown; JSON has more."""
Json = dict[str, object]


def counted(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(count: int) -> str:
    """Bytes for a person."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def clock(seconds: float) -> str:
    """`0:07`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


# Files.


def file_object(file: ListedFile) -> Json:
    """`echoreel.library-file/1`."""
    words = file.words
    return {
        "schema": "echoreel.library-file/1",
        "path": file.path,
        "windows": file.windows,
        "duration": file.duration,
        "size": file.size,
        "modified": _moment(file.modified),
        "width": file.width,
        "height": file.height,
        "fps": file.fps,
        "codec": file.codec,
        "caption": words.caption,
        "title": words.title,
        "tags": list(words.tags),
        "uploader": words.uploader,
        "source": words.source,
        "licence": words.licence,
        "date": None if words.date is None else _moment(words.date),
        "cues": len(words.cues),
        "sha256": file.sha256,
        "present": file.present,
        "current": file.current,
    }


def say_files(console: Console, files: Sequence[ListedFile]) -> None:
    """A line a file."""
    if console.as_json:
        for file in files:
            console.json(file_object(file))
    elif console.quiet:
        for file in files:
            console.result(file.path)
    else:
        rows = [[str(f.windows), clock(f.duration), size(f.size), _mark(f) + f.path, _brief(f.words.caption)] for f in files]
        console.table(rows, header=["WINDOWS", "LENGTH", "SIZE", "PATH", "WORDS"])


def say_failures(console: Console, failures: Sequence[ListedFailure]) -> None:
    """A line a file that could not be read."""
    for one in failures:
        if console.as_json:
            about = {"path": one.path, "message": one.message, "size": one.size, "present": one.present}
            console.json({"schema": "echoreel.library-failure/1", **about})
        else:
            console.result(one.path if console.quiet else f"{one.path}: {one.message}")


def _mark(file: ListedFile) -> str:
    return "" if file.present and file.current else "(gone) " if not file.present else "(to be read again) "


def _brief(text: str | None, longest: int = 60) -> str:
    line = " ".join((text or "").split())
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def _moment(seconds: float) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None


# One library, one file, some windows.


def say_summary(console: Console, library: Summary) -> None:
    """The library as a whole."""
    if console.as_json:
        console.json(_summary_object(library))
        return
    for line in [library.folder] if console.quiet else _summary_lines(library):
        console.result(line)


def _summary_object(library: Summary) -> Json:
    return {
        "schema": "echoreel.library-show/1",
        "library": library.folder,
        "form": library.form,
        "encoder": {"name": library.card.name, "width": library.card.width, "fingerprint": library.card.fingerprint},
        "settings": library.settings,
        "roots": [{"path": root, "present": os.path.exists(root)} for root in library.roots],
        "banned": list(library.banned),
        "files": library.files,
        "contents": library.contents,
        "windows": library.windows,
        "failures": library.failures,
        "captions": library.captions,
        "cues": library.cues,
        "duration": library.duration,
        "bytes": {"videos": library.videos_size, "database": library.database_size, "vectors": library.vectors_size},
        "vectors": {
            "setting": library.vectors_setting,
            "form": library.vectors_form,
            "recall": library.recall,
            "current": library.vectors_current,
        },
    }


def _summary_lines(library: Summary) -> Iterator[str]:
    copies = "" if library.files == library.contents else f" ({counted(library.contents, 'different content')})"
    yield _line("library", library.folder)
    yield _line("form", library.form)
    yield _line("encoder", f"{library.card.name}, {library.card.width} numbers a vector, fingerprint {library.card.fingerprint[:16]}")
    yield _line("cut", library.settings or "nothing was indexed yet")
    yield _line("files", f"{library.files:,}{copies}, {clock(library.duration)} of video, {size(library.videos_size)}")
    yield _line("windows", f"{library.windows:,}")
    yield _line("words", f"{counted(library.captions, 'caption')}, {counted(library.cues, 'subtitle')}")
    if library.failures:
        yield _line("unreadable", f"{counted(library.failures, 'file')}: echoreel library list --failed")
    yield _line("database", size(library.database_size))
    recall = "" if library.recall is None else f", finds {library.recall:.3f} of the true ten nearest"
    behind = "" if library.vectors_current else ", behind the database (the next echoreel index writes it)"
    yield _line("vectors", f"{library.vectors_form or library.vectors_setting}, {size(library.vectors_size)}{recall}{behind}")
    for root in library.roots:
        yield _line("indexed", root if os.path.exists(root) else f"{root} (not there now)")
    for path in library.banned:
        yield _line("banned", path)


def say_file(console: Console, file: ListedFile, windows: Sequence[ListedWindow]) -> None:
    """A file and its windows."""
    if console.as_json:
        inner = [{key: value for key, value in window_object(one).items() if key in _OF_WINDOW} for one in windows]
        console.json({**file_object(file), "schema": "echoreel.library-file-show/1", "words": file.words.text, "inside": inner})
        return
    if console.quiet:
        for one in windows:
            console.result(one.clip.id)
        return
    seen = file.width is not None and file.fps is not None
    shape = f"{file.width} x {file.height}, {file.fps:g} frames a second, {file.codec}" if seen else None
    about = (
        ("file", _mark(file) + file.path), ("length", clock(file.duration)), ("size", size(file.size)), ("video", shape),
        ("sha256", file.sha256), ("caption", file.words.caption), ("title", file.words.title), ("tags", ", ".join(file.words.tags)),
        ("uploader", file.words.uploader), ("source", file.words.source), ("licence", file.words.licence),
    )  # fmt: skip
    for name, value in about:
        if value:
            console.result(_line(name, value))
    for one in windows:
        console.result(_window_line(one))


def say_windows(console: Console, windows: Sequence[ListedWindow]) -> None:
    """One window under each of its names."""
    for one in windows:
        if console.as_json:
            console.json(window_object(one))
        else:
            console.result(one.clip.id if console.quiet else f"{one.clip.path}\n{_window_line(one)}")


_OF_WINDOW = ("id", "start", "end", "said", "motion", "brightness", "one_shot")


def window_object(one: ListedWindow) -> Json:
    """`echoreel.library-window/1`."""
    clip = one.clip
    return {
        "schema": "echoreel.library-window/1",
        "id": clip.id,
        "path": clip.path,
        "start": clip.start,
        "end": clip.end,
        "caption": clip.caption,
        "said": one.said,
        "source": clip.source,
        "licence": clip.licence,
        "date": None if clip.date is None else _moment(clip.date),
        "motion": clip.motion,
        "brightness": clip.brightness,
        "one_shot": clip.one_shot,
        "duration": clip.duration,
        "width": clip.width,
        "height": clip.height,
        "sha256": clip.sha256,
    }


def _window_line(one: ListedWindow) -> str:
    clip = one.clip
    signals = (("motion", clip.motion), ("brightness", clip.brightness))
    said = "  ".join(f"{name} {value:.3f}" for name, value in signals if value is not None)
    return f"  {clip.id}  {clip.start:8.2f} - {clip.end:8.2f} s  {said}  {_brief(one.said)}".rstrip()


def _line(name: str, value: object) -> str:
    return f"{name:<12}{value}"


# What was done.


def say_removal(console: Console, removal: Removal, dry_run: bool) -> None:
    """What was forgotten."""
    if console.as_json:
        console.json(
            {
                "schema": "echoreel.library-remove/1",
                "dry_run": dry_run,
                "paths": list(removal.paths),
                "windows": removal.windows,
                "roots": list(removal.roots),
                "banned": list(removal.banned),
                "returning": list(removal.returning),
            }
        )
        return
    if console.quiet or dry_run:
        for path in removal.paths:
            console.result(path if console.quiet else f"forget  {path}")
    if not console.quiet:
        word = "would forget" if dry_run else "forgot"
        what = f"{word} {counted(len(removal.paths), 'file')} and {counted(removal.windows, 'window')}"
        console.note(what) if dry_run else console.result(what)
        for path in removal.banned:
            console.note(f"{'would ban' if dry_run else 'banned'} {path}")
        for root in removal.roots:
            console.note(f"{root} is not indexed any more" if not dry_run else f"{root} would not be indexed any more")


def say_unbanned(console: Console, paths: Sequence[str], dry_run: bool) -> None:
    """Which bans were lifted."""
    if console.as_json:
        console.json({"schema": "echoreel.library-unban/1", "dry_run": dry_run, "paths": list(paths)})
        return
    for path in paths:
        console.result(path if console.quiet else f"{'would let' if dry_run else 'let'} {path} in again; the next echoreel index takes it")


def say_check(console: Console, check: Check) -> None:
    """A line for a check, and one for each finding."""
    if console.quiet:
        for finding in check.findings:
            if finding.damage:
                console.result(f"{check.name}: {finding.subject}: {finding.message}")
        return
    state = "damaged" if check.damaged else "ok"
    console.result(f"{state:<8}{check.name:<10}{check.checked:>12,} checked")
    for finding in check.findings[:MOST_SHOWN]:
        console.result(f"        {finding.subject}: {finding.message}")
    if len(check.findings) > MOST_SHOWN:
        console.result(f"        and {len(check.findings) - MOST_SHOWN} more: see --json")
    if check.findings and check.mend and check.name == "files":
        console.note("        changed files are read, and missing ones forgotten, by: echoreel index FOLDER")


def say_checks(console: Console, folder: Path, checks: Sequence[Check]) -> None:
    """All checks as one object."""
    console.json(
        {
            "schema": "echoreel.library-verify/1",
            "library": str(folder.absolute()),
            "damaged": any(check.damaged for check in checks),
            "checks": [
                {
                    "check": check.name,
                    "checked": check.checked,
                    "damaged": check.damaged,
                    "mend": check.mend,
                    "findings": [{"subject": one.subject, "message": one.message, "damage": one.damage} for one in check.findings],
                }
                for check in checks
            ],
        }
    )


def say_rebuilding(console: Console, folder: Path, done: Rebuilding) -> None:
    """What was made again."""
    if console.as_json:
        console.json(
            {
                "schema": "echoreel.library-rebuild/1",
                "library": str(folder.absolute()),
                "windows": done.windows,
                "dropped": done.dropped,
                "again": list(done.again),
                "files": done.files,
            }
        )
    elif console.quiet:
        for path in done.again:
            console.result(path)
    else:
        kept = f"{counted(done.windows, 'window')} and the words of {counted(done.files, 'file')}"
        console.result(f"made again from the database: {kept}; {counted(done.dropped, 'damaged window')} dropped")


def say_merged(console: Console, folder: Path, taken: Sequence[Merged], dry_run: bool) -> None:
    """What came from each library."""
    for one in taken:
        if console.as_json:
            console.json(
                {
                    "schema": "echoreel.library-merge/1",
                    "dry_run": dry_run,
                    "library": str(folder.absolute()),
                    "other": one.folder,
                    "files": one.files,
                    "windows": one.windows,
                    "failures": one.failures,
                    "known": one.known,
                    "differing": one.differing,
                    "left_out": one.left_out,
                }
            )
        elif console.quiet:
            console.result(one.folder)
        else:
            told = ((one.known, "known here already"), (one.differing, "of them with another content"), (one.left_out, "banned here"))
            more = "".join(f", {number} {words}" for number, words in told if number)
            word = "would take" if dry_run else "took"
            console.result(f"{word} {counted(one.files, 'file')} and {counted(one.windows, 'window')} from {one.folder}{more}")


def write_windows(console: Console, windows: Iterable[ListedWindow], output: Path | None) -> int:
    """Lines of JSON to stdout or, in one step, to a file; how many."""
    from echoreel_index.exporting import replaced

    count = 0
    if output is None:
        for one in windows:
            console.json(window_object(one))
            count += 1
        return count
    try:
        with replaced(output) as part, part.open("w", encoding="utf-8", errors="backslashreplace") as file:
            for one in windows:
                file.write(json.dumps(window_object(one), ensure_ascii=False, allow_nan=False) + "\n")
                count += 1
    except OSError as error:
        raise EchoreelError(f"cannot write {output}: {error.strerror}", hint="choose another place, or make room") from error
    return count
