"""The way back from a bundle to a run folder, so that any stage can be trained further where only the weights are left.

Weights in a bundle have half precision and come without the optimizer's memory: a stage goes on from them with a fresh optimizer, from
step 0 of its own settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from echoreel_cli.measure.weights import load_judge
from echoreel_cli.models.load import read_weights
from echoreel_cli.models.open import open_model
from echoreel_cli.train import checkpoint
from echoreel_cli.train.autoencoder import read_code
from echoreel_cli.train.presets import MODEL_NAME, PRESETS
from echoreel_cli.train.record import StageRecord, write_record
from echoreel_cli.train.run_folder import RunFolder
from echoreel_index.errors import OutputExists, UsageError, WeightsError
from echoreel_index.strict_json import from_json

RECORD = "record.json"
BUNDLED = ("mini-words", "mini-base", "mini-action", "mini-sharpen", "mini-retriever", "mini-judge")
"""Stages whose weights a bundle holds."""


def import_mini(bundle: Path, run_folder: Path) -> tuple[str, ...]:
    """Write what a bundle holds into a run folder, as if its stages had run there; returns the stages' names.

    Clips and latents are not in a bundle; they are rendered and encoded again when a stage needs them.

    Raises:
        UsageError: the folder is no bundle.
        OutputExists: a stage has already run in that folder.
        WeightsError: the bundle is damaged or of another version.
    """
    stages = {name: found for name, found in _read_stages(bundle).items() if name in BUNDLED}
    run = RunFolder(run_folder)
    for name in stages:
        if any((run.stage(name) / file).exists() for file in ("last.pt", "average.pt")):
            raise OutputExists(f"{run.stage(name)} already holds a {name}", hint="use another folder, or delete it")
    if (run_folder / "code.pt").exists():
        raise OutputExists(f"{run_folder / 'code.pt'} already exists", hint="use another folder: clips here are encoded by another code")
    model = open_model(str(bundle / MODEL_NAME), dtype="float32")
    if model.adapter is None:
        raise WeightsError(f"{bundle / MODEL_NAME} has no action adapter")
    encoder = {key: value.float() for key, value in read_weights(bundle / "encoder" / "open_clip_model.safetensors").items()}
    parts: Mapping[str, Mapping[str, Tensor]] = {
        "mini-words": {f"model.{key}": value for key, value in encoder.items() if not key.startswith("visual.")},
        "mini-base": _tensors(model.backbone.denoiser),
        "mini-action": _tensors(model.adapter),
        "mini-sharpen": _tensors(model.backbone.vae),
        "mini-retriever": encoder,
        "mini-judge": _tensors(load_judge(bundle / "classifier")),
    }
    run.vocabulary.parent.mkdir(parents=True, exist_ok=True)
    run.vocabulary.write_bytes((bundle / "encoder" / "bpe.txt.gz").read_bytes())
    run.keep_code(read_code(model.backbone.vae))
    for name, (steps, record) in stages.items():
        folder = run.stage(name)
        checkpoint.save(folder / "average.pt", {"step": steps, "average": dict(parts[name]), "buffers": {}})
        write_record(record, folder)
    return tuple(stages)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in (*module.named_parameters(), *module.named_buffers())}


def _read_stages(bundle: Path) -> dict[str, tuple[int, StageRecord]]:
    """Steps and record of each stage that a bundle's record names."""
    file = bundle / RECORD
    try:
        record: Any = json.loads(file.read_text(encoding="utf-8"))
        names = [name for name in PRESETS if name in record["stages"]]
        records = {name: from_json(StageRecord, record["stages"][name], what=f"{name} in {file}") for name in names}
        return {name: (cast(int, record["steps"][name]), stage) for name, stage in records.items()}
    except OSError as error:
        raise UsageError(f"{bundle} is no bundle of echoreel train: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read: {error!r}") from error
