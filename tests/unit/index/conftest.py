"""A small real encoder, videos of every awkward kind, and a decode worker that misbehaves on demand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from echoreel_index.clips import WindowSettings
from echoreel_index.decoder import Decoder
from echoreel_index.encode import unit
from echoreel_index.library import Library
from echoreel_index.nouns import EncoderCard

COLOURS = ("red", "green", "blue")


class ColourEncoder:
    """Sees how red, green and blue a frame is, and reads the same of words. Counts the frames it was shown."""

    frame_size = 32
    logit_scale = 100.0

    def __init__(self, name: str = "colours", fingerprint: str = "c" * 64) -> None:
        self.card = EncoderCard(name, 6, fingerprint)
        self.frames = 0

    def embed_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.frames += len(frames)
        pixels = frames.astype(np.float32).reshape(len(frames), -1, 3) / 255
        return unit(np.concatenate([pixels.mean(1), pixels.std(1) * 0.1], axis=1))

    def embed_texts(self, texts: list[str]) -> NDArray[np.float32]:
        rows = [[float(colour in text) + 1e-3 for colour in COLOURS] + [0.0] * 3 for text in texts]
        return unit(np.array(rows, dtype=np.float32))


def write_video(
    path: Path,
    *,
    colour: tuple[int, int, int] = (200, 40, 40),
    seconds: float = 3.0,
    fps: int = 8,
    times: Sequence[float] | None = None,
    rotate: bool = False,
    gop: int = 12,
    size: tuple[int, int] = (48, 64),
) -> Path:
    """A film of one colour whose left edge darkens to the right frame by frame; `times` makes the frame rate variable."""
    import av

    height, width = size
    path.parent.mkdir(parents=True, exist_ok=True)
    moments = [i / fps for i in range(round(seconds * fps))] if times is None else list(times)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "10", "threads": "1", "g": str(gop), "bf": "0"}
        stream.codec_context.time_base = Fraction(1, 1000)
        for place, moment in enumerate(moments):
            picture = np.full((height, width, 3), colour, np.uint8)
            picture[:, : width * place // len(moments)] //= 2
            picture[:12, :16] = 255 if rotate else picture[:12, :16]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(moment * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if rotate:
        turn(path, height)
    return path


def write_film(path: Path, scenes: Sequence[tuple[tuple[int, int, int], float]], fps: int = 8) -> Path:
    """Scenes of (colour, seconds), cut hard; in each a dark edge moves, as in `write_video`."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt, stream.options = 64, 48, "yuv420p", {"crf": "10", "threads": "1"}
        for colour, seconds in scenes:
            count = round(seconds * fps)
            for place in range(count):
                picture = np.full((48, 64, 3), colour, np.uint8)
                picture[:, : 64 * place // count] //= 2
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def turn(path: Path, height: int) -> None:
    """Write a quarter turn into the track header of an MP4 file, as telephones do."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # version and flags, times, ids, layer, volume: then nine numbers, 16.16 and 2.30
    for number, value in enumerate((0, 0x10000, 0, -0x10000, 0, 0, height << 16, 0, 0x40000000)):
        data[place + 4 * number : place + 4 * number + 4] = value.to_bytes(4, "big", signed=value < 0)
    path.write_bytes(data)


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


@pytest.fixture
def other_encoder() -> ColourEncoder:
    return ColourEncoder("other", "d" * 64)


@pytest.fixture
def make_video() -> Callable[..., Path]:
    return write_video


@pytest.fixture
def make_film() -> Callable[..., Path]:
    return write_film


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Three films: red, green, blue, three seconds each."""
    for place, colour in enumerate(COLOURS):
        write_video(tmp_path / "videos" / f"{colour}.mp4", colour=tuple(200 if i == place else 20 for i in range(3)))  # type: ignore[arg-type]
    return tmp_path / "videos"


@pytest.fixture
def library(tmp_path: Path, encoder: ColourEncoder) -> Iterator[Library]:
    opened = Library.create_or_open(tmp_path / "library", encoder)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def decoder() -> Iterator[Decoder]:
    with Decoder() as one:
        yield one


@pytest.fixture
def settings() -> WindowSettings:
    return WindowSettings()


@pytest.fixture
def bad_worker(tmp_path: Path) -> list[str]:
    """A worker whose first reader sleeps for ever on files called `hang*` and dies on `crash*`; its second hangs on `*twice*`."""
    script = tmp_path / "bad_worker.py"
    script.write_text(
        "import os, time\n"
        "from echoreel_index.readers import PyavReader\n"
        "from echoreel_index.worker import serve\n"
        "def name(path): return os.path.basename(path)\n"
        "def first(path):\n"
        "    if name(path).startswith('hang'): time.sleep(1000)\n"
        "    if name(path).startswith('crash'): os.abort()\n"
        "    return PyavReader(path)\n"
        "def second(path):\n"
        "    if 'twice' in name(path): time.sleep(1000)\n"
        "    return PyavReader(path)\n"
        "serve({'decord': first, 'pyav': second})\n"
    )
    return [sys.executable, str(script)]
