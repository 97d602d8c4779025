from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from echoreel_cli.adapters.action import ActionContext, attached
from echoreel_cli.adapters.inject import PrismAdapter, PrismAdapterConfig
from echoreel_cli.backbones.lvdm.unet import VideoUNet, VideoUNetConfig
from echoreel_cli.prism.action import PrismConfig
from echoreel_index.errors import UsageError

TINY = VideoUNetConfig(
    model_channels=16,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(1, 2),
    num_heads=2,
    context_dim=12,
    temporal_length=4,
    norm_groups=8,
)
PRISM = PrismConfig(positions=16, width=16, text_width=12, words_width=10, layers=2, heads=2, head_width=8)


@pytest.fixture
def unet() -> VideoUNet:
    torch.manual_seed(0)
    unet = VideoUNet(TINY).eval().requires_grad_(False)
    for parameter in unet.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return unet


@pytest.fixture
def fresh(unet: VideoUNet) -> PrismAdapter:
    return PrismAdapter(PrismAdapterConfig.for_sites(unet.sites(), PRISM, temporal_length=4)).eval()


@pytest.fixture
def trained(fresh: PrismAdapter) -> PrismAdapter:
    for parameter in fresh.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return fresh


class Sample:
    """Inputs of b samples with r references."""

    def __init__(self, b: int, r: int, *, frames: int = 3, size: tuple[int, int] = (4, 6)) -> None:
        generator = torch.Generator().manual_seed(7)
        self.x = torch.randn(b, 4, frames, *size, generator=generator)
        self.t = torch.arange(b) * 100
        self.text = torch.randn(b, 5, 12, generator=generator)
        self.references = torch.randn(b, r, 4, 3, 4, 4, generator=generator)
        self.captions = torch.randn(b, r, 5, 12, generator=generator)

    def context(self, adapter: PrismAdapter) -> ActionContext:
        return adapter.encode(self.references, self.text, self.captions)


def run(unet: VideoUNet, adapter: PrismAdapter | None, sample: Sample, context: ActionContext | None) -> torch.Tensor:
    with attached(unet, adapter, context):
        out: torch.Tensor = unet(sample.x, sample.t, unet.project_text(sample.text))
    return out


def test_untrained_adapter_changes_nothing(unet: VideoUNet, fresh: PrismAdapter) -> None:
    sample = Sample(2, 2)
    assert torch.equal(run(unet, fresh, sample, sample.context(fresh)), run(unet, None, sample, None))


def test_taking_off_restores_every_bit(unet: VideoUNet, trained: PrismAdapter) -> None:
    sample = Sample(1, 1)
    before = run(unet, None, sample, None)
    with_reference = run(unet, trained, sample, sample.context(trained))
    assert (with_reference - before).abs().max() > 1e-3
    assert torch.equal(run(unet, None, sample, None), before)


def test_hooks_go_even_when_the_run_fails(unet: VideoUNet, trained: PrismAdapter) -> None:
    sample = Sample(1, 1)
    before = run(unet, None, sample, None)
    with pytest.raises(RuntimeError), attached(unet, trained, sample.context(trained)):
        raise RuntimeError
    assert torch.equal(run(unet, None, sample, None), before)


def test_no_reference_hangs_no_hook(unet: VideoUNet, trained: PrismAdapter) -> None:
    sample = Sample(2, 0)
    context = sample.context(trained)
    assert context.references == 0
    with attached(unet, trained, context) as attachment:
        assert attachment is None
        assert not any(unet.site_module(site.name)._forward_hooks for site in unet.sites())


@pytest.mark.parametrize("references", [1, 3])
@pytest.mark.parametrize("batch", [2, 4, 6])
def test_batch_equals_singles(unet: VideoUNet, trained: PrismAdapter, batch: int, references: int) -> None:
    """The published code gives samples each other's references, also where the batch divides the positions."""
    sample = Sample(batch, references)
    together = run(unet, trained, sample, sample.context(trained))
    for i in range(batch):
        one = Sample(batch, references)
        for name in ("x", "t", "text", "references", "captions"):
            setattr(one, name, getattr(sample, name)[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], run(unet, trained, one, one.context(trained)), atol=5e-5, rtol=0)


