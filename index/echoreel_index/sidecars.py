"""Reading what lies beside videos: text and JSON of any quality, and tables with a row for each video of a folder.

Nothing here raises for a bad file: a sidecar that is unreadable, too large or of another shape says nothing.

A table is `captions`, `metadata`, `manifest`, `annotations`, `dataset`, `labels`, `train`, `val` or `test` with the
suffix `.jsonl`, `.json`, `.csv` or `.tsv`. It names the video in a column such as `file_name` (Hugging Face's
videofolder), `video`, `path`, `file` or `video_id`: by a path from the table's folder, a bare name, or a name without suffix.
A `.json` may be a list of rows, an object of such lists, or an object with a row (or just its text) for each video.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath

TABLES = ("captions", "metadata", "manifest", "annotations", "dataset", "labels", "train", "val", "validation", "test")
TABLE_SUFFIXES = (".jsonl", ".csv", ".tsv", ".json")
FILE_KEYS = (
    "file_name", "filename", "file", "path", "file_path", "filepath", "video", "video_path", "video_file", "video_name", "video_id",
    "videoID", "clip", "id",
)  # fmt: skip
SUBTITLES = (".srt", ".vtt")

LONGEST_TEXT = 65_536
"""Characters read from a `.txt`; more is not a caption."""
LARGEST_JSON = 16 << 20
"""Bytes; a larger file that belongs to one video is not read."""
LARGEST_TABLE = 512 << 20
"""Bytes; a larger `.json` table is not read, of a `.jsonl`, `.csv` or `.tsv` the rows up to there."""
MOST_ROWS = 1_000_000

_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control signs but tab, line feed and carriage return, and those that turn the direction of writing."""

Row = Mapping[str, object]


class Folders:
    """Each folder is listed once and its tables are read once: pass one object to all calls of a run, and drop it then."""

    def __init__(self) -> None:
        self._known: dict[str, Folder] = {}

    def at(self, path: str) -> Folder:
        """What lies in the folder `path`."""
        if path not in self._known:
            self._known[path] = Folder(path)
        return self._known[path]


class Folder:
    """The names in one folder, which subtitles belong to which stem, and the rows of its tables."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.names = _names(path)
        self._subtitles: dict[str, list[str]] | None = None
        self._rows: dict[str, list[Row]] | None = None

    def file(self, name: str) -> Path | None:
        """The file `name`, if it is in the folder."""
        return Path(self.path, name) if name in self.names else None

    def subtitles(self, stem: str) -> list[Path]:
        """`STEM.srt`, `STEM.vtt`, `STEM.en.vtt` and so on; those without a language first, then English."""
        if self._subtitles is None:
            self._subtitles = {}
            for name in sorted(self.names, key=lambda name: (name.count("."), ".en" not in name, name)):
                base, suffix = os.path.splitext(name)
                if suffix.lower() in SUBTITLES:
                    for key in dict.fromkeys((base, os.path.splitext(base)[0])):
                        self._subtitles.setdefault(key, []).append(name)
        return [Path(self.path, name) for name in self._subtitles.get(stem, [])]

    def rows(self, relative: str) -> list[Row]:
        """The rows about the video at `relative`, a path from this folder with `/` between its parts."""
        if self._rows is None:
            self._rows = self._read_tables()
        if not self._rows:
            return []
        path = PurePosixPath(relative)
        keys = dict.fromkeys((relative, str(path.with_suffix("")), path.name, path.stem))
        return [row for key in keys for row in self._rows.get(key, [])]

    def _read_tables(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for name in sorted(self.names):
            base, suffix = os.path.splitext(name.lower())
            if base in TABLES and suffix in TABLE_SUFFIXES:
                for row in islice(_rows(Path(self.path, name), suffix), MOST_ROWS):
                    key = _file_key(row)
                    if key is not None:
                        found.setdefault(key, []).append(row)
        return found


def read_text(path: Path, longest: int = LONGEST_TEXT) -> str | None:
    """Up to `longest` characters of a text file in UTF-8 or, where its first bytes say so, UTF-16; None if it cannot be read."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return None
        with path.open("rb") as file:
            raw = file.read(4 * longest)
    except (OSError, ValueError):
        return None
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return clean(raw.decode(encoding, "replace")[:longest])


def read_json(path: Path, largest: int = LARGEST_JSON) -> object:
    """What a JSON file holds; None if it is too large or no JSON."""
    try:
        if not path.is_file() or path.stat().st_size > largest:
            return None
        return parsed(path.read_bytes().decode("utf-8-sig", "replace"))
    except (OSError, ValueError):
        return None


def parsed(text: str) -> object:
    """What a JSON text says; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def clean(text: str) -> str:
    """The text without what a database or a terminal stumbles over: control signs, and halves of surrogate pairs."""
    return _UNSEEN.sub("", text).encode("utf-8", "replace").decode("utf-8")


def kept(text: str, longest: int) -> str:
    """What is kept of a text: clean, at most `longest` characters, no blanks at its ends; once kept, it stays as it is.

    Who writes texts and who reads them back both call this: a blank at the cut would else be there for one and not for the other.
    """
    return clean(text).strip()[:longest].rstrip()


def _names(path: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(path or "."))
    except OSError:
        return frozenset()


def _rows(table: Path, suffix: str) -> Iterator[Row]:
    if suffix == ".json":
        yield from _rows_of(read_json(table, LARGEST_TABLE))
        return
    try:
        if not table.is_file():
            return
        with table.open("rb") as file:
            lines = _lines(file)
            if suffix == ".jsonl":
                yield from (row for row in map(parsed, lines) if isinstance(row, dict))
            else:
                yield from csv.DictReader(lines, delimiter="\t" if suffix == ".tsv" else ",", restkey="more")
    except (OSError, ValueError, csv.Error):
        return


def _lines(file: io.BufferedReader) -> Iterator[str]:
    """Lines of a table, none longer than a million bytes, up to LARGEST_TABLE in all."""
    left = LARGEST_TABLE
    first = True
    while left > 0 and (line := file.readline(1 << 20)):
        left -= len(line)
        yield clean(line.decode("utf-8-sig" if first else "utf-8", "replace"))
        first = False


def _rows_of(data: object) -> Iterator[Row]:
    if isinstance(data, list):
        yield from (row for row in data if isinstance(row, dict))
    elif isinstance(data, dict):
        lists = [value for value in data.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        if lists:
            for rows in lists:
                yield from _rows_of(rows)
        else:
            yield from _named_rows(data.items())


def _named_rows(items: Iterable[tuple[object, object]]) -> Iterator[Row]:
    for name, value in items:
        if isinstance(value, dict):
            yield {"file_name": name, **value}
        elif isinstance(value, (str, list)):
            yield {"file_name": name, "caption": value}


def _file_key(row: Row) -> str | None:
    """How the row names its video, without a leading `./`; None if it does not."""
    for key in FILE_KEYS:
        value = row.get(key)
        if isinstance(value, str) and value.strip():
            name = value.strip().replace("\\", "/")
            return name.removeprefix("./")
    return None
