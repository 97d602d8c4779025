"""Published weights <-> ours: names and shapes of the denoiser, the autoencoder and the text encoder, strictly in both directions.

A published checkpoint is one flat dict. `split_checkpoint` finds its parts; each part is then renamed against the module it is for,
which may be on the meta device. A weight that is missing, unknown or of another shape is an error that names its neighbour.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from echoreel_index.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from echoreel_cli.backbones.lvdm.unet import Step, VideoUNet

State = dict[str, "Tensor"]

UNET_ROOT = "model.diffusion_model."
VAE_ROOT = "first_stage_model."
TEXT_ROOT = "cond_stage_model."
SCHEDULE = frozenset(
    """
    betas alphas_cumprod alphas_cumprod_prev sqrt_alphas_cumprod sqrt_one_minus_alphas_cumprod log_one_minus_alphas_cumprod
    sqrt_recip_alphas_cumprod sqrt_recipm1_alphas_cumprod posterior_variance posterior_log_variance_clipped posterior_mean_coef1
    posterior_mean_coef2
    """.split()
)
"""Tables of the noise schedule. They went through float16 in published files; they are recomputed and never read."""
UNUSED = re.compile(r"(^|\.)(model_ema\.|first_stage_model\.loss\.|(lvlb_weights|logvar|scale_factor)$)")
"""What training leaves in a checkpoint and no network of ours has."""
EARLY_NAMES = ("EchoReel_", "Motion_Perceiver_process")


@dataclass(frozen=True, slots=True)
class Renaming:
    """One weight: its key and shape here, and its key and shape in the published file."""

    ours: str
    shape: tuple[int, ...]
    published: str
    published_shape: tuple[int, ...]


@dataclass(slots=True)
class Parts:
    """A published checkpoint, divided; keys are relative to each part's root, tensors are the file's own."""

    unet: State = field(default_factory=dict)
    """The base denoiser, without anything injected."""
    adapter: State = field(default_factory=dict)
    """Prism and injected layers; keys relative to the denoiser, all with `video_inject`. Empty in a base checkpoint."""
    vae: State = field(default_factory=dict)
    text: State = field(default_factory=dict)
    """Keys begin with `text_model.`"""
    ignored: tuple[str, ...] = ()
    """Schedule tables and leftovers of training."""


def split_checkpoint(state: Mapping[str, Tensor]) -> Parts:
    """Divide a published state dict by its known roots, whatever prefix (`_forward_module.` or other) a trainer put before them.

    Raises:
        WeightsError: no known root, several prefixes, a key outside all roots, or names of the code before its release.
    """
    prefix = _prefix(state)
    parts, ignored = Parts(), []
    for key, tensor in state.items():
        bare = key.removeprefix(prefix)
        if bare in SCHEDULE or UNUSED.search(bare) or bare.endswith("embeddings.position_ids"):
            ignored.append(bare)
        elif bare.startswith(UNET_ROOT):
            name = bare.removeprefix(UNET_ROOT)
            (parts.adapter if "video_inject" in name else parts.unet)[name] = tensor
        elif bare.startswith(VAE_ROOT):
            parts.vae[bare.removeprefix(VAE_ROOT)] = tensor
        elif bare.startswith(TEXT_ROOT):
            parts.text[bare.removeprefix(TEXT_ROOT).removeprefix("transformer.")] = tensor
        else:
            raise WeightsError(
                f"weight {key!r} belongs to no part of an LVDM checkpoint", hint=f"known roots: {UNET_ROOT} {VAE_ROOT} {TEXT_ROOT}"
            )
    early = [name for name in parts.unet if any(old in name for old in EARLY_NAMES)]
    if early:
        raise WeightsError(
            f"weight {early[0]!r} has a name of the code before its release",
            hint="only the released checkpoint (video_inject_...) is known",
        )
    parts.ignored = tuple(ignored)
    return parts


def _prefix(state: Mapping[str, Tensor]) -> str:
    roots = (UNET_ROOT, VAE_ROOT, TEXT_ROOT)
    found = {key[: key.index(root)] for key in state for root in roots if root in key and not UNUSED.search(key)}
    if not found:
        first = next(iter(state), None)
        hint = f"its first weight is {first!r}" if first else "it is empty"
        raise WeightsError("this is no LVDM or EchoReel checkpoint: no known part is in it", hint=hint)
    if len(found) > 1:
        raise WeightsError(f"the checkpoint's parts have different prefixes: {', '.join(map(repr, sorted(found)))}")
    return found.pop()


# ---- renaming --------------------------------------------------------------------------------------------------------------------


def from_published(renamings: Sequence[Renaming], state: Mapping[str, Tensor], what: str) -> State:
    """Published weights -> ours, same values; `what` names the part in messages."""
    check_keys([renaming.published for renaming in renamings], state, what)
    out: State = {}
    for renaming in renamings:
        tensor = state[renaming.published]
        if tuple(tensor.shape) != renaming.published_shape:
            raise WeightsError(
                f"{what}: {renaming.published!r} has shape {tuple(tensor.shape)}, expected {renaming.published_shape}",
                hint="the checkpoint belongs to another network",
            )
        out[renaming.ours] = tensor.reshape(renaming.shape)
    return out


def to_published(renamings: Sequence[Renaming], state: Mapping[str, Tensor], what: str) -> State:
    """Our weights -> published names and shapes, same values."""
    check_keys([renaming.ours for renaming in renamings], state, what)
    return {renaming.published: state[renaming.ours].reshape(renaming.published_shape) for renaming in renamings}


def check_keys(wanted: Iterable[str], state: Mapping[str, object], what: str) -> None:
    """WeightsError for the first missing or unknown key, with its nearest neighbour."""
    known = list(wanted)
    _report(f"{what}: unknown weight", sorted(set(state) - set(known)), known, "nearest known")
    _report(f"{what}: missing weight", sorted(set(known) - set(state)), list(state), "nearest in the file")


def _report(problem: str, keys: list[str], neighbours: list[str], relation: str) -> None:
    if not keys:
        return
    more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
    near = difflib.get_close_matches(keys[0], neighbours, n=1, cutoff=0.0)
    hint = f"{relation}: {near[0]!r}" if near else "the checkpoint has nothing for this part"
    raise WeightsError(f"{problem} {keys[0]!r}{more}", hint=hint)


def convert_unet(state: Mapping[str, Tensor], unet: VideoUNet) -> State:
    """Published base denoiser (`Parts.unet`) -> the weights of `unet`."""
    return from_published(unet_renamings(unet), state, "denoiser")


def convert_vae(state: Mapping[str, Tensor], vae: nn.Module) -> State:
    """Published autoencoder (`Parts.vae`) -> the weights of a diffusers AutoencoderKL."""
    return from_published(vae_renamings(vae), state, "autoencoder")


def convert_text(state: Mapping[str, Tensor], text_encoder: nn.Module) -> State:
    """Published text encoder (`Parts.text`) -> the weights of a transformers CLIPTextModel, in that version's own names."""
    return from_published(text_renamings(text_encoder), state, "text encoder")


