"""The noise schedule of a model folder, for diffusers' DDIMScheduler, with its tables in double precision.

In half precision the weight of the noise at the first timestep is 7 % too low; published checkpoints carry such tables, so none is read
from them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from echoreel_index.errors import UsageError

if TYPE_CHECKING:
    from diffusers import DDIMScheduler

LVDM_SCHEDULE: Mapping[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
}
"""LVDM's and EchoReel's: betas grow linearly in their square roots, timesteps 1, 21, ... 981 for 50 steps."""


def build_schedule(config: Mapping[str, Any] = LVDM_SCHEDULE) -> DDIMScheduler:
    """`scheduler/scheduler_config.json` -> a scheduler.

    Raises:
        UsageError: a key is not one of DDIMScheduler's (those that begin with an underscore are diffusers' own notes).
    """
    import torch
    from diffusers import DDIMScheduler

    settings = {key: value for key, value in config.items() if not key.startswith("_")}
    known = set(inspect.signature(DDIMScheduler.__init__).parameters) - {"self"}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise UsageError(f"scheduler_config.json: unknown key {unknown[0]!r}", hint=f"known keys: {', '.join(sorted(known))}")
    scheduler = DDIMScheduler(**settings)
    betas = _betas(scheduler.config)
    if betas is not None:
        scheduler.betas, scheduler.alphas = betas, 1.0 - betas
        scheduler.alphas_cumprod = torch.cumprod(scheduler.alphas, dim=0)
        if not scheduler.config.set_alpha_to_one:
            scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    return scheduler


def _betas(config: Any) -> Any:
    """The betas in float64, or None for schedules that diffusers computes in its own way."""
    import torch

    if config.trained_betas is not None or config.rescale_betas_zero_snr:
        return None
    count, start, end = config.num_train_timesteps, config.beta_start, config.beta_end
    if config.beta_schedule == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, count, dtype=torch.float64) ** 2
    if config.beta_schedule == "linear":
        return torch.linspace(start, end, count, dtype=torch.float64)
    return None
