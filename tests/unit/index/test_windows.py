"""Windows: where they lie, which moments they look at, and what they are called."""

from __future__ import annotations

import numpy as np
import pytest

from echoreel_index.clips import Timeline, WindowSettings, clip_id, looks_within, spans
from echoreel_index.errors import UsageError


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (0.04, [(0, 0.04)]),
        (1.5, [(0, 1.5)]),
        (2.0, [(0, 2)]),
        (2.9, [(0, 2.9)]),
        (3.0, [(0, 2), (1, 3)]),
        (4.0, [(0, 2), (1, 3), (2, 4)]),
        (4.5, [(0, 2.25), (1.125, 3.375), (2.25, 4.5)]),
    ],
)
def test_windows_cover_the_whole_shot_at_half_stride(end: float, expected: list[tuple[float, float]]) -> None:
    np.testing.assert_allclose(spans([(0.0, end)], WindowSettings()), expected)


def test_no_window_reaches_over_a_cut() -> None:
    shots = [(0.0, 0.7), (0.7, 4.2), (4.2, 10.0)]
    found = spans(shots, WindowSettings())
    assert all(any(first <= start and end <= last for first, last in shots) for start, end in found)
    for first, last in shots:
        inside = [span for span in found if first <= span[0] < last]
        assert inside[0][0] == first and inside[-1][1] == last
        assert all(2.0 <= end - start < 3.0 for start, end in inside) or last - first < 2


def test_a_stride_of_ones_own_is_kept_to() -> None:
    found = spans([(0.0, 10.0)], WindowSettings(length=4.0, stride=1.0))
    np.testing.assert_allclose(found, [(i, i + 4) for i in range(7)])


def test_neighbours_share_their_looks_and_every_look_has_its_window() -> None:
    assert [looks_within(start, start + 2, 0.5, 8) for start in (0.0, 1.0, 2.0)] == [(0, 4), (2, 6), (4, 8)]
    assert looks_within(0.7, 4.2, 0.5, 100) == (1, 8)  # moments 0.75 to 3.75
    assert looks_within(3.0, 5.0, 0.5, 7) == (6, 7)  # the file breaks off
    assert looks_within(0.8, 1.2, 0.5, 7) == (2, 2)  # too short for a moment of the grid


def test_looks_are_close_enough_to_meet_every_shot() -> None:
    assert WindowSettings().step == 0.5
    assert WindowSettings(length=10, stride=5, frames=1).step == 0.6
    assert WindowSettings(length=10, stride=5, frames=1, splitter="none").step == 10
    assert WindowSettings(length=10, stride=5, frames=1, policy="keyframes").step == 10


def test_the_frame_of_a_moment_is_the_last_that_has_started() -> None:
    line = Timeline(np.array([0.0, 0.1, 1.0, 1.05]), np.array([0]), 1.2)
    assert [line.index_at(t) for t in (-1, 0, 0.05, 0.1, 0.99, 1.0, 1.06, 9)] == [0, 0, 0, 1, 1, 2, 3, 3]


def test_settings_are_checked_and_survive_as_text() -> None:
    for wrong in ({"length": 0.0}, {"stride": 3.0}, {"stride": 0.0}, {"frames": 0}, {"splitter": "magic"}):
        with pytest.raises(UsageError):
            WindowSettings(**wrong)
    one = WindowSettings(length=3.5, stride=0.25, frames=7, policy="keyframes", splitter="content")
    assert WindowSettings.from_key(one.key) == one
    assert WindowSettings.from_key("length=2 stride=1 frames=4 policy=exact") == WindowSettings()  # as the first form wrote it


def test_clip_names_depend_on_content_and_times_only() -> None:
    assert clip_id("a" * 64, 0, 2) == clip_id("a" * 64, 0.0, 2.0)
    assert len({clip_id("a" * 64, 0, 2), clip_id("b" * 64, 0, 2), clip_id("a" * 64, 1, 2), clip_id("a" * 64, 0, 3)}) == 4
