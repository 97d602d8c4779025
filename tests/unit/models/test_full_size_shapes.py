"""The published network at its full size, on the meta device: every shape, no memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from echoreel_cli.adapters.inject import PrismAdapterConfig
from echoreel_cli.backbones.lvdm.config import VideoUNetConfig
from echoreel_cli.backbones.lvdm.weights import split_checkpoint
from echoreel_cli.models.convert import build_networks

KEYS = json.loads((Path(__file__).parents[2] / "parity" / "echoreel_full_keys.json").read_text())
ROOTS = {"model.diffusion_model.": "keys", "first_stage_model.": "vae_keys", "cond_stage_model.": "text_encoder_keys"}


def shapes() -> Mapping[str, Tensor]:
    found = {root + key: shape for root, part in ROOTS.items() for key, shape in KEYS[part].items()}
    return {f"_forward_module.{key}": torch.empty(shape, device="meta") for key, shape in found.items()}


def test_the_published_shapes_give_the_published_networks_and_every_weight_has_its_place() -> None:
    networks = build_networks(split_checkpoint(shapes()))
    assert networks.unet.config == VideoUNetConfig()
    assert networks.adapter is not None and networks.adapter.config == PrismAdapterConfig()
    count = {part: sum(tensor.numel() for tensor in state.values()) for part, state in networks.states.items()}
    assert count["unet"] == KEYS["parameter_counts"]["base"] and count["vae"] == KEYS["vae_parameter_count"]
    assert count["text_encoder"] == KEYS["text_encoder_parameter_count"] and count["action_adapter"] == 611_602_036
    assert networks.vae.config.block_out_channels == [128, 256, 512, 512] and networks.text_encoder.config.num_attention_heads == 12
