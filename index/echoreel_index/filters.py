"""What a search may be limited to; an empty `Filters` lets everything through."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions that a window must meet, all of them; those whose value a video does not tell, it does not meet."""

    under: tuple[str, ...] = ()
    """Absolute paths of files and folders, or glob patterns (`*/gym/*.mp4`); one of them must fit."""
    min_duration: float | None = None
    max_duration: float | None = None
    """Length of the whole file, seconds."""
    since: float | None = None
    until: float | None = None
    """Date of the video, or of its file where nobody says when it was made, seconds since 1970; `until` is too late already."""
    licences: tuple[str, ...] = ()
    """Words of which one must occur in the licence, whatever the case; `cc` stands for all Creative Commons licences."""
    min_motion: float | None = None
    """Motion energy, 0 to 1."""
    without: tuple[str, ...] = ()
    """Ids of windows, or absolute paths of files, that are not wanted."""

    @property
    def empty(self) -> bool:
        """Whether everything passes."""
        return self == Filters()
