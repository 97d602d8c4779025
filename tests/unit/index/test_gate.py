"""The reference gate: reasons in words, and none for what nobody looked at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from echoreel_cli.mini.actions import ACTIONS
from echoreel_cli.mini.world import film, take_action
from echoreel_index.errors import UsageError
from echoreel_index.gate import GateSettings, problems
from echoreel_index.nouns import Clip

GOOD = Clip("i", "/v/a.mp4", 0, 2, width=640, height=480, motion=0.01, brightness=0.4, one_shot=True)


def test_a_good_window_and_an_unknown_one_have_no_problems() -> None:
    assert problems(GOOD, GateSettings()) == () == problems(Clip("i", "/v/a.mp4", 0, 2), GateSettings())


@pytest.mark.parametrize(
    ("clip", "said"),
    [
        (replace(GOOD, end=0.5), "too short: 0.5 s, under 0.8 s"),
        (replace(GOOD, one_shot=False), "a cut falls into it"),
        (replace(GOOD, motion=0.0004), "hardly moves: motion 0.0004, under 0.001"),
        (replace(GOOD, brightness=0.012), "too dark: brightness 0.012, under 0.04"),
        (replace(GOOD, width=32), "too small: 32 x 480 pixels, under 48"),
    ],
)
def test_each_reason_is_said(clip: Clip, said: str) -> None:
    assert problems(clip, GateSettings()) == (said,)


def test_all_reasons_are_said_and_each_can_be_switched_off() -> None:
    bad = Clip("i", "/v/a.mp4", 0, 0.2, width=8, height=8, motion=0.0, brightness=0.0, one_shot=False)
    assert len(problems(bad, GateSettings())) == 5
    assert problems(bad, GateSettings(seconds=0, motion=0, brightness=0, pixels=0, one_shot=False)) == ()


def test_thresholds_are_not_negative() -> None:
    with pytest.raises(UsageError, match="0 or more"):
        GateSettings(motion=-1)


def test_what_the_bundled_model_takes_passes() -> None:
    """Eight frames at eight a second, 64 by 64, of every action."""
    random = np.random.default_rng(3)
    frames = film([take_action(action, random) for action in ACTIONS], frames=8, fps=8.0, size=64).numpy()
    grey = frames.astype(np.float32).mean(-1) / 255
    small = grey.reshape(*grey.shape[:2], 32, 2, 32, 2).mean((3, 5))
    for index, action in enumerate(ACTIONS):
        motion, brightness = float(np.abs(np.diff(small[index], axis=0)).mean()), float(small[index].mean())
        clip = Clip("i", "/v/a.mp4", 0, 0.875, width=64, height=64, motion=motion, brightness=brightness, one_shot=True)
        assert problems(clip, GateSettings()) == (), (action.name, motion, brightness)
