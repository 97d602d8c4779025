"""The small variant of the adapter: zero at its start, gone without a trace, and led by the first reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from echoreel_cli.adapters.action import attached
from echoreel_cli.adapters.spacetime import SpacetimeAdapter, SpacetimeAdapterConfig, resampled
from echoreel_cli.adapters.weights import build_adapter
from echoreel_cli.backbones.base import TextContext
from echoreel_cli.backbones.lvdm.unet import VideoUNet, VideoUNetConfig
from echoreel_cli.prism.patches import PatchPrismConfig
from echoreel_index.strict_json import to_json

PRISM = PatchPrismConfig(channels=4, width=16, layers=1, heads=2, temporal_length=4, grid=4)


@pytest.fixture(scope="module")
def backbone() -> VideoUNet:
    torch.manual_seed(0)
    config = VideoUNetConfig(
        in_channels=4, out_channels=4, model_channels=16, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(2,),
        num_heads=2, context_dim=8, temporal_length=4, norm_groups=8,
    )  # fmt: skip
    network = VideoUNet(config).eval().requires_grad_(False)
    for parameter in network.parameters():
        if not parameter.any():  # fresh ones end in zeros, and nothing would come through
            nn.init.normal_(parameter, std=0.1)
    return network


@pytest.fixture
def adapter(backbone: VideoUNet) -> SpacetimeAdapter:
    torch.manual_seed(1)
    return SpacetimeAdapter(SpacetimeAdapterConfig.for_sites(backbone.sites(), PRISM, heads=2, head_width=8))


@pytest.fixture
def trained(adapter: SpacetimeAdapter) -> SpacetimeAdapter:
    """As if trained: no weight is zero."""
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    return adapter


def inputs(b: int = 2, r: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Noisy latents, timesteps, words, references."""
    generator = torch.Generator().manual_seed(7)
    return (
        torch.randn(b, 4, 4, 8, 8, generator=generator),
        torch.tensor([900, 20])[:b],
        torch.randn(b, 5, 8, generator=generator),
        torch.randn(b, r, 4, 4, 8, 8, generator=generator),
    )


def run(backbone: VideoUNet, adapter: SpacetimeAdapter | None, references: Tensor, x: Tensor, times: Tensor, text: Tensor) -> Tensor:
    words: TextContext = backbone.project_text(text)
    context = adapter.encode(references, text, text[:, None].expand(-1, references.shape[1], -1, -1)) if adapter else None
    with attached(backbone, adapter, context):
        out: Tensor = backbone(x, times, words)
    return out


def test_every_temporal_site_gets_one_injection(backbone: VideoUNet, adapter: SpacetimeAdapter) -> None:
    assert adapter.site_names == tuple(site.name for site in backbone.sites())
    assert adapter.config.site_widths == tuple(site.width for site in backbone.sites())


def test_untrained_it_changes_nothing_bit_for_bit(backbone: VideoUNet, adapter: SpacetimeAdapter) -> None:
    x, times, text, references = inputs()
    assert torch.equal(run(backbone, adapter, references, x, times, text), run(backbone, None, references, x, times, text))


def test_trained_it_acts_and_leaves_no_trace(backbone: VideoUNet, trained: SpacetimeAdapter) -> None:
    x, times, text, references = inputs()
    before = run(backbone, None, references, x, times, text)
    with_references = run(backbone, trained, references, x, times, text)
    assert (with_references - before).abs().max() > 0.01
    assert torch.equal(run(backbone, None, references, x, times, text), before)
    other = run(backbone, trained, references.flip(0), x, times, text)
    assert (other - with_references).abs().max() > 1e-3, "which reference it is matters"


def test_no_reference_is_the_plain_backbone(backbone: VideoUNet, trained: SpacetimeAdapter) -> None:
    x, times, text, references = inputs()
    none = references[:, :0]
    assert trained.encode(none, text, text[:, None][:, :0]).references == 0
    assert torch.equal(run(backbone, trained, none, x, times, text), run(backbone, None, none, x, times, text))


