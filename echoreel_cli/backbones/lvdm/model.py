"""LVDM as a whole: words, pictures and the denoiser behind one face.

The parts may lie on different devices and compute in different number types (so that a large model can be moved in turns);
every method brings its inputs to the part that it uses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoreel_cli.attention import unflatten
from echoreel_cli.backbones.lvdm.unet import VideoUNet
from echoreel_index.errors import UsageError

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DDIMScheduler
    from transformers import CLIPTextModel


class Tokenizer(Protocol):
    """Texts -> ids (b l)."""

    def __call__(self, texts: Sequence[str]) -> Tensor: ...


class LVDM:
    """A frozen text-to-video model (see `backbones.base.Backbone`)."""

    def __init__(
        self,
        denoiser: VideoUNet,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: Tokenizer,
        scheduler: DDIMScheduler,
        *,
        frames_at_once: int = 16,
    ) -> None:
        """`frames_at_once` bounds the memory of the autoencoder, which works on single frames.

        An autoencoder of 3 * p * p channels sees p by p pixels as the channels of one (the mini model's does, p = 8).
        """
        self.denoiser = denoiser
        self.vae = vae
        self.text_encoder = text_encoder
        self.tokenizer = tokenizer
        self.scheduler = scheduler
        self.frames_at_once = frames_at_once
        self._patch = math.isqrt(int(vae.config["in_channels"]) // 3)
        for part in (denoiser, vae, text_encoder):
            part.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the denoiser is."""
        return _place(self.denoiser)[0]

    @property
    def dtype(self) -> torch.dtype:
        """What the denoiser computes in."""
        return _place(self.denoiser)[1]

    @property
    def downsampling(self) -> int:
        """Pixels to a latent position, in height and in width."""
        return self._patch << (len(self.vae.config["block_out_channels"]) - 1)

    @property
    def size_multiple(self) -> int:
        """Height and width of a video must be multiples of this many pixels."""
        return self.downsampling << (len(self.denoiser.config.channel_mult) - 1)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Frames and pixels of a video -> (c t h w) of its latents. UsageError: the size is no multiple of `size_multiple`."""
        multiple = self.size_multiple
        if frames < 1 or height < 1 or width < 1 or height % multiple or width % multiple:
            near = f"{max(1, round(width / multiple)) * multiple}x{max(1, round(height / multiple)) * multiple}"
            raise UsageError(f"a video of {frames} frames of {width}x{height} pixels cannot be made", hint=f"nearest size: {near}")
        return self.denoiser.config.in_channels, frames, height // self.downsampling, width // self.downsampling

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Prompts -> text tokens (b l d): the text encoder's last hidden state, after its final norm."""
        device, _ = _place(self.text_encoder)
        ids = self.tokenizer(texts).to(device)
        hidden: Tensor = self.text_encoder(input_ids=ids).last_hidden_state
        return hidden

    @torch.no_grad()
    def encode_video(self, frames: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Frames (b c t h w) in [-1, 1] -> scaled latents (b c t h w), float32.

        With a generator on the CPU the posterior is sampled (the public code does), without one its mode is taken.
        """
        device, dtype = _place(self.vae)
        pictures = F.pixel_unshuffle(frames.transpose(1, 2).flatten(0, 1), self._patch)
        parts = [self.vae.encode(part.to(device, dtype)).latent_dist for part in torch.split(pictures, self.frames_at_once)]
        latents = torch.cat([part.mean.float() for part in parts])
        if generator is not None:
            deviation = torch.cat([part.std.float() for part in parts])
            latents = latents + deviation * torch.randn(latents.shape, generator=generator).to(device)
        return unflatten(latents, 0, (frames.shape[0], frames.shape[2])).transpose(1, 2) * self._scale

    @torch.no_grad()
    def decode_video(self, latents: Tensor) -> Tensor:
        """Scaled latents (b c t h w) -> frames (b c t h w), float32, clamped to [-1, 1]."""
        device, dtype = _place(self.vae)
        pictures = (latents / self._scale).transpose(1, 2).flatten(0, 1)
        parts = [self.vae.decode(part.to(device, dtype)).sample.float() for part in torch.split(pictures, self.frames_at_once)]
        frames = F.pixel_shuffle(torch.cat(parts), self._patch).clamp(-1, 1)
        return unflatten(frames, 0, (latents.shape[0], latents.shape[2])).transpose(1, 2)

    @property
    def _scale(self) -> float:
        config: Any = self.vae.config
        return float(config["scaling_factor"])


def _place(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    parameter = next(module.parameters())
    return parameter.device, parameter.dtype
