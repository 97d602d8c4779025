"""What people of the small world can do, and what the video model is never shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from echoreel_cli.mini.actions import ACTIONS, HELD_OUT, SEEN, Action, action_named
from echoreel_cli.mini.motion import loop, mirrored, pose
from echoreel_cli.mini.skeleton import JOINTS, PARAMETERS, joints_from_angles
from echoreel_cli.mini.wildmotion import TOO_NEAR, distance, wild_motion
from echoreel_cli.mini.world import joints, take, take_action

each_action = pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)


def test_held_out_actions_are_held_out() -> None:
    held_out = {action.name for action in ACTIONS if action.held_out}
    assert held_out == set(HELD_OUT) and len(held_out) >= 8 and {"backflip", "cartwheel"} <= held_out
    assert len(SEEN) >= 32 and len(SEEN) + len(HELD_OUT) == len(ACTIONS) == len({action.name for action in ACTIONS})
    assert not {action.name for action in SEEN} & set(HELD_OUT)
    said = [phrase for action in ACTIONS for phrase in action.phrases]
    assert len(said) == len(set(said)), "no phrase means two actions"


@each_action
def test_joints_are_finite_on_the_ground_and_in_the_picture(action: Action) -> None:
    for seed in range(3):
        one = take_action(action, np.random.default_rng(seed))
        found = joints(one, frames=24)
        assert found.shape == (24, len(JOINTS), 3) and np.isfinite(found).all()
        phases = np.asarray(one.phase + np.arange(24) / 8 * one.pace, np.float32)
        lifted = one.motion.at(phases)[:, PARAMETERS.index("lift")]
        assert np.allclose(found[..., 1].min(1), lifted, atol=1e-3), "the lowest joint is as high as the pose says"
        x = 0.5 + (found[..., 0] - one.camera.x) * one.camera.zoom
        y = 0.86 - found[..., 1] * one.camera.zoom
        assert ((x > -0.05) & (x < 1.05) & (y > -0.1) & (y < 1)).mean() > 0.97


def test_takes_differ_in_everything_but_the_action() -> None:
    rng = np.random.default_rng(0)
    takes = [take_action(action_named("squat"), rng) for _ in range(40)]
    assert {one.action for one in takes} == {"squat"}
    assert len({one.look.top for one in takes}) > 4 and len({one.look.scene.name for one in takes}) > 4
    assert len({one.camera.flip for one in takes}) == 2
    assert np.ptp([one.pace for one in takes]) > 0.1 and np.ptp([one.yaw for one in takes]) > 10


def test_mirrored_bodies_are_mirror_images() -> None:
    values = action_named("side kick").motion.poses
    assert np.array_equal(mirrored(mirrored(values)), values)
    zero, height = np.zeros(len(values), np.float32), np.full(len(values), 1.75, np.float32)
    one, other = joints_from_angles(values, zero, height), joints_from_angles(mirrored(values), zero, height)
    swap = [JOINTS.index(name.replace("left", "~").replace("right", "left").replace("~", "right")) for name in JOINTS]
    assert np.allclose(other[:, swap] * [-1, 1, 1], one, atol=1e-5)


def test_wild_motions_keep_their_distance_from_held_out_ones() -> None:
    rng = np.random.default_rng(11)
    drawn = [wild_motion(rng) for _ in range(40)]
    assert min(distance(motion) for motion in drawn) >= TOO_NEAR
    again = np.random.default_rng(11)
    assert np.array_equal(drawn[0].poses, wild_motion(again).poses)
    for name in HELD_OUT:
        motion = action_named(name).motion
        assert distance(motion) < 1e-5
        assert distance(replace(motion, poses=mirrored(motion.poses))) < 1e-5


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="backflip"):
        action_named("backflop")
    with pytest.raises(ValueError, match="knees"):
        pose(knees=3)
    with pytest.raises(ValueError, match="phase 0"):
        loop("side", 1.0, {0.5: pose()})


def test_left_and_right_are_told_as_a_viewer_sees_them() -> None:
    motion = action_named("walk").motion
    for seed in range(8):
        one = take(motion, ("walking",), "walk", np.random.default_rng(seed))
        assert one.leftward == one.camera.flip
        front = take(action_named("wave").motion, ("waving",), "wave", np.random.default_rng(seed))
        assert front.leftward == (front.camera.flip != front.turned)
