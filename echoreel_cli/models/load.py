"""Weights from a model folder into a network: strictly, and without ever holding random ones in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from echoreel_cli.models.checks import check_state
from echoreel_cli.models.folder import read_json
from echoreel_index.errors import WeightsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

M = TypeVar("M", bound="nn.Module")


def load_module(build: Callable[[], M], file: Path, *, device: str | torch.device, dtype: torch.dtype | None) -> M:
    """Build a network without memory, then give it the weights of a safetensors file; frozen, in evaluation mode.

    Floating-point weights become `dtype`, or stay as stored if it is None.

    Raises:
        WeightsError: the file is missing or damaged, or a weight is missing, unknown or of another shape.
    """
    import torch

    with torch.device("meta"):
        module = build()
    state = read_weights(file, device=device, dtype=dtype)
    check_state(module, state, str(file))
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def load_vae(folder: Path, *, device: str | torch.device, dtype: torch.dtype | None) -> Any:
    """The AutoencoderKL of a model folder."""
    from diffusers import AutoencoderKL

    config = read_json(folder / "config.json")
    file = folder / "diffusion_pytorch_model.safetensors"
    return load_module(lambda: _built(AutoencoderKL.from_config, config, folder), file, device=device, dtype=dtype)


def load_text_encoder(folder: Path, *, device: str | torch.device, dtype: torch.dtype | None) -> Any:
    """The CLIPTextModel of a model folder, with or without the prefix that some versions of transformers put before each name."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    config = _built(CLIPTextConfig.from_dict, read_json(folder / "config.json"), folder)
    with torch.device("meta"):
        module = CLIPTextModel(config)
    file = folder / "model.safetensors"
    state = {_as_in(module, key): tensor for key, tensor in read_weights(file, device=device, dtype=dtype).items()}
    check_state(module, state, str(file))
    module.load_state_dict(state, assign=True)
    _number_positions(module, device)
    return module.eval().requires_grad_(False)


def read_weights(file: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """All tensors of a safetensors file; WeightsError if it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(file, device=str(device))
    except FileNotFoundError as error:
        raise WeightsError(f"{file} is missing", hint="the model folder is not complete; fetch it again") from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file} is damaged: {error}", hint="fetch the model again with --force") from error
    if dtype is None:
        return state
    return {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in state.items()}


def _as_in(module: nn.Module, key: str) -> str:
    """A text encoder's key, with the prefix if this module's own keys have it."""
    bare = key.removeprefix("text_model.")
    prefixed = any(name.startswith("text_model.") for name, _ in module.named_parameters())
    return f"text_model.{bare}" if prefixed else bare


def _number_positions(module: nn.Module, device: str | torch.device) -> None:
    """CLIP counts its positions in a buffer that is not stored: 0, 1, 2 ... (1 l)."""
    import torch

    for name, buffer in list(module.named_buffers()):
        if not buffer.is_meta:
            continue
        owner, _, last = name.rpartition(".")
        if last != "position_ids":
            raise WeightsError(f"this version of transformers has a buffer {name!r} that is not known here")
        numbers = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
        module.get_submodule(owner).register_buffer(last, numbers, persistent=False)


def _built(make: Callable[[Any], Any], config: Any, folder: Path) -> Any:
    try:
        return make(config)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"{folder / 'config.json'} cannot be used: {error}") from error
