"""What a labelled folder shows, and the sentences to search for.

Labels are either the names of folders (`climbing/a.mp4` shows climbing; files that lie in no folder show nothing), or a file:

    {"file": "a.mp4", "label": "climbing", "start": 2.5, "end": 6.0}      .jsonl, one object a line; start and end may be missing
    file,label,start,end                                                   .csv, with these names in its first line

Paths are relative to the folder of videos. A file may have many labels; one that has none shows nothing that is searched for.
"""

from __future__ import annotations

import csv
import difflib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from echoreel_cli.measure.retrieval import Span
from echoreel_index.errors import UsageError
from echoreel_index.files import absolute, walk

FOLDERS = "folders"
TEMPLATE = "a person {label}"
_COLUMNS = ("file", "label", "start", "end")


@dataclass(frozen=True, slots=True)
class Labels:
    """A folder of videos and what they show."""

    files: tuple[str, ...]
    """Absolute paths of all video files, labelled or not."""
    shown: Mapping[str, Mapping[str, tuple[Span, ...]]]
    """Label -> file -> when it is seen there; no times mean the whole file. In alphabetical order."""


@dataclass(frozen=True, slots=True)
class Question:
    """One sentence to search for, and the label whose files are the right answers."""

    label: str
    sentence: str


def read_labels(videos: Path, labels: str) -> Labels:
    """The labels of the folder `videos`; `labels` is `folders` or the path of a file. Raises UsageError, naming the line."""
    if not videos.is_dir():
        raise UsageError(f"no such folder: {videos}")
    files = tuple(found.path for found in walk([videos]))
    if not files:
        raise UsageError(f"there are no videos in {videos}")
    rows = _from_folders(absolute(videos), files) if labels == FOLDERS else _from_file(Path(labels).expanduser(), videos, set(files))
    shown: dict[str, dict[str, list[Span]]] = {}
    whole: set[tuple[str, str]] = set()
    for label, file, span in rows:
        spans = shown.setdefault(label, {}).setdefault(file, [])
        if span is None:
            whole.add((label, file))
        else:
            spans.append(span)
    if not shown:
        raise UsageError(f"no video in {videos} has a label", hint="--labels folders wants one folder for each action")
    return Labels(
        files,
        {
            label: {file: () if (label, file) in whole else tuple(sorted(spans)) for file, spans in sorted(shown[label].items())}
            for label in sorted(shown)
        },
    )


def _from_folders(top: str, files: Iterable[str]) -> Iterator[tuple[str, str, Span | None]]:
    for file in files:
        folder = os.path.dirname(file)
        if folder != top:
            yield os.path.basename(folder), file, None


def _from_file(path: Path, videos: Path, files: set[str]) -> Iterator[tuple[str, str, Span | None]]:
    reader = {".jsonl": _json_lines, ".csv": _csv_rows}.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"--labels takes {FOLDERS}, or a .jsonl or .csv file, got {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the labels in {path} cannot be read: {error}") from error
    for number, row in reader(text, path):
        where = f"{path}, line {number}"
        file, label = row.get("file"), row.get("label")
        if not isinstance(file, str) or not file or not isinstance(label, str) or not label.strip():
            raise UsageError(f"{where} needs a file and a label")
        name = absolute(videos / file)
        if name not in files:
            raise UsageError(f"{where}: there is no video {file} in {videos}", hint=_nearest(name, files))
        yield label.strip(), name, _span(row, where)


def _json_lines(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UsageError(f"{path}, line {number} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise UsageError(f"{path}, line {number} is no JSON object")
        _known(row, f"{path}, line {number}")
        yield number, row


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    reader = csv.DictReader(text.splitlines())
    _known(reader.fieldnames or (), f"{path}, line 1")
    for row in reader:
        if None in row:
            raise UsageError(f"{path}, line {reader.line_num} has more fields than the first line names")
        yield reader.line_num, row


def _known(names: Iterable[str], where: str) -> None:
    for name in names:
        if name not in _COLUMNS:
            near = difflib.get_close_matches(name, _COLUMNS, n=1)
            raise UsageError(f"{where}: {name!r} is not one of {', '.join(_COLUMNS)}", hint=f"did you mean {near[0]}?" if near else None)


def _span(row: Mapping[str, object], where: str) -> Span | None:
    given = [row.get(name) for name in ("start", "end")]
    if all(value is None or value == "" for value in given):
        return None
    try:
        start, end = (float(str(value)) for value in given)
    except ValueError as error:
        raise UsageError(f"{where}: start and end must both be seconds, got {given[0]} and {given[1]}") from error
    if not 0 <= start < end < float("inf"):
        raise UsageError(f"{where}: it must start at 0 s or later and end after that, got {start:g} to {end:g}")
    return start, end


def _nearest(name: str, files: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(os.path.basename(name), [os.path.basename(file) for file in files], n=1)
    return f"did you mean {near[0]}?" if near else None


def spoken(label: str) -> str:
    """A label as people say it: `push_ups` and `PushUps` are both `push ups`."""
    words = re.sub(r"[_\s]+", " ", label).strip()
    if " " in words:
        return words
    return " ".join(part.lower() for part in re.findall(r"[A-Z]?[^A-Z]+|[A-Z]+(?![^A-Z])", words)) or words


def read_sentences(path: Path | None) -> dict[str, tuple[str, ...]]:
    """Label -> sentences, from a JSON object of strings or lists of strings; nothing without a path. Raises UsageError."""
    if path is None:
        return {}
    try:
        data = json.loads(path.expanduser().read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UsageError(f"the queries in {path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path} must be an object that names a sentence, or several, for each label")
    found: dict[str, tuple[str, ...]] = {}
    for label, value in data.items():
        sentences = [value] if isinstance(value, str) else value
        if not isinstance(sentences, list) or not sentences or not all(isinstance(one, str) and one.strip() for one in sentences):
            raise UsageError(f"{path}: what stands for {label!r} is no sentence and no list of sentences")
        found[label] = tuple(dict.fromkeys(sentences))
    return found


def read_absent(path: Path | None, labels: Labels) -> list[str]:
    """Labels, one a line, of which no file shows any; none without a path. Raises UsageError when one is shown after all."""
    if path is None:
        return []
    try:
        lines = path.expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"the absent labels in {path} cannot be read: {error}") from error
    absent = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    for label in absent:
        if label in labels.shown:
            raise UsageError(f"{path} calls {label!r} absent, but {len(labels.shown[label])} of the videos show it")
    return absent


def questions(labels: Sequence[str], sentences: Mapping[str, Sequence[str]], template: str = TEMPLATE) -> list[Question]:
    """What to ask about each label: its own sentences, or the template with the label in it. Raises UsageError for a bad template."""
    if "{label}" not in template:
        raise UsageError(f"the template must have {{label}} in it, got {template!r}", hint=f"for example {TEMPLATE!r}")
    plain = {label: (template.replace("{label}", spoken(label)),) for label in labels}
    return [Question(label, sentence) for label in labels for sentence in sentences.get(label, plain[label])]
