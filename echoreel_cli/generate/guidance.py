"""Classifier-free guidance: how the predictions with and without the prompt become one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from echoreel_cli.adapters.action import ActionAdapter, ActionContext, attached
from echoreel_cli.backbones.base import Denoiser, TextContext

Predictor = Callable[[Tensor, Tensor], Tensor]
"""Noisy latents (b c t h w) in float32, timesteps (b) -> prediction of the same shape in float32."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One side of guidance: the words and, if there are references, what the adapter made of them together with these words."""

    words: TextContext
    action: ActionContext | None = None


def guide(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """u + s (c - u): away from what the model would make without the prompt."""
    return unconditional + scale * (conditional - unconditional)


def stack(first: Branch, second: Branch) -> Branch:
    """Two branches one after the other along the batch. ValueError: they have different numbers of references."""
    pairs = zip(first.words.pairs, second.words.pairs, strict=True)
    words = TextContext(tuple((torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])) for a, b in pairs))
    if first.action is None or second.action is None:
        if first.action is not second.action:
            raise ValueError("a branch with references and one without cannot share a batch")
        return Branch(words)
    return Branch(words, ActionContext.stack([first.action, second.action]))


def predictor(denoiser: Denoiser, adapter: ActionAdapter | None, branch: Branch, *, dtype: torch.dtype) -> Predictor:
    """The denoiser under one branch; it computes in `dtype`, the sampler's state stays float32."""

    def predict(x: Tensor, timesteps: Tensor) -> Tensor:
        with attached(denoiser, adapter, branch.action):
            return denoiser(x.to(dtype), timesteps, branch.words).float()

    return predict


def guided(
    denoiser: Denoiser,
    adapter: ActionAdapter | None,
    conditional: Branch,
    unconditional: Branch | None,
    *,
    scale: float,
    dtype: torch.dtype,
    together: bool = True,
) -> Predictor:
    """Both branches as one prediction; with scale 1 or no second branch the conditional one alone.

    `together` runs them as one batch of 2b, otherwise one after the other (half the memory, the same numbers).
    The reference belongs to both branches: guidance strengthens the prompt, not the reference.
    """
    with_prompt = predictor(denoiser, adapter, conditional, dtype=dtype)
    if unconditional is None or scale == 1.0:
        return with_prompt
    if not together:
        without = predictor(denoiser, adapter, unconditional, dtype=dtype)
        return lambda x, t: guide(without(x, t), with_prompt(x, t), scale)
    both = predictor(denoiser, adapter, stack(unconditional, conditional), dtype=dtype)

    def predict(x: Tensor, timesteps: Tensor) -> Tensor:
        u, c = both(torch.cat([x, x]), torch.cat([timesteps, timesteps])).chunk(2)
        return guide(u, c, scale)

    return predict
