"""What is remembered of a stage beside its weights: its whole configuration and every sitting that trained it.

`stage.json` lies in the stage's folder. Later stages read the shapes of networks from it, not from the presets of the version that runs.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from echoreel_cli.train.presets import Stage
from echoreel_index.errors import UsageError, WeightsError
from echoreel_index.strict_json import from_json, to_json

FILE, SCHEMA = "stage.json", "echoreel.stage/1"


@dataclass(frozen=True, slots=True)
class Sitting:
    """One run of the command, from start to stop."""

    command: str
    began: str
    """Date and time with zone, as ISO 8601 has them."""
    ended: str
    seconds: float
    first: int
    """Steps done before."""
    last: int
    """Steps done after."""
    machine: str


@dataclass(frozen=True, slots=True)
class StageRecord:
    """`stage.json`."""

    stage: Stage
    sittings: tuple[Sitting, ...] = ()
    schema: str = SCHEMA


def read_record(folder: Path) -> StageRecord | None:
    """What a stage's folder says about its training; None where nothing was written. WeightsError: it cannot be read."""
    file = folder / FILE
    if not file.exists():
        return None
    try:
        return from_json(StageRecord, json.loads(file.read_text(encoding="utf-8")), what=str(file))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read: {error}") from error
    except UsageError as error:
        raise WeightsError(error.message, hint="it was written by another version; train the stage again in another folder") from error


def begin(stage: Stage, folder: Path) -> StageRecord:
    """The record that a new sitting continues; UsageError when the folder's network has another shape than the stage's."""
    before = read_record(folder)
    if before is None:
        return StageRecord(stage)
    if before.stage.network != stage.network or before.stage.name != stage.name:
        message = f"{folder} holds a {before.stage.name} of another shape"
        raise UsageError(message, hint=f"use another folder, or --scale {before.stage.scale}")
    return replace(before, stage=stage)


def write_record(record: StageRecord, folder: Path) -> None:
    """Write `stage.json` whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "stage.partial"
    partial.write_text(json.dumps(to_json(record), indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / FILE)


def describe_machine() -> str:
    """The hardware and versions that numbers depend on, in one line."""
    import torch

    gpu: Any = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    cores = f"{os.cpu_count()} cores {platform.machine()}, {torch.get_num_threads()} threads"
    return f"{gpu}, {cores}, torch {torch.__version__}" if gpu else f"{cores}, torch {torch.__version__}"
