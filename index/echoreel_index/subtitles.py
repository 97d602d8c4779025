"""SubRip (`.srt`) and WebVTT (`.vtt`) -> cues: what is said or shown between two moments of a video.

Both formats are taken by one reader that wants nothing but lines of the form `00:01.5 --> 00:04`; it is as patient as
players are, since few of these files keep to the rules (WebVTT: https://www.w3.org/TR/webvtt1/).
"""

from __future__ import annotations

import html
import re

from echoreel_index.moments import seconds_of
from echoreel_index.sidecars import kept

Cue = tuple[float, float, str]
"""First and last moment in seconds, and the text."""

MOST_CUES = 20_000
LONGEST_CUE = 500
"""Characters; what is longer is cut."""

_MOMENT = r"((?:\d{1,3}:)?\d{1,3}:\d{1,2}(?:[.,]\d{1,9})?)"
"""Not what `moments` takes from people: a comma is a point here, and without minutes it is a line of text, no time."""
_TIMES = re.compile(rf"^\s*{_MOMENT}\s*-->\s*{_MOMENT}", re.ASCII)
_MARKUP = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")


def cues(text: str) -> tuple[Cue, ...]:
    """The cues of a subtitle file in order of time; what cannot be understood is left out.

    Rolling captions, in which each cue repeats the last line of the one before, say every line once.
    """
    found: list[Cue] = []
    lines = text.splitlines()
    place, said = 0, [""]
    while place < len(lines) and len(found) < MOST_CUES:
        times = _TIMES.match(lines[place])
        place += 1
        if times is None:
            continue
        block: list[str] = []
        while place < len(lines) and lines[place].strip() and not _TIMES.match(lines[place]):
            block.append(_plain(lines[place]))
            place += 1
        if place < len(lines) and _TIMES.match(lines[place]) and block and block[-1].isdigit():
            block.pop()  # the number of the next cue, where the empty line before it is missing
        shown = [line for line in block if line]
        fresh = [line for line in shown if line not in said]
        said = shown or said
        start, end = (round(seconds_of(moment.replace(",", ".")), 3) for moment in times.groups())
        if end > start and (spoken := kept(" ".join(fresh), LONGEST_CUE)):
            found.append((start, end, spoken))
    return tuple(sorted(found))


def _plain(line: str) -> str:
    return " ".join(html.unescape(_MARKUP.sub("", line)).split())
