"""From noise to latents: the DDIM loop (Song et al. 2021) with diffusers' scheduler; eta 1 is EchoReel's, eta 0 adds no noise.

State and arithmetic of the steps are float32 whatever the network computes in. Noise comes from generators on the CPU, one a sample, so
that a sample depends on its own seed alone: not on the device and not on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from echoreel_cli.generate.guidance import Predictor
from echoreel_index.errors import UsageError

if TYPE_CHECKING:
    from diffusers import DDIMScheduler

Progress = Callable[[int, int], None]
"""Called after each step with the number of finished steps and of all steps; it may raise to stop."""
COVERAGE = 0.9
"""The first timestep must reach this share of the schedule: a start far below pure noise would be fed with pure noise."""


def choose_timesteps(scheduler: DDIMScheduler, steps: int) -> list[int]:
    """The timesteps of a run, from the highest to the lowest.

    Raises:
        UsageError: fewer than 1 step, or a number that leaves the noisy end of the schedule out (30 is fine, 7 or 600 is not).
    """
    length = int(scheduler.config["num_train_timesteps"])
    if not 1 <= steps <= length:
        raise UsageError(f"steps must be from 1 to {length}, got {steps}")
    spacing = scheduler.config["timestep_spacing"]
    highest = (steps - 1) * (length // steps) + int(scheduler.config["steps_offset"])
    if spacing == "leading" and (highest >= length or (length % steps and highest < COVERAGE * length)):
        near = min((s for s in range(1, length // 2 + 1) if length % s == 0), key=lambda s: abs(s - steps))
        raise UsageError(f"{steps} steps do not cover the schedule's {length} timesteps", hint=f"--steps {near} does")
    scheduler.set_timesteps(steps)
    return [int(t) for t in scheduler.timesteps]


def draw_noise(shape: Sequence[int], generators: Sequence[torch.Generator], device: torch.device | str = "cpu") -> Tensor:
    """Standard normal noise, (b *shape) for b generators on the CPU, float32."""
    return torch.stack([torch.randn(tuple(shape), generator=generator) for generator in generators]).to(device)


def sample(
    predict: Predictor,
    scheduler: DDIMScheduler,
    shape: tuple[int, int, int, int],
    *,
    generators: Sequence[torch.Generator],
    steps: int = 50,
    eta: float = 1.0,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Tensor:
    """Latents (b c t h w) in float32 from nothing but noise; `shape` is (c t h w), b the number of generators.

    Raises:
        UsageError: see `choose_timesteps`.
    """
    choose_timesteps(scheduler, steps)
    start = draw_noise(shape, generators, device) * scheduler.init_noise_sigma
    draw = (lambda: draw_noise(shape, generators, device)) if eta > 0 else None
    return denoise(predict, scheduler, start, steps=steps, eta=eta, draw=draw, progress=progress)


@torch.no_grad()
def denoise(
    predict: Predictor,
    scheduler: DDIMScheduler,
    x: Tensor,
    *,
    steps: int,
    eta: float,
    draw: Callable[[], Tensor] | None,
    progress: Progress | None = None,
) -> Tensor:
    """The loop alone: x (b c t h w) at the highest timestep -> latents; `draw` gives each step's noise, also the last one's."""
    timesteps = choose_timesteps(scheduler, steps)
    if scheduler.config["rescale_betas_zero_snr"]:
        eta = min(eta, 0.9999)  # from pure noise, eta 1 leaves nothing of the old noise, and rounding makes that the root of less than 0
    x = x.float()
    for done, t in enumerate(timesteps, start=1):
        prediction = predict(x, torch.full((x.shape[0],), t, dtype=torch.long, device=x.device))
        noise = draw() if draw is not None else None
        x = scheduler.step(prediction, t, x, eta=eta if noise is not None else 0.0, variance_noise=noise).prev_sample
        if progress is not None:
            progress(done, steps)
    return x
