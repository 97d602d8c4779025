"""Decoding: two readers that agree, a clock that is true, and a worker that can only hurt itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.odd_files import film
from echoreel_index.decode import frames_at, frames_strided, probe
from echoreel_index.decoder import Decoder
from echoreel_index.errors import VideoError
from echoreel_index.readers import DecordReader, PyavReader, ScanSettings, target_size

MakeVideo = Callable[..., Path]


@pytest.mark.parametrize("size", [None, 24, (30, 20)])
def test_both_readers_give_the_same_frames_at_the_same_times(
    tmp_path: Path, make_video: MakeVideo, size: int | tuple[int, int] | None
) -> None:
    path = str(make_video(tmp_path / "a.mp4", seconds=4))
    moments = [0.0, 0.3, 0.31, 1.7, 3.9, 99.0]
    decord, pyav = DecordReader(path), PyavReader(path)
    np.testing.assert_allclose(decord.timeline.times, pyav.timeline.times, atol=1e-6)
    np.testing.assert_array_equal(decord.timeline.keys, pyav.timeline.keys)
    assert decord.timeline.end == pytest.approx(4.0, abs=0.13) and pyav.timeline.end == pytest.approx(4.0, abs=0.13)
    for (one, at_one), (other, at_other) in zip(decord.read(moments, size), pyav.read(moments, size), strict=True):
        assert at_one == pytest.approx(at_other, abs=1e-6)
        assert np.abs(one.astype(int) - other).mean() < 1


@pytest.mark.parametrize("reader", [DecordReader, PyavReader])
def test_frames_stand_upright(tmp_path: Path, make_video: MakeVideo, reader: type[DecordReader] | type[PyavReader]) -> None:
    path = make_video(tmp_path / "turned.mp4", rotate=True, size=(64, 96))
    frame, _ = next(iter(reader(str(path)).read([0.0], None)))
    assert frame.shape == (96, 64, 3)
    corner = frame[:14, -10:].mean()  # the white mark at the top left was turned clockwise to the top right
    assert corner > 230 and frame[-14:, :10].mean() < 180


def test_what_decord_cannot_turn_pyav_does(tmp_path: Path, make_video: MakeVideo, decoder: Decoder) -> None:
    """decord 3.4 fails on turned pictures whose width is no multiple of 32; nobody should notice."""
    path = str(make_video(tmp_path / "narrow.mp4", rotate=True))
    decoder.timeline(path)
    frames = [frame for frame, _ in decoder.read(path, [0.0, 1.0, 2.0])]
    assert [frame.shape for frame in frames] == [(64, 48, 3)] * 3
    assert frames[0][:14, -10:].mean() > 230


def test_probe_tells_size_as_shown(tmp_path: Path, make_video: MakeVideo, decoder: Decoder) -> None:
    found = probe(make_video(tmp_path / "turned.mp4", rotate=True), decoder=decoder)
    assert (found.width, found.height, found.rotation, found.codec) == (48, 64, 270, "h264")
    assert found.frames == 24 and found.duration == pytest.approx(3, abs=0.15)


@pytest.mark.parametrize("reader", [DecordReader, PyavReader])
def test_variable_frame_rate_keeps_true_times(tmp_path: Path, make_video: MakeVideo, reader: type[DecordReader] | type[PyavReader]) -> None:
    times = [0.0, 0.1, 0.2, 1.5, 1.6, 4.0, 4.1]
    opened = reader(str(make_video(tmp_path / "vfr.mp4", times=times)))
    np.testing.assert_allclose(opened.timeline.times, times, atol=2e-3)
    assert [at for _, at in opened.read([0.15, 1.4, 1.55, 3.9, 4.05], 16)] == pytest.approx([0.1, 0.2, 1.5, 1.6, 4.0], abs=2e-3)


def test_pyav_jumps_and_keyframe_reading_give_what_one_pass_gives(tmp_path: Path, make_video: MakeVideo) -> None:
    path = str(make_video(tmp_path / "long.mp4", seconds=20, gop=10))
    reader = PyavReader(path)
    everything = [frame for frame, _ in reader.read(reader.timeline.times.tolist(), None)]
    for moments in ([0.5, 7.0, 7.1, 18.3], [reader.timeline.times[i] for i in reader.timeline.keys[::3]]):
        for frame, at in reader.read(list(moments), None):
            np.testing.assert_array_equal(frame, everything[reader.timeline.index_at(at)])


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_frames_of_avi_are_counted_and_can_be_jumped_to(tmp_path: Path, codec: str) -> None:
    """AVI keeps no times, and what FFmpeg makes of that is wrong where there are B-frames."""
    path = tmp_path / "long.avi"
    film(codec, frames=24 * 20, options={"g": "12", "bf": "2"})(path)
    reader = PyavReader(str(path))
    everything = list(reader.read(reader.timeline.times.tolist(), None))
    assert [at for _, at in everything] == pytest.approx([i / 24 for i in range(480)], abs=1e-3)
    for moments in ([0.5, 7.0, 7.1, 18.3], [reader.timeline.times[i] for i in reader.timeline.keys[::9]]):
        for (frame, at), moment in zip(reader.read(list(moments), None), moments, strict=True):
            assert at == pytest.approx(reader.timeline.times[reader.timeline.index_at(moment)])
            np.testing.assert_array_equal(frame, everything[reader.timeline.index_at(moment)][0])


def test_frames_at_keeps_the_order_it_was_asked_in(tmp_path: Path, make_video: MakeVideo, decoder: Decoder) -> None:
    path = make_video(tmp_path / "a.mp4")
    frames = frames_at(path, [2.0, 0.0, 2.0], size=(12, 16), decoder=decoder)
    assert frames.shape == (3, 12, 16, 3) and frames.dtype == np.uint8
    np.testing.assert_array_equal(frames[0], frames[2])
    assert (frames[0] != frames[1]).any()


def test_frames_strided_repeats_the_last_frame_of_a_short_file(tmp_path: Path, make_video: MakeVideo, decoder: Decoder) -> None:
    path = make_video(tmp_path / "a.mp4", seconds=1)  # eight frames
    frames = frames_strided(path, 0.2, 3, 5, decoder=decoder)
    exact = frames_at(path, [0.25, 0.625], decoder=decoder)  # frames 2 and 5
    np.testing.assert_array_equal(frames, np.stack([exact[0], exact[1], exact[1], exact[1], exact[1]]))


def test_target_size() -> None:
    assert target_size(480, 640, 240) == (240, 320)
    assert target_size(100, 80, 240) == (100, 80)
    assert target_size(480, 640, (10, 20)) == (10, 20)


def test_what_is_no_video_is_a_video_error(tmp_path: Path, decoder: Decoder, make_video: MakeVideo) -> None:
    (tmp_path / "text.mp4").write_text("this is no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    cut = make_video(tmp_path / "cut.mp4")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])  # the index of an MP4 stands at its end
    for name in ("text.mp4", "empty.mp4", "cut.mp4", "missing.mp4"):
        with pytest.raises(VideoError):
            decoder.timeline(str(tmp_path / name))
    assert len(decoder.timeline(str(make_video(tmp_path / "good.mp4"))).times) == 24


def test_a_hanging_or_crashing_reader_is_replaced_by_the_other(tmp_path: Path, make_video: MakeVideo, bad_worker: list[str]) -> None:
    with Decoder(limit=1.0, command=bad_worker) as decoder:
        for name in ("hang.mp4", "crash.mp4", "fine.mp4"):
            path = str(make_video(tmp_path / name))
            assert len(decoder.timeline(path).times) == 24
            assert len(list(decoder.read(path, [0.0, 1.0]))) == 2


def test_a_file_on_which_both_readers_hang_is_given_up(tmp_path: Path, make_video: MakeVideo, bad_worker: list[str]) -> None:
    path = make_video(tmp_path / "hang-twice.mp4")
    began = time.monotonic()
    with Decoder(limit=1.0, command=bad_worker) as decoder, pytest.raises(VideoError, match="gave no answer"):
        decoder.timeline(str(path))
    assert time.monotonic() - began < 30


def test_an_answer_that_nobody_waited_for_does_not_meet_the_next_question(tmp_path: Path, make_video: MakeVideo) -> None:
    path = str(make_video(tmp_path / "a.mp4"))
    with Decoder() as decoder:
        for _ in decoder.read(path, [0.0, 1.0, 2.0]):
            break
        assert [at for _, at in decoder.read(path, [1.0])] == [1.0]


def test_the_worker_loads_neither_torch_nor_cuda() -> None:
    code = (
        "import sys, echoreel_index.worker as w\nprint(list(w.available()), 'torch' in sys.modules)\n"
        "from pathlib import Path\nmaps = Path('/proc/self/maps')\nprint('cublas' in maps.read_text() if maps.exists() else False)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines() == ["['decord', 'pyav'] False", "False"], done.stderr


def test_a_hanging_worker_dies_with_its_killed_parent(tmp_path: Path, make_video: MakeVideo, bad_worker: list[str]) -> None:
    path = make_video(tmp_path / "hang.mp4")
    code = (
        "import sys, threading\nfrom echoreel_index.decoder import Decoder\n"
        f"d = Decoder(limit=600, command={bad_worker!r})\n"
        "d._start()\nprint(d._process.pid, flush=True)\n"
        f"d.timeline({str(path)!r})\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    time.sleep(0.3)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        try:
            state = Path(f"/proc/{worker}/stat").read_text().split()[2]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the worker outlived its parent")


def test_what_an_error_says_does_not_decide_what_becomes_of_the_worker(tmp_path: Path, make_video: MakeVideo) -> None:
    """The words come from the file, or from a library that read it."""
    script = tmp_path / "wordy.py"
    script.write_text(
        "from echoreel_index.containers import Refused\n"
        "from echoreel_index.readers import PyavReader\n"
        "from echoreel_index.worker import serve\n"
        "def wordy(path):\n"
        "    if 'wordy' in path: raise Refused('needs more than one reference frame')\n"
        "    return PyavReader(path)\n"
        "serve({'pyav': wordy})\n"
    )
    good, bad = make_video(tmp_path / "good.mp4"), make_video(tmp_path / "wordy.mkv")
    with Decoder(command=[sys.executable, str(script)]) as decoder:
        list(decoder.scan(str(good), ScanSettings()))
        worker = decoder._process
        with pytest.raises(VideoError, match="one reference frame"):
            list(decoder.scan(str(bad), ScanSettings()))
        assert worker is not None and decoder._process is worker and worker.poll() is None
