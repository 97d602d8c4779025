from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from echoreel_cli.backbones.lvdm.unet import VideoUNet, VideoUNetConfig
from echoreel_index.errors import UsageError
from echoreel_index.strict_json import from_json, to_json

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


def awake(config: VideoUNetConfig = TINY) -> VideoUNet:
    """A network in which no weight is zero, so that every part has an effect."""
    torch.manual_seed(0)
    unet = VideoUNet(config)
    for parameter in unet.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return unet


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    unet = awake()
    x, text, t = torch.randn(3, 4, 5, 6, 8), torch.randn(3, 7, 12), torch.tensor([1, 500, 999])
    together = unet(x, t, unet.project_text(text))
    alone = torch.cat([unet(x[i : i + 1], t[i : i + 1], unet.project_text(text[i : i + 1])) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=0)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


@pytest.mark.parametrize("frames", [1, 3, 9])
@pytest.mark.parametrize("size", [(4, 10), (8, 8)])
def test_any_number_of_frames_and_any_even_size(frames: int, size: tuple[int, int]) -> None:
    unet = awake()
    x = torch.randn(1, 4, frames, *size)
    assert unet(x, torch.tensor([10]), unet.project_text(torch.randn(1, 3, 12))).shape == x.shape


def test_frames_see_each_other_and_their_order() -> None:
    unet = awake().eval()
    x, t = torch.randn(1, 4, 4, 4, 4), torch.tensor([10])
    words = unet.project_text(torch.randn(1, 3, 12))
    turned = unet(x.flip(2), t, words).flip(2)
    assert not torch.allclose(unet(x, t, words), turned, atol=1e-3)


def test_sites_are_named_in_execution_order() -> None:
    unet = VideoUNet(TINY)
    seen: list[tuple[str, int, tuple[int, int]]] = []
    for site in unet.sites():

        def note(module: object, inputs: tuple[torch.Tensor, tuple[int, int]], output: torch.Tensor, name: str = site.name) -> None:
            seen.append((name, output.shape[-1], inputs[1]))

        unet.site_module(site.name).register_forward_hook(note)
    unet(torch.randn(1, 4, 2, 4, 6), torch.tensor([1]), unet.project_text(torch.randn(1, 3, 12)))
    assert [name for name, _, _ in seen] == [site.name for site in unet.sites()] == [f"temporal.{i}" for i in range(7)]
    assert [width for _, width, _ in seen] == [site.width for site in unet.sites()]
    assert [size for _, _, size in seen] == [(4, 6), (2, 3), (2, 3), (2, 3), (2, 3), (4, 6), (4, 6)]


def test_unknown_site_says_which_there_are() -> None:
    with pytest.raises(KeyError, match="temporal.0 to temporal.6"):
        VideoUNet(TINY).site_module("temporal.7")


def test_gradient_checkpointing_changes_no_number() -> None:
    x, text, t = torch.randn(1, 4, 3, 4, 4), torch.randn(1, 3, 12), torch.tensor([7])
    gradients = []
    for config in (TINY, replace(TINY, gradient_checkpointing=True)):
        unet = awake(config)
        unet(x, t, unet.project_text(text)).pow(2).mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in unet.parameters() if p.grad is not None]))
    assert len(gradients[0]) == sum(p.numel() for p in awake().parameters())
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-4)


def test_bfloat16_autocast_stays_close() -> None:
    unet = awake().eval()
    x, words, t = torch.randn(1, 4, 3, 4, 4), torch.randn(1, 3, 12), torch.tensor([7])
    with torch.no_grad():
        exact = unet(x, t, unet.project_text(words))
        with torch.autocast("cpu", torch.bfloat16):
            rough = unet(x, t, unet.project_text(words)).float()
    assert (exact - rough).abs().max() < 0.05 * exact.abs().max()


def test_configuration_goes_through_json_strictly() -> None:
    assert from_json(VideoUNetConfig, to_json(TINY), what="unet/config.json") == TINY
    with pytest.raises(UsageError, match="unknown key 'model_chanels'") as caught:
        from_json(VideoUNetConfig, {"model_chanels": 320}, what="unet/config.json")
    assert caught.value.hint == "did you mean 'model_channels'?"
    with pytest.raises(UsageError, match="num_heads: expected int"):
        from_json(VideoUNetConfig, {"num_heads": "8"}, what="unet/config.json")


def test_widths_that_do_not_divide_are_refused() -> None:
    with pytest.raises(UsageError, match="divisible"):
        VideoUNetConfig(model_channels=20)
