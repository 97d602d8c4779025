"""Clips of the small world: an action, a person, a place, a caption, and the frames, all from one seed.

Everything that is not the action varies independently of it; that is what lets a model learn motion rather than copy pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from echoreel_cli.mini.actions import Action, action_named
from echoreel_cli.mini.motion import Motion, mirrored
from echoreel_cli.mini.people import Look, describe, random_look
from echoreel_cli.mini.render import Camera, draw
from echoreel_cli.mini.skeleton import PARAMETERS, Floats, joints_from_angles

FRAMES, FPS, SIZE = 8, 8.0, 64
"""What the mini model makes: 8 frames at 8 a second, 64 by 64 pixels."""

WILD_PHRASES = ("moving", "moving around", "doing something")
"""How a motion without a name is captioned."""

_WHOLE_BODY = [PARAMETERS.index(name) for name in ("pitch", "roll", "spin", "lift", "x")]


@dataclass(frozen=True, slots=True)
class Take:
    """One performance: a motion as one person does it once, and who does it where."""

    motion: Motion
    look: Look
    camera: Camera
    yaw: float
    """Facing in degrees, 0 to the camera."""
    pace: float
    """Loops a second."""
    phase: float
    """Where in the loop the clip starts."""
    caption: str
    action: str | None
    """Name of the action; None for a motion without a name."""
    turned: bool
    """Whether left and right of the body were exchanged."""

    @property
    def leftward(self) -> bool:
        """Which of its two mirror images the clip shows, as far as a viewer can tell.

        From the side the camera decides; from the front a mirrored body in a mirrored picture looks as before.
        """
        return self.camera.flip if self.motion.view == "side" else self.camera.flip != self.turned


def take(motion: Motion, phrases: Sequence[str], name: str | None, rng: np.random.Generator) -> Take:
    """A random performance of a motion: another person, place, facing, speed, amplitude, phase and position each time."""
    look = random_look(rng)
    poses = motion.poses.copy()
    limbs = np.delete(np.arange(poses.shape[1]), _WHOLE_BODY)
    middle = poses[:, limbs].mean(0)
    poses[:, limbs] = middle + (poses[:, limbs] - middle) * rng.uniform(0.88, 1.12) + rng.uniform(-5, 5, len(limbs)).astype(np.float32)
    turned = bool(rng.random() < 0.5)
    if turned:
        poses = mirrored(poses)
    phase = rng.random() if motion.starts_anywhere else rng.uniform(-0.06, 0.06)
    return Take(
        motion=replace(motion, poses=poses),
        look=look,
        camera=Camera(
            zoom=float(rng.uniform(0.32, 0.38)),
            x=float(rng.uniform(-0.3, 0.3)),
            drift=float(rng.uniform(-0.04, 0.04)),
            flip=bool(rng.random() < 0.5),
        ),
        yaw=float((75 if motion.view == "side" else 8) + rng.uniform(-15, 15)),
        pace=motion.pace * float(rng.uniform(0.88, 1.12)),
        phase=float(phase),
        caption=describe(look, phrases[int(rng.integers(len(phrases)))], rng),
        action=name,
        turned=turned,
    )


def take_action(action: Action, rng: np.random.Generator) -> Take:
    """A random performance of a named action."""
    return take(action.motion, action.phrases, action.name, rng)


def retake(one: Take, rng: np.random.Generator) -> Take:
    """The same performance by another person in another place: timing, facing and position stay nearly as they are, looks do not."""
    look = random_look(rng)
    camera = Camera(
        zoom=one.camera.zoom * float(rng.uniform(0.97, 1.03)),
        x=one.camera.x + float(rng.uniform(-0.08, 0.08)),
        drift=float(rng.uniform(-0.04, 0.04)),
        flip=one.camera.flip,
    )
    said = next(phrase for phrase in _phrases(one.action) if phrase in one.caption)
    return replace(
        one,
        look=replace(look, height=one.look.height * float(rng.uniform(0.97, 1.03))),
        camera=camera,
        yaw=one.yaw + float(rng.uniform(-5, 5)),
        pace=one.pace * float(rng.uniform(0.96, 1.04)),
        phase=one.phase + float(rng.uniform(-0.02, 0.02)),
        caption=describe(look, said, rng),
    )


def _phrases(action: str | None) -> list[str]:
    """How the action of a take may have been said, longest first."""
    said = WILD_PHRASES if action is None else action_named(action).phrases
    return sorted(said, key=len, reverse=True)


def joints(take: Take, *, frames: int = FRAMES, fps: float = FPS) -> Floats:
    """Joint positions (t j 3) of a performance, in metres."""
    times = np.arange(frames, dtype=np.float32) / np.float32(fps)
    poses = take.motion.at(np.float32(take.phase) + times * np.float32(take.pace))
    ones = np.ones(frames, np.float32)
    found = joints_from_angles(poses, np.float32(take.yaw) * ones, np.float32(take.look.height) * ones)
    middle = (found[:, 0, 0].max() + found[:, 0, 0].min()) / 2
    found[..., 0] -= middle
    return found


def film(takes: Sequence[Take], *, frames: int = FRAMES, fps: float = FPS, size: int = SIZE) -> Tensor:
    """Draw performances: (b t h w 3) uint8."""
    tracks = torch.from_numpy(np.stack([joints(one, frames=frames, fps=fps) for one in takes]))
    pictures = draw(tracks, [one.look for one in takes], [one.camera for one in takes], size=size)
    return (pictures * 255 + 0.5).to(torch.uint8)
