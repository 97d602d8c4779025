"""The mini model's autoencoder: diffusers' AutoencoderKL, started at the best linear code of the world and then sharpened.

A small convolutional autoencoder trained from random weights spends its first half hour on a CPU losing the colours of clothes. The best
linear code (principal components of 8x8 patches) is known in closed form and keeps them. An AutoencoderKL can hold a linear map exactly:

- residual blocks whose last convolution is zero pass everything on;
- silu(x) - silu(-x) = x, so channels carried twice, with both signs, pass the last activation unharmed;
- a group norm whose group also carries constants +M and -M divides by (almost) a constant.

The encoder stays linear; the decoder's residual blocks are trained afterwards to repaint edges that 32 numbers a patch blur.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from echoreel_cli.train.sizes import LATENTS, PATCH
from echoreel_cli.train.worldset import WorldSet, is_held_out

_WIDTH = 4 * LATENTS
_GROUPS = 8
_CARRIER = 1024.0
"""M above; large against latents, exact in bfloat16."""


@dataclass(frozen=True, slots=True)
class LinearCode:
    """Principal components of folded patches: latent = (patch - mean) @ basis / scale."""

    mean: Tensor
    """(p) float64."""
    basis: Tensor
    """(p LATENTS) orthonormal."""
    scale: Tensor
    """(LATENTS) square roots of the standard deviations, times one number that makes the latents' variance 1: strong components stay
    stronger than weak ones, so that the diffusion model settles the coarse before the fine."""


def fold(frames: Tensor) -> Tensor:
    """Pictures (n 3 h w) -> (n 3*PATCH^2 h/PATCH w/PATCH)."""
    return nn.functional.pixel_unshuffle(frames, PATCH)


def mirror(code: LinearCode) -> Tensor:
    """(LATENTS LATENTS) what mirroring the picture does to one patch's latents (row vectors), apart from reversing the patches' order.

    The mean patch is taken to be its own mirror image, which it nearly is.
    """
    order = torch.arange(len(code.mean)).view(3, PATCH, PATCH).flip(-1).flatten()
    return ((code.basis * code.scale)[order].T @ code.basis / code.scale).float()


def linear_code(data: WorldSet, *, every: int = 16) -> LinearCode:
    """The best linear code of the clips that the video model may see (every 16th of them)."""
    rows = data.where(lambda label: not is_held_out(label))[::every]
    frames = torch.from_numpy(np.stack([data.frames[row][::4] for row in rows])).flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
    patches = fold(frames).permute(0, 2, 3, 1).flatten(0, 2).double()
    mean = patches.mean(0)
    centred = patches - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    basis = vectors.flip(1)[:, :LATENTS]
    scale = values.flip(0)[:LATENTS].sqrt().sqrt()
    return LinearCode(mean, basis, scale * (centred @ basis / scale).std())


@torch.no_grad()
def read_code(autoencoder: AutoencoderKL) -> LinearCode:
    """The code that `new_autoencoder` put into an autoencoder, sharpened since or not; of the mean patch only what the code can say."""
    plus, _, _ = _channels()
    conv = autoencoder.encoder.conv_in
    encode = conv.weight[plus, :, 1, 1].double()  # (LATENTS p)
    scale = 1 / encode.norm(dim=1)
    basis = (encode * scale[:, None]).T
    return LinearCode(-basis @ (conv.bias[plus].double() * scale), basis, scale)


def new_autoencoder(code: LinearCode | None = None) -> AutoencoderKL:
    """The mini model's autoencoder; with a code it encodes and decodes by exactly that code."""
    autoencoder = AutoencoderKL(
        in_channels=len(code.mean) if code is not None else 3 * PATCH**2,
        out_channels=len(code.mean) if code is not None else 3 * PATCH**2,
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        block_out_channels=(_WIDTH,),
        layers_per_block=1,
        latent_channels=LATENTS,
        norm_num_groups=_GROUPS,
        sample_size=PATCH,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )
    if code is not None:
        with torch.no_grad():
            _hold(autoencoder, code)
    return autoencoder


