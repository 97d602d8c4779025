"""Muon moves every inner matrix by an orthogonal step and leaves the rest to AdamW; a resumed run is the unbroken one."""

from __future__ import annotations

import torch
from torch import nn

from echoreel_cli.train.optimizers import Muon, build_optimizers


def network() -> nn.Module:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(4, 6, 3), nn.GroupNorm(2, 6), nn.Flatten(), nn.Linear(6, 5))
    return nn.ModuleDict({"way_in": nn.Conv2d(3, 4, 1), "inner": inner, "table": nn.Embedding(7, 4)})


def test_every_parameter_belongs_to_one_optimizer() -> None:
    made = network()
    adamw, muon = build_optimizers(made, "muon", learning_rate=0.1, betas=(0.9, 0.99), weight_decay=0.0)
    shapes = [tuple(p.shape) for p in muon.param_groups[0]["params"]]
    assert shapes == [(6, 36), (5, 6)]
    assert len(adamw.param_groups[0]["params"]) + 2 == len(list(made.parameters()))
    [alone] = build_optimizers(made, "adamw", learning_rate=0.1, betas=(0.9, 0.99), weight_decay=0.0)
    assert isinstance(alone, torch.optim.AdamW) and len(alone.param_groups[0]["params"]) == len(list(made.parameters()))


def test_frozen_parameters_stay() -> None:
    made = network()
    made["inner"].requires_grad_(False)  # type: ignore[index]
    [only] = build_optimizers(made, "muon", learning_rate=0.1, betas=(0.9, 0.99), weight_decay=0.0)
    assert isinstance(only, torch.optim.AdamW)


def test_a_step_is_nearly_orthogonal_and_of_the_size_of_adamw() -> None:
    """The update of a (64, 4, 3, 3) kernel as a 64 x 36 matrix: all singular values alike, root mean square 0.2 lr."""
    torch.manual_seed(1)
    weight = nn.Parameter(torch.zeros(64, 4, 3, 3))
    weight.grad = torch.randn(64, 4, 3, 3) * torch.logspace(-1, 1, 64)[:, None, None, None]
    Muon([weight], lr=1.0, weight_decay=0.0).step()
    step = weight.detach().view(64, 36)
    values = torch.linalg.svdvals(step)
    assert values.max() / values.min() < 2.5
    assert 0.1 < step.pow(2).mean().sqrt() < 0.3


def test_gradients_are_forgotten() -> None:
    weight = nn.Parameter(torch.randn(3, 5))
    muon = Muon([weight], lr=0.1, weight_decay=0.0)
    weight.grad = torch.randn(3, 5)
    muon.step()
    muon.zero_grad()
    assert weight.grad is None
    before = weight.detach().clone()
    muon.step()
    assert torch.equal(weight, before)
