"""An unlimited family of unnamed motions, so that the video model meets poses that no named action contains.

Web video is broad; the small world's named actions are not. These loops stand in for the breadth. A draw that comes close to a held-out
action is thrown away, so that holding out stays honest: see `distance`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from echoreel_cli.mini.actions import ACTIONS
from echoreel_cli.mini.motion import Motion, mirrored
from echoreel_cli.mini.skeleton import PARAMETERS, Floats, joints_from_angles

TOO_NEAR = 0.16
"""Metres of mean joint distance under which a motion counts as a held-out action."""

_I = {name: i for i, name in enumerate(PARAMETERS)}
_PHASES = 8


def _limbs(rng: np.random.Generator) -> Floats:
    """One random pose (p) of arms, legs and trunk within what a body can do."""
    values = np.zeros(len(PARAMETERS), np.float32)
    for side in "lr":
        values[_I[side + "s"]] = rng.uniform(-50, 200) if rng.random() < 0.7 else 0
        values[_I[side + "sp"]] = rng.uniform(0, 170) if rng.random() < 0.5 else 8
        values[_I[side + "e"]] = rng.uniform(0, 140) if rng.random() < 0.5 else 8
        values[_I[side + "el"]] = rng.uniform(-40, 120) if rng.random() < 0.2 else 0
        values[_I[side + "h"]] = rng.uniform(-45, 125) if rng.random() < 0.7 else 0
        values[_I[side + "hp"]] = rng.uniform(0, 70) if rng.random() < 0.3 else 3
        values[_I[side + "k"]] = rng.uniform(0, 130) if rng.random() < 0.6 else 5
    values[_I["bend"]] = rng.uniform(-20, 90) if rng.random() < 0.35 else 0
    values[_I["side"]] = rng.uniform(-30, 30) if rng.random() < 0.25 else 0
    values[_I["nod"]] = rng.uniform(-20, 40) if rng.random() < 0.25 else 0
    return values


def _draw(rng: np.random.Generator) -> Motion:
    count = int(rng.integers(2, 5))
    style = rng.random()
    keys = []
    for _ in range(count):
        values = _limbs(rng)
        if style < 0.4:  # both sides do the same, as in most exercises
            values = np.asarray((values + mirrored(values)) / 2, np.float32)
            values[_I["roll"]] = values[_I["side"]] = 0
        keys.append(values)
    if style > 0.75:  # a gait: the second half mirrors the first
        keys = keys[:2] + [mirrored(key) for key in keys[:2]]
    poses = np.stack([*keys, keys[0]])
    stance = rng.random()
    if stance > 0.55:
        poses[:, _I["pitch"]] += rng.choice([-90.0, 70.0, 85.0, 180.0, 30.0, -30.0]) + rng.uniform(-15, 15)
    turn = rng.random()
    if turn < 0.22:
        axis = ("pitch", "pitch", "roll", "spin")[int(rng.integers(4))]
        poses[:, _I[axis]] += np.linspace(0, 360 * rng.choice([-1.0, 1.0]), len(poses), dtype=np.float32)
    elif turn < 0.4:
        poses[:-1, _I["spin"]] += rng.uniform(-60, 60, len(poses) - 1)
        poses[-1, _I["spin"]] = poses[0, _I["spin"]]
    if rng.random() < 0.35:
        poses[1:-1, _I["lift"]] = rng.uniform(0, 0.7, len(poses) - 2)
    inner = (np.arange(1, len(poses) - 1) + rng.uniform(-0.25, 0.25, len(poses) - 2)) / (len(poses) - 1)
    phases = np.sort(np.concatenate([[0.0, 1.0], inner])).astype(np.float32)
    view = "side" if rng.random() < 0.5 else "front"
    return Motion(phases, poses.astype(np.float32), view, float(rng.uniform(0.7, 1.4)))


def _track(motion: Motion) -> Floats:
    """Joint positions (phases j 3) about the pelvis, in metres."""
    phase = np.asarray(np.arange(_PHASES, dtype=np.float32) / _PHASES, np.float32)
    ones = np.ones(_PHASES, np.float32)
    joints = joints_from_angles(motion.at(phase), 0 * ones, 1.75 * ones)
    return np.asarray(joints - joints[:, :1] * np.asarray([1, 0, 1], np.float32), np.float32)


@lru_cache(maxsize=1)
def _held_out_tracks() -> Floats:
    """All shifts of all held-out actions and of their mirror images: (tracks phases j 3)."""
    tracks = []
    for action in ACTIONS:
        if action.held_out:
            for motion in (action.motion, replace(action.motion, poses=mirrored(action.motion.poses))):
                track = _track(motion)
                tracks += [np.roll(track, shift, axis=0) for shift in range(_PHASES)]
    return np.asarray(np.stack(tracks), np.float32)


def distance(motion: Motion) -> float:
    """Mean joint distance in metres to the nearest held-out action, over every shift in time and the mirror image."""
    gaps = np.linalg.norm(_held_out_tracks() - _track(motion)[None], axis=-1).mean((1, 2))
    return float(gaps.min())


def wild_motion(rng: np.random.Generator) -> Motion:
    """A random unnamed motion that is not close to any held-out action."""
    while True:
        motion = _draw(rng)
        if distance(motion) >= TOO_NEAR:
            return motion
