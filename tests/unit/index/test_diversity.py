"""References that differ: overlap, near-duplicates, repetition."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from echoreel_index.diversity import ALIKE, choose, near_duplicate, overlap, repetition
from echoreel_index.nouns import Clip
from echoreel_index.signals import Candidate

Vector = NDArray[np.float32]


def clip(path: str, start: float, end: float, sha256: str | None = None) -> Clip:
    return Clip(f"{path}{start}", path, start, end, sha256=sha256)


def towards(cosine: float, axis: int = 1) -> Vector:
    """A unit vector with that cosine to the first axis."""
    vector = np.zeros(6, np.float32)
    vector[0], vector[axis] = cosine, np.sqrt(1 - cosine**2)
    return vector


def window(path: str, start: float, mean: Vector, samples: list[Vector] | None = None) -> Candidate:
    rows = np.stack(samples) if samples else np.zeros((0, 6), np.float32)
    return Candidate(clip(path, start, start + 2), mean, rows)


def test_overlap_is_of_content_and_open_at_the_ends() -> None:
    assert overlap(clip("a", 0, 2), clip("a", 1.9, 3)) and not overlap(clip("a", 0, 2), clip("a", 2, 4))
    assert not overlap(clip("a", 0, 2), clip("b", 0, 2))
    assert overlap(clip("a", 0, 2, "x"), clip("b", 0, 2, "x")) and not overlap(clip("a", 0, 2, "x"), clip("a", 0, 2, "y"))


def test_two_windows_of_a_still_scene_are_one() -> None:
    one, other = window("a", 0, towards(1)), window("a", 5, towards(0.99))
    assert near_duplicate(one, other, 0.985) and not near_duplicate(one, other, 0.995)


def test_a_clip_encoded_twice_is_one_but_two_actions_before_one_wall_are_two() -> None:
    up, down = towards(0.98, 2), towards(0.98, 3)
    first = window("a", 0, towards(1), [up, down])
    again = window("b", 0, towards(0.999), [up, down])
    backwards = window("c", 0, towards(0.999), [down, up])
    assert near_duplicate(first, again, 0.985) and not near_duplicate(first, backwards, 0.985)
    assert near_duplicate(first, window("d", 0, towards(0.999)), 0.985), "without samples the means must do"


def test_repetition_begins_where_pictures_are_alike() -> None:
    cosines = np.array([-1, 0.5, ALIKE, (1 + ALIKE) / 2, 1, 1.0001], np.float32)
    assert repetition(cosines).tolist() == pytest.approx([0, 0, 0, 0.5, 1, 1], abs=1e-5)


def test_choose_leaves_out_what_overlaps_and_what_is_the_same() -> None:
    pool = [
        window("a", 0, towards(1)),
        window("a", 1, towards(0.5)),  # overlaps the first
        window("b", 0, towards(0.99)),  # the first once more
        window("c", 0, towards(0.2)),
        window("a", 2, towards(0.3, 4)),
    ]
    merit = np.array([1, 0.9, 0.8, 0.7, 0.6])
    assert choose(pool, merit, k=9, diversity=0.0, duplicates=0.985) == [0, 3, 4]
    assert choose(pool, merit, k=9, diversity=0.0, duplicates=2.0) == [0, 2, 3, 4]
    assert choose(pool, merit, k=1, diversity=0.5, duplicates=0.985) == [0]
    assert choose([], np.zeros(0), k=3, diversity=0.5, duplicates=0.985) == []


def test_diversity_puts_a_repetition_behind_what_is_nearly_as_good() -> None:
    pool = [window("a", 0, towards(1)), window("b", 0, towards(0.98)), window("c", 0, towards(0.1)), window("d", 0, towards(0.2, 4))]
    merit = np.array([1, 0.95, 0.9, 0.4])
    assert choose(pool, merit, k=3, diversity=0.0, duplicates=2.0) == [0, 1, 2]
    assert choose(pool, merit, k=3, diversity=0.1, duplicates=2.0) == [0, 2, 1], "what is much worse does not come forward"
    assert choose(pool, merit, k=3, diversity=1.0, duplicates=2.0) == [0, 2, 3]


def test_equals_come_in_their_order() -> None:
    pool = [window(name, 0, towards(0, axis)) for axis, name in enumerate("abcd", start=1)]
    assert choose(pool, np.ones(4), k=4, diversity=0.1, duplicates=0.985) == [0, 1, 2, 3]
