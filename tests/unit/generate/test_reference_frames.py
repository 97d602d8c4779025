from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from echoreel_cli.generate.references import read_frames, repeat_last, resolve, to_frames, to_video
from echoreel_cli.generate.write import video_bytes
from echoreel_cli.models.folder import ReferenceShape, sha256_of
from echoreel_index.decode import Decoder
from echoreel_index.errors import UsageError, VideoError
from echoreel_index.nouns import Reference


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as one:
        yield one


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at 16 frames a second; frame n has the grey value 6 n + 16."""
    frames = np.stack([np.full((32, 48, 3), 16 + 6 * number, np.uint8) for number in range(32)])
    path = tmp_path_factory.mktemp("ramp") / "ramp.mp4"
    path.write_bytes(video_bytes(frames, 16))
    return path


def numbers(frames: np.ndarray[Any, Any]) -> list[int]:
    """Which frames of the ramp these are."""
    return [round((float(frame.mean()) - 16) / 6) for frame in frames]


@pytest.mark.parametrize(
    ("shape", "start", "end", "expected"),
    [
        (ReferenceShape(8, stride=4), 0, 2, [0, 4, 8, 12, 16, 20, 24, 28]),
        (ReferenceShape(4, stride=4), 1, 2, [16, 20, 24, 28]),
        (ReferenceShape(4, stride=4), 0, 0.5, [0, 4, 4, 4]),
        (ReferenceShape(4, stride=4), 0.51, 0.52, [8, 8, 8, 8]),
        (ReferenceShape(4, fps=8.0), 0, 2, [0, 2, 4, 6]),
        (ReferenceShape(4, fps=8.0), 0.5, 0.75, [8, 10, 11, 11]),
        (ReferenceShape(6, fps=4.0), 1, 2, [16, 20, 24, 28, 31, 31]),
        (ReferenceShape(3, fps=32.0), 0.25, 2, [4, 4, 5]),
    ],
)
def test_which_frames_are_seen(shape: ReferenceShape, start: float, end: float, expected: list[int], ramp: Path, decoder: Decoder) -> None:
    frames = read_frames(Reference(str(ramp), start, end), shape, (8, 24), decoder)
    assert frames.shape == (shape.frames, 8, 24, 3) and frames.dtype == np.uint8
    assert numbers(frames) == expected


def test_pixels_to_the_model_and_back() -> None:
    frames = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3) * 3
    video = to_video(frames)
    assert video.shape == (1, 3, 2, 3, 4) and video.dtype == torch.float32
    assert video[0, 1, 1, 2, 3].item() == pytest.approx(frames[1, 2, 3, 1] / 255 * 2 - 1, abs=1e-6)
    assert to_video(np.array([[[[0, 255, 127]]]], np.uint8)).flatten().tolist() == pytest.approx([-1, 1, -1 / 255], abs=1e-6)
    (back,) = to_frames(video + 1e-3)
    assert np.array_equal(back, frames)
    (clamped,) = to_frames(torch.tensor([-3.0, 0.0, 3.0]).view(1, 3, 1, 1, 1))
    assert clamped.flatten().tolist() == [0, 127, 255], "truncated, not rounded"


def test_the_last_frame_stands_still() -> None:
    frames = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
    assert repeat_last(frames, 5).flatten().tolist() == [0, 1, 2, 2, 2]
    assert repeat_last(frames, 2).flatten().tolist() == [0, 1]


def test_open_ends_and_changed_files(ramp: Path, decoder: Decoder) -> None:
    whole = resolve(Reference(str(ramp), 0.5, math.inf), decoder)
    assert whole.reference.end == 2.0 and whole.reference.sha256 == sha256_of(ramp) and not whole.changed
    assert resolve(replace(whole.reference, sha256="0" * 64), decoder).changed
    slack = resolve(Reference(str(ramp), 0.5, 2.1), decoder)
    assert slack.reference.end == 2.1, "containers round: a window's own end is kept"


@pytest.mark.parametrize(("start", "end", "says"), [(2.0, 3.0, "starts at 2 s"), (1.0, 3.0, "ends at 3 s")])
def test_times_outside_of_the_file(start: float, end: float, says: str, ramp: Path, decoder: Decoder) -> None:
    with pytest.raises(UsageError, match=says):
        resolve(Reference(str(ramp), start, end), decoder)


def test_what_is_no_video(tmp_path: Path, decoder: Decoder) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        resolve(Reference(str(tmp_path / "none.mp4"), 0, 1), decoder)
    (tmp_path / "text.mp4").write_text("no video at all")
    with pytest.raises(VideoError):
        resolve(Reference(str(tmp_path / "text.mp4"), 0, 1), decoder)
