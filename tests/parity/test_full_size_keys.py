"""The full-size network has exactly the published weights: every key, every shape, in both directions."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from echoreel_cli.adapters.inject import PrismAdapter, PrismAdapterConfig
from echoreel_cli.adapters.weights import convert_adapter, dead_weights, infer_adapter, publish_adapter
from echoreel_cli.backbones.lvdm.unet import VideoUNet, VideoUNetConfig
from echoreel_cli.backbones.lvdm.weights import (
    Parts,
    convert_text,
    convert_unet,
    convert_vae,
    split_checkpoint,
    text_renamings,
    to_published,
    unet_renamings,
    vae_renamings,
)
from tests.parity.golden import HERE

Shapes = dict[str, tuple[int, ...]]


def shapes(state: dict[str, Tensor]) -> Shapes:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


@pytest.fixture(scope="module")
def public() -> dict[str, Shapes]:
    data = json.loads((HERE / "echoreel_full_keys.json").read_text(encoding="utf-8"))
    kinds = ("keys", "vae_keys", "text_encoder_keys", "text_encoder_extra_key_in_transformers_4_25", "schedule_buffers_top_level")
    return {kind: {key: tuple(shape) for key, shape in data[kind].items()} for kind in kinds}


@pytest.fixture(scope="module")
def network() -> tuple[VideoUNet, PrismAdapter]:
    with torch.device("meta"):
        return VideoUNet(VideoUNetConfig()), PrismAdapter(PrismAdapterConfig())


def test_denoiser_and_adapter_are_the_published_network(public: dict[str, Shapes], network: tuple[VideoUNet, PrismAdapter]) -> None:
    unet, adapter = network
    published = to_published(unet_renamings(unet), unet.state_dict(), "denoiser") | publish_adapter(adapter.state_dict(), adapter, unet)
    assert shapes(published) == public["keys"]
    assert sum(tensor.numel() for tensor in published.values()) == 1_605_150_044
    assert sum(parameter.numel() for parameter in unet.parameters()) == 958_924_964
    assert sum(parameter.numel() for parameter in adapter.parameters()) == 611_602_036


def test_published_checkpoint_becomes_our_network(public: dict[str, Shapes], network: tuple[VideoUNet, PrismAdapter]) -> None:
    unet, adapter = network
    parts = split(public)
    assert shapes(convert_unet(parts.unet, unet)) == shapes(unet.state_dict())
    assert shapes(convert_adapter(parts.adapter, adapter, unet)) == shapes(adapter.state_dict())
    assert infer_adapter(parts.adapter, unet) == adapter.config
    assert len(dead_weights(parts.adapter)) == 6 + 16 * 7
    assert set(parts.ignored) == {*public["schedule_buffers_top_level"], "cond_stage_model.transformer.text_model.embeddings.position_ids"}


def test_autoencoder_is_the_published_one(public: dict[str, Shapes]) -> None:
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
        )
    assert shapes(to_published(vae_renamings(vae), vae.state_dict(), "autoencoder")) == public["vae_keys"]
    assert shapes(convert_vae(split(public).vae, vae)) == shapes(vae.state_dict())


def test_text_encoder_is_the_published_one(public: dict[str, Shapes]) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        config = CLIPTextConfig(vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
        text_encoder = CLIPTextModel(config)
    published = to_published(text_renamings(text_encoder), text_encoder.state_dict(), "text encoder")
    assert {f"transformer.{key}": shape for key, shape in shapes(published).items()} == public["text_encoder_keys"]
    assert shapes(convert_text(split(public).text, text_encoder)) == shapes(text_encoder.state_dict())


def split(public: dict[str, Shapes]) -> Parts:
    """A checkpoint without memory in the published layout, DeepSpeed's prefix before every key."""
    roots = {
        "model.diffusion_model.": public["keys"],
        "first_stage_model.": public["vae_keys"],
        "cond_stage_model.": public["text_encoder_keys"] | public["text_encoder_extra_key_in_transformers_4_25"],
        "": public["schedule_buffers_top_level"],
    }
    named = {f"_forward_module.{root}{key}": shape for root, keys in roots.items() for key, shape in keys.items()}
    return split_checkpoint({key: torch.empty(shape, device="meta") for key, shape in named.items()})
