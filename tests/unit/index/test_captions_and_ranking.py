"""Sidecars, and the pure ranking."""

from __future__ import annotations

import json
from pathlib import Path

from echoreel_index.captions import Words, words
from echoreel_index.nouns import Clip
from echoreel_index.search import overlap, rank


def test_words_come_from_the_sidecars(tmp_path: Path) -> None:
    video = str(tmp_path / "jump.mp4")
    assert words(video) == Words()
    (tmp_path / "jump.txt").write_text("\ufeff a cat jumps \n", encoding="utf-8")
    assert words(video) == Words("a cat jumps")
    (tmp_path / "jump.json").write_text(json.dumps({"caption": "ein Kater", "source": "https://e.org", "licence": "CC0", "x": 1}))
    assert words(video) == Words("ein Kater", "https://e.org", "CC0")


def test_broken_sidecars_say_nothing(tmp_path: Path) -> None:
    for text in ("{", "[1]", '{"caption": 3}', "\x00"):
        (tmp_path / "a.json").write_text(text)
        assert words(str(tmp_path / "a.mp4")) == Words()
    (tmp_path / "b.txt").write_bytes(b"caf\xe9")
    assert words(str(tmp_path / "b.mp4")).caption == "caf\ufffd"


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
