"""A tiny network of the published kind, and its checkpoint in the published form: prefixes, float16, schedule tables and all."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from echoreel_cli.adapters.action import ActionAdapter, attached
from echoreel_cli.adapters.inject import PrismAdapter, PrismAdapterConfig
from echoreel_cli.adapters.weights import publish_adapter
from echoreel_cli.backbones.lvdm import weights
from echoreel_cli.backbones.lvdm.unet import VideoUNet, VideoUNetConfig
from echoreel_cli.prism.action import PrismConfig

TEXT_WIDTH = 64
PREFIX = "_forward_module."


@dataclass
class Tiny:
    """Networks with random weights that float16 holds exactly."""

    unet: VideoUNet
    adapter: PrismAdapter
    vae: Any
    text: Any

    def forward(self) -> dict[str, Tensor]:
        """What each part gives for fixed inputs, in float32."""
        return outputs(self.unet, self.adapter, self.vae, self.text)


def tiny(seed: int = 5) -> Tiny:
    """Build the networks."""
    unet = VideoUNet(
        VideoUNetConfig(
            model_channels=32,
            channel_mult=(1, 2),
            num_res_blocks=1,
            attention_resolutions=(2, 1),
            num_heads=4,
            context_dim=TEXT_WIDTH,
            temporal_length=4,
        )
    )
    prism = PrismConfig(
        positions=64, width=32, text_width=TEXT_WIDTH, words_width=TEXT_WIDTH, layers=2, heads=2, head_width=16, temporal_length=4
    )
    adapter = PrismAdapter(PrismAdapterConfig.for_sites(unet.sites(), prism, temporal_length=4))
    vae = AutoencoderKL(
        block_out_channels=[32, 64],
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        scaling_factor=0.18215,
    )
    shape: dict[str, Any] = {"hidden_size": TEXT_WIDTH, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 1}
    text = CLIPTextModel(CLIPTextConfig(**shape, eos_token_id=49407, bos_token_id=49406, pad_token_id=49407))
    generator = torch.Generator().manual_seed(seed)
    for module in (unet, adapter, vae, text):
        module.eval().requires_grad_(False)
        for parameter in module.parameters():
            scale = 0.3 / max(1.0, parameter[0].numel() ** 0.5) if parameter.dim() > 1 else 0.1
            noise = torch.randn(parameter.shape, generator=generator) * scale
            parameter.copy_((noise + (parameter if parameter.dim() == 1 else 0)).half().float())
    return Tiny(unet, adapter, vae, text)


def published(net: Tiny, *, prefix: str = PREFIX) -> OrderedDict[str, Tensor]:
    """The networks as the published state dict."""
    parts = {
        weights.UNET_ROOT: weights.to_published(weights.unet_renamings(net.unet), net.unet.state_dict(), "denoiser")
        | publish_adapter(net.adapter.state_dict(), net.adapter, net.unet),
        weights.VAE_ROOT: weights.to_published(weights.vae_renamings(net.vae), net.vae.state_dict(), "autoencoder"),
        weights.TEXT_ROOT + "transformer.": weights.to_published(weights.text_renamings(net.text), net.text.state_dict(), "text encoder"),
    }
    state = OrderedDict((f"{prefix}{root}{key}", tensor.half()) for root, part in parts.items() for key, tensor in part.items())
    state |= {f"{prefix}{name}": torch.linspace(0, 1, 1000).half() for name in sorted(weights.SCHEDULE)}
    state[f"{prefix}{weights.TEXT_ROOT}transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    return state


def write_deepspeed(file: Path, state: OrderedDict[str, Tensor], **beside: object) -> None:
    """A model-states file as DeepSpeed writes it."""
    torch.save({"module": state, "global_steps": 1500, "optimizer": None, "ds_version": "0.9.5", **beside}, file)


def outputs(unet: VideoUNet, adapter: ActionAdapter | None, vae: Any, text: Any) -> dict[str, Tensor]:
    """What each part gives for fixed inputs."""
    generator = torch.Generator().manual_seed(11)
    x = torch.randn(1, 4, 4, 8, 8, generator=generator)
    references = torch.randn(1, 2, 4, 4, 8, 8, generator=generator)
    pixels = torch.rand(1, 3, 16, 24, generator=generator) * 2 - 1
    ids = torch.randint(0, 49408, (3, 77), generator=generator)
    words = text(ids).last_hidden_state
    prompt, captions = words[:1], words[None, 1:]
    context, times = unet.project_text(prompt), torch.tensor([321])
    found = {
        "plain": unet(x, times, context),
        "words": words,
        "mean": vae.encode(pixels).latent_dist.mean,
        "decoded": vae.decode(x[:, :, 0]).sample,
    }
    if adapter is not None:
        action = adapter.encode(references, prompt, captions)
        with attached(unet, adapter, action):
            found["guided"] = unet(x, times, context)
    return found
