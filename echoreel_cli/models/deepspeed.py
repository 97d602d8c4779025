"""Reads published checkpoints without ever running what is in them.

A `.pt` or `.ckpt` file is a pickle: a small program that builds objects, and a hostile one can do anything. Two readers,
both without that power:

1. `torch.load(weights_only=True)`, which knows tensors and plain containers and refuses everything else.
2. For files that it refuses because objects of some training library lie beside the weights (DeepSpeed writes such files):
   `inert.read_inert`, which knows no class and no function at all.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from echoreel_cli.models.inert import UNSAFE_HINT, TensorRecord, read_inert
from echoreel_index.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

CONTAINERS = ("module", "state_dict")
"""Where the weights lie inside a file: DeepSpeed's name and Lightning's. A file may also be the weights themselves."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The weights of a file; they stay on disk until they are used."""

    tensors: Mapping[str, Tensor]
    container: str | None
    """`module` (DeepSpeed), `state_dict` (Lightning), or None where the file is the weights themselves."""
    ignored: tuple[str, ...] = ()
    """Kinds of objects that lay beside the weights and were left alone."""


def read_checkpoint(file: Path) -> Checkpoint:
    """The weights of a `.safetensors`, `.pt` or `.ckpt` file.

    Raises:
        WeightsError: the file is no checkpoint, is damaged, or holds what would have to be run to be read.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(9)
    except OSError as error:
        raise WeightsError(f"{file} cannot be read: {error.strerror or error}") from error
    if head[8:9] == b"{":
        return _read_safetensors(file)
    content, ignored = _read_pickled(file, zipped=zipfile.is_zipfile(file))
    tensors, container = _weights_in(content, file)
    return Checkpoint({key: _tensor(value, key, file) for key, value in tensors.items()}, container, ignored)


def _read_safetensors(file: Path) -> Checkpoint:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return Checkpoint(load_file(file), None)
    except SafetensorError as error:
        raise WeightsError(f"{file} is damaged or no safetensors file: {error}") from error


def _read_pickled(file: Path, *, zipped: bool) -> tuple[object, tuple[str, ...]]:
    import torch

    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=zipped), ()
    except pickle.UnpicklingError as error:
        if not zipped:  # the format of torch before 1.6, with no index of where its tensors are
            raise WeightsError(f"{file} is not safe to read: {_reason(error)}", hint=UNSAFE_HINT) from error
    except Exception as error:  # a broken file may fail anywhere inside torch
        raise WeightsError(f"{file} is damaged or no checkpoint: {(str(error) or type(error).__name__).splitlines()[0]}") from error
    return read_inert(file)


def _reason(error: Exception) -> str:
    text = str(error)
    found = re.search(r"GLOBAL (\S+) was not an allowed", text) or re.search(r"unsupported GLOBAL (\S+)", text)
    return f"it wants to run {found[1]}" if found else "it is no file of plain weights"


def _weights_in(content: object, file: Path) -> tuple[dict[str, object], str | None]:
    """The mapping of names to tensors, and under which key of the file it lay."""
    container = None
    if isinstance(content, Mapping):
        container = next((key for key in CONTAINERS if isinstance(content.get(key), Mapping)), None)
        weights = content if container is None else content[container]
        if weights and all(isinstance(key, str) for key in weights):
            return dict(weights), container
    raise WeightsError(f"{file} holds no weights", hint="expected a state dict, a Lightning checkpoint or DeepSpeed's model states")


def _tensor(value: object, key: str, file: Path) -> Tensor:
    import torch

    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, TensorRecord):
        return value.made(key)
    raise WeightsError(f"{file}: {key!r} is no tensor", hint=UNSAFE_HINT)
