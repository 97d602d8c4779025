from __future__ import annotations

import numpy as np
import pytest

from echoreel_cli.generate.sheet import INK, PAPER, chosen_frames, contact_sheet


def test_frames_are_spread_evenly_with_both_ends() -> None:
    assert chosen_frames(16, 8) == [0, 2, 4, 6, 9, 11, 13, 15]
    assert chosen_frames(3, 8) == [0, 1, 2]
    assert chosen_frames(9, 1) == [0]


def test_rows_show_their_frames_in_order() -> None:
    red = np.zeros((4, 16, 16, 3), np.uint8)
    red[..., 0] = np.array([60, 120, 180, 240])[:, None, None]
    wide = np.full((2, 20, 40, 3), (0, 255, 0), np.uint8)
    sheet = np.asarray(contact_sheet([("ramp", red), ("wide", wide)], cell_height=32, columns=4, gap=4, text_height=12))
    cells = [int(sheet[4 + 16 + 16, 4 + column * 36 + 16, 0]) for column in range(4)]
    assert cells == [60, 120, 180, 240]
    second_row = 4 + (16 + 32 + 4) + 16 + 16
    assert tuple(sheet[second_row, 4 + 60]) == (0, 255, 0), "a wide frame keeps its shape: 64 pixels at height 32"
    assert (sheet[4:20] < 128).any(), "the label is drawn"


def test_long_labels_end_inside_the_sheet() -> None:
    frames = np.zeros((1, 16, 16, 3), np.uint8)
    sheet = contact_sheet([("words " * 100, frames)], title="title " * 100, cell_height=32)
    assert sheet.width < 300
    assert np.asarray(sheet)[:, -3:].min() == 255, "nothing touches the right margin"


def test_refuses_nothing() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([])
    with pytest.raises(ValueError, match="t > 0"):
        contact_sheet([("x", np.zeros((0, 4, 4, 3), np.uint8))])
    assert PAPER != INK
