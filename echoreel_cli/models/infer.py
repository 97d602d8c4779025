"""The shape of a network from the shapes of its published weights.

A published checkpoint comes without a configuration. All that decides the weights can be read off their shapes, except three
numbers that are the same in every published file: 32 groups in each group norm, 64 channels to a head of CLIP's text
encoder, and the autoencoder's scale. Keys here are the published ones, without the prefix of their part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from echoreel_index.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

    from echoreel_cli.backbones.lvdm.config import VideoUNetConfig

NORM_GROUPS = 32
CLIP_HEAD_WIDTH = 64
VAE_SCALE = 0.18215

Shape = tuple[int, ...]


def infer_unet(state: Mapping[str, Tensor]) -> VideoUNetConfig:
    """Published UNet keys -> configuration; WeightsError names the key that is missing."""
    from echoreel_cli.backbones.lvdm.config import VideoUNetConfig

    shape = _shapes(state, "the denoiser")
    model_channels, in_channels = shape("input_blocks.0.0.weight")[:2]
    widths: list[list[int]] = [[]]
    with_attention: set[int] = set()
    number = 1
    while True:
        if f"input_blocks.{number}.0.op.weight" in state:
            widths.append([])
        elif f"input_blocks.{number}.0.out_layers.3.weight" in state:
            widths[-1].append(shape(f"input_blocks.{number}.0.out_layers.3.weight")[0])
            if f"input_blocks.{number}.1.norm.weight" in state:
                with_attention.add(2 ** (len(widths) - 1))
        else:
            break
        number += 1
    if not all(level and len(level) == len(widths[0]) and len(set(level)) == 1 for level in widths):
        raise WeightsError(f"the denoiser's levels are uneven: {widths}", hint="this is no LVDM network")
    rows, head_width = shape("middle_block.1.transformer_blocks.0.attn1_tmp.relative_position_k.embeddings_table")
    middle, context_dim = shape("middle_block.1.transformer_blocks.0.attn2.to_k.weight")
    return VideoUNetConfig(
        in_channels=in_channels,
        out_channels=shape("out.2.weight")[0],
        model_channels=model_channels,
        channel_mult=tuple(level[0] // model_channels for level in widths),
        num_res_blocks=len(widths[0]),
        attention_resolutions=tuple(sorted(with_attention, reverse=True)),
        num_heads=middle // head_width,
        context_dim=context_dim,
        temporal_length=(rows - 1) // 2,
        norm_groups=NORM_GROUPS,
    )


def infer_vae(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Published autoencoder keys -> arguments of diffusers' AutoencoderKL."""
    shape = _shapes(state, "the autoencoder")
    levels = _count(state, "encoder.down.{}.block.0.conv1.weight")
    channels = [shape(f"encoder.down.{level}.block.0.conv1.weight")[0] for level in range(levels)]
    return {
        "in_channels": shape("encoder.conv_in.weight")[1],
        "out_channels": shape("decoder.conv_out.weight")[0],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": channels,
        "layers_per_block": _count(state, "encoder.down.0.block.{}.conv1.weight"),
        "latent_channels": shape("post_quant_conv.weight")[0],
        "norm_num_groups": NORM_GROUPS,
        "sample_size": 256,
        "scaling_factor": VAE_SCALE,
    }


def infer_text(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Published text encoder keys (`text_model....`) -> arguments of transformers' CLIPTextConfig."""
    shape = _shapes(state, "the text encoder")
    words, width = shape("text_model.embeddings.token_embedding.weight")
    return {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": shape("text_model.encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": _count(state, "text_model.encoder.layers.{}.mlp.fc1.weight"),
        "num_attention_heads": max(1, width // CLIP_HEAD_WIDTH),
        "max_position_embeddings": shape("text_model.embeddings.position_embedding.weight")[0],
        "hidden_act": "quick_gelu",
        "bos_token_id": words - 2,
        "eos_token_id": words - 1,
        "pad_token_id": words - 1,
    }


def _shapes(state: Mapping[str, Tensor], what: str) -> Callable[[str], Shape]:
    def shape(key: str) -> Shape:
        if key not in state:
            raise WeightsError(f"{what} has no weight {key!r}", hint="the file belongs to another network or is not complete")
        return tuple(state[key].shape)

    return shape


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """How many numbers in a row, from 0, give a key that is there."""
    number = 0
    while pattern.format(number) in state:
        number += 1
    return number