# ---- the denoiser ----------------------------------------------------------------------------------------------------------------

ATTENTION = (
    ("positions.key_table", "relative_position_k.embeddings_table"),
    ("positions.value_table", "relative_position_v.embeddings_table"),
    ("to_out", "to_out.0"),
)
FEED_FORWARD = (("expand", "net.0.proj"), ("contract", "net.2"))
RESIDUAL = (
    ("norm_in", "in_layers.0"),
    ("conv_in", "in_layers.2"),
    ("shift", "emb_layers.1"),
    ("norm_out", "out_layers.0"),
    ("conv_out", "out_layers.3"),
    ("skip", "skip_connection"),
)
TRANSFORMER = (
    ("norm", "norm"),
    ("map_in", "proj_in"),
    ("map_out", "proj_out"),
    ("block.spatial_norm", "transformer_blocks.0.norm1"),
    ("block.spatial", "transformer_blocks.0.attn1"),
    ("block.temporal_norm", "transformer_blocks.0.norm4"),
    ("block.temporal", "transformer_blocks.0.attn1_tmp"),
    ("block.text_norm", "transformer_blocks.0.norm2"),
    ("block.text", "transformer_blocks.0.attn2"),
    ("block.temporal_again_norm", "transformer_blocks.0.norm5"),
    ("block.temporal_again", "transformer_blocks.0.attn2_tmp"),
    ("block.feed_forward_norm", "transformer_blocks.0.norm3"),
    ("block.feed_forward", "transformer_blocks.0.ff"),
)
OUTSIDE = (
    ("time_in", "time_embed.0"),
    ("time_out", "time_embed.2"),
    ("conv_in", "input_blocks.0.0"),
    ("norm_out", "out.0"),
    ("conv_out", "out.2"),
)


def rename(key: str, rooms: Mapping[str, str]) -> str:
    """Our key -> the published one: the longest known room is replaced, then the names inside attentions and feed-forwards."""
    room, rest = key, ""
    while room not in rooms:
        room, dot, last = room.rpartition(".")
        if not dot:
            raise KeyError(key)
        rest = f"{last}.{rest}" if rest else last
    for ours, theirs in (*ATTENTION, *FEED_FORWARD):
        if rest == ours or rest.startswith(ours + "."):
            rest = theirs + rest[len(ours) :]
            break
    return f"{rooms[room]}.{rest}"


def unet_renamings(unet: VideoUNet) -> list[Renaming]:
    """All weights of a denoiser, in its own order."""
    rooms = dict(_unet_rooms(unet))
    return [_unet_renaming(key, tuple(tensor.shape), rooms) for key, tensor in unet.state_dict().items()]


