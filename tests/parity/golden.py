"""Stored inputs and outputs, and weights by formula: nothing here was made by the code under test.

Every weight follows splitmix64 seeded by the SHA-256 of its name, so that two implementations can have the same network without a file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from echoreel_cli.adapters.inject import PrismAdapter, PrismAdapterConfig
from echoreel_cli.adapters.weights import adapter_renamings, convert_adapter, dead_shapes
from echoreel_cli.backbones.lvdm.unet import VideoUNet, VideoUNetConfig
from echoreel_cli.backbones.lvdm.weights import Renaming, convert_unet, convert_vae, unet_renamings, vae_renamings
from echoreel_cli.prism.action import PrismConfig

HERE = Path(__file__).parent
SMALL_UNET = VideoUNetConfig(
    model_channels=32, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(2, 1), num_heads=8, context_dim=24, temporal_length=4
)
SMALL_PRISM = PrismConfig(width=32, text_width=24, words_width=40, layers=2)


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Numbers in [-1, 1) that depend on the name alone."""
    seed = np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))
    count = int(np.prod(shape, dtype=np.int64))
    z = seed + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return ((z >> np.uint64(11)).astype(np.float64) * 2.0**-53 * 2.0 - 1.0).astype(np.float32).reshape(shape)


def weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """The weight of a published name."""
    u = uniform(name, shape)
    if name.endswith("embeddings_table"):
        u = u * np.float32(3**0.5 * 0.5)
    elif len(shape) >= 2:
        u = u * np.float32(3**0.5 / float(np.prod(shape[1:])) ** 0.5)
    else:
        u = 1 + np.float32(0.2) * u if name.endswith("weight") else np.float32(0.1) * u
    return torch.from_numpy(np.asarray(u, dtype=np.float32))


def weights(renamings: list[Renaming], prefix: str = "") -> dict[str, Tensor]:
    """Published weights of every renaming."""
    return {renaming.published: weight(prefix + renaming.published, renaming.published_shape) for renaming in renamings}


def small_network() -> tuple[VideoUNet, PrismAdapter]:
    """The reduced network of the stored cases, loaded through the same conversion as a published checkpoint."""
    unet = VideoUNet(SMALL_UNET).eval().requires_grad_(False)
    config = PrismAdapterConfig.for_sites(unet.sites(), SMALL_PRISM, temporal_length=SMALL_UNET.temporal_length)
    adapter = PrismAdapter(config).eval().requires_grad_(False)
    unet.load_state_dict(convert_unet(weights(unet_renamings(unet)), unet))
    dead = {key: weight(key, shape) for key, shape in dead_shapes(adapter, unet).items()}
    adapter.load_state_dict(convert_adapter(weights(adapter_renamings(adapter, unet)) | dead, adapter, unet))
    return unet, adapter


@dataclass(frozen=True)
class Stored:
    """Inputs and outputs of one golden file."""

    input: dict[str, Tensor]
    output: dict[str, Tensor]
    about: dict[str, Any]


def stored(tensors: str, about: str) -> Stored:
    """The golden file of a name and its description."""
    values = load_file(HERE / tensors)

    def of(kind: str) -> dict[str, Tensor]:
        return {key.removeprefix(kind): value for key, value in values.items() if key.startswith(kind)}

    return Stored(of("input."), of("output."), json.loads((HERE / about).read_text(encoding="utf-8")))


def echoreel() -> Stored:
    """Cases A to F of the reduced EchoReel network."""
    return stored("echoreel_small_io.safetensors", "echoreel_small.json")


def autoencoder() -> Stored:
    """The reduced autoencoder."""
    return stored("golden_vae_small.safetensors", "golden_vae_small.json")


def small_vae() -> Any:
    """The reduced autoencoder, loaded through the conversion of the published layout."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=32,
    )
    vae.load_state_dict(convert_vae(weights(vae_renamings(vae), "vae."), vae))
    return vae.eval().requires_grad_(False)
