"""The pure ranking."""

from __future__ import annotations

from echoreel_index.nouns import Clip
from echoreel_index.search import overlap, rank


def clip(path: str, start: float, end: float, sha256: str | None = None) -> Clip:
    return Clip(f"{path}{start}", path, start, end, sha256=sha256)


def test_overlap_is_of_content_and_open_at_the_ends() -> None:
    assert overlap(clip("a", 0, 2), clip("a", 1.9, 3)) and not overlap(clip("a", 0, 2), clip("a", 2, 4))
    assert not overlap(clip("a", 0, 2), clip("b", 0, 2))
    assert overlap(clip("a", 0, 2, "x"), clip("b", 0, 2, "x")) and not overlap(clip("a", 0, 2, "x"), clip("a", 0, 2, "y"))


def test_rank_keeps_the_best_of_overlapping_windows_and_breaks_ties_by_place() -> None:
    candidates = [(clip("b", 0, 2), 0.5), (clip("a", 1, 3), 0.9), (clip("a", 0, 2), 0.8), (clip("a", 3, 5), 0.5), (clip("c", 0, 2), 0.1)]
    hits = rank(candidates, k=5, min_score=0.2)
    assert [(hit.clip.path, hit.clip.start, hit.rank) for hit in hits] == [("a", 1, 1), ("a", 3, 2), ("b", 0, 3)]
    assert rank(candidates, k=1) == rank(reversed(candidates), k=1) == hits[:1]
    assert rank([], k=3) == []
