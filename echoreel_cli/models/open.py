"""From a model's name to networks that are ready to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from echoreel_cli.models.folder import Card, ModelInfo, Tokenizer, read_card, read_info, read_json, read_object
from echoreel_cli.models.load import load_module, load_text_encoder, load_vae
from echoreel_cli.models.names import find_model
from echoreel_index.errors import UsageError, WeightsError

if TYPE_CHECKING:
    import torch

    from echoreel_cli.adapters.action import ActionAdapter
    from echoreel_cli.backbones.lvdm.model import LVDM

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Model:
    """A video model in memory: frozen, in evaluation mode."""

    backbone: LVDM
    adapter: ActionAdapter | None
    """None for a plain backbone: it takes no references."""
    info: ModelInfo
    card: Card
    folder: Path

    @property
    def name(self) -> str:
        """The model's own name."""
        return self.info.name

    @property
    def hashes(self) -> Mapping[str, str]:
        """SHA-256 of each file, as the card has them; `echoreel models verify` compares them with the files."""
        return self.card.hashes


def open_model(name_or_folder: str, *, device: str | torch.device = "cpu", dtype: str | torch.dtype | None = None) -> Model:
    """Open a bundled model, one of the user's, or a folder.

    Weights go straight to `device`; floating-point ones become `dtype` (a torch.dtype or its name), or stay as stored if it is
    None. Everything is frozen; training turns on the gradients that it wants.

    Raises:
        WeightsError: the model is not here (the hint says how to get it), not complete, or its weights do not fit its networks.
    """
    folder = find_model(name_or_folder)
    info = read_info(folder)
    if info.backbone != "lvdm":
        raise WeightsError(f"{folder} is for the backbone {info.backbone!r}, which is not known here", hint="known backbones: lvdm")
    number_type = _number_type(dtype)
    adapter = _adapter(folder / "action_adapter", device, number_type)
    if adapter is not None and info.reference is None:
        raise WeightsError(f"{folder} has an action adapter, but its index does not say how references are read")
    return Model(_lvdm(folder, device, number_type), adapter, info, read_card(folder), folder)


def _lvdm(folder: Path, device: str | torch.device, dtype: torch.dtype | None) -> LVDM:
    from echoreel_cli.backbones.lvdm.model import LVDM
    from echoreel_cli.backbones.lvdm.tokens import ClipTokenizer
    from echoreel_cli.backbones.lvdm.unet import VideoUNet, VideoUNetConfig
    from echoreel_cli.backbones.schedule import build_schedule

    config = read_object(folder / "unet" / "config.json", VideoUNetConfig)
    words = read_object(folder / "tokenizer" / "tokenizer.json", Tokenizer)
    vocabulary = folder / "tokenizer" / "bpe.txt.gz"
    return LVDM(
        load_module(lambda: VideoUNet(config), folder / "unet" / "model.safetensors", device=device, dtype=dtype),
        load_vae(folder / "vae", device=device, dtype=dtype),
        load_text_encoder(folder / "text_encoder", device=device, dtype=dtype),
        ClipTokenizer(words.length, words.pad, vocabulary if vocabulary.is_file() else None),
        _of_weights(lambda: build_schedule(read_json(folder / "scheduler" / "scheduler_config.json"))),
    )


def _adapter(folder: Path, device: str | torch.device, dtype: torch.dtype | None) -> ActionAdapter | None:
    from echoreel_cli.adapters.weights import build_adapter

    if not folder.is_dir():
        return None
    config: Any = read_json(folder / "config.json")
    file, what = folder / "model.safetensors", str(folder / "config.json")
    return _of_weights(lambda: load_module(lambda: build_adapter(config, what=what), file, device=device, dtype=dtype))


def _of_weights(make: Callable[[], T]) -> T:
    """A bad configuration in a model folder is no mistake of the user's command line."""
    try:
        return make()
    except UsageError as error:
        raise WeightsError(error.message, hint=error.hint) from error


def _number_type(dtype: str | torch.dtype | None) -> torch.dtype | None:
    import torch

    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if found is not None and not isinstance(found, torch.dtype) or (found is None and dtype is not None):
        raise UsageError(f"there is no number type {dtype!r}", hint="use float32, bfloat16 or float16")
    return found
