"""Joints over time -> frames: a person drawn as soft capsules in a simple scene, one tensor expression for many clips.

The input is joint positions, so that motion from anywhere (captured people, key frames) can be drawn by the same code.

Shapes: `b` clips, `t` frames, `j` joints (`skeleton.JOINTS`), `m` capsules, `h w` pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from echoreel_cli.mini.people import COLOURS, Look
from echoreel_cli.mini.skeleton import JOINTS

_J = {name: i for i, name in enumerate(JOINTS)}
_PARTS = (
    # from, to, radius in metres, what is worn there
    ("left_knee", "left_ankle", 0.062, "shin"), ("right_knee", "right_ankle", 0.062, "shin"),
    ("left_ankle", "left_toe", 0.055, "shoes"), ("right_ankle", "right_toe", 0.055, "shoes"),
    ("left_hip", "left_knee", 0.085, "bottom"), ("right_hip", "right_knee", 0.085, "bottom"),
    ("left_hip", "right_hip", 0.095, "bottom"),
    ("pelvis", "neck", 0.125, "top"), ("left_shoulder", "right_shoulder", 0.08, "top"),
    ("left_shoulder", "left_elbow", 0.06, "top"), ("right_shoulder", "right_elbow", 0.06, "top"),
    ("left_elbow", "left_wrist", 0.048, "forearm"), ("right_elbow", "right_wrist", 0.048, "forearm"),
    ("left_wrist", "left_wrist", 0.055, "skin"), ("right_wrist", "right_wrist", 0.055, "skin"),
    ("neck", "head", 0.05, "skin"),
)  # fmt: skip
GROUND = 0.86
"""Height of the ground under the feet, as a share of the picture from above."""


@dataclass(frozen=True, slots=True)
class Camera:
    """An orthographic camera: metres to shares of the picture."""

    zoom: float = 0.34
    """Shares of the picture's height for one metre."""
    x: float = 0.0
    """Metres at the middle of the picture."""
    drift: float = 0.0
    """Shares of the picture's width that the camera pans over the clip."""
    flip: bool = False
    """Mirror left and right (another facing)."""


def draw(joints: Tensor, looks: Sequence[Look], cameras: Sequence[Camera], *, size: int = 64) -> Tensor:
    """Frames (b t h w 3) in [0, 1] of people whose joints (b t j 3) are given in metres, y up from the ground.

    Deterministic; runs where `joints` lives. ValueError when the three inputs disagree about b.
    """
    b, t = joints.shape[:2]
    if not len(looks) == len(cameras) == b:
        raise ValueError(f"joints are for {b} clips, looks for {len(looks)}, cameras for {len(cameras)}")
    points = _project(joints, cameras)
    start, end, depth, radius, colour = _capsules(points, looks, cameras)
    picture = _background(looks, cameras, t, size, joints.device).movedim(-1, 2).contiguous()  # channels first: it paints twice as fast
    axis = (torch.arange(size, device=joints.device) + 0.5) / size
    px, py = axis.view(1, 1, 1, size), axis.view(1, 1, size, 1)
    order = depth.argsort(-1)
    for layer in range(order.shape[-1]):
        pick = order[..., layer, None]
        a, z = (v.gather(2, pick[..., None].expand(b, t, 1, 2))[:, :, 0] for v in (start, end))
        r = radius.gather(2, pick)[:, :, 0]
        c = colour.gather(2, pick[..., None].expand(b, t, 1, 3))[:, :, 0]
        picture = _paint(picture, px, py, a, z, r, c)
    return picture.movedim(2, -1)


def _paint(picture: Tensor, px: Tensor, py: Tensor, a: Tensor, z: Tensor, r: Tensor, c: Tensor) -> Tensor:
    """One capsule from a to z (b t 2) with radius r (b t) and colour c (b t 3) over the picture (b t 3 h w)."""
    ax, ay = a[..., 0, None, None], a[..., 1, None, None]
    dx, dy = z[..., 0, None, None] - ax, z[..., 1, None, None] - ay
    along = (((px - ax) * dx + (py - ay) * dy) / (dx * dx + dy * dy + 1e-8)).clamp(0, 1)
    gx, gy = px - ax - along * dx, py - ay - along * dy
    gap = (gx * gx + gy * gy + 1e-12).sqrt() - r[..., None, None]
    alpha = (0.5 - gap * picture.shape[-1]).clamp(0, 1)[:, :, None]  # one pixel of soft edge
    return picture + alpha * (c[..., None, None] - picture)


def _project(joints: Tensor, cameras: Sequence[Camera]) -> Tensor:
    """Metres (b t j 3) -> picture (b t j 3): x and y as shares of the picture from the top left, depth as it was."""

    def per_clip(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=joints.dtype, device=joints.device).view(-1, 1, 1)

    zoom, shift = per_clip([c.zoom for c in cameras]), per_clip([c.x for c in cameras])
    sign = per_clip([-1.0 if c.flip else 1.0 for c in cameras])
    ramp = torch.linspace(-0.5, 0.5, joints.shape[1], device=joints.device, dtype=joints.dtype).view(1, -1, 1)
    x = 0.5 + sign * (joints[..., 0] - shift) * zoom - per_clip([c.drift for c in cameras]) * ramp
    y = GROUND - joints[..., 1] * zoom
    return torch.stack([x, y, joints[..., 2]], -1)


