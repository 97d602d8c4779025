"""Why a window is no usable reference for a video model, in words.

The rules are those that public motion-control services give for the clips they take: one continuous shot, long enough, enough motion,
to be seen at all. What was not looked at is no reason. Thresholds are conservative: they are for what nobody would use.
"""

from __future__ import annotations

from dataclasses import dataclass

from echoreel_index.errors import UsageError
from echoreel_index.nouns import Clip


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What a usable reference has at least; 0 asks for nothing."""

    seconds: float = 0.8
    """Length. Services ask for 3 s of whole performances; one round of an action takes about one, and a file of 8 frames at 8 a
    second, as small models make them, lasts 0.875 s or 1 s by how its end is counted."""
    motion: float = 0.001
    """Mean absolute difference of small grey pictures 1/8 s apart, 0 to 1. Noise averages out in small pictures: a still camera
    makes less than 0.0004 after compression (a very noisy one up to 0.005, and passes), signing hands before a wall 0.002 to 0.02,
    one small drawn figure 0.001 to 0.03."""
    brightness: float = 0.04
    """Mean luma, 0 to 1. A night scene with a visible figure has about 0.1."""
    pixels: int = 48
    """Short side of the picture."""
    one_shot: bool = True
    """Whether a cut within the window is a reason."""

    def __post_init__(self) -> None:
        if min(self.seconds, self.motion, self.brightness, self.pixels) < 0:
            raise UsageError("thresholds of the reference gate must be 0 or more")


def problems(clip: Clip, settings: GateSettings) -> tuple[str, ...]:
    """Every reason against `clip`, each a few words; empty when it is usable."""
    found: list[str] = []
    length = clip.end - clip.start
    if length < settings.seconds - 1e-3:
        found.append(f"too short: {length:.2g} s, under {settings.seconds:g} s")
    if settings.one_shot and clip.one_shot is False:
        found.append("a cut falls into it")
    if clip.motion is not None and clip.motion < settings.motion:
        found.append(f"hardly moves: motion {clip.motion:.4f}, under {settings.motion:g}")
    if clip.brightness is not None and clip.brightness < settings.brightness:
        found.append(f"too dark: brightness {clip.brightness:.3f}, under {settings.brightness:g}")
    if clip.width is not None and clip.height is not None and min(clip.width, clip.height) < settings.pixels:
        found.append(f"too small: {clip.width} x {clip.height} pixels, under {settings.pixels}")
    return tuple(found)
