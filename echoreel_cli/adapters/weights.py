"""Adapters by kind, and the published EchoReel weights <-> ours.

The published checkpoint also holds weights that its code never uses at run time: a second output head of the prism and a spatial
injection in each block. They are required to be there, since the file would otherwise be another one, and left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from echoreel_cli.backbones.lvdm.weights import Renaming, State, check_keys, from_published, published_blocks, rename, to_published
from echoreel_index.errors import UsageError, WeightsError
from echoreel_index.strict_json import from_json

if TYPE_CHECKING:
    from torch import Tensor

    from echoreel_cli.adapters.action import ActionAdapter
    from echoreel_cli.adapters.inject import PrismAdapter, PrismAdapterConfig
    from echoreel_cli.backbones.lvdm.unet import VideoUNet

KINDS: Mapping[str, tuple[str, str, str]] = {
    "prism": ("echoreel_cli.adapters.inject", "PrismAdapter", "PrismAdapterConfig"),
    "spacetime": ("echoreel_cli.adapters.spacetime", "SpacetimeAdapter", "SpacetimeAdapterConfig"),
}
"""Kind in `action_adapter/config.json` -> module, adapter class, configuration class."""


def build_adapter(config: Mapping[str, Any], *, what: str = "action_adapter/config.json") -> ActionAdapter:
    """An adapter with fresh weights from its configuration as JSON; build it on the meta device to load weights into it.

    Raises:
        UsageError: the kind is unknown, or a key is unknown, missing or of the wrong type.
    """
    kind = config.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UsageError(f"{what}: unknown kind of adapter {kind!r}", hint=f"known kinds: {', '.join(KINDS)}")
    module_name, adapter_name, config_name = KINDS[kind]
    module = import_module(module_name)
    return cast("ActionAdapter", getattr(module, adapter_name)(from_json(getattr(module, config_name), config, what=what)))


# ---- the published form ----------------------------------------------------------------------------------------------------------

PROCESS = "video_inject_process"
PRISM_LAYER = (
    ("spatial_norm", "norm1"),
    ("spatial", "attn1"),
    ("after_spatial_norm", "norm2"),
    ("after_spatial", "ff1"),
    ("temporal_norm", "norm3"),
    ("temporal", "attn1_tmp"),
    ("after_temporal_norm", "norm4"),
    ("after_temporal", "ff2"),
    ("text_norm", "norm5"),
    ("text", "attn2"),
    ("after_text_norm", "norm6"),
    ("after_text", "ff3"),
    ("temporal_again_norm", "norm7"),
    ("temporal_again", "attn2_tmp"),
    ("after_temporal_again_norm", "norm8"),
    ("after_temporal_again", "ff4"),
)
DEAD = re.compile(rf"^{PROCESS}\.latent_to_S\.|\.video_inject_attn3\.|\.video_inject_norm6\.")
DEAD_TOKEN_WIDTH = 64
"""Width of the tokens that the spatial injection would read: 16 frames of 4 channels."""


def convert_adapter(state: Mapping[str, Tensor], adapter: PrismAdapter, unet: VideoUNet) -> State:
    """Published injected weights (`Parts.adapter`) -> the weights of `adapter`; `unet` tells which blocks its sites are.

    Raises:
        WeightsError: a weight is missing (dead ones too), unknown or of another shape.
    """
    renamings, dead = adapter_renamings(adapter, unet), dead_shapes(adapter, unet)
    check_keys([*(renaming.published for renaming in renamings), *dead], state, "action adapter")
    for key, shape in dead.items():
        if tuple(state[key].shape) != shape:
            raise WeightsError(f"action adapter: {key!r} has shape {tuple(state[key].shape)}, expected {shape}")
    return from_published(renamings, {key: tensor for key, tensor in state.items() if key not in dead}, "action adapter")


def publish_adapter(state: Mapping[str, Tensor], adapter: PrismAdapter, unet: VideoUNet) -> State:
    """Our adapter weights -> the published form; dead weights are zeros."""
    import torch

    out = to_published(adapter_renamings(adapter, unet), state, "action adapter")
    like = next(iter(state.values()))
    return out | {key: torch.zeros(shape, dtype=like.dtype, device=like.device) for key, shape in dead_shapes(adapter, unet).items()}


def dead_weights(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Keys of a published checkpoint that have no effect on anything and are left out."""
    return tuple(sorted(key for key in state if DEAD.search(key)))


