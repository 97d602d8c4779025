"""From joints to frames: deterministic, true to colours and facing, and open to motion from anywhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from echoreel_cli.mini.actions import ACTIONS, action_named
from echoreel_cli.mini.people import COLOURS, SCENES, Look, random_look
from echoreel_cli.mini.render import GROUND, Camera, draw
from echoreel_cli.mini.skeleton import JOINTS
from echoreel_cli.mini.world import film, joints, take_action

STANDING = {
    "pelvis": (0.0, 0.95), "neck": (0.0, 1.5), "head": (0.0, 1.7),
    "left_shoulder": (0.19, 1.46), "left_elbow": (0.5, 1.46), "left_wrist": (0.8, 1.46),
    "right_shoulder": (-0.19, 1.46), "right_elbow": (-0.5, 1.46), "right_wrist": (-0.8, 1.46),
    "left_hip": (0.11, 0.93), "left_knee": (0.11, 0.5), "left_ankle": (0.11, 0.08), "left_toe": (0.11, 0.02),
    "right_hip": (-0.11, 0.93), "right_knee": (-0.11, 0.5), "right_ankle": (-0.11, 0.08), "right_toe": (-0.11, 0.02),
}  # fmt: skip
"""Arms out, as a motion capture system would report it: (x, y) in metres."""


@pytest.fixture
def look() -> Look:
    found = random_look(np.random.default_rng(0))
    return replace(found, top="red", bottom="blue", hat=None, long_sleeves=True, long_legs=True, scene=SCENES[2], height=1.75)


def captured(shift: float = 0.0) -> torch.Tensor:
    """(b t j 3) of one clip of one frame."""
    rows = [(x + shift, y, 0.0) for x, y in (STANDING[name] for name in JOINTS)]
    return torch.tensor(rows, dtype=torch.float32)[None, None]


def test_captured_joints_become_a_person_where_they_say(look: Look) -> None:
    camera = Camera(zoom=0.34)
    with_person = draw(captured(), [look], [camera], size=64)
    without = draw(captured(100.0), [look], [camera], size=64)
    assert with_person.shape == (1, 1, 64, 64, 3)
    assert 0 <= with_person.min() and with_person.max() <= 1

    def pixel(x: float, y: float) -> torch.Tensor:
        return with_person[0, 0, int((GROUND - y * camera.zoom) * 64), int((0.5 + x * camera.zoom) * 64)]

    assert torch.allclose(pixel(0.0, 1.2), torch.tensor(COLOURS["red"]) * 0.86, atol=0.05), "the trunk wears the shirt"
    assert torch.allclose(pixel(0.3, 1.46), torch.tensor(COLOURS["red"]) * 0.86, atol=0.05), "so does the arm"
    assert torch.allclose(pixel(0.11, 0.6), torch.tensor(COLOURS["blue"]) * 0.86, atol=0.05), "the thigh wears trousers"
    touched = ((with_person - without).abs().sum(-1) > 0.02)[0, 0]
    assert 0.03 < touched.float().mean() < 0.3
    assert not touched[-4:].any(), "nobody stands below the ground"


def test_camera_flip_mirrors_the_person(look: Look) -> None:
    leaning = captured()
    leaning[..., 0] += 0.3 * leaning[..., 1]  # not its own mirror image
    plain = Camera()
    empty = draw(captured(100.0), [look], [plain])
    shapes = [(draw(leaning, [look], [replace(plain, flip=flip)]) - empty).abs().sum(-1) > 0.02 for flip in (False, True)]
    assert not torch.equal(*shapes)
    assert (shapes[0].flip(-1) != shapes[1]).float().mean() < 0.01


def test_clips_are_drawn_alone_as_together() -> None:
    rng = np.random.default_rng(3)
    takes = [take_action(action, rng) for action in ACTIONS[::9]]
    assert torch.equal(film(takes)[2], film(takes[2:3])[0])


def test_same_seed_same_bytes_other_seed_others() -> None:
    def clip(seed: int) -> torch.Tensor:
        return film([take_action(action_named("backflip"), np.random.default_rng(seed))])

    assert torch.equal(clip(4), clip(4))
    assert not torch.equal(clip(4), clip(5))
    assert clip(4).dtype == torch.uint8 and clip(4).shape == (1, 8, 64, 64, 3)


def test_length_rate_and_size_are_free() -> None:
    take = take_action(action_named("walk"), np.random.default_rng(1))
    assert film([take], frames=16, size=96).shape == (1, 16, 96, 96, 3)
    every = joints(take, frames=16, fps=16.0)
    assert np.allclose((every - every[:, :1])[::2], (joints(take) - joints(take)[:, :1]), atol=1e-5), "twice the rate is the same motion"


def test_numbers_of_clips_must_agree(look: Look) -> None:
    with pytest.raises(ValueError, match="looks for 2"):
        draw(captured(), [look, look], [Camera()])
