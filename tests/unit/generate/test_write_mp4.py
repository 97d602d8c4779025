from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoreel_cli.generate.write import excerpt_bytes, video_bytes, write_atomically
from echoreel_index.errors import OutputExists
from echoreel_index.excerpt import Showing

Frames = np.ndarray[Any, Any]
ROOT = Path(__file__).parents[3]


def moving_square(t: int = 8, h: int = 64, w: int = 48) -> Frames:
    frames = np.full((t, h, w, 3), (40, 90, 200), np.uint8)
    for number in range(t):
        frames[number, 10:30, 2 + 3 * number : 18 + 3 * number] = (220, 40, 30)
    return frames


def decoded(content: bytes) -> tuple[Frames, Any]:
    import av

    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
        return frames, (stream.codec_context.name, stream.pix_fmt, float(stream.average_rate), dict(container.metadata))


def test_what_is_read_back_is_what_was_written() -> None:
    frames = moving_square()
    back, (codec, pixels, fps, metadata) = decoded(video_bytes(frames, 8, tags={"title": "a square", "comment": "seed 7"}))
    assert (codec, pixels, fps) == ("h264", "yuv420p", 8.0)
    assert metadata["title"] == "a square" and metadata["comment"] == "seed 7"
    assert back.shape == frames.shape
    inside = (slice(None), slice(40, 60), slice(4, 44))
    assert np.abs(back[inside].astype(int) - frames[inside].astype(int)).max() <= 4, "flat colours come back: the matrix is tagged"
    assert np.abs(back.astype(int) - frames.astype(int)).mean() < 4


def test_same_frames_give_the_same_bytes() -> None:
    first = video_bytes(moving_square(), 8, tags={"title": "x"})
    assert first == video_bytes(moving_square(), 8, tags={"title": "x"})
    assert first != video_bytes(moving_square(), 8, tags={"title": "y"})


NOISY = """
import hashlib
import numpy as np
from echoreel_cli.generate.write import video_bytes
rng, (y, x) = np.random.default_rng(0), np.mgrid[:64, :64]
waves = [np.stack([128 + 90 * np.sin((x + 3 * t) / 5 + c) * np.cos((y - 2 * t) / (5 + c)) for c in range(3)], -1) for t in range(8)]
noisy = (np.stack(waves) + rng.normal(0, 8, (8, 64, 64, 3))).clip(0, 255).astype(np.uint8)
print(hashlib.sha256(video_bytes(noisy, 8)).hexdigest())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's switch")
def test_the_bytes_do_not_depend_on_what_memory_held_before() -> None:
    """glibc fills all memory it hands out with a given byte; the video must not show it."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'index'}"}
    made = {
        subprocess.run([sys.executable, "-c", NOISY], env={**env, "MALLOC_PERTURB_": fill}, check=True, capture_output=True).stdout
        for fill in ("0", "77", "200")
    }
    assert len(made) == 1


def test_fractional_rates_and_odd_sizes_and_one_frame() -> None:
    back, (_, _, fps, _) = decoded(video_bytes(moving_square(t=3, h=33, w=47), 29.97))
    assert back.shape == (3, 34, 48, 3) and fps == pytest.approx(29.97, abs=0.01)
    assert decoded(video_bytes(moving_square(t=1), 4))[0].shape[0] == 1


def test_streamable_file_has_its_index_before_the_pictures() -> None:
    content = video_bytes(moving_square(), 8, streamable=True)
    assert content.index(b"moov") < content.index(b"moof") < content.index(b"mdat")
    assert decoded(content)[0].shape[0] == 8


@pytest.mark.parametrize("frames", [np.zeros((0, 8, 8, 3), np.uint8), np.zeros((2, 8, 8, 3), np.float32), np.zeros((2, 8, 8), np.uint8)])
def test_refuses_what_is_no_video(frames: Frames) -> None:
    with pytest.raises(ValueError, match="frames must be"):
        video_bytes(frames, 8)


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.bin"
    write_atomically(target, b"one", force=False)
    with pytest.raises(OutputExists) as caught:
        write_atomically(target, b"two", force=False)
    assert caught.value.hint is not None and "--force" in caught.value.hint
    assert target.read_bytes() == b"one"
    write_atomically(target, b"two", force=True)
    assert target.read_bytes() == b"two"
    assert list(target.parent.iterdir()) == [target], "no half-written file is left"
    (tmp_path / "plain").write_bytes(b"")
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def showings(frames: Frames, starts: list[float], end: float) -> list[Showing]:
    return [Showing(frame, a, b - a) for frame, a, b in zip(frames, starts, [*starts[1:], end], strict=True)]


def test_each_frame_of_an_excerpt_is_shown_for_its_own_time() -> None:
    import av

    frames, starts = moving_square(6, h=63), [0.0, 0.04, 0.1, 0.111, 0.9, 0.95]
    content = excerpt_bytes(showings(frames, starts, 1.4), tags={"title": "a square"})
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(1.4) and container.metadata["title"] == "a square"
        back = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)]
    assert [time for time, _ in back] == pytest.approx(starts, abs=1e-4)
    for (_, picture), frame in zip(back, frames, strict=True):
        assert picture.shape == (64, 48, 3), "an odd last row is doubled"
        assert np.abs(picture[:63].astype(int) - frame.astype(int)).mean() < 5
    assert content == excerpt_bytes(showings(frames, starts, 1.4), tags={"title": "a square"})


def test_an_excerpt_of_one_frame_and_of_none() -> None:
    back, _ = decoded(excerpt_bytes(showings(moving_square(1), [0.0], 2.5)))
    assert len(back) == 1
    with pytest.raises(ValueError, match="at least one frame"):
        excerpt_bytes([])