def _capsules(points: Tensor, looks: Sequence[Look], cameras: Sequence[Camera]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Ends (b t m 2) twice, depth (b t m), radius (b t m) and colour (b t m 3) of all parts of all bodies."""
    device, dtype = points.device, points.dtype
    b, t = points.shape[:2]
    scales = [c.zoom * look.height / 1.75 for c, look in zip(cameras, looks, strict=True)]
    scale = torch.tensor(scales, dtype=dtype, device=device).view(b, 1, 1)
    thick = torch.tensor([look.thickness for look in looks], dtype=dtype, device=device).view(b, 1, 1)
    starts = points[:, :, [_J[part[0]] for part in _PARTS]]
    ends = points[:, :, [_J[part[1]] for part in _PARTS]]
    radius = torch.tensor([part[2] for part in _PARTS], dtype=dtype, device=device) * scale * thick
    wears = torch.tensor([[_worn(look, part[3]) for part in _PARTS] for look in looks], dtype=dtype, device=device)
    head, hair, hat = _head(points, scale)
    heads = torch.stack([hair[0], head[0], hat[0]], 2)
    head_ends = torch.stack([hair[1], head[1], hat[1]], 2)
    head_radius = torch.stack([0.125 * scale, 0.098 * scale, 0.075 * scale], -1)[..., 0, :].expand(b, 1, 3)
    hats = [list(COLOURS[look.hat]) if look.hat else look.hair.tolist() for look in looks]
    coloured = [[look.hair.tolist(), look.skin.tolist(), worn] for look, worn in zip(looks, hats, strict=True)]
    head_colour = torch.tensor(coloured, dtype=dtype, device=device)
    starts, ends = torch.cat([starts, heads], 2), torch.cat([ends, head_ends], 2)
    radius = torch.cat([radius.expand(b, t, -1), head_radius.expand(b, t, -1)], 2)
    depth = (starts[..., 2] + ends[..., 2]) / 2
    bias = torch.tensor([0.0] * len(_PARTS) + [-0.01, 0.01, 0.02], dtype=dtype, device=device)
    colour = torch.cat([wears, head_colour], 1)[:, None].expand(b, t, -1, 3)
    shade = 0.86 + 0.14 * torch.tanh(4 * depth)[..., None]  # what is farther is a little darker: left and right can be told apart
    return starts[..., :2], ends[..., :2], depth + bias, radius, (colour * shade).clamp(0, 1)


def _worn(look: Look, part: str) -> list[float]:
    """RGB of what is worn on one part of the body."""
    skin: list[float] = look.skin.tolist()
    if part == "shin":
        return list(COLOURS[look.bottom]) if look.long_legs else skin
    if part == "forearm":
        return list(COLOURS[look.top]) if look.long_sleeves else skin
    shoes: list[float] = look.shoes.tolist()
    return {"top": list(COLOURS[look.top]), "bottom": list(COLOURS[look.bottom]), "shoes": shoes, "skin": skin}[part]


def _head(points: Tensor, scale: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Face, hair and hat, each as two ends (b t 3); which way the face looks follows from neck, head and shoulders."""
    head = points[:, :, _J["head"]]
    up = torch.nn.functional.normalize(head - points[:, :, _J["neck"]], dim=-1)
    left = points[:, :, _J["left_shoulder"]] - points[:, :, _J["right_shoulder"]]
    flat = torch.stack([up[..., 0], -up[..., 1], up[..., 2]], -1)  # picture y points down; the cross product wants it up
    side = torch.stack([left[..., 0], -left[..., 1], left[..., 2]], -1)
    ahead = torch.nn.functional.normalize(torch.linalg.cross(side, flat, dim=-1) + 1e-6, dim=-1)
    ahead = torch.stack([ahead[..., 0], -ahead[..., 1], ahead[..., 2]], -1)
    face = head + scale * (0.045 * ahead - 0.02 * up)
    hair = head + scale * (0.03 * up - 0.01 * ahead)
    brim = head + scale * (0.10 * up + 0.06 * ahead)
    crown = head + scale * (0.10 * up - 0.06 * ahead)
    return (face, face), (hair, hair), (brim, crown)


def _background(looks: Sequence[Look], cameras: Sequence[Camera], t: int, size: int, device: torch.device) -> Tensor:
    """Sky, ground and three shapes at the horizon, panning with the camera: (b t h w 3)."""

    def per_clip(values: list[list[float]]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    tint = [look.tint.tolist() for look in looks]

    def tinted(name: str) -> Tensor:
        rows = [[v + d for v, d in zip(getattr(look.scene, name), tint_, strict=True)] for look, tint_ in zip(looks, tint, strict=True)]
        return per_clip(rows).view(-1, 1, 1, 1, 3)

    axis = (torch.arange(size, device=device) + 0.5) / size
    y, x = axis.view(1, 1, size, 1, 1), axis.view(1, 1, 1, size, 1)
    horizon = 0.72
    sky = tinted("sky") + (tinted("low_sky") - tinted("sky")) * (y / horizon).clamp(0, 1)
    ramp = torch.linspace(-0.5, 0.5, t, device=device).view(1, t, 1, 1, 1)
    drift = per_clip([[c.drift] for c in cameras]).view(-1, 1, 1, 1, 1) * ramp
    picture = sky.expand(-1, t, -1, size, -1)
    for shape in range(3):
        place = per_clip([look.decor[shape].tolist() for look in looks]).view(-1, 1, 1, 1, 3)
        gap = torch.maximum((x - place[..., 0:1] + 0.5 * drift).abs() - place[..., 1:2] * 0.7, (y - horizon).abs() - place[..., 1:2] * 1.8)
        alpha = (0.5 - gap * size).clamp(0, 1)
        picture = picture + alpha * ((tinted("decor") + place[..., 2:3]) - picture)
    ground = tinted("ground") * (0.85 + 0.15 * ((y - horizon) / (1 - horizon)).clamp(0, 1))
    alpha = (0.5 + (y - horizon) * size).clamp(0, 1)
    return (picture + alpha * (ground - picture)).clamp(0, 1)
