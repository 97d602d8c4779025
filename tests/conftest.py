"""What every test gets: its own folders, one thread, no network, and videos drawn on the spot."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pytest

Motion = Literal["right", "left", "down", "up", "still", "grow"]


def pytest_configure(config: pytest.Config) -> None:
    # Before torch and the hub's code are imported: both read their variables once.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["MKL_NUM_THREADS"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("needs_cuda")]
    if not marked or os.environ.get("ECHOREEL_FAIL_WITHOUT_CUDA") == "1":
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU here"))


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings, data and cache of each test live in a folder of its own; the user's are out of reach."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(home / variable.removesuffix("_HOME").lower()))
    for variable in [name for name in os.environ if name.startswith(("ECHOREEL_", "_ECHOREEL_"))]:
        if variable != "ECHOREEL_FAIL_WITHOUT_CUDA":
            monkeypatch.delenv(variable)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return home


class DrawVideo(Protocol):
    """Writes a short H.264 file of a square that moves over a plain ground, and returns its path."""

    def __call__(
        self,
        path: Path,
        *,
        seconds: float = 2.0,
        fps: int = 8,
        size: tuple[int, int] = (64, 64),
        colour: tuple[int, int, int] = (220, 60, 60),
        ground: tuple[int, int, int] = (30, 40, 60),
        motion: Motion = "right",
    ) -> Path: ...


@pytest.fixture(scope="session")
def draw_video() -> DrawVideo:
    """Draw a video; see `DrawVideo`. `size` is (height, width), both even."""
    return _draw_video


def _draw_video(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: int = 8,
    size: tuple[int, int] = (64, 64),
    colour: tuple[int, int, int] = (220, 60, 60),
    ground: tuple[int, int, int] = (30, 40, 60),
    motion: Motion = "right",
) -> Path:
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    count = round(seconds * fps)
    height, width = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"crf": "18", "threads": "1"}
        for place in range(count):
            frame = drawn_frame(place / max(count - 1, 1), size=size, colour=colour, ground=ground, motion=motion)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def drawn_frame(
    progress: float, *, size: tuple[int, int], colour: tuple[int, int, int], ground: tuple[int, int, int], motion: Motion
) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """(h w c) uint8: the square at `progress` (0 at the start, 1 at the end) of its way."""
    height, width = size
    side = max(4, round(min(size) * (0.2 + 0.4 * progress if motion == "grow" else 0.3)))
    along = progress if motion in ("right", "down") else 1 - progress if motion in ("left", "up") else 0.5
    top = round((height - side) * (along if motion in ("down", "up") else 0.5))
    left = round((width - side) * (along if motion in ("right", "left") else 0.5))
    frame = np.empty((height, width, 3), dtype=np.uint8)
    frame[:] = ground
    frame[top : top + side, left : left + side] = colour
    return frame


@dataclass(frozen=True, slots=True)
class Done:
    """How a command line ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run a command line in this process: `cli("search", "a walk", "--json")`."""
    from echoreel_cli.app import main

    def run(*args: str | Path) -> Done:
        capfd.readouterr()
        code = main([str(arg) for arg in args])
        captured = capfd.readouterr()
        return Done(code, captured.out, captured.err)

    return run
