"""Checkpoints that resume bit for bit: everything that the next step depends on, written so that a crash never leaves half a file."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from echoreel_index.errors import WeightsError

State = dict[str, object]


def save(path: Path, state: State) -> None:
    """Write a checkpoint beside its final place, then rename it over the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def load(path: Path) -> State | None:
    """The checkpoint at a path, None if there is none; WeightsError if it cannot be read. Objects are never unpickled."""
    if not path.exists():
        return None
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:
        raise WeightsError(f"the checkpoint {path} cannot be read: {problem}", hint="delete it to start again") from problem
    return state
