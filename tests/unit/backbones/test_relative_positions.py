from __future__ import annotations

import pytest
import torch
from torch import Tensor

from echoreel_cli.attention import RelativePositions, TemporalAttention, dot_product_attention, skew, unskew


def index(t: int, s: int, limit: int) -> Tensor:
    """Table row of every query and key, as the published network defines it."""
    return (torch.arange(s)[None] - torch.arange(t)[:, None]).clamp(-limit, limit) + limit


@pytest.mark.parametrize(("t", "s", "limit"), [(1, 1, 4), (1, 6, 4), (6, 1, 4), (5, 5, 16), (6, 9, 4), (9, 3, 2), (16, 16, 16)])
def test_logits_and_values_equal_the_direct_form(t: int, s: int, limit: int) -> None:
    torch.manual_seed(t + s)
    positions = RelativePositions(8, limit).double()
    q, weights = torch.randn(2, 3, t, 8).double(), torch.rand(2, 3, t, s).double()
    rows = index(t, s, limit)
    direct_logits = torch.einsum("abte,tse->abts", q, positions.key_table[rows])
    direct_values = torch.einsum("abts,tse->abte", weights, positions.value_table[rows])
    torch.testing.assert_close(positions.logits(q, s), direct_logits)
    torch.testing.assert_close(positions.values(weights), direct_values)


def test_skew_undoes_unskew() -> None:
    x = torch.randn(2, 4, 7)
    assert torch.equal(skew(unskew(x), 7), x)


def test_temporal_attention_equals_the_direct_form() -> None:
    torch.manual_seed(0)
    attention = TemporalAttention(12, heads=3, head_width=4, limit=2).double()
    x = torch.randn(2, 5, 6, 12).double()
    q, k, v = (project(x).view(2, 5, 6, 3, 4) for project in (attention.to_q, attention.to_k, attention.to_v))
    rows = index(5, 5, 2)
    keys, values = attention.positions.key_table[rows], attention.positions.value_table[rows]
    logits = torch.einsum("btnae,bsnae->bnats", q, k) + torch.einsum("btnae,tse->bnats", q, keys)
    weights = (logits * 4**-0.5).softmax(-1)
    out = torch.einsum("bnats,bsnae->btnae", weights, v) + torch.einsum("bnats,tse->btnae", weights, values)
    torch.testing.assert_close(attention(x), attention.to_out(out.flatten(3)), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("keys", [16, 200])
def test_both_ways_of_plain_attention_agree(keys: int) -> None:
    q, k, v = torch.randn(2, 3, 10, 8), torch.randn(2, 3, keys, 8), torch.randn(2, 3, keys, 8)
    expected = ((q @ k.transpose(-1, -2)) * 8**-0.5).softmax(-1) @ v
    torch.testing.assert_close(dot_product_attention(q, k, v), expected, atol=1e-5, rtol=1e-5)
