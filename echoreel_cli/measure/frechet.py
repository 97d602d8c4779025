"""The Frechet distance between two sets of features: pure statistics, whatever network the features come from."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet(first: Tensor, second: Tensor) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of features (n d) and (m d), in float64 (Dowson and Landau 1982).

    With fewer samples than dimensions the value is biased upwards: compare only values of equal n. ValueError: fewer than two samples.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"a covariance needs two samples or more, got {len(first)} and {len(second)}")
    a, b = first.double(), second.double()
    mean_gap = (a.mean(0) - b.mean(0)).square().sum()
    c1, c2 = torch.cov(a.T), torch.cov(b.T)
    # tr (C1 C2)^(1/2) is the sum of the square roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which is symmetric
    values, vectors = torch.linalg.eigh(c1)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ c2 @ root).clamp(min=0).sqrt().sum()
    return max(0.0, float(mean_gap + torch.trace(c1) + torch.trace(c2) - 2 * cross))  # rounding can end below 0


def bootstrap_interval(values: Tensor, *, generator: torch.Generator, draws: int = 2000, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the mean of values (n). ValueError: no values."""
    if len(values) == 0:
        raise ValueError("an interval needs at least one value")
    picks = torch.randint(len(values), (draws, len(values)), generator=generator)
    means = values.double()[picks].mean(1)
    tail = (1 - level) / 2
    low, high = torch.quantile(means, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return float(low), float(high)
