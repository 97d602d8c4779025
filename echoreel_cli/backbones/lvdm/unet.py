"""The LVDM denoiser: a U-shaped network of residual blocks and space-time transformers.

Built after the published LVDM text-to-video network (He et al. 2022, "Latent Video Diffusion Models for High-Fidelity Long Video
Generation") as EchoReel uses it; `weights.py` maps the published keys to these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from echoreel_cli.backbones.base import Site, TextContext
from echoreel_cli.backbones.lvdm.blocks import (
    Downsample,
    FrameConv,
    ResidualBlock,
    SpaceTimeTransformer,
    Upsample,
    VideoNorm,
    timestep_embedding,
)
from echoreel_cli.backbones.lvdm.config import VideoUNetConfig

__all__ = ["Step", "VideoUNet", "VideoUNetConfig"]


class Step(nn.Module):
    """One numbered step of the U: any of a residual block, a transformer and a change of size, in this order."""

    def __init__(
        self, residual: ResidualBlock | None = None, transformer: SpaceTimeTransformer | None = None, resize: FrameConv | None = None
    ) -> None:
        super().__init__()
        self.residual, self.transformer, self.resize = residual, transformer, resize
        self.transformer_index = -1
        """Place of the transformer in execution order; `VideoUNet` sets it."""


class VideoUNet(nn.Module):
    """Denoises video latents (b c t h w) given timesteps and words."""

    def __init__(self, config: VideoUNetConfig) -> None:
        super().__init__()
        self.config = config
        width = config.model_channels
        self.time_in, self.time_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, 4 * width)
        self.conv_in = FrameConv(config.in_channels, width)
        skips = [width]
        self.encoder = nn.ModuleList(self._build_encoder(skips))
        top = config.channel_mult[-1] * width
        self.middle = Step(self._residual(top, top), self._transformer(top))
        self.middle_out = self._residual(top, top)
        self.decoder = nn.ModuleList(self._build_decoder(skips))
        self.norm_out = VideoNorm(config.norm_groups, config.channel_mult[0] * width, eps=1e-5)
        self.conv_out = FrameConv(config.channel_mult[0] * width, config.out_channels)
        nn.init.zeros_(self.conv_out.weight)
        self._steps_with_transformer = self._number_transformers()

    def _residual(self, width_in: int, width_out: int) -> ResidualBlock:
        return ResidualBlock(width_in, width_out, 4 * self.config.model_channels, self.config.norm_groups)

    def _transformer(self, width: int) -> SpaceTimeTransformer:
        config = self.config
        return SpaceTimeTransformer(width, config.num_heads, config.context_dim, config.temporal_length, config.norm_groups)

    def _build_encoder(self, skips: list[int]) -> Iterator[Step]:
        """Steps on the way down; notes the width of each step's output in `skips`."""
        config, width = self.config, self.config.model_channels
        for level, mult in enumerate(config.channel_mult):
            for _ in range(config.num_res_blocks):
                residual = self._residual(width, mult * config.model_channels)
                width = mult * config.model_channels
                yield Step(residual, self._transformer(width) if 2**level in config.attention_resolutions else None)
                skips.append(width)
            if level + 1 < len(config.channel_mult):
                yield Step(resize=Downsample(width))
                skips.append(width)

    def _build_decoder(self, skips: list[int]) -> Iterator[Step]:
        """Steps on the way up; each takes the last remaining skip."""
        config, waiting = self.config, list(skips)
        width = config.channel_mult[-1] * config.model_channels
        for level in reversed(range(len(config.channel_mult))):
            for number in range(config.num_res_blocks + 1):
                residual = self._residual(width + waiting.pop(), config.channel_mult[level] * config.model_channels)
                width = config.channel_mult[level] * config.model_channels
                transformer = self._transformer(width) if 2**level in config.attention_resolutions else None
                yield Step(residual, transformer, Upsample(width) if level and number == config.num_res_blocks else None)

    def _number_transformers(self) -> list[Step]:
        steps = [cast(Step, step) for step in (*self.encoder, self.middle, *self.decoder)]
        found = [step for step in steps if step.transformer is not None]
        for index, step in enumerate(found):
            step.transformer_index = index
        return found

    def transformers(self) -> list[SpaceTimeTransformer]:
        """All transformers in execution order."""
        return [cast(SpaceTimeTransformer, step.transformer) for step in self._steps_with_transformer]

    def sites(self) -> tuple[Site, ...]:
        """`temporal.0` ... in execution order; the tensor there is (b t n d)."""
        heads = self.config.num_heads
        return tuple(
            Site(f"temporal.{index}", "temporal", transformer.map_in.in_features, heads, "b t n d")
            for index, transformer in enumerate(self.transformers())
        )

    def site_module(self, name: str) -> nn.Module:
        """The identity module of a site; it is called as `module(x, (h, w))`. KeyError: no such site."""
        kind, _, number = name.partition(".")
        transformers = self.transformers()
        if kind != "temporal" or not number.isdigit() or int(number) >= len(transformers):
            raise KeyError(f"no site {name!r}; there are temporal.0 to temporal.{len(transformers) - 1}")
        return transformers[int(number)].block.site

    def project_text(self, text: Tensor) -> TextContext:
        """Text tokens (b l d) -> keys and values (b heads l e) of every cross-attention, once for all steps and frames."""
        return TextContext(tuple(transformer.block.text.project_text(text) for transformer in self.transformers()))

    def _run(self, block: Callable[..., Tensor], *inputs: object) -> Tensor:
        if self.config.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def _step(self, step: Step, x: Tensor, time: Tensor, context: TextContext) -> Tensor:
        if step.residual is not None:
            x = self._run(step.residual, x, time)
        if step.transformer is not None:
            x = self._run(step.transformer, x, context.pairs[step.transformer_index])
        if step.resize is not None:
            x = step.resize(x)
        return x

    def forward(self, x: Tensor, timesteps: Tensor, context: TextContext) -> Tensor:
        """Latents (b c t h w), integer timesteps (b), projected words -> prediction (b c t h w).

        h and w must be divisible by 2 ** (levels - 1).
        """
        embedding = timestep_embedding(timesteps, self.config.model_channels).to(x.dtype)
        time = F.silu(self.time_out(F.silu(self.time_in(embedding))))
        h = self.conv_in(x.permute(0, 2, 3, 4, 1))
        skips = [h]
        for step in self.encoder:
            h = self._step(cast(Step, step), h, time, context)
            skips.append(h)
        h = self._step(self.middle, h, time, context)
        h = self._run(self.middle_out, h, time)
        for step in self.decoder:
            h = self._step(cast(Step, step), torch.cat([h, skips.pop()], dim=-1), time, context)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return out.permute(0, 4, 1, 2, 3)
