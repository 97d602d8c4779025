"""Windows: where they lie, which moments they look at, and what they are called."""

from __future__ import annotations

import numpy as np
import pytest

from echoreel_index.clips import Timeline, WindowSettings, clip_id, spans, windows
from echoreel_index.errors import UsageError


def even(seconds: float, fps: float = 10, gop: int = 10) -> Timeline:
    count = round(seconds * fps)
    return Timeline(np.arange(count) / fps, np.arange(0, count, gop), seconds)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (0.04, [(0, 0.04)]),
        (1.5, [(0, 1.5)]),
        (2.0, [(0, 2)]),
        (2.08, [(0, 2.08)]),
        (2.6, [(0, 2), (0.6, 2.6)]),
        (4.0, [(0, 2), (1, 3), (2, 4)]),
        (4.05, [(0, 2), (1, 3), (2, 4)]),
        (4.5, [(0, 2), (1, 3), (2, 4), (2.5, 4.5)]),
    ],
)
def test_spans_cover_the_whole_video(end: float, expected: list[tuple[float, float]]) -> None:
    np.testing.assert_allclose(spans(end, WindowSettings()), expected)


def test_neighbours_share_their_moments() -> None:
    found = windows(even(4), WindowSettings())
    assert found[0].moments == (0.25, 0.75, 1.25, 1.75)
    assert set(found[0].moments) & set(found[1].moments) == {1.25, 1.75}


def test_keyframes_only_takes_those_inside_or_the_one_before() -> None:
    dense = windows(even(4), WindowSettings(policy="keyframes"))
    assert dense[0].moments == (0.0, 1.0) and dense[1].moments == (1.0, 2.0)
    sparse = windows(even(4, gop=35), WindowSettings(policy="keyframes"))
    assert [window.moments for window in sparse] == [(0.0,), (0.0,), (3.5,)]


def test_the_frame_of_a_moment_is_the_last_that_has_started() -> None:
    line = Timeline(np.array([0.0, 0.1, 1.0, 1.05]), np.array([0]), 1.2)
    assert [line.index_at(t) for t in (-1, 0, 0.05, 0.1, 0.99, 1.0, 1.06, 9)] == [0, 0, 0, 1, 1, 2, 3, 3]


def test_settings_are_checked_and_survive_as_text() -> None:
    for wrong in ({"length": 0.0}, {"stride": 3.0}, {"stride": 0.0}, {"frames": 0}):
        with pytest.raises(UsageError):
            WindowSettings(**wrong)
    one = WindowSettings(length=3.5, stride=0.25, frames=7, policy="keyframes")
    assert WindowSettings.from_key(one.key) == one


def test_clip_names_depend_on_content_and_times_only() -> None:
    assert clip_id("a" * 64, 0, 2) == clip_id("a" * 64, 0.0, 2.0)
    assert len({clip_id("a" * 64, 0, 2), clip_id("b" * 64, 0, 2), clip_id("a" * 64, 1, 2), clip_id("a" * 64, 0, 3)}) == 4
