"""A tiny model, a tiny encoder, drawn videos and a library of them: made once, used by every test here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import DrawVideo
from tests.tiny_model import write_tiny_encoder, write_tiny_model

MOTIONS: Sequence[str] = ("right", "left", "down", "up")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with an exact prism adapter."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def plain_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network without an adapter."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "plain", with_adapter=False)


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory, draw_video: DrawVideo) -> Path:
    """Four films of two seconds, one with a caption beside it."""
    folder = tmp_path_factory.mktemp("films")
    for place, motion in enumerate(("right", "left", "down", "up")):
        draw_video(folder / f"{motion}.mp4", motion=motion, colour=(220, 40 * place, 60), size=(32, 48))  # type: ignore[arg-type]
    (folder / "right.txt").write_text("a square moving right")
    return folder


@pytest.fixture(scope="session")
def library_folder(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Path:
    """The films, indexed by the command itself."""
    from echoreel_cli.app import main

    root = tmp_path_factory.mktemp("library")
    encoder = write_tiny_encoder(root / "encoder")
    assert main(["index", str(videos), "--encoder", str(encoder), "--library", str(root / "library"), "-q"]) == 0
    return root / "library"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_folder: Path, library_folder: Path) -> Path:
    """An empty current folder, with the tiny model and library as settings."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ECHOREEL_MODEL", str(model_folder))
    monkeypatch.setenv("ECHOREEL_LIBRARY", str(library_folder))
    monkeypatch.setenv("ECHOREEL_DEVICE", "cpu")
    return folder
