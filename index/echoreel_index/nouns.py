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
    duration: float | None = None
    """Length of the whole file, seconds."""
    width: int | None = None
    height: int | None = None
    """Pixels, as shown."""
    motion: float | None = None
    """Mean absolute difference of successive small grey pictures, 0 (still) to 1; None where it was not looked at."""
    brightness: float | None = None
    """Mean luma, 0 (black) to 1; None where it was not looked at."""
    one_shot: bool | None = None
    """Whether no cut falls into the window; None where nobody looked for cuts."""
    date: float | None = None
    """When the video was made or published, else when its file was written, seconds since 1970."""

    def __post_init__(self) -> None:
        if not self.end > self.start:
            raise ValueError(f"a clip must end after it starts, got {self.start = } {self.end = }")


@dataclass(frozen=True, slots=True)
class Signal:
    """One reason why a clip is where it is."""

    name: str
    """`visual`, `best`, `templates`, `verb`, `words`, `captions` or `motion`."""
    value: float | None
    """In the signal's own unit: a cosine, a difference of cosines, a BM25 score, a motion energy. None where it is not known of
    this clip, but of others: such a clip has the middle place."""
    rank: int
    """Place among all candidates by this signal alone; equal values share a place."""
    weight: float
    """How much its place counts in the fusion."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A clip that was found, with its score and its place in the answer (1 is best)."""

    clip: Clip
    score: float
    """Cosine of the query and the mean of the window's frames."""
    rank: int
    fused: float = 0.0
    """Sum over signals of weight / (k0 + place), divided by what first places everywhere would give: 0 to 1."""
    fit: float | None = None
    """How sure the encoder is that the query describes the clip, rather than any of many other sentences: 0 to 1."""
    signals: tuple[Signal, ...] = ()
    """Why the hit is where it is."""
    told: bool = False
    """Whether every word of the action is among the words known about the clip, which answers the query whatever it looks like."""
    problems: tuple[str, ...] = ()
    """Why it is no good reference for a video model; empty when it is one."""


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
