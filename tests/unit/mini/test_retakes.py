"""The same performance by another person in another place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from echoreel_cli.mini.actions import ACTIONS
from echoreel_cli.mini.wildmotion import wild_motion
from echoreel_cli.mini.world import WILD_PHRASES, Take, film, joints, retake, take, take_action


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Take, Take]]:
    """A performance of each action, five of unnamed motions, and a retake of each."""
    rng = np.random.default_rng(3)
    originals = [take_action(action, rng) for action in ACTIONS] + [take(wild_motion(rng), WILD_PHRASES, None, rng) for _ in range(5)]
    return [(one, retake(one, rng)) for one in originals]


def test_the_performance_stays(pairs: list[tuple[Take, Take]]) -> None:
    for one, again in pairs:
        assert again.motion is one.motion and again.action == one.action
        assert again.turned == one.turned and again.leftward == one.leftward
        assert abs(again.pace / one.pace - 1) <= 0.04 and abs(again.phase - one.phase) <= 0.02
        assert abs(again.yaw - one.yaw) <= 5 and abs(again.look.height / one.look.height - 1) <= 0.03
        assert abs(again.camera.x - one.camera.x) <= 0.08 and abs(again.camera.zoom / one.camera.zoom - 1) <= 0.03


def test_joints_are_nearly_where_they_were(pairs: list[tuple[Take, Take]]) -> None:
    rng = np.random.default_rng(0)
    near = [float(np.linalg.norm(joints(one) - joints(again), axis=-1).mean()) for one, again in pairs]
    others = [take(one.motion, ["moving"], None, rng) for one, _ in pairs]
    far = [float(np.linalg.norm(joints(one) - joints(other), axis=-1).mean()) for (one, _), other in zip(pairs, others, strict=True)]
    assert max(near) < 0.25 and np.mean(near) < 0.5 * np.mean(far), "much nearer than another performance of the motion"


def test_everything_else_is_new(pairs: list[tuple[Take, Take]]) -> None:
    for name, classes in (("top", 8), ("bottom", 8), ("scene", 8)):
        same = np.mean([getattr(one.look, name) == getattr(again.look, name) for one, again in pairs])
        assert same < 3 / classes, name
    assert len({one.look.thickness for both in pairs for one in both}) == 2 * len(pairs)
    first, second = (film([both[i] for both in pairs[:4]]) for i in range(2))
    assert (first.float() - second.float()).abs().mean((1, 2, 3, 4)).min() > 10


def test_the_caption_says_the_same_action_and_the_new_clothes(pairs: list[tuple[Take, Take]]) -> None:
    for one, again in pairs:
        phrases = WILD_PHRASES if one.action is None else next(a for a in ACTIONS if a.name == one.action).phrases
        said = max((phrase for phrase in phrases if phrase in one.caption), key=len)
        assert said in again.caption
        if " shirt" in again.caption:
            assert f"a {again.look.top} shirt" in again.caption
        if again.look.scene.phrase not in again.caption:
            assert again.caption.endswith(said)


def test_one_seed_one_retake(pairs: list[tuple[Take, Take]]) -> None:
    one = replace(pairs[0][0])
    first, second = (retake(one, np.random.default_rng(9)) for _ in range(2))
    assert first.caption == second.caption and torch.equal(film([first]), film([second]))