def adapter_renamings(adapter: PrismAdapter, unet: VideoUNet) -> list[Renaming]:
    """All weights of a prism adapter; keys there are relative to the denoiser."""
    rooms = {"prism.words_in": f"{PROCESS}.input_to_latent", "prism.video_in": f"{PROCESS}.video_to_latent"}
    rooms |= {f"prism.head.{index}": f"{PROCESS}.latent_to_T.{index}" for index in range(3)}
    for index in range(adapter.config.prism.layers):
        rooms |= {f"prism.layers.{index}.{ours}": f"{PROCESS}.net.{index}.{theirs}" for ours, theirs in PRISM_LAYER}
    for index, block in enumerate(_blocks(adapter, unet)):
        rooms[f"injections.{index}"] = f"{block}.video_inject_attn3_tmp"
        rooms[f"injections.{index}.norm"] = f"{block}.video_inject_norm7"
    shapes = {key: tuple(tensor.shape) for key, tensor in adapter.state_dict().items()}
    return [Renaming(key, shape, rename(key, rooms), shape) for key, shape in shapes.items()]


def dead_shapes(adapter: PrismAdapter, unet: VideoUNet) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights without effect that a published checkpoint must hold."""
    head = {key: tuple(tensor.shape) for key, tensor in adapter.prism.head.state_dict().items()}
    shapes = {f"{PROCESS}.latent_to_S.{key}": shape for key, shape in head.items()}
    for block, width in zip(_blocks(adapter, unet), adapter.config.site_widths, strict=True):
        attention, norm = f"{block}.video_inject_attn3", f"{block}.video_inject_norm6"
        shapes |= {f"{attention}.to_q.weight": (width, width), f"{attention}.to_out.0.weight": (width, width)}
        shapes |= {f"{attention}.to_{map_}.weight": (width, DEAD_TOKEN_WIDTH) for map_ in "kv"}
        shapes |= {f"{attention}.to_out.0.bias": (width,), f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    return shapes


def infer_adapter(state: Mapping[str, Tensor], unet: VideoUNet) -> PrismAdapterConfig:
    """Published injected weights -> configuration of the adapter that they are for; WeightsError names a key that is missing."""
    from echoreel_cli.adapters.inject import PrismAdapterConfig
    from echoreel_cli.prism.action import PrismConfig

    def shape(key: str) -> tuple[int, ...]:
        if key not in state:
            raise WeightsError(f"action adapter: missing weight {key!r}", hint="the checkpoint holds no released EchoReel")
        return tuple(state[key].shape)

    rows, head_width = shape(f"{PROCESS}.net.0.attn1_tmp.relative_position_k.embeddings_table")
    width, channels = shape(f"{PROCESS}.video_to_latent.weight")
    words_width, text_width = shape(f"{PROCESS}.input_to_latent.weight")
    first = f"{published_blocks(unet)[0]}.video_inject_attn3_tmp"
    table, token_width = shape(f"{first}.relative_position_k.embeddings_table"), shape(f"{first}.to_k.weight")[1]
    layers = {key.split(".")[2] for key in state if key.startswith(f"{PROCESS}.net.")}
    prism = PrismConfig(
        channels=channels,
        positions=token_width // channels,
        width=width,
        text_width=text_width,
        words_width=words_width,
        layers=len(layers),
        heads=shape(f"{PROCESS}.net.0.attn1.to_q.weight")[0] // head_width,
        head_width=head_width,
        temporal_length=(rows - 1) // 2,
    )
    return PrismAdapterConfig.for_sites(unet.sites(), prism, temporal_length=(table[0] - 1) // 2)


def _blocks(adapter: PrismAdapter, unet: VideoUNet) -> list[str]:
    blocks = published_blocks(unet)
    if len(blocks) != len(adapter.config.site_widths):
        raise WeightsError(f"the adapter has {len(adapter.config.site_widths)} sites, the denoiser {len(blocks)}")
    return blocks