def test_order_of_references_plays_no_role(unet: VideoUNet, trained: PrismAdapter) -> None:
    sample = Sample(1, 3)
    forward = run(unet, trained, sample, sample.context(trained))
    sample.references, sample.captions = sample.references.flip(1), sample.captions.flip(1)
    torch.testing.assert_close(run(unet, trained, sample, sample.context(trained)), forward, atol=5e-5, rtol=0)
    trained.config = replace(trained.config, positions="concatenate")
    assert (run(unet, trained, sample, sample.context(trained)) - forward).abs().max() > 1e-3


def test_the_same_reference_twice_is_one(unet: VideoUNet, trained: PrismAdapter) -> None:
    once, twice = Sample(1, 1), Sample(1, 1)
    twice.references, twice.captions = twice.references.repeat(1, 2, 1, 1, 1, 1), twice.captions.repeat(1, 2, 1, 1)
    expected = run(unet, trained, once, once.context(trained))
    torch.testing.assert_close(run(unet, trained, twice, twice.context(trained)), expected, atol=5e-5, rtol=0)


@pytest.mark.parametrize(("frames", "size"), [(1, (2, 2)), (7, (8, 4))])
def test_any_target(unet: VideoUNet, trained: PrismAdapter, frames: int, size: tuple[int, int]) -> None:
    sample = Sample(1, 2, frames=frames, size=size)
    assert run(unet, trained, sample, sample.context(trained)).shape == sample.x.shape


def test_references_of_another_size_are_refused(trained: PrismAdapter) -> None:
    with pytest.raises(UsageError, match="5x4 positions"):
        trained.encode(torch.randn(1, 1, 4, 3, 5, 4), torch.randn(1, 5, 12), torch.randn(1, 1, 5, 12))


def test_gradients_reach_the_output_first_and_then_the_prism(unet: VideoUNet, fresh: PrismAdapter) -> None:
    sample = Sample(1, 1)
    torch.autograd.backward(run(unet, fresh, sample, sample.context(fresh)).pow(2).mean())
    gradients = {name: parameter.grad for name, parameter in fresh.named_parameters()}
    assert gradients["injections.0.to_out.weight"].abs().max() > 0  # type: ignore[union-attr]
    assert gradients["prism.video_in.weight"].abs().max() == 0  # type: ignore[union-attr]
    with torch.no_grad():
        for parameter in fresh.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.1 * parameter.grad)
    fresh.zero_grad()
    torch.autograd.backward(run(unet, fresh, sample, sample.context(fresh)).pow(2).mean())
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in fresh.prism.parameters())
    assert all(parameter.grad is None for parameter in unet.parameters())


def test_context_may_be_changed_while_hooks_hang(unet: VideoUNet, trained: PrismAdapter) -> None:
    first, second = Sample(1, 1), Sample(1, 1)
    second.references = -second.references
    expected = run(unet, trained, second, second.context(trained))
    with attached(unet, trained, first.context(trained)) as attachment:
        assert attachment is not None
        attachment.context = second.context(trained)
        assert torch.equal(unet(second.x, second.t, unet.project_text(second.text)), expected)


def test_stacking_contexts(unet: VideoUNet, trained: PrismAdapter) -> None:
    sample = Sample(2, 2)
    whole = sample.context(trained)
    halves = [trained.encode(sample.references[i : i + 1], sample.text[i : i + 1], sample.captions[i : i + 1]) for i in range(2)]
    stacked = ActionContext.stack(halves)
    for name in trained.site_names:
        for ours, expected in zip(stacked.sites[name], whole.sites[name], strict=True):
            torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="different numbers"):
        ActionContext.stack([whole, ActionContext.none()])
