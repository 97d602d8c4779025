"""What a frozen video model must offer so that adapters can hang on it.

Shapes: `b` batch, `t` frames, `c` channels, `h w` pixels or latents, `n` positions (h*w), `d` width, `l` text tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

SiteKind = Literal["temporal", "text_cross", "spatial_self", "input", "text_embed"]


@dataclass(frozen=True, slots=True)
class Site:
    """A place in the frozen network where an adapter may add to what flows through.

    At the `temporal` sites of LVDM the tensor is (b t n d); `module` is an identity whose forward hook adds.
    """

    name: str
    kind: SiteKind
    width: int
    heads: int
    layout: str


@dataclass(frozen=True, slots=True)
class TextContext:
    """Text after everything that does not depend on the timestep: one (key, value) pair a cross-attention."""

    pairs: tuple[tuple[Tensor, Tensor], ...]


class Denoiser(Protocol):
    """The trainable or frozen network inside a backbone."""

    def project_text(self, text: Tensor) -> TextContext:
        """Text tokens (b l d) -> keys and values of every cross-attention, once for all steps."""
        ...

    def __call__(self, x: Tensor, timesteps: Tensor, context: TextContext) -> Tensor:
        """Latents (b c t h w), integer timesteps (b) -> prediction (b c t h w)."""
        ...

    def sites(self) -> tuple[Site, ...]:
        """All places where adapters may hang, in execution order."""
        ...

    def site_module(self, name: str) -> nn.Module:
        """The identity module of one site."""
        ...


class Backbone(Protocol):
    """A frozen text-to-video model: text encoder, autoencoder and denoiser, on one device."""

    @property
    def denoiser(self) -> Denoiser: ...

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Prompts -> text tokens (b l d)."""
        ...

    def encode_video(self, frames: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Frames (b c t h w) in [-1, 1] -> scaled latents (b c t h w).

        With a generator the posterior is sampled (the public code does), without one its mode is taken.
        """
        ...

    def decode_video(self, latents: Tensor) -> Tensor:
        """Scaled latents (b c t h w) -> frames (b c t h w) in [-1, 1]."""
        ...
