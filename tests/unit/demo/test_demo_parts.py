"""The small parts of the demo: its folder's rules, and pictures inside a page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest

from echoreel_cli.demo.embed import mosaic, picture_uri, video_uri
from echoreel_cli.demo.folder import DemoFolder
from echoreel_cli.mini.footage import SCHEMA
from echoreel_index.errors import OutputExists, UsageError


def test_a_new_or_empty_folder_is_taken(tmp_path: Path) -> None:
    DemoFolder(tmp_path / "new").refuse(force=False)
    DemoFolder(tmp_path).refuse(force=False)
    assert list(tmp_path.iterdir()) == [], "asking makes nothing"


def test_a_folder_with_other_things_is_never_taken(tmp_path: Path) -> None:
    (tmp_path / "holiday.mp4").write_bytes(b"mine")
    for force in (False, True):
        with pytest.raises(UsageError, match="holds no demo"):
            DemoFolder(tmp_path).refuse(force=force)
    with pytest.raises(UsageError, match="is a file"):
        DemoFolder(tmp_path / "holiday.mp4").refuse(force=True)


def test_a_finished_demo_is_replaced_with_force_only_and_a_broken_off_one_goes_on(tmp_path: Path) -> None:
    folder = DemoFolder(tmp_path)
    folder.truth.write_text(f'{{"schema": "{SCHEMA}"}}\n')
    folder.refuse(force=False)
    folder.page.write_text("done")
    with pytest.raises(OutputExists, match=r"index\.html already exists"):
        folder.refuse(force=False)
    folder.refuse(force=True)


def test_results_of_long_prompts_do_not_share_a_file(tmp_path: Path) -> None:
    long = "a person in a red shirt and blue trousers and a green hat doing a"
    folder = DemoFolder(tmp_path)
    names = {folder.result(1, f"{long} backflip", 3), folder.result(2, f"{long} cartwheel", 3), folder.result(1, f"{long} backflip", 0)}
    assert len(names) == 3 and {path.parent for path in names} == {tmp_path / "results"}


def test_a_picture_inside_the_page_is_the_picture() -> None:
    from PIL import Image

    frame = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    head, _, content = picture_uri(frame).partition(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))), frame)


def test_a_video_inside_the_page_is_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"\x00\x01film")
    assert video_uri(tmp_path / "a.mp4") == "data:video/mp4;base64," + base64.b64encode(b"\x00\x01film").decode()


def test_the_mosaic_fills_rows_and_leaves_the_rest_transparent() -> None:
    frames = np.stack([np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30)])
    whole = mosaic(frames, 2)
    assert whole.shape == (4, 6, 4)
    assert (whole[:2, :3, :3] == 10).all() and (whole[:2, 3:, :3] == 20).all() and (whole[2:, :3, :3] == 30).all()
    assert (whole[2:, 3:, 3] == 0).all() and (whole[:2, :, 3] == 255).all()
