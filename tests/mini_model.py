"""A model folder that makes what the mini model makes (8 frames of 64x64 pixels), of the same classes with tiny random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from echoreel_cli.adapters.spacetime import SpacetimeAdapter, SpacetimeAdapterConfig
from echoreel_cli.backbones.lvdm.unet import VideoUNet, VideoUNetConfig
from echoreel_cli.mini.world import FPS, FRAMES, SIZE
from echoreel_cli.models.folder import Card, Defaults, ModelInfo, ReferenceShape, Tokenizer
from echoreel_cli.models.save import save_model_folder
from echoreel_cli.prism.patches import PatchPrismConfig
from echoreel_cli.train.sizes import PATCH
from echoreel_cli.train.video import SCHEDULE

CHANNELS, WORDS, LENGTH = 8, 16, 16


def write_mini_shaped_model(folder: Path, *, encoder: str = "mini", guidance: float = 1.0) -> Path:
    """Random weights in which words and references count; two steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        config = VideoUNetConfig(
            in_channels=CHANNELS, out_channels=CHANNELS, model_channels=16, channel_mult=(1, 2), num_res_blocks=1,
            attention_resolutions=(2,), num_heads=2, context_dim=WORDS, temporal_length=FRAMES, norm_groups=8,
        )  # fmt: skip
        unet = VideoUNet(config)
        prism = PatchPrismConfig(channels=CHANNELS, width=16, layers=1, heads=2, temporal_length=FRAMES, grid=4)
        adapter = SpacetimeAdapter(SpacetimeAdapterConfig.for_sites(unet.sites(), prism, heads=2, head_width=8))
        for network in (unet, adapter):
            for parameter in network.parameters():
                if not parameter.any():  # fresh ones end in zeros, and nothing would come through
                    nn.init.normal_(parameter, std=0.3)
        vae: Any = AutoencoderKL(
            in_channels=3 * PATCH**2, out_channels=3 * PATCH**2, latent_channels=CHANNELS, block_out_channels=(16,), norm_num_groups=4,
            layers_per_block=1, mid_block_add_attention=False, scaling_factor=1.0,
        )  # fmt: skip
        shape: dict[str, Any] = {"hidden_size": WORDS, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
        places: dict[str, Any] = {"max_position_embeddings": LENGTH, "eos_token_id": 49407, "bos_token_id": 49406, "pad_token_id": 0}
        text = CLIPTextModel(CLIPTextConfig(**shape, **places))
    save_model_folder(
        folder,
        info=ModelInfo(
            name=folder.name,
            backbone="lvdm",
            defaults=Defaults(frames=FRAMES, height=SIZE, width=SIZE, fps=FPS, steps=2, guidance=guidance, eta=0.0),
            reference=ReferenceShape(frames=FRAMES, fps=FPS),
            encoder=encoder,
            score_floor=-1.0,
        ),
        card=Card(source="a test", licence="none"),
        unet=unet,
        adapter=adapter,
        vae=vae,
        text_encoder=text,
        tokenizer=Tokenizer(length=LENGTH, pad="zero"),
        scheduler={"_class_name": "DDIMScheduler", **SCHEDULE},
    )
    return folder
