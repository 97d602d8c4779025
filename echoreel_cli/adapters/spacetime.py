"""The small variant of EchoReel: every position of every frame looks at all patches of all references, with times and places.

Why it exists: with one token a frame (the paper's form) a small frozen backbone learns nothing from references; with
tokens that keep their place it does. The bundled mini model ships this form, the public weights keep the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from echoreel_cli.adapters.action import ActionAdapter, ActionContext, Size
from echoreel_cli.attention import Projections, dot_product_attention, unflatten
from echoreel_cli.backbones.base import Site
from echoreel_cli.prism.patches import PatchPrism, PatchPrismConfig, PlaceAndTime


@dataclass(frozen=True, slots=True)
class SpacetimeAdapterConfig:
    """The shape of a `SpacetimeAdapter`."""

    kind: Literal["spacetime"] = "spacetime"
    prism: PatchPrismConfig = field(default_factory=PatchPrismConfig)
    site_widths: tuple[int, ...] = (128, 128, 128, 128)
    """Width of each temporal site of the backbone, in execution order."""
    heads: int = 4
    head_width: int = 40

    @classmethod
    def for_sites(cls, sites: Sequence[Site], prism: PatchPrismConfig, *, heads: int = 4, head_width: int = 40) -> SpacetimeAdapterConfig:
        """The configuration that fits a backbone's temporal sites."""
        widths = tuple(site.width for site in sites if site.kind == "temporal")
        return cls(prism=prism, site_widths=widths, heads=heads, head_width=head_width)


class SpacetimeInjection(Projections):
    """Cross-attention from (time, place) to (reference, time, place), and the first reference in its own time and place.

    The second path is what is learned first: where and when the reference has a limb, the result may have one too. The attention then
    finds what is elsewhere, or in the other references. All output maps start at zero.
    """

    def __init__(self, width: int, config: SpacetimeAdapterConfig) -> None:
        super().__init__(width, config.heads, config.head_width, config.prism.width)
        self.norm = nn.LayerNorm(width)
        self.where = PlaceAndTime(width, config.prism.grid, config.prism.temporal_length)
        self.where_of_keys = PlaceAndTime(config.prism.width, config.prism.grid, config.prism.temporal_length)
        self.patch = config.prism.patch
        self.to_lead = nn.Linear(config.prism.width, width * self.patch**2)
        nn.init.zeros_(self.to_lead.weight)
        nn.init.zeros_(self.to_lead.bias)
        self.gate = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)
        nn.init.zeros_(cast(nn.Linear, self.gate[2]).weight)
        nn.init.zeros_(cast(nn.Linear, self.gate[2]).bias)

    def project_tokens(self, tokens: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        """Tokens (b r t n d) on a grid of `size` -> keys and values, each (b a r*t*n e)."""
        placed = tokens + self.where_of_keys(tokens.shape[2], *size)
        return self.split(self.to_k(placed).flatten(1, 3)).transpose(1, 2), self.split(self.to_v(placed).flatten(1, 3)).transpose(1, 2)

    def project_lead(self, tokens: Tensor, size: Size) -> Tensor:
        """The first reference's tokens (b t n d) on a grid of `size` -> (b t patch*h patch*w d'), what stays in its time and place.

        A token says something of its own for each latent position in its patch: limbs are thinner than patches.
        """
        told = cast(Tensor, self.to_lead(tokens + self.where_of_keys(tokens.shape[1], *size)))  # (b t n patch*patch*d')
        b, t = told.shape[:2]
        grid = told.view(b, t, *size, self.patch, self.patch, -1).transpose(3, 4)  # (b t h patch w patch d')
        return grid.reshape(b, t, self.patch * size[0], self.patch * size[1], -1)

    def forward(self, x: Tensor, size: Size, keys: Tensor, values: Tensor, lead: Tensor) -> Tensor:
        """x (b t n d) -> what is added to it; `lead` is (b t' h' w' d)."""
        asking = self.norm(x) + self.where(x.shape[1], *size)
        q = self.split(self.to_q(asking.flatten(1, 2))).transpose(1, 2)
        out = dot_product_attention(q, keys, values).transpose(1, 2).flatten(2)
        added = self.to_out(out).view(x.shape) + resampled(lead, x.shape[1], size)
        result: Tensor = added + self.gate(self.norm(x + added))
        return result


def resampled(lead: Tensor, t: int, size: Size) -> Tensor:
    """(b t' h' w' d) -> (b t n d) with n positions of `size`, by trilinear interpolation where they differ."""
    if lead.shape[1:4] != (t, *size):
        lead = F.interpolate(lead.permute(0, 4, 1, 2, 3), (t, *size), mode="trilinear", align_corners=False).permute(0, 2, 3, 4, 1)
    return lead.flatten(2, 3)


class SpacetimeAdapter(ActionAdapter):
    """Patch tokens of each reference, read at every temporal site from everywhere."""

    def __init__(self, config: SpacetimeAdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.prism = PatchPrism(config.prism)
        self.injections = nn.ModuleList(SpacetimeInjection(width, config) for width in config.site_widths)

    @property
    def site_names(self) -> tuple[str, ...]:
        """All temporal sites."""
        return tuple(f"temporal.{index}" for index in range(len(self.injections)))

    def encode(self, reference_latents: Tensor, text: Tensor, reference_text: Tensor) -> ActionContext:
        """(b r c t h w) -> keys and values of every site; the words play no role in this form."""
        b, r = reference_latents.shape[:2]
        if r == 0:
            return ActionContext.none()
        dtype = self.prism.latents_in.weight.dtype
        tokens = unflatten(self.prism(reference_latents.flatten(0, 1).to(dtype)), 0, (b, r))
        patch = self.config.prism.patch
        size = (reference_latents.shape[-2] // patch, reference_latents.shape[-1] // patch)
        sites = {}
        for name in self.site_names:
            injection = self._injection(name)
            sites[name] = (*injection.project_tokens(tokens, size), injection.project_lead(tokens[:, 0], size))
        return ActionContext(sites, r)

    def addition(self, site: str, x: Tensor, size: Size, context: ActionContext) -> Tensor:
        """What the references add at a site."""
        out: Tensor = self._injection(site)(x, size, *context.sites[site])
        return out

    def _injection(self, site: str) -> SpacetimeInjection:
        return cast(SpacetimeInjection, self.injections[int(site.rpartition(".")[2])])
