"""Excerpts: exactly the frames of [start, end), on every kind of clock; every frame is compared with the film's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echoreel_index.clips import Timeline
from echoreel_index.decode import Decoder, frames_at
from echoreel_index.errors import VideoError
from echoreel_index.excerpt import Showing, excerpt, extent

MakeVideo = Callable[..., Path]
VARIABLE = [0.0, 0.1, 0.13, 0.4, 0.9, 1.0, 1.05, 1.7, 1.71, 2.4]


def taken(path: Path, start: float, end: float, decoder: Decoder) -> list[Showing]:
    return list(excerpt(path, start, end, decoder=decoder))


def assert_is_the_film(path: Path, start: float, end: float, decoder: Decoder, indices: list[int]) -> list[Showing]:
    """The excerpt has the film's frames with these numbers, and shows at every moment what the film shows."""
    shown = taken(path, start, end, decoder)
    line = decoder.timeline(str(path))
    film = frames_at(path, line.times.tolist(), decoder=decoder)
    assert len(shown) == len(indices)
    for showing, index in zip(shown, indices, strict=True):
        assert np.array_equal(showing.frame, film[index])
    assert shown[0].start == 0
    for before, after in zip(shown, shown[1:], strict=False):
        assert before.start + before.duration == pytest.approx(after.start, abs=2e-6) and before.duration > 0
    assert shown[-1].start + shown[-1].duration == pytest.approx(min(end, line.end) - start, abs=2e-3)
    for showing, index in zip(shown[1:], indices[1:], strict=True):
        assert showing.start + start == pytest.approx(float(line.times[index]), abs=2e-3)
    return shown


@pytest.mark.parametrize(
    ("start", "end", "indices"),
    [
        (0.0, 1.0, list(range(8))),
        (1.0, 1.5, [8, 9, 10, 11]),
        (0.3, 0.8, [2, 3, 4, 5, 6]),  # begins and ends in the middle of a frame
        (0.374_6, 0.750_4, [3, 4, 5]),  # times that were rounded mean the frames they were rounded from
        (2.8, 9.0, [22, 23]),  # the file ends first
        (1.26, 1.3, [10]),  # within one frame
    ],
)
def test_constant_rate(tmp_path: Path, make_video: MakeVideo, decoder: Decoder, start: float, end: float, indices: list[int]) -> None:
    path = make_video(tmp_path / "film.mp4", seconds=3.0, fps=8)
    assert_is_the_film(path, start, end, decoder, indices)


@pytest.mark.parametrize(("start", "end", "indices"), [(0.13, 1.05, [2, 3, 4, 5]), (0.5, 1.705, [3, 4, 5, 6, 7]), (1.7, 1.71, [7])])
def test_variable_rate(tmp_path: Path, make_video: MakeVideo, decoder: Decoder, start: float, end: float, indices: list[int]) -> None:
    path = make_video(tmp_path / "film.mp4", times=VARIABLE)
    shown = assert_is_the_film(path, start, end, decoder, indices)
    if len(indices) == 4:
        assert [round(one.duration, 3) for one in shown] == [0.27, 0.5, 0.1, 0.05]


def test_rotated_frames_come_upright(tmp_path: Path, make_video: MakeVideo, decoder: Decoder) -> None:
    path = make_video(tmp_path / "film.mp4", rotate=True)
    shown = assert_is_the_film(path, 1.0, 1.5, decoder, [8, 9, 10, 11])
    assert shown[0].frame.shape == (64, 48, 3)
    bright = shown[0].frame.astype(int).sum(axis=2) > 700
    assert bright[:16, -12:].all() and not bright[:16, :12].any(), "the white corner at the top left of the lying film is at the top right"


def test_animated_pictures(tmp_path: Path, decoder: Decoder) -> None:
    from PIL import Image

    for suffix in ("gif", "webp"):
        path = tmp_path / f"film.{suffix}"
        pictures = [Image.fromarray(np.full((24, 32, 3), 20 * place, np.uint8)) for place in range(6)]
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[100, 100, 300, 100, 200, 100], loop=0, lossless=True)
        assert_is_the_film(path, 0.2, 0.6, decoder, [2, 3])
        assert_is_the_film(path, 0.1, 0.9, decoder, [1, 2, 3, 4, 5])


def test_a_start_behind_the_end_is_an_error(tmp_path: Path, make_video: MakeVideo, decoder: Decoder) -> None:
    path = make_video(tmp_path / "film.mp4", seconds=2.0)
    with pytest.raises(VideoError, match=r"only 2\.00 s long, and the excerpt starts at 5 s"):
        taken(path, 5.0, 6.0, decoder)
    with pytest.raises(VideoError):
        taken(tmp_path / "none.mp4", 0.0, 1.0, decoder)
    with pytest.raises(ValueError, match="end after it starts"):
        taken(path, 1.0, 1.0, decoder)


def test_a_reader_that_stops_early_never_hangs(tmp_path: Path, make_video: MakeVideo) -> None:
    """Closing a file while FFmpeg's threads still decode: once in some hundred times it hung when they had something to log."""
    path = make_video(tmp_path / "film.ts", times=VARIABLE, gop=3)
    with Decoder(limit=5) as own:
        for _ in range(150):
            assert [showing.start for showing in excerpt(path, 0.13, 0.95, decoder=own)] == pytest.approx([0, 0.27, 0.77])


def test_no_moment_belongs_to_two_excerpts_or_to_none() -> None:
    times = np.array(VARIABLE)
    line = Timeline(times, np.array([0]), 2.8)
    cuts = [0.0, 0.1, 0.5, 1.7, 1.71, 2.8]
    parts = [extent(line, start, end) for start, end in zip(cuts, cuts[1:], strict=False)]
    assert sum(duration for part in parts for _, duration in part.shown()) == pytest.approx(2.8)
    starts = [part.start + begin for part in parts for begin, _ in part.shown()]
    assert set(np.round(starts, 6)) == {*VARIABLE, 0.5}, "each frame once, and the one that is cut in two twice"
    assert len(starts) == len(VARIABLE) + 1
