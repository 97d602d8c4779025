"""One pass over a file: looks on a grid, cuts where they were made, motion that tells moving from still."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from echoreel_index.decoder import Decoder
from echoreel_index.errors import VideoError
from echoreel_index.readers import Sample, Scan, ScanSettings
from echoreel_index.shots import pieces, within_shots

MakeVideo = Callable[..., Path]
MILLISECOND = Fraction(1, 1000)
GROUNDS = ((190, 50, 40), (30, 60, 190), (40, 170, 70), (230, 220, 60))


def look(decoder: Decoder, path: Path, settings: ScanSettings) -> tuple[list[Sample], Scan]:
    """What a scan says, its last word apart."""
    *samples, last = decoder.scan(str(path), settings)
    assert isinstance(last, Scan)
    assert all(isinstance(sample, Sample) for sample in samples)
    return [sample for sample in samples if isinstance(sample, Sample)], last


def write_shots(path: Path, times: Sequence[float], cuts: Sequence[float], *, speed: float = 30.0, rate: int = 25) -> Path:
    """A film with a new ground at each cut, before which a square moves to and fro, `speed` pixels a second."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p"
        stream.options = {"crf": "12", "threads": "1", "bf": "2"}
        stream.codec_context.time_base = MILLISECOND
        for time in times:
            shot = sum(cut <= time + 1e-6 for cut in cuts)
            picture: NDArray[np.uint8] = np.full((72, 96, 3), GROUNDS[shot % len(GROUNDS)], np.uint8)
            left = round(abs((speed * time + 10) % 128 - 64))
            picture[20:52, left : left + 32] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def even(seconds: float, rate: int) -> list[float]:
    return [i / rate for i in range(round(seconds * rate))]


def test_a_look_at_every_moment_of_the_grid(tmp_path: Path, make_video: MakeVideo, decoder: Decoder) -> None:
    path = make_video(tmp_path / "a.mp4", seconds=3)  # eight frames a second
    samples, scan = look(decoder, path, ScanSettings(step=0.4, size=24))
    assert [sample.moment for sample in samples] == pytest.approx([0.2, 0.6, 1.0, 1.4, 1.8, 2.2, 2.6])
    assert [sample.shown_at for sample in samples] == pytest.approx([0.125, 0.5, 1.0, 1.375, 1.75, 2.125, 2.5])
    assert {sample.frame.shape for sample in samples} == {(24, 32, 3)}
    assert (scan.width, scan.height, scan.codec) == (64, 48, "h264")
    assert scan.end == pytest.approx(3.0) and scan.fps == pytest.approx(8.0)
    assert not scan.cut_short


def test_a_scan_shows_what_reading_shows(tmp_path: Path, make_video: MakeVideo, decoder: Decoder) -> None:
    times = [0.0, 0.1, 0.2, 1.5, 1.6, 4.0, 4.1]
    path = make_video(tmp_path / "vfr.mp4", times=times)
    samples, scan = look(decoder, path, ScanSettings(step=0.5, size=(20, 30)))
    read = list(decoder.read(str(path), [sample.moment for sample in samples], size=(20, 30)))
    assert [sample.shown_at for sample in samples] == pytest.approx([at for _, at in read], abs=2e-3)
    for sample, (frame, _) in zip(samples, read, strict=True):
        assert np.abs(sample.frame.astype(int) - frame).mean() < 3
    assert scan.end == pytest.approx(decoder.timeline(str(path)).end, abs=2e-3)


def test_a_frame_that_is_shown_for_long_is_sent_once(tmp_path: Path, make_video: MakeVideo, decoder: Decoder) -> None:
    samples, _ = look(decoder, make_video(tmp_path / "slow.mp4", times=[0.0, 5.0, 5.1]), ScanSettings(step=1.0))
    assert len({id(sample.frame) for sample in samples[:4]}) == 1 and samples[0].shown_at == samples[4].shown_at == 0


@pytest.mark.parametrize("frames", [1, 2])
def test_the_shortest_files_are_looked_at_once(tmp_path: Path, make_video: MakeVideo, decoder: Decoder, frames: int) -> None:
    path = make_video(tmp_path / "short.mp4", seconds=frames / 8)
    samples, scan = look(decoder, path, ScanSettings(step=1.0))
    assert [sample.moment for sample in samples] == [(frames - 1) / 8]
    assert scan.shots == ((0.0, scan.end),) and scan.end == pytest.approx(frames / 8)
    assert len(scan.times) == len(scan.motion) == len(scan.brightness) == frames


