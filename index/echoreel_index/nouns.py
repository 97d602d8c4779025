"""The nouns that both halves of echoreel speak: no I/O, no torch, all frozen.

Times are seconds from the start of the file, on the video's own clock (variable frame rates included).
Scores are cosines in [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clip:
    """A window of one video file."""

    id: str
    """Stable name of this window: the same file content and the same times give the same id."""
    path: str
    """Absolute path of the video file."""
    start: float
    """First moment of the window, seconds."""
    end: float
    """Last moment of the window, seconds; greater than `start`."""
    caption: str | None = None
    """What is known about the clip in words, if anything."""
    source: str | None = None
    """Where the video came from (a URL), if known."""
    licence: str | None = None
    """Licence of the video, if known."""
    sha256: str | None = None
    """SHA-256 of the file's content."""

    def __post_init__(self) -> None:
        if not self.end > self.start:
            raise ValueError(f"a clip must end after it starts, got {self.start = } {self.end = }")


@dataclass(frozen=True, slots=True)
class Hit:
    """A clip that was found, with its score and its place in the answer (1 is best)."""

    clip: Clip
    score: float
    rank: int


@dataclass(frozen=True, slots=True)
class EncoderCard:
    """Which encoder made the vectors of a library."""

    name: str
    """The name that `--encoder` takes: open_clip `model` or `model/pretrained`, `hf-hub:...`, a folder, or `mini`."""
    width: int
    """Number of components of a vector."""
    fingerprint: str
    """SHA-256 over the encoder's weights and preprocessing; two encoders with one name but other weights differ here."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A clip that shows the model how the action goes: the one noun at which `index` and the generator meet.

    Pixels are not held here; the generator reads them when it needs them.
    """

    path: str
    start: float
    end: float
    caption: str | None = None
    score: float | None = None
    clip_id: str | None = None
    source: str | None = None
    licence: str | None = None
    sha256: str | None = None

    @classmethod
    def from_hit(cls, hit: Hit) -> Reference:
        """The reference that a search hit stands for."""
        clip = hit.clip
        return cls(
            path=clip.path,
            start=clip.start,
            end=clip.end,
            caption=clip.caption,
            score=hit.score,
            clip_id=clip.id,
            source=clip.source,
            licence=clip.licence,
            sha256=clip.sha256,
        )