def _hold(autoencoder: AutoencoderKL, code: LinearCode) -> None:
    """Set the weights to the linear code."""
    encode = (code.basis / code.scale).T.float()  # (LATENTS p)
    decode = (code.basis * code.scale).float()  # (p LATENTS)
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    _spread(encoder.conv_in, encode, -(encode.double() @ code.mean).float())
    _gather(encoder.conv_norm_out, encoder.conv_out, torch.cat([torch.eye(LATENTS), torch.zeros(LATENTS, LATENTS)]))
    encoder.conv_out.bias[LATENTS:] = -30.0  # log-variance: the code has no noise of its own
    for one, size in ((autoencoder.quant_conv, 2 * LATENTS), (autoencoder.post_quant_conv, LATENTS)):
        one.weight.copy_(torch.eye(size)[:, :, None, None])
        one.bias.zero_()
    _spread(decoder.conv_in, torch.eye(LATENTS), torch.zeros(LATENTS))
    _gather(decoder.conv_norm_out, decoder.conv_out, decode)
    decoder.conv_out.bias.copy_(code.mean.float())
    for part in (*encoder.down_blocks, encoder.mid_block, *decoder.up_blocks, decoder.mid_block):
        for block in part.resnets:
            block.conv2.weight.zero_()
            block.conv2.bias.zero_()
            block.norm1.weight.copy_(_gains())


def _channels() -> tuple[Tensor, Tensor, Tensor]:
    """Places (LATENTS) of z, of -z, and (2 LATENTS) of the carriers: each group of 16 holds four z, four -z, four +M, four -M."""
    base = torch.arange(_WIDTH).view(_GROUPS, 4, -1)
    return base[:, 0].flatten(), base[:, 1].flatten(), base[:, 2:].flatten()


def _gains() -> Tensor:
    """Gains (_WIDTH) of a group norm that undo its division on z and -z and silence the carriers."""
    plus, minus, _ = _channels()
    gains = torch.zeros(_WIDTH)
    gains[plus] = gains[minus] = _CARRIER / 2**0.5
    return gains


def _spread(conv: nn.Conv2d, matrix: Tensor, bias: Tensor) -> None:
    """Make a 3x3 convolution write matrix @ x + bias to z, its negative to -z, and constants to the carriers."""
    plus, minus, carriers = _channels()
    weight = torch.zeros_like(conv.weight)
    weight[plus, :, 1, 1], weight[minus, :, 1, 1] = matrix, -matrix
    conv.weight.copy_(weight)
    offset = cast(Tensor, conv.bias)
    offset[plus], offset[minus] = bias, -bias
    offset[carriers] = _CARRIER * torch.tensor([1.0, -1.0]).repeat_interleave(4).repeat(_GROUPS)


def _gather(norm: nn.GroupNorm, conv: nn.Conv2d, matrix: Tensor) -> None:
    """Make norm, silu and a 3x3 convolution compute matrix @ z."""
    plus, minus, _ = _channels()
    norm.weight.copy_(_gains())
    norm.bias.zero_()
    weight = torch.zeros_like(conv.weight)
    weight[:, plus, 1, 1], weight[:, minus, 1, 1] = matrix, -matrix
    conv.weight.copy_(weight)
    cast(Tensor, conv.bias).zero_()


class SharpenTask:
    """Train the decoder's residual blocks to paint what the linear code blurs; the encoder, and so the latents, stay as they are.

    L1 on pixels, five times as much where the picture differs from its row's usual colour (mostly the person). Latents get noise of random
    strength, as generated ones will have.
    """

    def __init__(self, data: WorldSet, autoencoder: AutoencoderKL) -> None:
        autoencoder.requires_grad_(False)
        autoencoder.decoder.requires_grad_(True)
        self.network: nn.Module = autoencoder
        self._frames = data.frames
        self._rows = data.where(lambda label: not is_held_out(label))

    def loss(self, network: nn.Module, batch: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """The loss on `batch` frames, each from another clip."""
        rows = self._rows[torch.randint(len(self._rows), (batch,), generator=generator).numpy()]
        times = torch.randint(self._frames.shape[1], (batch,), generator=generator).numpy()
        device = next(network.parameters()).device
        frames = torch.from_numpy(np.stack([self._frames[row, time] for row, time in zip(rows, times, strict=True)])).to(device)
        picked = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
        inner = cast(AutoencoderKL, getattr(network, "module", network))
        with torch.no_grad():
            latents = inner.encode(fold(picked)).latent_dist.mode().float()
            strength = 0.5 * torch.rand(batch, 1, 1, 1, generator=generator)
            latents = latents + (strength * torch.randn(latents.shape, generator=generator)).to(device)
            usual = picked.median(dim=-1, keepdim=True).values
            weight = 1 + 4 * ((picked - usual).abs().sum(1, keepdim=True) > 0.25).float()
        error = (nn.functional.pixel_shuffle(inner.decode(latents).sample.float(), PATCH) - picked).abs()
        return (error * weight).mean() / weight.mean(), {"l1": float(error.mean().detach())}