def test_looks_stand_upright(tmp_path: Path, make_video: MakeVideo, decoder: Decoder) -> None:
    path = make_video(tmp_path / "turned.mp4", rotate=True, size=(64, 96))
    samples, scan = look(decoder, path, ScanSettings(size=None))
    assert (scan.width, scan.height) == (64, 96) and samples[0].frame.shape == (96, 64, 3)
    assert samples[0].frame[:14, -10:].mean() > 230 and samples[0].frame[-14:, :10].mean() < 180
    flat, _ = look(decoder, path, ScanSettings(size=(30, 40)))
    assert flat[0].frame.shape == (30, 40, 3) and flat[0].frame[:4, -6:].mean() > 220


@pytest.mark.parametrize("splitter", ["adaptive", "content"])
@pytest.mark.parametrize("rate", [12, 25, 50])
def test_cuts_are_found_where_they_were_made(
    tmp_path: Path, decoder: Decoder, splitter: Literal["adaptive", "content"], rate: int
) -> None:
    cuts = [1.0, 2.2, 4.0]
    path = write_shots(tmp_path / "cuts.mp4", even(6, rate), cuts, rate=rate)
    _, scan = look(decoder, path, ScanSettings(splitter=splitter))
    assert [start for start, _ in scan.shots] == pytest.approx([0.0, *cuts], abs=1 / rate + 1e-3)
    assert [end for _, end in scan.shots] == pytest.approx([*cuts, 6.0], abs=1 / rate + 1e-3)
    assert all(before[1] == after[0] for before, after in zip(scan.shots, scan.shots[1:], strict=False))


def test_cuts_keep_true_times_where_the_frame_rate_varies(tmp_path: Path, decoder: Decoder) -> None:
    random = np.random.default_rng(3)
    times = np.cumsum(random.choice([0.02, 0.04, 0.2], 120)).round(3)
    cuts = [float(times[30]), float(times[75])]
    path = write_shots(tmp_path / "vfr.mp4", (times - times[0]).tolist(), [cut - float(times[0]) for cut in cuts])
    _, scan = look(decoder, path, ScanSettings())
    assert [start for start, _ in scan.shots[1:]] == pytest.approx([cut - float(times[0]) for cut in cuts], abs=2e-3)


def test_flashes_make_no_shots(tmp_path: Path, decoder: Decoder) -> None:
    path = write_shots(tmp_path / "flash.mp4", even(4, 25), [2.0, 2.08, 2.16, 2.24])
    _, scan = look(decoder, path, ScanSettings())
    assert min(end - start for start, end in scan.shots) >= 0.6


def test_without_a_splitter_or_with_keyframes_a_file_is_one_shot(tmp_path: Path, decoder: Decoder) -> None:
    path = write_shots(tmp_path / "cuts.mp4", even(4, 25), [1.0, 2.5])
    for settings in (ScanSettings(splitter="none"), ScanSettings(policy="keyframes")):
        _, scan = look(decoder, path, settings)
        assert scan.shots == ((0.0, scan.end),) and scan.end == pytest.approx(4.0, abs=0.05)


def test_keyframes_are_those_shown_at_the_moments(tmp_path: Path, make_video: MakeVideo, decoder: Decoder) -> None:
    path = make_video(tmp_path / "long.mp4", seconds=10, gop=10)
    timeline = decoder.timeline(str(path))
    keys = timeline.times[timeline.keys]
    samples, scan = look(decoder, path, ScanSettings(step=0.5, size=24, policy="keyframes"))
    assert len(samples) == 20 and scan.end == pytest.approx(10.0, abs=0.02)
    for sample in samples:
        assert sample.shown_at == pytest.approx(keys[keys <= sample.moment + 1e-3].max(), abs=1e-3)


def test_motion_is_that_of_things_and_not_of_cuts_or_frame_rates(tmp_path: Path, decoder: Decoder) -> None:
    def motion(name: str, speed: float, rate: int = 24, cuts: Sequence[float] = ()) -> NDArray[np.float32]:
        path = write_shots(tmp_path / name, even(4, rate), cuts, speed=speed, rate=rate)
        return look(decoder, path, ScanSettings())[1].motion

    still, slow, fast = motion("still.mp4", 0), motion("slow.mp4", 12), motion("fast.mp4", 60)
    assert still.max() < 0.002 < 0.005 < slow.mean() < 0.5 * fast.mean() and fast.max() <= 1
    assert motion("again.mp4", 60, rate=48).mean() == pytest.approx(fast.mean(), rel=0.15)
    assert motion("cut.mp4", 0, cuts=[2.0]).max() < 0.01  # the cut itself would be ten times that


