"""The k best that differ: what overlaps, what is nearly the same, and what only repeats.

References that show one performance k times teach a video model that performance; different ones teach it the action.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from echoreel_index.nouns import Clip
from echoreel_index.signals import Candidate

ALIKE = 0.95
"""Cosine of two windows up to which one does not repeat the other: other people doing the same elsewhere stay below."""


def same_content(one: Clip, other: Clip) -> bool:
    """Whether two clips are of one content, whatever the files are called."""
    return one.sha256 == other.sha256 if one.sha256 and other.sha256 else one.path == other.path


def overlap(one: Clip, other: Clip) -> bool:
    """Whether two clips show some of the same moments of the same content; touching ends do not count."""
    return same_content(one, other) and one.start < other.end and other.start < one.end


def near_duplicate(one: Candidate, other: Candidate, threshold: float) -> bool:
    """Whether two windows show nearly the same.

    Within one file the mean vectors decide: a still scene, or the next round of the same exercise. Between files the moments must
    agree one by one as well, as they do where a clip was encoded twice: two actions of one person before one wall have
    like means, but not like moments.
    """
    if float(one.mean @ other.mean) < threshold:
        return False
    if same_content(one.clip, other.clip) or len(one.samples) == 0 or len(one.samples) != len(other.samples):
        return True
    moments = np.sum(np.asarray(one.samples, np.float32) * np.asarray(other.samples, np.float32), axis=-1)
    return bool(moments.min() >= threshold)


def repetition(cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n) how much windows repeat another: 0 up to a cosine of `ALIKE`, then rising to 1."""
    return np.asarray(np.clip((cosines - ALIKE) / (1 - ALIKE), 0, 1), np.float32)


def choose(candidates: Sequence[Candidate], merit: NDArray[np.float64], *, k: int, diversity: float, duplicates: float) -> list[int]:
    """Places of at most k candidates, best first; of equals the earlier one. `merit` (n) is theirs.

    Maximal marginal relevance (Carbonell and Goldstein 1998): next is the one with the highest merit minus `diversity` times its
    greatest repetition of one that was chosen. Windows that overlap a chosen one, or are its near-duplicate (cosine from
    `duplicates` on), are out.
    """
    chosen: list[int] = []
    left = list(range(len(candidates)))
    cost = np.zeros(len(candidates))
    means = np.array([candidate.mean for candidate in candidates])
    while left and len(chosen) < k:
        best = max(left, key=lambda place: (merit[place] - cost[place], -place))
        chosen.append(best)
        taken, cosines = candidates[best], means @ means[best]
        left = [place for place in left if place != best and not _out(candidates[place], taken, float(cosines[place]), duplicates)]
        cost = np.maximum(cost, diversity * repetition(cosines))
    return chosen


def _out(one: Candidate, chosen: Candidate, cosine: float, duplicates: float) -> bool:
    return overlap(one.clip, chosen.clip) or (cosine >= duplicates and near_duplicate(one, chosen, duplicates))
