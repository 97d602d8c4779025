"""Parts of a video as a user writes them: `10-20`, `1:05.5-1:10`, `30-`, `-5`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from echoreel_index.errors import UsageError

_MOMENT = r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)"
_SECTION = re.compile(rf"\s*(?:{_MOMENT})?\s*-\s*(?:{_MOMENT}|inf)?\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Section:
    """From `start` up to, but not including, `end`; seconds, infinity for the end of the video."""

    start: float
    end: float

    def __str__(self) -> str:
        """`10-20`."""
        return f"{self.start:g}-" + (f"{self.end:g}" if math.isfinite(self.end) else "")


def parse_section(text: str) -> Section:
    """The section that a user wrote. Raises UsageError."""
    match = _SECTION.fullmatch(text)
    hint = "write START-END in seconds or minutes: 10-20, 1:05.5-1:10, 30-, -5"
    if match is None or text.strip() == "-":
        raise UsageError(f"{text!r} is no section of a video", hint=hint)
    start = _seconds(match.groups()[:3]) or 0.0
    end = _seconds(match.groups()[3:])
    section = Section(start, math.inf if end is None else end)
    if section.end <= section.start:
        raise UsageError(f"section {text!r} ends before it starts", hint=hint)
    return section


def _seconds(parts: tuple[str | None, ...]) -> float | None:
    hours, minutes, seconds = parts
    return None if seconds is None else int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)
