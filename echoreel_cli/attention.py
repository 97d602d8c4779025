"""Attention over space, over words and over time, shared by the video networks, the prism and the adapters.

Shapes: `b` batch, `t` frames (queries), `s` frames (keys), `n` positions, `d` width, `a` heads, `e` width of a head, `l` text tokens.
Tensors flow as (b t n d): for images stored channels-last that is the memory order already, so nothing is copied to get there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KeysValues = tuple[Tensor, Tensor]


def unflatten(x: Tensor, dim: int, sizes: tuple[int, ...]) -> Tensor:
    """One dimension -> several; torch's own method has no types."""
    out: Tensor = x.unflatten(dim, sizes)  # type: ignore[no-untyped-call]
    return out


class FeedForward(nn.Module):
    """Gated feed-forward: value times GELU of the gate (the exact one, with erf), expansion by four."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, 8 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(... d) -> (... d)."""
        value, gate = self.expand(x).chunk(2, dim=-1)
        out: Tensor = self.contract(value * F.gelu(gate))
        return out


class Projections(nn.Module):
    """The four maps of one attention: queries, keys and values without bias, the output with one."""

    def __init__(self, width: int, heads: int, head_width: int, context_width: int | None = None) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_k = nn.Linear(context_width or width, inner, bias=False)
        self.to_v = nn.Linear(context_width or width, inner, bias=False)
        self.to_out = nn.Linear(inner, width)

    def split(self, x: Tensor) -> Tensor:
        """(... a*e) -> (... a e)."""
        return unflatten(x, -1, (self.heads, -1))


def dot_product_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention (... n e), (... s e), (... s e) -> (... n e).

    Few keys on a CPU go through plain matrix products: the fused kernel's backward is 5 to 10 times slower there.
    """
    if q.device.type == "cpu" and k.shape[-2] <= 128:
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        out: Tensor = logits.float().softmax(dim=-1).to(v.dtype) @ v
        return out
    return F.scaled_dot_product_attention(q, k, v)


class SpatialAttention(Projections):
    """Every position of a frame looks at every position of the same frame; no position information."""

    def forward(self, x: Tensor) -> Tensor:
        """(b t n d) -> (b t n d)."""
        frames = x.flatten(0, 1)
        q, k, v = (self.split(project(frames)).transpose(1, 2) for project in (self.to_q, self.to_k, self.to_v))
        out = dot_product_attention(q, k, v)
        result: Tensor = self.to_out(out.transpose(1, 2).flatten(2)).view(x.shape)
        return result


class TextAttention(Projections):
    """Every position of every frame looks at the words. Keys and values do not depend on the timestep: project them once."""

    def project_text(self, text: Tensor) -> KeysValues:
        """(b l c) -> keys and values, each (b a l e)."""
        return self.split(self.to_k(text)).transpose(1, 2), self.split(self.to_v(text)).transpose(1, 2)

    def forward(self, x: Tensor, words: KeysValues) -> Tensor:
        """(b t n d) and the words' (b a l e) twice -> (b t n d)."""
        q = self.split(self.to_q(x.flatten(1, 2))).transpose(1, 2)  # all frames of a sample share its words: nothing is repeated
        out = dot_product_attention(q, words[0], words[1])
        result: Tensor = self.to_out(out.transpose(1, 2).flatten(2)).view(x.shape)
        return result


class RelativePositions(nn.Module):
    """Two tables of vectors, one row for each distance key - query in [-limit, limit]; farther ones share the last rows.

    logits = (q . k + q . E_k[distance]) * scale, out = sum of a (v + E_v[distance]); shared by all heads.
    """

    def __init__(self, head_width: int, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.key_table = nn.Parameter(torch.empty(2 * limit + 1, head_width))
        self.value_table = nn.Parameter(torch.empty(2 * limit + 1, head_width))
        nn.init.xavier_uniform_(self.key_table)
        nn.init.xavier_uniform_(self.value_table)

    def rows(self, table: Tensor, t: int, s: int) -> Tensor:
        """The table's rows for the distances 1-t ... s -> (t+s e); the last one only pads (see `skew`)."""
        first, last = self.limit - (t - 1), self.limit + s
        if first >= 0 and last < table.shape[0]:
            return table[first : last + 1]
        return F.embedding(torch.arange(first, last + 1, device=table.device).clamp(0, 2 * self.limit), table)

    def logits(self, q: Tensor, s: int) -> Tensor:
        """Queries (... t e) -> their products with the rows of all distances (... t s)."""
        t = q.shape[-2]
        return skew(q @ self.rows(self.key_table, t, s).transpose(0, 1), s)

    def values(self, weights: Tensor) -> Tensor:
        """Attention weights (... t s) -> weighted rows (... t e)."""
        t, s = weights.shape[-2:]
        return unskew(weights) @ self.rows(self.value_table, t, s)


def skew(by_distance: Tensor, s: int) -> Tensor:
    """(... t t+s) ordered by distance -> (... t s) ordered by key, as a view: each row starts one element earlier than the last."""
    t, width = by_distance.shape[-2:]
    flat = by_distance.flatten(-2).narrow(-1, t - 1, t * (width - 1))
    return unflatten(flat, -1, (t, width - 1))[..., :s]


def unskew(by_key: Tensor) -> Tensor:
    """The reverse of `skew`: (... t s) -> (... t t+s), zero where no key has that distance."""
    t, s = by_key.shape[-2:]
    flat = F.pad(by_key, (0, t - 1)).flatten(-2)
    return unflatten(F.pad(flat, (t - 1, 1)), -1, (t, t + s))


class TemporalAttention(Projections):
    """Every position looks at the same position in all frames, with relative positions in time."""

    def __init__(self, width: int, heads: int, head_width: int, limit: int, context_width: int | None = None) -> None:
        super().__init__(width, heads, head_width, context_width)
        self.scale = head_width**-0.5
        self.positions = RelativePositions(head_width, limit)

    def forward(self, x: Tensor) -> Tensor:
        """(b t n d) -> (b t n d)."""
        q, k, v = (self.split(project(x)).permute(0, 2, 3, 1, 4) for project in (self.to_q, self.to_k, self.to_v))
        q = q * self.scale  # (b n a t e)
        logits = q @ k.transpose(-1, -2) + self.positions.logits(q, k.shape[-2])
        weights = logits.float().softmax(dim=-1).to(v.dtype)
        out = weights @ v + self.positions.values(weights)
        result: Tensor = self.to_out(out.permute(0, 3, 1, 2, 4).flatten(3))
        return result
