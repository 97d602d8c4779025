"""The rooms of the LVDM denoiser: frame-wise convolutions, residual blocks, resampling and the space-time transformer.

Features flow as (b t h w c). The convolutions see them as channels-last images, the attentions as (b t n d): the same memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoreel_cli.attention import FeedForward, KeysValues, SpatialAttention, TemporalAttention, TextAttention, unflatten


class FrameConv(nn.Conv2d):
    """A convolution of each frame by itself; the public network's (1, 3, 3) kernels are exactly this."""

    def __init__(self, width_in: int, width_out: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(width_in, width_out, kernel, stride=stride, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(b t h w c) -> (b t h' w' c')."""
        out = super().forward(x.flatten(0, 1).permute(0, 3, 1, 2))
        return unflatten(out.permute(0, 2, 3, 1), 0, tuple(x.shape[:2]))


class VideoNorm(nn.GroupNorm):
    """Group norm whose statistics run over the group's channels and all frames and positions of the video together."""

    def forward(self, x: Tensor) -> Tensor:
        """(b t ... c) -> the same shape."""
        video = x.flatten(1, -2).transpose(1, 2).unsqueeze(-1)  # (b c positions 1), channels-last in memory
        out = F.group_norm(video, self.num_groups, self.weight, self.bias, self.eps)
        return out.squeeze(-1).transpose(1, 2).reshape(x.shape)


class ResidualBlock(nn.Module):
    """Two convolutions around the timestep's shift, with a skip."""

    def __init__(self, width_in: int, width_out: int, time_width: int, groups: int) -> None:
        super().__init__()
        self.norm_in = VideoNorm(groups, width_in, eps=1e-5)
        self.conv_in = FrameConv(width_in, width_out)
        self.shift = nn.Linear(time_width, width_out)
        self.norm_out = VideoNorm(groups, width_out, eps=1e-5)
        self.conv_out = FrameConv(width_out, width_out)
        nn.init.zeros_(self.conv_out.weight)
        if self.conv_out.bias is not None:
            nn.init.zeros_(self.conv_out.bias)
        self.skip: nn.Module = nn.Identity() if width_in == width_out else nn.Linear(width_in, width_out)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(b t h w c), activated time embedding (b d) -> (b t h w c')."""
        h = self.conv_in(F.silu(self.norm_in(x))) + self.shift(time)[:, None, None, None]
        out: Tensor = self.skip(x) + self.conv_out(F.silu(self.norm_out(h)))
        return out


class Downsample(FrameConv):
    """Half the height and width by a strided convolution."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, stride=2)


class Upsample(FrameConv):
    """Twice the height and width by nearest neighbours, then a convolution; frames stay as they are."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(b t h w c) -> (b t 2h 2w c)."""
        b, t, h, w, c = x.shape
        doubled = x[:, :, :, None, :, None].expand(b, t, h, 2, w, 2, c).reshape(b, t, 2 * h, 2 * w, c)
        return super().forward(doubled)


class TemporalSite(nn.Identity):
    """Where adapters hang: passes x (b t n d) on unchanged; a forward hook may add to it and is told the picture's (h, w)."""

    def forward(self, input: Tensor, size: tuple[int, int] = (0, 0)) -> Tensor:
        """x (b t n d) -> x; `size` is (h, w) with h * w = n."""
        return input


class SpaceTimeBlock(nn.Module):
    """Space, time, words, time again, the site, feed-forward; each x + f(norm(x))."""

    def __init__(self, width: int, heads: int, context_width: int, limit: int) -> None:
        super().__init__()
        e = width // heads
        self.spatial_norm, self.spatial = nn.LayerNorm(width), SpatialAttention(width, heads, e)
        self.temporal_norm, self.temporal = nn.LayerNorm(width), TemporalAttention(width, heads, e, limit)
        self.text_norm, self.text = nn.LayerNorm(width), TextAttention(width, heads, e, context_width)
        self.temporal_again_norm, self.temporal_again = nn.LayerNorm(width), TemporalAttention(width, heads, e, limit)
        self.site = TemporalSite()
        self.feed_forward_norm, self.feed_forward = nn.LayerNorm(width), FeedForward(width)

    def forward(self, x: Tensor, words: KeysValues, size: tuple[int, int]) -> Tensor:
        """(b t n d) -> (b t n d); `size` is (h, w)."""
        x = x + self.spatial(self.spatial_norm(x))
        x = x + self.temporal(self.temporal_norm(x))
        x = x + self.text(self.text_norm(x), words)
        x = x + self.temporal_again(self.temporal_again_norm(x))
        x = self.site(x, size)
        out: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return out


class SpaceTimeTransformer(nn.Module):
    """Norm, map in, one block, map out, residual."""

    def __init__(self, width: int, heads: int, context_width: int, limit: int, groups: int) -> None:
        super().__init__()
        self.norm = VideoNorm(groups, width, eps=1e-6)
        self.map_in = nn.Linear(width, width)
        self.block = SpaceTimeBlock(width, heads, context_width, limit)
        self.map_out = nn.Linear(width, width)
        nn.init.zeros_(self.map_out.weight)
        nn.init.zeros_(self.map_out.bias)

    def forward(self, x: Tensor, words: KeysValues) -> Tensor:
        """(b t h w c) -> (b t h w c)."""
        tokens = self.map_in(self.norm(x).flatten(2, 3))
        tokens = self.block(tokens, words, (x.shape[2], x.shape[3]))
        out: Tensor = x + self.map_out(tokens).view(x.shape)
        return out


def timestep_embedding(timesteps: Tensor, width: int) -> Tensor:
    """Integer timesteps (b) -> (b width): cosines first, then sines, frequencies from 1 down to 1/10000; always float32."""
    half = width // 2
    exponents = torch.arange(half, dtype=torch.float32, device=timesteps.device) * (-1.0 / half)
    angles = timesteps.float()[:, None] * torch.pow(10000.0, exponents)[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
