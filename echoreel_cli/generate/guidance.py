"""Classifier-free guidance: how predictions with and without the prompt, with and without references become one.

Three branches, each a subset of what is asked for: u (neither prompt nor references), r (references alone), c (both).

    u + action (r - u) + text (c - r)

The nesting is that of Brooks et al. 2023 (2211.09800, eq. 3). EchoReel has no weight for the references: both of its branches see them,
which is action = 1. Branches with weight 0 are not run: r alone matters with action = 1, and u alone where both weights are equal.
"""

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


@dataclass(frozen=True, slots=True)
class Needed:
    """Which branches beside the full one are run."""

    negative: bool
    """r: the negative prompt with the references."""
    plain: bool
    """u: the negative prompt without."""

    @classmethod
    def of(cls, scale: float, action_scale: float, *, references: bool) -> Needed:
        """The branches that have a weight."""
        if not references:
            return cls(scale != 1, False)
        return cls(scale != action_scale, action_scale != 1)


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
    plain: Branch | None = None,
    *,
    scale: float,
    action_scale: float = 1.0,
    dtype: torch.dtype,
    together: bool = True,
) -> Predictor:
    """All branches as one prediction; `Needed` says which ones must be there.

    `together` runs the two with references as one batch of 2b, otherwise one after the other (half the memory, the same numbers). Without
    a `plain` branch, `action_scale` plays no role.
    """
    with_prompt = predictor(denoiser, adapter, conditional, dtype=dtype)
    bare = None if plain is None else predictor(denoiser, None, plain, dtype=dtype)
    if unconditional is None or (scale == 1.0 and bare is None):
        if bare is None:
            return with_prompt
        return lambda x, t: guide(bare(x, t), with_prompt(x, t), scale)
    if together:
        both = predictor(denoiser, adapter, stack(unconditional, conditional), dtype=dtype)
    else:
        both = _one_after_the_other(predictor(denoiser, adapter, unconditional, dtype=dtype), with_prompt)

    def predict(x: Tensor, timesteps: Tensor) -> Tensor:
        r, c = both(torch.cat([x, x]), torch.cat([timesteps, timesteps])).chunk(2)
        if bare is None:
            return guide(r, c, scale)
        u = bare(x, timesteps)
        return guide(u, r, action_scale) + scale * (c - r)

    return predict


def _one_after_the_other(first: Predictor, second: Predictor) -> Predictor:
    """Two predictors of a half each -> one of the whole batch."""

    def predict(x: Tensor, timesteps: Tensor) -> Tensor:
        halves = zip((first, second), x.chunk(2), timesteps.chunk(2), strict=True)
        return torch.cat([one(half, times) for one, half, times in halves])

    return predict
