"""Times of a video as people write them: `3.5`, `1:03.5`, `1:00:03.5`, and spans of them: `10-20`, `1:05.5-1:10`, `30-`, `-5`.

Queries, references and sections of downloads share them. Subtitle files do not: theirs is a format that programs write, with a
comma for the point and never without minutes, see `subtitles`.
"""

from __future__ import annotations

import math
import re

_NUMBER = r"(?:\d+\.?\d*|\.\d+)"
_MOMENT = re.compile(rf"(?:(?:(\d+):)?(\d+):)?({_NUMBER})", re.ASCII)


def seconds_of(text: str) -> float:
    """A moment in seconds. ValueError when it is none; minutes and seconds may be above 59."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no time")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    moment = hours * 3600 + minutes * 60 + seconds
    if not math.isfinite(moment):
        raise ValueError(f"{text!r} is beyond every video")
    return moment


def span_of(text: str) -> tuple[float, float | None]:
    """(start, end) in seconds of `START-END`, `START-`, `START-inf` or `-END`; the end is None where it is open.

    ValueError when it is none of these. That the end comes after the start is not asked: see who calls.
    """
    first, dash, last = (part.strip() for part in text.partition("-"))
    if not dash or not (first or last):
        raise ValueError(f"{text!r} is no span of time")
    return seconds_of(first) if first else 0.0, seconds_of(last) if last not in ("", "inf") else None
