"""A person as a chain of joints: angles over time -> joint positions.

Shapes: `n` poses (any leading shape), `j` joints, 3 = (x right, y up, z towards the camera) in metres.
Angles are degrees. In the body's own frame x is the person's left, y up and z forward; a pitch above zero leans forward.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

PARAMETERS = (
    "pitch", "roll", "spin", "bend", "side", "nod",
    "ls", "lsp", "le", "lel",
    "rs", "rsp", "re", "rel",
    "lh", "lhp", "lk",
    "rh", "rhp", "rk",
    "lift", "x",
)  # fmt: skip
"""What a pose is made of.

`pitch roll spin` turn the whole body; `bend side` the upper body, `nod` the head. For each arm: `s` raises it forwards (180 is
overhead), `sp` spreads it sideways, `e` bends the elbow forwards, `el` bends it sideways. For each leg: `h` raises the thigh
forwards, `hp` spreads it, `k` bends the knee. `lift` is the height of the lowest point above the ground and `x` the path along
the picture, both in metres.
"""

JOINTS = (
    "pelvis", "neck", "head",
    "left_shoulder", "left_elbow", "left_wrist",
    "right_shoulder", "right_elbow", "right_wrist",
    "left_hip", "left_knee", "left_ankle", "left_toe",
    "right_hip", "right_knee", "right_ankle", "right_toe",
)  # fmt: skip
"""Order of the joints in every array of joint positions."""

_INDEX = {name: i for i, name in enumerate(PARAMETERS)}


def _rotation(axis: str, degrees: Floats) -> Floats:
    """(n) angles -> (n 3 3) matrices about one axis; about x a positive angle takes up to forward."""
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    zero, one = np.zeros_like(c), np.ones_like(c)
    rows = {
        "x": ((one, zero, zero), (zero, c, -s), (zero, s, c)),
        "y": ((c, zero, s), (zero, one, zero), (-s, zero, c)),
        "z": ((c, -s, zero), (s, c, zero), (zero, zero, one)),
    }[axis]
    matrix: Floats = np.stack([np.stack(row, -1) for row in rows], -2).astype(np.float32)
    return matrix


def _turned(first: Floats, *then: Floats) -> Floats:
    """Rotations (n 3 3) one after the other, each in the frame of those before it."""
    for matrix in then:
        first = np.asarray(first @ matrix, np.float32)
    return first


def _along(matrix: Floats, vector: tuple[float, float, float]) -> Floats:
    """The image of one constant vector under (n 3 3) matrices: (n 3)."""
    return np.asarray(matrix @ np.asarray(vector, np.float32), np.float32)


def joints_from_angles(pose: Floats, yaw: Floats, height: Floats) -> Floats:
    """Forward kinematics: poses (n p) in degrees, facing `yaw` (n) degrees (0 to the camera, 90 to the right), body height (n) metres.

    Returns (n j 3). The lowest joint stands `lift` above y = 0: nobody sinks and nobody floats, whatever the pose.
    """

    def p(name: str) -> Floats:
        return np.asarray(pose[..., _INDEX[name]], np.float32)

    body = _turned(_rotation("y", yaw + p("spin")), _rotation("z", p("roll")), _rotation("x", p("pitch")))
    torso = _turned(body, _rotation("z", p("side")), _rotation("x", p("bend")))
    head = _turned(torso, _rotation("x", p("nod")))
    pelvis = np.zeros((*pose.shape[:-1], 3), np.float32)
    neck = pelvis + _along(torso, (0, 0.54, 0))
    found = {"pelvis": pelvis, "neck": neck, "head": neck + _along(head, (0, 0.21, 0.03))}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        letter = side[0]
        shoulder = neck + _along(torso, (sign * 0.19, -0.04, 0))
        arm = _turned(torso, _rotation("x", -p(letter + "s")), _rotation("z", sign * p(letter + "sp")))
        elbow = shoulder + _along(arm, (0, -0.30, 0))
        fore = _turned(arm, _rotation("z", sign * p(letter + "el")), _rotation("x", -p(letter + "e")))
        found |= {f"{side}_shoulder": shoulder, f"{side}_elbow": elbow, f"{side}_wrist": elbow + _along(fore, (0, -0.28, 0))}
        hip = pelvis + _along(body, (sign * 0.11, -0.02, 0))
        thigh = _turned(body, _rotation("x", -p(letter + "h")), _rotation("z", sign * p(letter + "hp")))
        knee = hip + _along(thigh, (0, -0.43, 0))
        shin = _turned(thigh, _rotation("x", p(letter + "k")))
        ankle = knee + _along(shin, (0, -0.42, 0))
        toe = ankle + _along(shin, (0, -0.03, 0.15))
        found |= {f"{side}_hip": hip, f"{side}_knee": knee, f"{side}_ankle": ankle, f"{side}_toe": toe}
    joints = np.stack([found[name] for name in JOINTS], -2) * (height / 1.75)[..., None, None]
    lowest = joints[..., 1].min(-1)
    joints[..., 1] += (p("lift") - lowest)[..., None]
    joints[..., 0] += p("x")[..., None]
    return np.asarray(joints, np.float32)
