"""Parts of a video as a user writes them: `10-20`, `1:05.5-1:10`, `30-`, `-5`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from echoreel_index.errors import UsageError
from echoreel_index.moments import span_of


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
    hint = "write START-END in seconds or minutes: 10-20, 1:05.5-1:10, 30-, -5"
    try:
        start, end = span_of(text)
    except ValueError:
        raise UsageError(f"{text!r} is no section of a video", hint=hint) from None
    section = Section(start, math.inf if end is None else end)
    if section.end <= section.start:
        raise UsageError(f"section {text!r} ends before it starts", hint=hint)
    return section
