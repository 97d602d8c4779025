"""The sound of an excerpt stays with its pictures: a film that beeps exactly while it is white."""

from __future__ import annotations

import io
import select
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from echoreel_cli.generate.write import excerpt_bytes
from echoreel_index.decode import Decoder
from echoreel_index.errors import VideoError
from echoreel_index.excerpt import excerpt
from echoreel_index.sound import sound

RATE = 44100


def beeping(path: Path, *, codec: str = "aac", rate: int = RATE, layout: str = "stereo") -> Path:
    """Four seconds at 10 frames a second; white and loud in [2, 3), black and silent else."""
    import av

    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=10, options={"crf": "10", "threads": "1"})
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        tones = container.add_stream(codec, rate=rate, layout=layout)
        time = np.arange(4 * rate) / rate
        tone = np.where((time >= 2) & (time < 3), 12000 * np.sin(2 * np.pi * 440 * time), 0).astype(np.int16)
        samples = np.repeat(tone[:, None], 1 if layout == "mono" else 2, axis=1)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(tones.encode(frame))
        container.mux(tones.encode(None))
        for number in range(40):
            grey = np.full((48, 64, 3), 255 if 20 <= number < 30 else 0, np.uint8)
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(pictures.encode(None))
    return path


def loud(samples: np.ndarray[tuple[int, ...], np.dtype[np.int16]], rate: int) -> tuple[float, float]:
    """From when to when it is loud, seconds."""
    at = np.flatnonzero(np.abs(samples[:, 0].astype(int)) > 2000)
    return at[0] / rate, at[-1] / rate


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout"),
    [("film.mp4", "aac", 44100, "stereo"), ("film.mkv", "pcm_s16le", 6000, "mono"), ("film.mov", "pcm_s16le", 22050, "stereo")],
)
def test_sound_is_heard_when_it_is_seen(tmp_path: Path, name: str, codec: str, rate: int, layout: str) -> None:
    path = beeping(tmp_path / name, codec=codec, rate=rate, layout=layout)
    heard = sound(path, 1.5, 3.5)
    assert heard is not None
    assert heard.rate == (rate if rate > 8000 else 48000)
    assert heard.samples.shape == (2 * heard.rate, 1 if layout == "mono" else 2)
    assert loud(heard.samples, heard.rate) == pytest.approx((0.5, 1.5), abs=0.02)


def test_the_written_excerpt_beeps_while_it_is_white(tmp_path: Path, decoder: Decoder) -> None:
    import av

    path = beeping(tmp_path / "film.mp4")
    content = excerpt_bytes(excerpt(path, 1.7, 2.5, decoder=decoder), sound=sound(path, 1.7, 2.5))
    with av.open(io.BytesIO(content)) as container:
        white = [frame.time for frame in container.decode(video=0) if frame.to_ndarray(format="rgb24").mean() > 128]
    assert (min(white), max(white)) == pytest.approx((0.3, 0.7), abs=1e-4)
    (tmp_path / "excerpt.mp4").write_bytes(content)
    again = sound(tmp_path / "excerpt.mp4", 0.0, 0.8)
    assert again is not None and loud(again.samples, again.rate) == pytest.approx((0.3, 0.8), abs=0.02)
    line = decoder.timeline(str(tmp_path / "excerpt.mp4"))
    assert len(line.times) == 8 and (float(line.times[0]), line.end) == pytest.approx((0.0, 0.8))


def test_no_sound_and_no_video(tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.new("RGB", (32, 32))
    picture.save(tmp_path / "film.gif", save_all=True, append_images=[Image.new("RGB", (32, 32), "red")], duration=100)
    assert sound(tmp_path / "film.gif", 0.0, 0.2) is None
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    with pytest.raises(VideoError, match="sound cannot be decoded"):
        sound(tmp_path / "bad.mp4", 0.0, 1.0)


def test_a_list_of_other_files_has_no_sound_of_its_own(tmp_path: Path) -> None:
    """A file may not make us read another."""
    beeping(tmp_path / "secret.mp4")
    (tmp_path / "film.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with pytest.raises(VideoError, match="sound cannot be decoded"):
        sound(tmp_path / "film.mp4", 0.0, 1.0)


def test_the_process_does_not_outlive_a_parent_that_was_killed() -> None:
    child = (
        "import os, time; from echoreel_index import sound\n"
        "def hang(*given): os.write(2, b'hanging\\n'); time.sleep(100)\n"
        "sound._decoded = hang; sound._main('film.mp4', '0', '1')"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None and process.stdout.readline() == b"hanging\n"
        process.kill()
        ready, _, _ = select.select([process.stdout], [], [], 20)
        assert ready and process.stdout.read() == b""  # nobody holds the other end any more
