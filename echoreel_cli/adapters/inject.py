"""EchoReel's own adapter: the Action Prism and one temporal cross-attention at each site, as in the published checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor, nn

from echoreel_cli.adapters.action import ActionAdapter, ActionContext, Size
from echoreel_cli.attention import KeysValues, Projections, RelativePositions, unflatten
from echoreel_cli.backbones.base import Site
from echoreel_cli.prism.action import ActionPrism, PrismConfig

KeyPositions = Literal["restart", "concatenate"]


@dataclass(frozen=True, slots=True)
class PrismAdapterConfig:
    """The shape of a `PrismAdapter`. The defaults are the published one's."""

    kind: Literal["prism"] = "prism"
    prism: PrismConfig = field(default_factory=PrismConfig)
    site_widths: tuple[int, ...] = (320, 320, 640, 640, 1280, 1280, 1280, 1280, 1280, 1280, 640, 640, 640, 320, 320, 320)
    """Width of each site of the backbone, in execution order."""
    heads: int = 8
    temporal_length: int = 16
    """Farthest distance in frames that the relative position tables tell apart."""
    positions: KeyPositions = "restart"
    """How the frames of several references are numbered: from 0 for each, or one after the other.

    With published weights, `concatenate` reaches table rows that were never trained.
    """

    @classmethod
    def for_sites(cls, sites: Sequence[Site], prism: PrismConfig, *, temporal_length: int) -> PrismAdapterConfig:
        """The configuration that fits a backbone's temporal sites."""
        temporal = [site for site in sites if site.kind == "temporal"]
        widths = tuple(site.width for site in temporal)
        return cls(prism=prism, site_widths=widths, heads=temporal[0].heads, temporal_length=temporal_length)


class InjectedAttention(Projections):
    """Frames of every position look at the reference's frame tokens, which are the same for all positions.

    The published code projects the tokens again for each position and step; once is enough, and gives the same numbers.
    """

    def __init__(self, width: int, heads: int, limit: int, token_width: int) -> None:
        super().__init__(width, heads, width // heads, token_width)
        self.norm = nn.LayerNorm(width)
        self.scale = float((width // heads) ** -0.5)
        self.positions = RelativePositions(width // heads, limit)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def project_tokens(self, tokens: Tensor) -> KeysValues:
        """Tokens of all references (b s c) -> keys and values, each (b a s e)."""
        return self.split(self.to_k(tokens)).transpose(1, 2), self.split(self.to_v(tokens)).transpose(1, 2)

    def forward(self, x: Tensor, tokens: KeysValues, restarts: int) -> Tensor:
        """x (b t n d) and projected tokens -> what is added to x; key positions restart at 0 `restarts` times."""
        keys, values = tokens
        q = self.split(self.to_q(self.norm(x))).permute(0, 3, 2, 1, 4) * self.scale  # (b a n t e)
        rows, (n, t), s = q.flatten(2, 3), q.shape[2:4], keys.shape[2] // restarts
        by_place = self.positions.logits(q, s).repeat(1, 1, 1, 1, restarts)
        logits = unflatten(rows @ keys.transpose(-1, -2), 2, (n, t)) + by_place
        weights = logits.float().softmax(dim=-1).to(values.dtype)
        by_distance = unflatten(weights, -1, (restarts, s)).sum(dim=-2)
        out = unflatten(weights.flatten(2, 3) @ values, 2, (n, t)) + self.positions.values(by_distance)
        result: Tensor = self.to_out(out.permute(0, 3, 2, 1, 4).flatten(3))
        return result


class PrismAdapter(ActionAdapter):
    """The published EchoReel: prism tokens of each reference, injected at every temporal site."""

    def __init__(self, config: PrismAdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.prism = ActionPrism(config.prism)
        self.injections = nn.ModuleList(
            InjectedAttention(width, config.heads, config.temporal_length, config.prism.token_width) for width in config.site_widths
        )

    @property
    def site_names(self) -> tuple[str, ...]:
        """All temporal sites."""
        return tuple(f"temporal.{index}" for index in range(len(self.injections)))

    def tokens(self, reference_latents: Tensor, text: Tensor, reference_text: Tensor) -> Tensor:
        """(b r c t h w), (b l d), (b r l d) -> prism tokens (b r t token_width).

        The prism reads prompt and caption together. One reference at a time: the prism's memory is what limits it.
        """
        dtype = self.prism.video_in.weight.dtype
        each = [
            self.prism(reference_latents[:, r].to(dtype), torch.cat([text, reference_text[:, r]], dim=1).to(dtype))
            for r in range(reference_latents.shape[1])
        ]
        return torch.stack(each, dim=1)

    def encode(self, reference_latents: Tensor, text: Tensor, reference_text: Tensor) -> ActionContext:
        """(b r c t h w), (b l d), (b r l d) -> keys and values of every site."""
        if reference_latents.shape[1] == 0:
            return ActionContext.none()
        return self.context_of(self.tokens(reference_latents, text, reference_text))

    def context_of(self, tokens: Tensor) -> ActionContext:
        """Prism tokens (b r t token_width) -> keys and values of every site."""
        flat = tokens.flatten(1, 2)
        sites = {name: self._injection(name).project_tokens(flat) for name in self.site_names}
        return ActionContext(sites, tokens.shape[1])

    def addition(self, site: str, x: Tensor, size: Size, context: ActionContext) -> Tensor:
        """What EchoReel adds at a site; the same attention for every position, so `size` plays no role."""
        keys, values = context.sites[site]
        restarts = context.references if self.config.positions == "restart" else 1
        out: Tensor = self._injection(site)(x, (keys, values), restarts)
        return out

    def _injection(self, site: str) -> InjectedAttention:
        return cast(InjectedAttention, self.injections[int(site.rpartition(".")[2])])
