"""The shape of an LVDM denoiser. The defaults are the public EchoReel network's."""

from __future__ import annotations

from dataclasses import dataclass

from echoreel_index.errors import UsageError


@dataclass(frozen=True, slots=True)
class VideoUNetConfig:
    """What decides the weights of a `VideoUNet`, and nothing else but `gradient_checkpointing`."""

    in_channels: int = 4
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention_resolutions: tuple[int, ...] = (4, 2, 1)
    """Downsampling factors at which there are transformers (the middle always has one)."""
    num_heads: int = 8
    context_dim: int = 768
    temporal_length: int = 16
    """Farthest distance in frames that the relative position tables tell apart."""
    norm_groups: int = 32
    gradient_checkpointing: bool = False
    """Recompute each block in the backward pass: less memory, more time; no effect on numbers."""

    def __post_init__(self) -> None:
        for mult in self.channel_mult:
            width = mult * self.model_channels
            if width % self.norm_groups or width % self.num_heads:
                raise UsageError(f"width {width} must be divisible by norm_groups {self.norm_groups} and num_heads {self.num_heads}")
