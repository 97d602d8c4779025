"""Writes model folders: everything goes into a folder beside the target, which takes its name only when it is whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echoreel_cli import __version__
from echoreel_cli.backbones.schedule import LVDM_SCHEDULE
from echoreel_cli.models.folder import CARD_FILE, INDEX_FILE, Card, ModelInfo, Tokenizer, hashed, write_json
from echoreel_index.errors import OutputExists, WeightsError
from echoreel_index.strict_json import to_json

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

SCHEDULER_CONFIG: Mapping[str, object] = {"_class_name": "DDIMScheduler", **LVDM_SCHEDULE}
"""What `scheduler_config.json` says unless told otherwise; the tables are computed from it, never stored."""


@contextmanager
def staged(target: Path, *, force: bool = False) -> Iterator[Path]:
    """A new empty folder that becomes `target` when the block ends well, and vanishes when it does not.

    Raises:
        OutputExists: the target is there and `force` is not given.
    """
    if target.exists() and not force:
        raise OutputExists(f"{target} already exists", hint="use --force to replace it")
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o755)
        _sync(folder)
        _put(folder, target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def save_model_folder(
    folder: Path,
    *,
    info: ModelInfo,
    card: Card,
    unet: nn.Module,
    adapter: nn.Module | None,
    vae: Any,
    text_encoder: Any,
    dtype: torch.dtype | None = None,
    tokenizer: Tokenizer | None = None,
    vocabulary: Path | None = None,
    scheduler: Mapping[str, object] = SCHEDULER_CONFIG,
    force: bool = False,
) -> Card:
    """Write modules in memory as a model folder and return its card, with hashes.

    `unet` and `adapter` have a `config` dataclass; `vae` is a diffusers AutoencoderKL, `text_encoder` a transformers
    CLIPTextModel. With `dtype` all floating-point weights are stored in it, otherwise as they are. `vocabulary` is a
    `bpe.txt.gz` of one's own. `force` replaces a folder that is there already.
    """
    with staged(folder, force=force) as new:
        write_part(new / "unet", to_json(_config_of(unet)), unet.state_dict(), dtype=dtype)
        if adapter is not None:
            write_part(new / "action_adapter", to_json(_config_of(adapter)), adapter.state_dict(), dtype=dtype)
        write_vae(new / "vae", vae, vae.state_dict(), dtype=dtype)
        write_text_encoder(new / "text_encoder", text_encoder, text_encoder.state_dict(), dtype=dtype)
        return finish(new, info=info, card=card, tokenizer=tokenizer or Tokenizer(), vocabulary=vocabulary, scheduler=scheduler)


def write_part(folder: Path, config: object, state: Mapping[str, Tensor], *, dtype: torch.dtype | None) -> None:
    """`config.json` and `model.safetensors` of one part."""
    write_json(folder / "config.json", config)
    write_weights(folder / "model.safetensors", state, dtype=dtype)


def write_vae(folder: Path, vae: Any, state: Mapping[str, Tensor], *, dtype: torch.dtype | None) -> None:
    """A diffusers AutoencoderKL the way diffusers writes it; the module may be on the meta device, the weights may not."""
    vae.save_config(folder)
    write_weights(folder / "diffusion_pytorch_model.safetensors", state, dtype=dtype)


def write_text_encoder(folder: Path, text_encoder: Any, state: Mapping[str, Tensor], *, dtype: torch.dtype | None) -> None:
    """A transformers text model the way Stable Diffusion's folders have it: every name begins with `text_model.`.

    Some versions of transformers have that prefix in their modules and some do not.
    """
    text_encoder.config.save_pretrained(folder)
    named = {key if key.startswith("text_model.") else f"text_model.{key}": tensor for key, tensor in state.items()}
    write_weights(folder / "model.safetensors", named, dtype=dtype)


def write_weights(file: Path, state: Mapping[str, Tensor], *, dtype: torch.dtype | None) -> None:
    """A state dict as safetensors: floating-point tensors in `dtype` if given, all others as they are."""
    from safetensors.torch import save_file

    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: _plain(tensor, dtype) for key, tensor in state.items()}, file, metadata={"format": "pt"})


def finish(
    folder: Path,
    *,
    info: ModelInfo,
    card: Card,
    tokenizer: Tokenizer,
    vocabulary: Path | None = None,
    scheduler: Mapping[str, object] = SCHEDULER_CONFIG,
) -> Card:
    """Everything that is no network: tokenizer, scheduler, index and, last, the card with the hashes of all the others."""
    write_json(folder / "tokenizer" / "tokenizer.json", tokenizer)
    if vocabulary is not None:
        shutil.copyfile(vocabulary, folder / "tokenizer" / "bpe.txt.gz")
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    write_json(folder / INDEX_FILE, info)
    complete = hashed(replace(card, made_with=card.made_with or f"echoreel {__version__}"), folder)
    write_json(folder / CARD_FILE, complete)
    return complete


def _config_of(module: nn.Module) -> object:
    config = getattr(module, "config", None)
    if config is None:
        raise WeightsError(f"{type(module).__name__} has no config and could not be opened again")
    return config


def _plain(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """On the CPU, contiguous, with memory of its own: safetensors refuses views of one storage."""
    wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    plain = tensor.detach().to(device="cpu", dtype=wanted).contiguous()
    return plain if plain.untyped_storage().nbytes() == plain.nbytes else plain.clone()


def _sync(folder: Path) -> None:
    """Make sure that what was written is on the disk before the folder gets its name."""
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir() and os.name == "nt":  # Windows opens no folders, and keeps its own order of writes
            continue
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _put(folder: Path, target: Path) -> None:
    """Rename the finished folder to its name; what was there before goes away after that, not before."""
    old = None
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
        target.rename(old / "model")
    try:
        folder.rename(target)
    except OSError:
        if old is not None:
            (old / "model").rename(target)
        raise
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