def test_brightness_is_that_of_the_picture(tmp_path: Path, make_video: MakeVideo, decoder: Decoder) -> None:
    for name, level in (("black.mp4", 0), ("grey.mp4", 128), ("white.mp4", 255)):
        _, scan = look(decoder, make_video(tmp_path / name, colour=(level,) * 3, times=[0.0, 0.2, 0.4]), ScanSettings())
        assert scan.brightness[0] == pytest.approx(level / 255, abs=0.02)
        assert scan.brightness.dtype == np.float32 and scan.times.dtype == np.float64


def test_pieces_cover_the_file() -> None:
    assert pieces([], 2.0) == ((0.0, 2.0),)
    assert pieces([1.5, 0.5, 0.5, 0.0, 9.0], 2.0) == ((0.0, 0.5), (0.5, 1.5), (1.5, 2.0))


def test_motion_never_crosses_a_cut() -> None:
    motion = within_shots(np.array([0.0, 0.2, 0.4, 0.6, 0.8]), np.array([0, 0.1, 0.9, 0.3, 0.8], np.float32), [0.0, 0.35, 0.75])
    np.testing.assert_allclose(motion, [0.1, 0.1, 0.3, 0.3, 0.0])


def test_a_scan_that_is_broken_off_leaves_the_decoder_usable(tmp_path: Path, make_video: MakeVideo) -> None:
    path = str(make_video(tmp_path / "a.mp4"))
    with Decoder() as decoder:
        for _ in decoder.scan(path, ScanSettings()):
            break
        assert isinstance(list(decoder.scan(path, ScanSettings()))[-1], Scan)
        assert len(decoder.timeline(path).times) == 24


def test_a_step_must_be_positive() -> None:
    with pytest.raises(ValueError, match="step"):
        ScanSettings(step=0)


@pytest.fixture
def half_way(tmp_path: Path) -> list[str]:
    """A worker whose first way of scanning dies after a second of film; its other way dies on `*twice*` too."""
    script = tmp_path / "half_way.py"
    script.write_text(
        "import os\n"
        "from echoreel_index.readers import PyavReader\n"
        "from echoreel_index.worker import serve\n"
        "class Half:\n"
        "    def __init__(self, inner): self._inner = inner\n"
        "    def __getattr__(self, name): return getattr(self._inner, name)\n"
        "    def __iter__(self):\n"
        "        for picture, time in self._inner:\n"
        "            if time > 1: os.abort()\n"
        "            yield picture, time\n"
        "class First(PyavReader):\n"
        "    def watch(self, *, keyframes, threads): return Half(super().watch(keyframes=keyframes, threads=threads))\n"
        "serve({'decord': lambda path: (First if 'twice' in path else PyavReader)(path), 'pyav': First})\n"
    )
    return [sys.executable, str(script)]


def test_what_one_reader_fails_to_give_the_other_does(tmp_path: Path, make_video: MakeVideo, half_way: list[str]) -> None:
    whole = make_video(tmp_path / "whole.mp4")
    with Decoder(command=half_way, threads=1) as decoder:
        samples, scan = look(decoder, whole, ScanSettings())
        assert [sample.moment for sample in samples] == pytest.approx([0.25, 0.75, 1.25, 1.75, 2.25, 2.75])
        assert scan.end == pytest.approx(3.0)
        with pytest.raises(VideoError, match="crashed"):
            list(decoder.scan(str(make_video(tmp_path / "twice.mp4")), ScanSettings()))
        assert len(look(decoder, whole, ScanSettings())[0]) == 6


def test_what_fails_with_several_threads_is_tried_with_one(tmp_path: Path, make_video: MakeVideo) -> None:
    """FFmpeg's frame threads lock each other on some damaged files; decord does not read all containers."""
    script = tmp_path / "locking.py"
    script.write_text(
        "import os\n"
        "from echoreel_index.readers import PyavReader\n"
        "from echoreel_index.worker import serve\n"
        "class Locking(PyavReader):\n"
        "    def watch(self, *, keyframes, threads):\n"
        "        if threads > 1: os.abort()\n"
        "        return super().watch(keyframes=keyframes, threads=threads)\n"
        "serve({'pyav': Locking})\n"
    )
    with Decoder(command=[sys.executable, str(script)], threads=2) as decoder:
        assert len(look(decoder, make_video(tmp_path / "a.mp4"), ScanSettings())[0]) == 6
