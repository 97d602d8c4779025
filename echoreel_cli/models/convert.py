"""A published checkpoint -> a model folder: divide, rename, check everything that can be checked, store as safetensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from echoreel_cli.models.catalogue import Entry
from echoreel_cli.models.checks import check_finite, checks_of_injection, checks_of_prism, compared
from echoreel_cli.models.deepspeed import Checkpoint, read_checkpoint
from echoreel_cli.models.folder import Card, Origin, Tokenizer
from echoreel_cli.models.infer import infer_text, infer_unet, infer_vae
from echoreel_cli.models.save import finish, staged, write_part, write_text_encoder, write_vae
from echoreel_index.errors import WeightsError
from echoreel_index.strict_json import to_json

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from echoreel_cli.adapters.inject import PrismAdapter
    from echoreel_cli.backbones.lvdm.unet import VideoUNet
    from echoreel_cli.backbones.lvdm.weights import Parts

Stage = Literal["read", "write"]
Watch = Callable[[Stage, str], None]


@dataclass(frozen=True, slots=True)
class Networks:
    """The networks that a checkpoint's weights are for, without memory, and those weights in our names."""

    unet: VideoUNet
    adapter: PrismAdapter | None
    vae: Any
    text_encoder: Any
    states: Mapping[str, Mapping[str, Tensor]]
    """`unet`, `action_adapter`, `vae`, `text_encoder` -> state dict; the tensors are the file's own."""


def convert(
    entry: Entry,
    file: Path,
    origin: Origin,
    target: Path,
    *,
    base: tuple[Path, Origin] | None = None,
    dtype: str | None = None,
    force: bool = False,
    watch: Watch = lambda stage, what: None,
) -> Card:
    """Write the model folder of a published file and return its card.

    `base` is the base network's own file: it is only compared with what the checkpoint holds, since training left the base as
    it was; a difference is reported on the card and is no error. `dtype` is the number type to store, None for the file's own.

    Raises:
        WeightsError: the file is unsafe, damaged, incomplete or of another network, or its adapter has no effect.
        OutputExists: the target is there and `force` is not given.
    """
    watch("read", f"reading {file.name} without running anything in it")
    checkpoint = read_checkpoint(file)
    networks, checks = examine(checkpoint, references=entry.info.reference is not None)
    if base is not None:
        watch("read", f"comparing with {base[0].name}")
        checks += _compare(checkpoint, base[0])
    number_type = _number_type(dtype)
    with staged(target, force=force) as folder:
        write_networks(folder, networks, dtype=number_type, watch=watch)
        watch("write", "hashing and finishing")
        card = Card(
            source=entry.source,
            licence=entry.licence,
            paper=entry.paper,
            note=entry.note,
            dtype=dtype or _common_type(networks),
            origins=(origin, *([base[1]] if base is not None else [])),
            checks=tuple(checks),
        )
        return finish(folder, info=entry.info, card=card, tokenizer=Tokenizer(length=networks.text_encoder.config.max_position_embeddings))


def examine(checkpoint: Checkpoint, *, references: bool) -> tuple[Networks, list[str]]:
    """The networks of a checkpoint, strictly checked, and what was found out about them.

    `references` says whether an action adapter has to be there; without it one that is there is left out.
    """
    from echoreel_cli.backbones.lvdm.config import VideoUNetConfig
    from echoreel_cli.backbones.lvdm.weights import split_checkpoint

    parts = split_checkpoint(checkpoint.tensors)
    _complete(parts, references)
    if not references:
        parts.adapter = {}
    networks = build_networks(parts)
    for part, state in networks.states.items():
        check_finite(state, part)
    checks = [f"{len(checkpoint.tensors)} tensors read; every name and shape is as expected, every value finite"]
    if networks.unet.config != VideoUNetConfig():
        checks.append(f"the network has not the published size: {networks.unet.config.model_channels} channels, not 320")
    if checkpoint.ignored:
        checks.append(f"objects beside the weights were left alone: {', '.join(checkpoint.ignored)}")
    if parts.adapter:
        checks += checks_of_injection(parts.adapter)
    checks.append("the noise schedule is computed, the file's tables (rounded to its number type) are not used")
    return networks, checks


def write_networks(folder: Path, networks: Networks, *, dtype: torch.dtype | None, watch: Watch) -> None:
    """The four parts of a model folder, one after the other, so that at most one is held in memory."""
    states = networks.states
    watch("write", "writing the denoiser")
    write_part(folder / "unet", to_json(networks.unet.config), states["unet"], dtype=dtype)
    if networks.adapter is not None:
        watch("write", "writing the action adapter")
        write_part(folder / "action_adapter", to_json(networks.adapter.config), states["action_adapter"], dtype=dtype)
    watch("write", "writing autoencoder and text encoder")
    write_vae(folder / "vae", networks.vae, states["vae"], dtype=dtype)
    write_text_encoder(folder / "text_encoder", networks.text_encoder, states["text_encoder"], dtype=dtype)


def build_networks(parts: Parts) -> Networks:
    """The networks that published weights are for, on the meta device, and the weights under our names."""
    import torch
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel

    from echoreel_cli.adapters.inject import PrismAdapter
    from echoreel_cli.adapters.weights import convert_adapter, infer_adapter
    from echoreel_cli.backbones.lvdm.unet import VideoUNet
    from echoreel_cli.backbones.lvdm.weights import convert_text, convert_unet, convert_vae

    adapter = None
    with torch.device("meta"):
        unet = VideoUNet(infer_unet(parts.unet))
        vae = AutoencoderKL(**infer_vae(parts.vae))
        text = CLIPTextModel(CLIPTextConfig(**infer_text(parts.text)))
        if parts.adapter:
            checks_of_prism(parts.adapter)
            adapter = PrismAdapter(infer_adapter(parts.adapter, unet))
    states = {"unet": convert_unet(parts.unet, unet), "vae": convert_vae(parts.vae, vae), "text_encoder": convert_text(parts.text, text)}
    if adapter is not None:
        states["action_adapter"] = convert_adapter(parts.adapter, adapter, unet)
    return Networks(unet, adapter, vae, text, states)


def _complete(parts: Parts, references: bool) -> None:
    for name, state in (("denoiser", parts.unet), ("autoencoder", parts.vae), ("text encoder", parts.text)):
        if not state:
            raise WeightsError(f"the checkpoint holds no {name}", hint="the published file holds all parts; is this one of them?")
    if references and not parts.adapter:
        raise WeightsError("the checkpoint holds no EchoReel, only the base network", hint="echoreel models pull lvdm takes such a file")


def _compare(checkpoint: Checkpoint, file: Path) -> list[str]:
    from echoreel_cli.backbones.lvdm.weights import split_checkpoint

    ours, theirs = split_checkpoint(checkpoint.tensors), split_checkpoint(read_checkpoint(file).tensors)
    names = (("denoiser", ours.unet, theirs.unet), ("autoencoder", ours.vae, theirs.vae), ("text encoder", ours.text, theirs.text))
    return [compared(name, mine, base) for name, mine, base in names]


def _number_type(name: str | None) -> torch.dtype | None:
    import torch

    return None if name is None else {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def _common_type(networks: Networks) -> str:
    """The number type of all weights, or nothing where they differ."""
    found = {str(tensor.dtype) for state in networks.states.values() for tensor in state.values() if tensor.is_floating_point()}
    return found.pop().removeprefix("torch.") if len(found) == 1 else ""
