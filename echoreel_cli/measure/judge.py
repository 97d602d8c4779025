"""The judge of the small world: which action a clip shows, and in which colours.

Trained on rendered clips of all actions only; it never sees a generated one. Its features also serve the Frechet distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from echoreel_cli.attention import unflatten
from echoreel_cli.mini.actions import ACTIONS
from echoreel_cli.mini.people import COLOURS


@dataclass(frozen=True, slots=True)
class Verdict:
    """Class scores of a batch of clips; the order of classes is that of `ACTIONS` and `COLOURS`."""

    action: Tensor
    """(b actions) logits."""
    top: Tensor
    """(b colours) logits."""
    bottom: Tensor
    """(b colours) logits."""
    features: Tensor
    """(b d) what the action was read from."""


class Judge(nn.Module):
    """Convolutions over each frame, a recurrent network over the frames."""

    def __init__(self, width: int = 32, features: int = 192) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 3 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
        self.frame = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 4 * width, features), nn.LayerNorm(features), nn.SiLU())
        self.time = nn.GRU(features, features // 2, batch_first=True, bidirectional=True)
        self.to_action = nn.Linear(features, len(ACTIONS))
        self.to_top = nn.Linear(features, len(COLOURS))
        self.to_bottom = nn.Linear(features, len(COLOURS))

    def forward(self, frames: Tensor) -> Verdict:
        """Frames (b c t h w) in [-1, 1], 64 by 64 -> the verdict."""
        b, _, t = frames.shape[:3]
        each = unflatten(self.frame(frames.transpose(1, 2).flatten(0, 1)), 0, (b, t))
        joined, _ = self.time(each)
        features = joined.mean(1)
        colours = each.mean(1)
        return Verdict(self.to_action(features), self.to_top(colours), self.to_bottom(colours), features)


def video_tensor(frames: Tensor) -> Tensor:
    """(b t h w c) uint8 -> (b c t h w) float in [-1, 1]."""
    return frames.permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def spoilt(video: Tensor, generator: torch.Generator) -> Tensor:
    """Noise and blur as a small video model makes them, drawn anew for each clip: trained on clean pictures only, a judge is picky."""
    b = video.shape[0]
    blur = nn.functional.avg_pool3d(video, (1, 3, 3), 1, (0, 1, 1), count_include_pad=False)
    share = torch.rand(b, 1, 1, 1, 1, generator=generator) * (torch.rand(b, 1, 1, 1, 1, generator=generator) < 0.6)
    out = video + share * (blur - video)
    noise = torch.randn(video.shape, generator=generator) * 0.12 * torch.rand(b, 1, 1, 1, 1, generator=generator)
    return (out + noise).clamp(-1, 1)