@pytest.mark.parametrize("k", [1, 3])
def test_batch_of_two_is_two_singles(backbone: VideoUNet, trained: SpacetimeAdapter, k: int) -> None:
    x, times, text, references = inputs(r=k)
    both = run(backbone, trained, references, x, times, text)
    for i in range(2):
        part = slice(i, i + 1)
        single = run(backbone, trained, references[part], x[part], times[part], text[part])
        assert torch.allclose(both[part], single, atol=1e-5)


def test_the_first_reference_leads_and_the_others_have_no_order(backbone: VideoUNet, trained: SpacetimeAdapter) -> None:
    x, times, text, references = inputs(r=3)
    one = run(backbone, trained, references, x, times, text)
    assert torch.allclose(run(backbone, trained, references[:, [0, 2, 1]], x, times, text), one, atol=1e-5)
    assert (run(backbone, trained, references[:, [1, 0, 2]], x, times, text) - one).abs().max() > 1e-3


@pytest.mark.parametrize("k", [0, 1, 3])
def test_the_lead_alone_acts_only_through_the_first_reference(backbone: VideoUNet, adapter: SpacetimeAdapter, k: int) -> None:
    x, times, text, references = inputs(r=k)
    plain = run(backbone, None, references, x, times, text)
    for name in adapter.site_names:
        nn.init.normal_(adapter._injection(name).to_lead.weight, std=0.3)
    led = run(backbone, adapter, references, x, times, text)
    if k == 0:
        assert torch.equal(led, plain)
        return
    assert (led - plain).abs().max() > 1e-3
    others = torch.cat([references[:, :1], references[:, 1:].flip(2) + 1], dim=1)
    assert torch.equal(run(backbone, adapter, others, x, times, text), led)


def test_the_lead_stays_in_its_time_and_place(backbone: VideoUNet, adapter: SpacetimeAdapter) -> None:
    """A change in one patch of one frame of the reference's tokens is added to that position alone."""
    injection = adapter._injection("temporal.0")
    nn.init.normal_(injection.to_lead.weight)
    tokens = torch.randn(1, 4, 16, PRISM.width, generator=torch.Generator().manual_seed(0))
    other = tokens.clone()
    other[0, 2, 5] += 1
    before, after = (resampled(injection.project_lead(shown, (4, 4)), 4, (4, 4)) for shown in (tokens, other))
    moved = (after - before).abs()
    assert {tuple(place) for place in (moved.sum(-1) > 1e-4).nonzero().tolist()} == {(0, 2, 5)}


def test_a_lead_of_another_size_is_interpolated() -> None:
    lead = torch.arange(4.0).view(1, 4, 1, 1, 1).expand(1, 4, 2, 2, 3)
    assert torch.equal(resampled(lead, 4, (2, 2)), lead.flatten(2, 3))
    stretched = resampled(lead, 8, (4, 2))
    assert stretched.shape == (1, 8, 8, 3)
    assert torch.allclose(stretched[0, :, 0, 0], torch.tensor([0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]))
    assert torch.equal(stretched, stretched[:, :, :1, :1].expand_as(stretched)), "the same in all places, as before"


@pytest.mark.parametrize("shape", [(6, 4, 12), (2, 8, 8), (4, 8, 8)])
@pytest.mark.parametrize("reference", [(4, 8, 8), (3, 4, 6)])
def test_other_sizes_and_lengths(
    backbone: VideoUNet, trained: SpacetimeAdapter, shape: tuple[int, int, int], reference: tuple[int, int, int]
) -> None:
    _, times, text, _ = inputs()
    generator = torch.Generator().manual_seed(8)
    x, references = (torch.randn(*lead, 4, *size, generator=generator) for lead, size in (((2,), shape), ((2, 2), reference)))
    with_references = run(backbone, trained, references, x, times, text)
    assert with_references.shape == x.shape and torch.isfinite(with_references).all()
    assert (with_references - run(backbone, None, references, x, times, text)).abs().max() > 0.01
    single = run(backbone, trained, references[1:], x[1:], times[1:], text[1:])
    assert torch.allclose(with_references[1:], single, atol=1e-4)


def test_built_again_from_its_configuration(trained: SpacetimeAdapter) -> None:
    again = build_adapter(to_json(trained.config))
    assert again.config == trained.config
    again.load_state_dict(trained.state_dict(), strict=True)
