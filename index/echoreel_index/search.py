"""Pure ranking: candidates -> hits, best first, no two that overlap in one file.

Ties are broken by file and start, so that an answer never depends on how the vectors happen to be stored.
"""

from __future__ import annotations

from collections.abc import Iterable

from echoreel_index.nouns import Clip, Hit


def overlap(one: Clip, other: Clip) -> bool:
    """Whether two clips show some of the same moments of the same content; touching ends do not count."""
    same = one.sha256 == other.sha256 if one.sha256 and other.sha256 else one.path == other.path
    return same and one.start < other.end and other.start < one.end


def rank(candidates: Iterable[tuple[Clip, float]], *, k: int, min_score: float | None = None) -> list[Hit]:
    """The k best of `candidates`, overlapping ones represented by their best, none below `min_score`."""
    hits: list[Hit] = []
    for clip, score in sorted(candidates, key=lambda pair: (-pair[1], pair[0].path, pair[0].start)):
        if len(hits) == k or (min_score is not None and score < min_score):
            break
        if not any(overlap(clip, hit.clip) for hit in hits):
            hits.append(Hit(clip, score, len(hits) + 1))
    return hits
