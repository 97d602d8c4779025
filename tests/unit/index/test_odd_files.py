"""Odd, damaged and hostile files: read where there is something to read, else refused in one plain line; the rest goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.odd_files import MADE, animated_webp, film, gif_of, joined, large, make_all, still, written
from echoreel_index.decoder import Decoder
from echoreel_index.errors import VideoError
from echoreel_index.readers import Sample, Scan, ScanSettings

MakeVideo = Callable[..., Path]
SLOW = {"many.gif"}
REFUSED = {
    "still.webp": "a still picture, not a video",
    "still.gif": "a still picture, not a video",
    "png.mp4": "a still picture, not a video",
    "jpeg.avi": "a still picture, not a video",
    "empty.mp4": "the file is empty",
    "text.mp4": "cannot be opened as a video",
    "page.mp4": "cannot be opened as a video",
    "playlist.mp4": "",
    "concat.mp4": "a list of other files, not a video",
    "noise.mkv": "cannot be opened as a video",
    "sound.m4v": "there is no video in it",
    "cut.mp4": "cannot be opened as a video",
    "cut-header.mp4": "cannot be opened as a video",
    "cut.webp": "cannot be opened as a video",
    "bomb.gif": "its frames of 65535 by 65535 pixels are larger than 64 megapixels",
    "huge.y4m": "",
    "pipe.mp4": "not a file",
    "loop.mp4": "cannot be opened: ",
    "folder.mp4": "not a file",
}
"""What each of these is refused with, its beginning at least. A file of changed bytes may go either way; all others are read."""


def scan(decoder: Decoder, path: Path, settings: ScanSettings | None = None) -> tuple[list[Sample], Scan]:
    found = list(decoder.scan(str(path), settings or ScanSettings(size=24)))
    last = found.pop()
    assert isinstance(last, Scan)
    return [one for one in found if isinstance(one, Sample)], last


def test_every_odd_file_is_read_or_refused_and_the_rest_goes_on(tmp_path: Path, make_video: MakeVideo, decoder: Decoder) -> None:
    sound = make_video(tmp_path / "sound.mp4")
    assert len(MADE) >= 40
    for path, _ in make_all(tmp_path / "made", leave_out=SLOW):
        try:
            samples, last = scan(decoder, path)
        except VideoError as error:
            assert path.name.startswith("flipped") or error.message.startswith(REFUSED[path.name]), path.name
            assert error.message and "\n" not in error.message and "Error:" not in error.message, path.name
            assert len(scan(decoder, sound)[0]) == 6
        else:
            assert path.name not in REFUSED, path.name
            assert samples and all(sample.shown_at < last.end for sample in samples)
            assert 0 < last.end < 60 and last.shots[0][0] == 0 and last.shots[-1][1] == last.end, path.name


def test_formats_of_all_kinds_show_the_same_film(tmp_path: Path, decoder: Decoder) -> None:
    """Two seconds of red and then of blue, whatever codec and container they are in."""
    wanted = ["hevc.mp4", "hevc-10.mkv", "av1.mkv", "vp9.webm", "mpeg4.avi", "mpeg4-b.avi", "msmpeg4.avi", "h264.avi", "sorenson.flv"]
    wanted += ["wmv2.wmv", "h264-10.mp4", "mpeg2.vob", "interlaced.mp4", "odd-size.mp4", "ribbon.mp4", "turned-180.mov", "wrong.avi"]
    for name, _, maker in MADE:
        if name not in wanted:
            continue
        maker(tmp_path / name)
        samples, last = scan(decoder, tmp_path / name)
        assert last.end == pytest.approx(2.0, abs=0.09) and not last.cut_short, name
        assert [start for start, _ in last.shots] == pytest.approx([0.0, 1.0], abs=0.09), name
        red, _, blue = (np.array([sample.frame[0].mean(0) for sample in samples])).T
        assert (red[:2] > blue[:2] + 50).all() and (blue[2:] > red[2:] + 50).all(), name


def test_what_breaks_off_says_so(tmp_path: Path, decoder: Decoder) -> None:
    for name, _, maker in MADE:
        if name in ("cut-index.mp4", "cut.mkv", "cut.avi", "gap.mkv", "h264.mp4"):
            maker(tmp_path / name)
    assert not scan(decoder, tmp_path / "h264.mp4")[1].cut_short
    for name in ("cut-index.mp4", "cut.mkv", "cut.avi", "gap.mkv"):
        assert scan(decoder, tmp_path / name)[1].cut_short, name


def test_a_container_that_claims_to_last_for_hours_is_not_believed(tmp_path: Path, decoder: Decoder) -> None:
    next(maker for name, _, maker in MADE if name == "hours.mkv")(tmp_path / "hours.mkv")
    assert decoder.probe(str(tmp_path / "hours.mkv")).duration > 90 * 3600
    samples, last = scan(decoder, tmp_path / "hours.mkv")
    assert len(samples) == 4 and last.end == pytest.approx(2.0, abs=0.05) and last.cut_short


@pytest.mark.parametrize("alpha", [False, True])
def test_animated_webp_is_a_video_like_any_other(tmp_path: Path, decoder: Decoder, alpha: bool) -> None:
    path = tmp_path / "a.webp"
    animated_webp(alpha=alpha, delays=(50, 400))(path)
    samples, last = scan(decoder, path, ScanSettings(step=0.3, size=30))
    assert (last.end, last.width, last.height, last.codec) == (4.5, 80, 60, "webp")
    timeline = decoder.timeline(str(path))
    assert timeline.end == 4.5 and timeline.times[:4].tolist() == [0.0, 0.05, 0.45, 0.5]
    read = list(decoder.read(str(path), [sample.moment for sample in samples], size=30))
    for sample, (frame, at) in zip(samples, read, strict=True):
        assert at == sample.shown_at and np.abs(frame.astype(int) - sample.frame).mean() < 1
    assert [start for start, _ in last.shots] == [0.0, pytest.approx(2.25)]
    probe = decoder.probe(str(path))
    assert (probe.frames, probe.duration, probe.width, probe.height) == (20, 4.5, 80, 60)


def test_a_still_picture_is_no_video(tmp_path: Path, decoder: Decoder) -> None:
    for form in ("WEBP", "PNG", "JPEG", "GIF"):
        still(form)(tmp_path / "still.mp4")
        with pytest.raises(VideoError, match="a still picture, not a video"):
            scan(decoder, tmp_path / "still.mp4")


def test_recordings_that_were_joined_follow_each_other(tmp_path: Path, decoder: Decoder) -> None:
    path = tmp_path / "joined.ts"
    joined(film("mpeg2video", form="mpegts"), film("mpeg2video", form="mpegts"))(path)
    samples, last = scan(decoder, path)
    assert last.end == pytest.approx(4.0, abs=0.1) and len(last.shots) == 4
    assert decoder.timeline(str(path)).end == pytest.approx(last.end, abs=0.1)
    read = [frame for frame, _ in decoder.read(str(path), [sample.moment for sample in samples], size=24)]
    assert max(np.abs(frame.astype(int) - sample.frame).mean() for frame, sample in zip(read, samples, strict=True)) < 10


def test_names_in_any_script(tmp_path: Path, decoder: Decoder) -> None:
    for name in ("跳舞.mp4", "танец.mp4", "नृत्य.mp4", "رقص.mp4", "💃.mp4", 'a "b" \'c\' %03d\n.mp4', os.fsdecode(b"\xe9.mp4")):
        film("libx264", frames=2)(tmp_path / name)
        assert len(scan(decoder, tmp_path / name)[0]) == 1


def test_more_pixels_than_allowed_are_refused_before_decoding(tmp_path: Path, decoder: Decoder) -> None:
    path = tmp_path / "huge.y4m"
    written(b"YUV4MPEG2 W8200 H8200 F24:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(99))(path)
    with pytest.raises(VideoError, match="8200 by 8200 pixels are larger than 64 megapixels"):
        scan(decoder, path)
    with pytest.raises(VideoError, match="larger than 64 megapixels"):
        decoder.timeline(str(path))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is the one of Linux")
def test_a_file_that_needs_too_much_memory_is_given_up_in_words(tmp_path: Path, make_video: MakeVideo) -> None:
    path, sound = tmp_path / "large.mov", make_video(tmp_path / "sound.mp4")
    large(7000, frames=10)(path)  # 147 MB a frame, of which every thread holds one
    with Decoder(memory=0.6, threads=8) as decoder:
        assert len(scan(decoder, sound)[0]) == 6
        with pytest.raises(VideoError, match="needs more than 0.6 GiB of memory to decode"):
            scan(decoder, path)
        assert len(scan(decoder, sound)[0]) == 6


def test_a_file_that_never_ends_is_given_up(tmp_path: Path, make_video: MakeVideo) -> None:
    script = tmp_path / "endless.py"
    script.write_text(
        "import itertools, numpy as np\n"
        "from echoreel_index.passes import ArrayPass\n"
        "from echoreel_index.readers import PyavReader\n"
        "from echoreel_index.worker import serve\n"
        "class Endless(PyavReader):\n"
        "    def watch(self, *, keyframes, threads):\n"
        "        if 'endless' not in self._path: return super().watch(keyframes=keyframes, threads=threads)\n"
        "        frames = ((np.zeros((90, 90, 3), np.uint8), i / 1000) for i in itertools.count())\n"
        "        return ArrayPass(frames, end=lambda: 0.0, fps=0.0, codec='none')\n"
        "serve({'decord': Endless, 'pyav': Endless})\n"
    )
    endless, sound = make_video(tmp_path / "endless.mp4"), make_video(tmp_path / "sound.mp4")
    with Decoder(total=1.0, command=[sys.executable, str(script)]) as decoder:
        with pytest.raises(VideoError, match="needs more than 1 s to decode"):
            scan(decoder, endless)
        assert len(scan(decoder, sound)[0]) == 6


def test_a_video_that_goes_on_for_days_is_given_up(tmp_path: Path, decoder: Decoder) -> None:
    film("libx264", frames=60, times=[i * 3_500_000 for i in range(60)])(tmp_path / "days.mkv")
    with pytest.raises(VideoError, match="goes on for more than 48 hours"):
        scan(decoder, tmp_path / "days.mkv", ScanSettings(step=3600))


def test_many_small_frames_are_read_in_bounded_memory(tmp_path: Path) -> None:
    gif_of(3000, 100)(tmp_path / "many.gif")
    with Decoder(memory=0.5) as decoder:
        assert scan(decoder, tmp_path / "many.gif", ScanSettings(step=50, size=24))[1].end == pytest.approx(300, abs=1)


@pytest.mark.parametrize("name", ["hang-twice.mp4", "crash-twice.mp4"])
def test_a_file_on_which_the_worker_hangs_is_given_up(tmp_path: Path, make_video: MakeVideo, bad_worker: list[str], name: str) -> None:
    sound = make_video(tmp_path / "sound.mp4")
    with Decoder(limit=1.0, command=bad_worker) as decoder:
        with pytest.raises(VideoError, match="the decoder gave no answer for 1 s"):
            scan(decoder, make_video(tmp_path / name))
        assert len(scan(decoder, sound)[0]) == 6


def test_reasons_are_the_same_for_reading_and_are_found_at_once(tmp_path: Path, bad_worker: list[str]) -> None:
    """What no reader can do better is not asked of a second one, on which this worker would hang."""
    path = tmp_path / "twice.mp4"
    written(b"no video at all")(path)
    with Decoder(limit=30.0, command=bad_worker) as decoder:
        for ask in (decoder.timeline, lambda path: list(decoder.read(path, [0.0])), lambda path: list(decoder.scan(path, ScanSettings()))):
            with pytest.raises(VideoError, match="cannot be opened as a video"):
                ask(str(path))
