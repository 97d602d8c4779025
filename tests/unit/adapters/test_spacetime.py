"""The small variant of the adapter: zero at its start, gone without a trace, references without order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from echoreel_cli.adapters.action import attached
from echoreel_cli.adapters.spacetime import SpacetimeAdapter, SpacetimeAdapterConfig
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


def test_batch_of_two_is_two_singles(backbone: VideoUNet, trained: SpacetimeAdapter) -> None:
    x, times, text, references = inputs()
    both = run(backbone, trained, references, x, times, text)
    for i in range(2):
        part = slice(i, i + 1)
        single = run(backbone, trained, references[part], x[part], times[part], text[part])
        assert torch.allclose(both[part], single, atol=1e-5)


def test_references_have_no_order(backbone: VideoUNet, trained: SpacetimeAdapter) -> None:
    x, times, text, references = inputs(r=3)
    one = run(backbone, trained, references, x, times, text)
    assert torch.allclose(run(backbone, trained, references[:, [2, 0, 1]], x, times, text), one, atol=1e-5)


def test_other_sizes_and_lengths(backbone: VideoUNet, trained: SpacetimeAdapter) -> None:
    _, times, text, references = inputs()
    x = torch.randn(2, 4, 6, 4, 12)
    assert torch.isfinite(run(backbone, trained, references, x, times, text)).all()


def test_built_again_from_its_configuration(trained: SpacetimeAdapter) -> None:
    again = build_adapter(to_json(trained.config))
    assert again.config == trained.config
    again.load_state_dict(trained.state_dict(), strict=True)
