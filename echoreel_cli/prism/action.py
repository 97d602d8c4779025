"""The Action Prism: reference latents and words -> one wide token for each reference frame.

EchoReel (Liu et al. 2024, arXiv 2403.11535), section 3 and appendix A, in the form of the published checkpoint. It depends neither
on the timestep nor on the noisy latents, so it runs once for each prompt branch and reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from echoreel_cli.attention import FeedForward, SpatialAttention, TemporalAttention, TextAttention
from echoreel_index.errors import UsageError


@dataclass(frozen=True, slots=True)
class PrismConfig:
    """The shape of an `ActionPrism`. The defaults are the published one's."""

    channels: int = 4
    """Channels of a reference latent."""
    positions: int = 1024
    """Latent positions (h * w) of a reference; their order is part of the weights of whoever reads the tokens."""
    width: int = 640
    text_width: int = 768
    words_width: int = 768
    """Width of the words inside the prism, after their own map."""
    layers: int = 18
    heads: int = 8
    head_width: int = 80
    temporal_length: int = 16
    gradient_checkpointing: bool = False

    @property
    def token_width(self) -> int:
        """Width of one output token: every position's channels side by side."""
        return self.positions * self.channels


class PrismLayer(nn.Module):
    """Space, time, words, time again; each followed by its own feed-forward, each x + f(norm(x))."""

    def __init__(self, config: PrismConfig) -> None:
        super().__init__()
        width, heads, e, limit = config.width, config.heads, config.head_width, config.temporal_length
        self.spatial_norm, self.spatial = nn.LayerNorm(width), SpatialAttention(width, heads, e)
        self.after_spatial_norm, self.after_spatial = nn.LayerNorm(width), FeedForward(width)
        self.temporal_norm, self.temporal = nn.LayerNorm(width), TemporalAttention(width, heads, e, limit)
        self.after_temporal_norm, self.after_temporal = nn.LayerNorm(width), FeedForward(width)
        self.text_norm, self.text = nn.LayerNorm(width), TextAttention(width, heads, e, config.words_width)
        self.after_text_norm, self.after_text = nn.LayerNorm(width), FeedForward(width)
        self.temporal_again_norm, self.temporal_again = nn.LayerNorm(width), TemporalAttention(width, heads, e, limit)
        self.after_temporal_again_norm, self.after_temporal_again = nn.LayerNorm(width), FeedForward(width)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """x (b t n d), words (b l c) -> (b t n d)."""
        x = x + self.spatial(self.spatial_norm(x))
        x = x + self.after_spatial(self.after_spatial_norm(x))
        x = x + self.temporal(self.temporal_norm(x))
        x = x + self.after_temporal(self.after_temporal_norm(x))
        x = x + self.text(self.text_norm(x), self.text.project_text(words))
        x = x + self.after_text(self.after_text_norm(x))
        x = x + self.temporal_again(self.temporal_again_norm(x))
        out: Tensor = x + self.after_temporal_again(self.after_temporal_again_norm(x))
        return out


class AffineHead(nn.Sequential):
    """Three linear maps without anything between them, trained as such, and one affine map when computed."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__(nn.Linear(width, 4 * width), nn.Linear(4 * width, 4 * width), nn.Linear(4 * width, channels))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight (channels d) and bias (channels) of the one map, in float32: 500 times less arithmetic than the three."""
        weight, bias = cast(Tensor, self[2].weight), cast(Tensor, self[2].bias)
        device_type = weight.device.type
        with torch.autocast(device_type if device_type != "meta" else "cpu", enabled=False):
            weight, bias = weight.float(), bias.float()
            for layer in (self[1], self[0]):
                bias = bias + weight @ cast(Tensor, layer.bias).float()
                weight = weight @ cast(Tensor, layer.weight).float()
        return weight, bias

    def forward(self, input: Tensor) -> Tensor:
        """(... d) -> (... channels)."""
        weight, bias = self.folded()
        return F.linear(input, weight.to(input.dtype), bias.to(input.dtype))


class ActionPrism(nn.Module):
    """One reference video and the words of prompt and caption -> its tokens."""

    def __init__(self, config: PrismConfig) -> None:
        super().__init__()
        self.config = config
        self.words_in = nn.Linear(config.text_width, config.words_width)
        self.video_in = nn.Linear(config.channels, config.width)
        self.layers = nn.ModuleList(PrismLayer(config) for _ in range(config.layers))
        self.head = AffineHead(config.width, config.channels)

    def forward(self, latents: Tensor, text: Tensor) -> Tensor:
        """Scaled reference latents (b c t h w), words of prompt and caption side by side (b l d) -> tokens (b t h*w*c).

        The words' order plays no role: they carry no positions of their own here.

        Raises:
            UsageError: the latents have another number of positions than this prism was trained with.
        """
        b, c, t, h, w = latents.shape
        if h * w != self.config.positions or c != self.config.channels:
            raise UsageError(
                f"reference latents have {c} channels and {h}x{w} positions, this model reads {self.config.channels} channels and "
                f"{self.config.positions} positions"
            )
        x = self.video_in(latents.flatten(3).permute(0, 2, 3, 1))
        words = self.words_in(text)
        for layer in self.layers:
            if self.config.gradient_checkpointing and torch.is_grad_enabled():
                x = cast(Tensor, checkpoint(layer, x, words, use_reentrant=False))
            else:
                x = layer(x, words)
        tokens: Tensor = self.head(x)
        return tokens.flatten(2)
