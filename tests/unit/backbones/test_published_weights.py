from __future__ import annotations

import pytest
import torch
from torch import Tensor

from echoreel_cli.adapters.inject import PrismAdapter, PrismAdapterConfig
from echoreel_cli.adapters.weights import build_adapter, convert_adapter, infer_adapter, publish_adapter
from echoreel_cli.backbones.lvdm.unet import VideoUNet, VideoUNetConfig
from echoreel_cli.backbones.lvdm.weights import convert_unet, published_blocks, split_checkpoint, to_published, unet_renamings
from echoreel_cli.prism.action import PrismConfig
from echoreel_index.errors import UsageError, WeightsError
from echoreel_index.strict_json import to_json

TINY = VideoUNetConfig(
    model_channels=32, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(1, 2), num_heads=2, context_dim=12, temporal_length=4
)
PRISM = PrismConfig(positions=16, width=16, text_width=12, words_width=10, layers=1, heads=2, head_width=8)


@pytest.fixture(scope="module")
def network() -> tuple[VideoUNet, PrismAdapter]:
    torch.manual_seed(0)
    unet = VideoUNet(TINY)
    adapter = PrismAdapter(PrismAdapterConfig.for_sites(unet.sites(), PRISM, temporal_length=4))
    for parameter in (*unet.parameters(), *adapter.parameters()):
        torch.nn.init.normal_(parameter)
    return unet, adapter


@pytest.fixture
def published(network: tuple[VideoUNet, PrismAdapter]) -> dict[str, Tensor]:
    unet, adapter = network
    state = to_published(unet_renamings(unet), unet.state_dict(), "denoiser") | publish_adapter(adapter.state_dict(), adapter, unet)
    return {f"_forward_module.model.diffusion_model.{key}": tensor for key, tensor in state.items()}


def test_round_trip_keeps_every_value(network: tuple[VideoUNet, PrismAdapter], published: dict[str, Tensor]) -> None:
    unet, adapter = network
    parts = split_checkpoint(published)
    base, injected = convert_unet(parts.unet, unet), convert_adapter(parts.adapter, adapter, unet)
    assert base.keys() == unet.state_dict().keys() and injected.keys() == adapter.state_dict().keys()
    assert all(torch.equal(base[key], tensor) for key, tensor in unet.state_dict().items())
    assert all(torch.equal(injected[key], tensor) for key, tensor in adapter.state_dict().items())
    assert infer_adapter(parts.adapter, unet) == adapter.config


@pytest.mark.parametrize("prefix", ["", "module.", "_forward_module."])
def test_parts_are_found_behind_any_prefix(published: dict[str, Tensor], prefix: str) -> None:
    state = {prefix + key.removeprefix("_forward_module."): tensor for key, tensor in published.items()}
    parts = split_checkpoint(state | {f"{prefix}betas": torch.zeros(3), f"{prefix}model_ema.decay": torch.zeros(1)})
    assert len(parts.unet) + len(parts.adapter) == len(published)
    assert parts.ignored == ("betas", "model_ema.decay")


def test_different_prefixes_are_refused(published: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match="different prefixes"):
        split_checkpoint(published | {"other.first_stage_model.quant_conv.bias": torch.zeros(1)})


def test_a_file_without_any_known_part_is_refused() -> None:
    with pytest.raises(WeightsError, match="no LVDM or EchoReel checkpoint"):
        split_checkpoint({"encoder.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match="belongs to no part"):
        split_checkpoint({"model.diffusion_model.out.0.weight": torch.zeros(1), "stranger": torch.zeros(1)})


def test_names_of_the_code_before_its_release_are_refused() -> None:
    with pytest.raises(WeightsError, match="before its release"):
        split_checkpoint({"model.diffusion_model.Motion_Perceiver_process.net.0.norm1.weight": torch.zeros(1)})


def test_missing_unknown_and_misshapen_weights_are_named(network: tuple[VideoUNet, PrismAdapter], published: dict[str, Tensor]) -> None:
    unet, _ = network
    state = split_checkpoint(published).unet
    without = {key: tensor for key, tensor in state.items() if key != "time_embed.0.bias"}
    with pytest.raises(WeightsError, match="missing weight 'time_embed.0.bias'"):
        convert_unet(without, unet)
    with pytest.raises(WeightsError, match="unknown weight 'time_embed.1.bias'") as caught:
        convert_unet(state | {"time_embed.1.bias": torch.zeros(1)}, unet)
    assert caught.value.hint is not None and "time_embed." in caught.value.hint
    with pytest.raises(WeightsError, match=r"'out.2.bias' has shape \(5,\), expected \(4,\)"):
        convert_unet(state | {"out.2.bias": torch.zeros(5)}, unet)


@pytest.mark.parametrize(
    "dead", ["video_inject_process.latent_to_S.1.weight", "input_blocks.1.1.transformer_blocks.0.video_inject_attn3.to_k.weight"]
)
def test_weights_without_effect_must_be_there(network: tuple[VideoUNet, PrismAdapter], published: dict[str, Tensor], dead: str) -> None:
    unet, adapter = network
    state = split_checkpoint(published).adapter
    assert dead in state
    with pytest.raises(WeightsError, match="missing weight"):
        convert_adapter({key: tensor for key, tensor in state.items() if key != dead}, adapter, unet)


def test_published_blocks_come_in_execution_order(network: tuple[VideoUNet, PrismAdapter]) -> None:
    blocks = [block.removesuffix(".1.transformer_blocks.0") for block in published_blocks(network[0])]
    decoder = [f"output_blocks.{index}" for index in range(4)]
    assert blocks == ["input_blocks.1", "input_blocks.3", "middle_block", *decoder]


def test_adapters_are_built_by_kind(network: tuple[VideoUNet, PrismAdapter]) -> None:
    config = network[1].config
    built = build_adapter(to_json(config))
    assert isinstance(built, PrismAdapter) and built.config == config
    with pytest.raises(UsageError, match="unknown kind of adapter 'prisma'"):
        build_adapter({"kind": "prisma"})
    with pytest.raises(UsageError, match="unknown key 'lyers'"):
        build_adapter({"kind": "prism", "prism": {"lyers": 1}})
    with pytest.raises(UsageError, match="positions: 'restrat' is none of"):
        build_adapter({"kind": "prism", "positions": "restrat"})
