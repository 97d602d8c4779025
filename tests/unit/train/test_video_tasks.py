"""What the video model and its adapter are trained on, and what they must never be shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from echoreel_cli.adapters.action import ActionContext
from echoreel_cli.adapters.spacetime import SpacetimeAdapter, SpacetimeAdapterConfig
from echoreel_cli.backbones.lvdm.unet import VideoUNet, VideoUNetConfig
from echoreel_cli.mini.actions import ACTIONS
from echoreel_cli.prism.patches import PatchPrismConfig
from echoreel_cli.train.autoencoder import linear_code, new_autoencoder
from echoreel_cli.train.latents import LatentSet, Retakes, encode_set
from echoreel_cli.train.video import ActionTask, BaseTask, Objective, Words
from echoreel_cli.train.worldset import Label, WorldSet, is_held_out, label, takes

CHANNELS, WIDTH = 4, 8


class Silent(SpacetimeAdapter):
    """An adapter that is never there."""

    def encode(self, reference_latents: Tensor, text: Tensor, reference_text: Tensor) -> ActionContext:
        return ActionContext.none()


@pytest.fixture(scope="module")
def data() -> LatentSet:
    """Noise for latents, true labels."""
    labels = tuple(one for one in label(list(takes(2, per_action=3, wild=5, takes_per_wild=2))) if not is_held_out(one))
    generator = torch.Generator().manual_seed(0)
    return LatentSet(torch.randn(len(labels), CHANNELS, 4, 8, 8, generator=generator).half(), labels)


@pytest.fixture(scope="module")
def words() -> Words:
    def encode(captions: object) -> Tensor:
        assert isinstance(captions, list)
        return torch.stack([torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(len(caption))) for caption in captions])

    return Words(encode)


@pytest.fixture
def backbone() -> VideoUNet:
    torch.manual_seed(0)
    config = VideoUNetConfig(
        in_channels=CHANNELS, out_channels=CHANNELS, model_channels=16, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(2,),
        num_heads=2, context_dim=WIDTH, temporal_length=4, norm_groups=8,
    )  # fmt: skip
    network = VideoUNet(config)
    for parameter in network.parameters():
        if not parameter.any():  # fresh ones end in zeros, and nothing would come through
            nn.init.normal_(parameter, std=0.1)
    return network


def config_for(backbone: VideoUNet) -> SpacetimeAdapterConfig:
    prism = PatchPrismConfig(channels=CHANNELS, width=16, layers=1, heads=2, temporal_length=4, grid=4)
    return SpacetimeAdapterConfig.for_sites(backbone.sites(), prism, heads=2, head_width=8)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(4)


def test_held_out_actions_are_refused_before_anything_is_encoded(world: WorldSet, tmp_path: Path) -> None:
    row = world.where(is_held_out)[:1]
    with pytest.raises(ValueError, match="held-out"):
        encode_set(new_autoencoder(), world, tmp_path, rows=row, progress=lambda done, total: None)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="held-out"):
        LatentSet(torch.zeros(1, CHANNELS, 4, 8, 8), (world.labels[int(row[0])],))


def test_encoded_once_and_found_again(world: WorldSet, tmp_path: Path) -> None:
    rows, autoencoder = world.where(lambda one: not is_held_out(one))[:20], new_autoencoder(linear_code(world)).eval()
    heard: list[tuple[int, int]] = []
    found = encode_set(autoencoder, world, tmp_path, rows=rows, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(16, 20), (20, 20)]
    assert found.latents.shape == (20, 32, 8, 8, 8) and found.latents.dtype == torch.float16
    assert found.labels == tuple(world.labels[row] for row in rows)
    again = encode_set(autoencoder, world, tmp_path, rows=rows, progress=lambda done, total: heard.append((0, 0)))
    assert torch.equal(found.latents, again.latents) and len(heard) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["latents.pt"]


def test_base_loss_reaches_every_weight_and_is_repeatable(data: LatentSet, backbone: VideoUNet, words: Words) -> None:
    task = BaseTask(data, backbone, words)
    loss, figures = task.loss(backbone, 6, generator())
    again, _ = task.loss(backbone, 6, generator())
    assert torch.equal(loss, again) and "high_noise" in figures
    torch.autograd.backward(loss)
    silent = [name for name, parameter in backbone.named_parameters() if parameter.grad is None]
    assert not silent


def test_an_untrained_adapter_leaves_the_loss_bit_for_bit(data: LatentSet, backbone: VideoUNet, words: Words) -> None:
    losses = []
    for kind in (SpacetimeAdapter, Silent):
        adapter = kind(config_for(backbone))
        losses.append(ActionTask(data, backbone, adapter, words).loss(adapter, 4, generator())[0].detach())
    assert torch.equal(*losses)


def test_only_the_adapter_gets_gradients(data: LatentSet, backbone: VideoUNet, words: Words) -> None:
    adapter = SpacetimeAdapter(config_for(backbone))
    loss, _ = ActionTask(data, backbone, adapter, words).loss(adapter, 4, generator())
    torch.autograd.backward(loss)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in backbone.parameters())
    started = {name for name, parameter in adapter.named_parameters() if parameter.grad is not None and parameter.grad.any()}
    injected = {f"injections.{i}.{part}.weight" for i in range(len(adapter.site_names)) for part in ("to_out", "to_lead")}
    assert {name for name in started if name.endswith((".to_out.weight", ".to_lead.weight")) and name.startswith("injections")} == injected


def test_the_gap_is_measured_without_changing_the_training(data: LatentSet, backbone: VideoUNet, words: Words) -> None:
    adapter = SpacetimeAdapter(config_for(backbone))
    task = ActionTask(data, backbone, adapter, words)
    measured = []
    for _ in range(20):
        loss, figures = task.loss(adapter, 4, generator())
        measured.append((float(loss.detach()), figures))
    assert {loss for loss, _ in measured} == {measured[0][0]}
    assert set(measured[-1][1]) == {"right", "gap"} and not measured[0][1]
    assert measured[-1][1]["gap"] == 0, "an adapter that adds nothing cannot tell references apart"


def test_retakes_and_mirror_images_reach_the_loss(data: LatentSet, backbone: VideoUNet, words: Words) -> None:
    adapter = SpacetimeAdapter(config_for(backbone))
    retakes = Retakes(torch.ones(3, CHANNELS, 4, 8, 8).half(), ("a", "b", "c"), torch.tensor([0, 5, 9]))
    plain, taken, again, turned = (
        ActionTask(data, backbone, adapter, words, retakes=given, mirror=mirror).loss(adapter, 6, generator())[0].detach()
        for given, mirror in ((None, None), (retakes, None), (retakes, None), (None, torch.eye(CHANNELS)))
    )
    assert torch.equal(taken, again) and not torch.equal(taken, plain)
    assert torch.isfinite(turned)


def test_noise_ends_in_noise_alone_and_videos_without_any() -> None:
    schedule = Objective().schedule
    clean, noise = torch.ones(1, CHANNELS, 4, 8, 8), torch.randn(1, CHANNELS, 4, 8, 8, generator=generator())
    assert torch.allclose(schedule.add_noise(clean, noise, torch.tensor([999])), noise, atol=1e-3)
    assert torch.allclose(schedule.get_velocity(clean, noise, torch.tensor([999])), -clean, atol=1e-3)
    assert float(schedule.final_alpha_cumprod) == 1


def test_high_noise_is_drawn_more_often() -> None:
    times = Objective().times(4000, torch.Generator().manual_seed(0))
    assert times.min() >= 0 and times.max() <= 999
    assert 550 < times.float().mean() < 620


def test_a_perfect_prediction_has_no_error() -> None:
    objective, clean = Objective(), torch.randn(3, CHANNELS, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    times = torch.tensor([10, 500, 990])
    assert torch.equal(objective.error(lambda x, t: clean, clean, times, generator()), torch.zeros(3))
    assert objective.error(lambda x, t: torch.zeros_like(x), clean, times, generator()).min() > 0.5


def test_the_error_is_that_of_the_v_that_follows() -> None:
    """v = alpha noise - sigma clip; where the noise follows from a guess of the clip, so does v."""
    objective, clean = Objective(), torch.randn(3, CHANNELS, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    times, guess = torch.tensor([200, 500, 999]), 0.3 * clean + 0.1
    alpha = objective.schedule.alphas_cumprod[times].view(-1, 1, 1, 1, 1)
    noise = torch.randn(clean.shape, generator=generator())
    noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    follows = (noisy - alpha.sqrt() * guess) / (1 - alpha).sqrt()
    guessed, true = (alpha.sqrt() * n - (1 - alpha).sqrt() * c for n, c in ((follows, guess), (noise, clean)))
    torch.testing.assert_close(
        objective.error(lambda x, t: guess, clean, times, generator()), (guessed - true).pow(2).mean((1, 2, 3, 4)), rtol=1e-4, atol=1e-6
    )


def test_each_caption_is_encoded_once() -> None:
    asked: list[str] = []

    def encode(captions: object) -> Tensor:
        assert isinstance(captions, list)
        asked.extend(captions)
        return torch.zeros(len(captions), 2, 3)

    words = Words(encode)
    assert words(["a", "b", "a"]).shape == (3, 2, 3)
    words(["b", "c"])
    assert asked == ["a", "b", "c"]


def test_labels_tell_one_motion_from_another(world: WorldSet) -> None:
    motions: dict[int, set[str | None]] = {}
    for one in world.labels:
        motions.setdefault(one.motion, set()).add(one.action)
    assert all(len(names) == 1 for names in motions.values())
    assert [motions[i] for i in range(len(ACTIONS))] == [{action.name} for action in ACTIONS]
    assert isinstance(world.labels[0], Label)