def published_blocks(unet: VideoUNet) -> list[str]:
    """Published name of the transformer block behind each temporal site, in execution order."""
    rooms = [theirs for ours, theirs in _unet_rooms(unet) if ours.endswith("transformer.block.feed_forward")]
    return [room.removesuffix(".ff") for room in rooms]


def _unet_renaming(key: str, shape: tuple[int, ...], rooms: Mapping[str, str]) -> Renaming:
    published = rename(key, rooms)
    if len(shape) == 4:  # a convolution of single frames: (1, h, w) kernels there
        return Renaming(key, shape, published, (*shape[:2], 1, *shape[2:]))
    if len(shape) == 2 and re.search(r"\.(map_in|map_out|skip)\.weight$", key):  # linear maps here, 1x1x1 convolutions there
        return Renaming(key, shape, published, (*shape, 1, 1, 1))
    return Renaming(key, shape, published, shape)


def _unet_rooms(unet: VideoUNet) -> list[tuple[str, str]]:
    """(our room, published room) of everything that holds weights, transformers in execution order."""
    rooms = list(OUTSIDE)
    for index, step in enumerate(unet.encoder):
        block = f"input_blocks.{index + 1}"
        rooms += _step_rooms(f"encoder.{index}", block, cast("Step", step), f"{block}.0.op")
    rooms += _step_rooms("middle", "middle_block", unet.middle, "")
    rooms += [(f"middle_out.{ours}", f"middle_block.2.{theirs}") for ours, theirs in RESIDUAL]
    for index, step in enumerate(unet.decoder):
        block = f"output_blocks.{index}"
        place = 2 if cast("Step", step).transformer is not None else 1
        rooms += _step_rooms(f"decoder.{index}", block, cast("Step", step), f"{block}.{place}.conv")
    return rooms


def _step_rooms(ours: str, block: str, step: Step, resize: str) -> list[tuple[str, str]]:
    rooms = []
    if step.residual is not None:
        rooms += [(f"{ours}.residual.{room}", f"{block}.0.{theirs}") for room, theirs in RESIDUAL]
    if step.transformer is not None:
        rooms += [(f"{ours}.transformer.{room}", f"{block}.1.{theirs}") for room, theirs in TRANSFORMER]
    if step.resize is not None:
        rooms.append((f"{ours}.resize", resize))
    return rooms


# ---- the autoencoder and the text encoder ----------------------------------------------------------------------------------------

VAE_RULES = (
    (r"\.down_blocks\.(\d+)\.resnets\.(\d+)\.", r".down.\1.block.\2."),
    (r"\.down_blocks\.(\d+)\.downsamplers\.0\.", r".down.\1.downsample."),
    (r"\.mid_block\.resnets\.0\.", r".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", r".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.group_norm\.", r".mid.attn_1.norm."),
    (r"\.mid_block\.attentions\.0\.to_out\.0\.", r".mid.attn_1.proj_out."),
    (r"\.mid_block\.attentions\.0\.to_([qkv])\.", r".mid.attn_1.\1."),
    (r"\.conv_shortcut\.", r".nin_shortcut."),
    (r"\.conv_norm_out\.", r".norm_out."),
)
UP_BLOCK = re.compile(r"\.up_blocks\.(\d+)\.(resnets\.(\d+)|upsamplers\.0)\.")


def vae_renamings(vae: nn.Module) -> list[Renaming]:
    """All weights of a diffusers AutoencoderKL; the published decoder counts its levels from the finest."""
    shapes = {key: tuple(tensor.shape) for key, tensor in vae.state_dict().items()}
    top = max((int(match[1]) for key in shapes if (match := UP_BLOCK.search(key))), default=0)
    return [_vae_renaming(key, shape, top) for key, shape in shapes.items()]


def _vae_renaming(key: str, shape: tuple[int, ...], top: int) -> Renaming:
    published = UP_BLOCK.sub(lambda match: f".up.{top - int(match[1])}.{f'block.{match[3]}' if match[3] else 'upsample'}.", key)
    for pattern, replacement in VAE_RULES:
        published = re.sub(pattern, replacement, published)
    is_map = ".mid.attn_1." in published and len(shape) == 2  # linear maps in diffusers, 1x1 convolutions there
    return Renaming(key, shape, published, (*shape, 1, 1) if is_map else shape)


def text_renamings(text_encoder: nn.Module) -> list[Renaming]:
    """All weights of a CLIPTextModel; some versions of transformers put `text_model.` before each name and some do not."""
    shapes = {key: tuple(tensor.shape) for key, tensor in text_encoder.state_dict().items() if not key.endswith("position_ids")}
    return [Renaming(key, shape, f"text_model.{key.removeprefix('text_model.')}", shape) for key, shape in shapes.items()]
