"""The patch prism: reference latents -> tokens that keep their place in the picture, for backbones too small for one token a frame.

Ours, not the paper's: EchoReel's prism gives every frame one wide token which is the same for all positions, and a small frozen network
cannot turn that back into a pose. Here each patch of the reference stays a token of its own, with its time and place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoreel_cli.attention import FeedForward, SpatialAttention, TemporalAttention, unflatten


@dataclass(frozen=True, slots=True)
class PatchPrismConfig:
    """The shape of a `PatchPrism`."""

    channels: int = 24
    """Channels of a reference latent."""
    patch: int = 2
    """Latent positions along each side that make one token."""
    width: int = 160
    layers: int = 3
    heads: int = 5
    temporal_length: int = 8
    grid: int = 4
    """Patches along each side for which places are learned; other sizes are interpolated."""


class PlaceAndTime(nn.Module):
    """Learned vectors for places on a grid and moments of a clip; both are interpolated to other sizes and lengths."""

    def __init__(self, width: int, grid: int, moments: int) -> None:
        super().__init__()
        self.place = nn.Parameter(0.3 * torch.randn(width, grid, grid))
        self.time = nn.Parameter(0.3 * torch.randn(width, moments))

    def forward(self, t: int, h: int, w: int) -> Tensor:
        """-> (t h*w d)."""
        place: Tensor = self.place
        time: Tensor = self.time
        if place.shape[1:] != (h, w):
            place = F.interpolate(place[None], (h, w), mode="bilinear", align_corners=False)[0]
        if time.shape[1] != t:
            time = F.interpolate(time[None], t, mode="linear", align_corners=True)[0]
        return time.T[:, None] + place.flatten(1).T[None]


class PatchPrismLayer(nn.Module):
    """Space, then time, then a feed-forward; each x + f(norm(x))."""

    def __init__(self, config: PatchPrismConfig) -> None:
        super().__init__()
        width, e = config.width, config.width // config.heads
        self.spatial_norm, self.spatial = nn.LayerNorm(width), SpatialAttention(width, config.heads, e)
        self.temporal_norm, self.temporal = nn.LayerNorm(width), TemporalAttention(width, config.heads, e, config.temporal_length)
        self.feed_forward_norm, self.feed_forward = nn.LayerNorm(width), FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        """(b t n d) -> (b t n d)."""
        x = x + self.spatial(self.spatial_norm(x))
        x = x + self.temporal(self.temporal_norm(x))
        out: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return out


class PatchPrism(nn.Module):
    """One reference video -> tokens with a time and a place."""

    def __init__(self, config: PatchPrismConfig) -> None:
        super().__init__()
        self.config = config
        self.latents_in = nn.Linear(config.channels * config.patch**2, config.width)
        self.where = PlaceAndTime(config.width, config.grid, config.temporal_length)
        self.layers = nn.ModuleList(PatchPrismLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, latents: Tensor) -> Tensor:
        """Scaled latents (b c t h w), h and w divisible by the patch -> tokens (b t n d)."""
        patch = self.config.patch
        b, c, t, h, w = latents.shape
        folded = F.pixel_unshuffle(latents.transpose(1, 2).flatten(0, 1), patch)  # (b*t c*patch^2 h/patch w/patch)
        x = self.latents_in(unflatten(folded.flatten(2).transpose(1, 2), 0, (b, t)))
        x = x + self.where(t, h // patch, w // patch)
        for layer in self.layers:
            x = layer(x)
        return cast(Tensor, self.norm(x))
