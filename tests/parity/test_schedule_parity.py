"""The noise schedule's stored figures, and diffusers' DDIM step against them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from echoreel_cli.backbones.lvdm.blocks import timestep_embedding
from echoreel_cli.backbones.schedule import build_schedule
from echoreel_cli.generate.sampler import choose_timesteps
from tests.parity.golden import HERE


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((HERE / "ddim_schedule.json").read_text(encoding="utf-8"))
    return data


def test_betas_and_products(stored: dict[str, Any]) -> None:
    schedule = build_schedule()
    assert schedule.betas[:3].tolist() == pytest.approx(stored["betas_first"], rel=1e-12)
    assert schedule.betas[-3:].tolist() == pytest.approx(stored["betas_last"], rel=1e-12)
    for t, value in stored["alphas_cumprod_at"].items():
        assert float(schedule.alphas_cumprod[int(t)]) == pytest.approx(value, rel=1e-12)


def test_fifty_steps_of_eta_one(stored: dict[str, Any]) -> None:
    """What one diffusers step does to x = 1, prediction = 0 and noise = 1 gives the stored sigma; the last step has noise, too."""
    figures, schedule = stored["ddim50_eta1"], build_schedule()
    timesteps = choose_timesteps(schedule, 50)
    assert timesteps == figures["timesteps"][::-1]
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for t, alpha, before, sigma in zip(*(figures[key] for key in ("timesteps", "alphas", "alphas_prev", "sigmas")), strict=True):
        quiet = schedule.step(zero, t, one, eta=1.0, variance_noise=zero).prev_sample
        noisy = schedule.step(zero, t, one, eta=1.0, variance_noise=one).prev_sample
        assert float(noisy - quiet) == pytest.approx(sigma, rel=2e-5)
        assert float(quiet) == pytest.approx((before / alpha) ** 0.5, rel=1e-6)


def test_timestep_embedding(stored: dict[str, Any]) -> None:
    figures = stored["timestep_embedding_981_dim320"]
    ours = timestep_embedding(torch.tensor([981]), 320)[0]
    assert ours[:8].tolist() == pytest.approx(figures["first8"], abs=1e-4)
    assert ours[160:168].tolist() == pytest.approx(figures["from160"], abs=1e-4)
