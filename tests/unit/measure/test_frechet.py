"""The Frechet distance against its closed forms, and intervals that hold what they should."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from echoreel_cli.measure.frechet import bootstrap_interval, frechet


def normal(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whitened(n: int, d: int, seed: int = 0) -> Tensor:
    """Samples whose mean is 0 and whose covariance is the identity, exactly."""
    x = normal(n, d, seed)
    x = x - x.mean(0)
    out: Tensor = torch.linalg.solve_triangular(torch.linalg.cholesky(torch.cov(x.T)), x.T, upper=False).T
    return out


def test_equal_sets_are_at_no_distance() -> None:
    x = normal(200, 12)
    assert abs(frechet(x, x)) < 1e-9
    assert abs(frechet(x, x.flip(0))) < 1e-9, "samples have no order"
    assert abs(frechet(x.float(), x.float())) < 1e-6


def test_shifted_means_are_as_far_as_the_shift_squared() -> None:
    x, shift = normal(150, 6), torch.arange(6.0, dtype=torch.float64)
    assert frechet(x, x + shift) == pytest.approx(float(shift.square().sum()), abs=1e-9)


def test_diagonal_covariances() -> None:
    """sum (s1 - s2)^2 for independent dimensions with deviations s1 and s2."""
    first, second = torch.tensor([1.0, 2.0, 0.5, 3.0]).double(), torch.tensor([2.0, 2.0, 0.0, 1.0]).double()
    found = frechet(whitened(80, 4, 1) * first, whitened(90, 4, 2) * second)
    assert found == pytest.approx(float((first - second).square().sum()), abs=1e-6)


def test_covariances_that_do_not_commute() -> None:
    """For two dimensions tr (C1 C2)^(1/2) = sqrt(tr C1 C2 + 2 sqrt(det C1 C2))."""
    turn = torch.linalg.qr(normal(2, 2, 5)).Q
    x, y = whitened(60, 2, 3) * torch.tensor([3.0, 1.0]).double(), whitened(70, 2, 4) * torch.tensor([0.5, 2.0]).double() @ turn
    c1, c2 = torch.cov(x.T), torch.cov(y.T)
    root = (torch.trace(c1 @ c2) + 2 * torch.det(c1 @ c2).sqrt()).sqrt()
    assert frechet(x, y) == pytest.approx(float(torch.trace(c1) + torch.trace(c2) - 2 * root), abs=1e-8)
    assert frechet(x, y) == pytest.approx(frechet(y, x), abs=1e-8)


def test_fewer_samples_than_dimensions() -> None:
    x = normal(8, 40)
    assert 0 <= frechet(x, x) < 1e-4 and frechet(x, normal(9, 40, 7)) > 0
    with pytest.raises(ValueError, match="two samples"):
        frechet(x[:1], x)


def test_the_interval_covers_as_often_as_it_says() -> None:
    generator, covered = torch.Generator().manual_seed(0), 0
    for seed in range(100):
        values = (torch.rand(60, generator=torch.Generator().manual_seed(seed)) < 0.4).float()
        low, high = bootstrap_interval(values, generator=generator, draws=400)
        assert low <= float(values.mean()) <= high
        covered += low <= 0.4 <= high
    assert 88 <= covered <= 100


def test_the_interval_is_repeatable_and_narrows() -> None:
    def wide(n: int, level: float = 0.95) -> float:
        low, high = bootstrap_interval(normal(n, 1)[:, 0], generator=torch.Generator().manual_seed(1), level=level)
        return high - low

    assert wide(400) < 0.7 * wide(100) and wide(100, 0.5) < wide(100) and wide(100) == wide(100)
    assert bootstrap_interval(torch.ones(5), generator=torch.Generator()) == (1.0, 1.0)
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_interval(torch.ones(0), generator=torch.Generator())
