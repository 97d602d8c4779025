"""From a run folder to what is bundled: the model folder, the encoder, the classifier, and the record of how they came to be.

echoreel-mini/    model folder       encoder/      open_clip's own form      classifier/    the judge
RECORD.md         for a person       record.json   for a program
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch
from torch import nn

from echoreel_cli import __version__
from echoreel_cli.measure.weights import save_judge
from echoreel_cli.models.folder import Card, ModelInfo, Tokenizer
from echoreel_cli.models.save import save_model_folder, staged
from echoreel_cli.train import checkpoint
from echoreel_cli.train.judge import accuracy
from echoreel_cli.train.presets import DEFAULTS, MODEL_NAME, PRESETS, REFERENCE, SCORE_FLOOR, Scale, preset
from echoreel_cli.train.record import StageRecord, read_record
from echoreel_cli.train.record_page import record_page
from echoreel_cli.train.retriever import export
from echoreel_cli.train.run_folder import Making, RunFolder
from echoreel_cli.train.sizes import TEXT_LENGTH
from echoreel_cli.train.video import SCHEDULE
from echoreel_index.errors import OutputExists, UsageError
from echoreel_index.strict_json import to_json

SCHEMA = "echoreel.mini-record/1"
OPTIONAL = ("mini-sharpen", "mini-exact")
"""Stages without which the bundle works: less well without the first, as well without the second. The record says which have run."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    folder: Path
    parameters: Mapping[str, int]
    steps: Mapping[str, int]


def export_mini(
    run_folder: Path,
    target: Path,
    *,
    date: str,
    machine: str,
    scale: Scale = "full",
    evaluation: Mapping[str, object] | None = None,
    force: bool = False,
    making: Making | None = None,
) -> Exported:
    """Write the bundle of a run folder into `target`, weights in half precision.

    `date` and `machine` are those of the export; each stage's own come from its folder. `evaluation` is the object that
    `echoreel eval mini --json` prints; its table goes into the record.

    Raises:
        UsageError: a stage has not run.
        OutputExists: a bundle is there and `force` is not given.
    """
    run = RunFolder(run_folder, making=making, scale=scale)
    for name in PRESETS:
        if name not in OPTIONAL:
            run.require(name)
    for name in (MODEL_NAME, "encoder", "classifier"):
        if (target / name).exists() and not force:
            raise OutputExists(f"{target / name} already exists", hint="use --force to replace it")
    base = run.base()
    adapter, autoencoder = run.adapter(base), run.autoencoder(sharpened=_has_run(run, "mini-sharpen"))
    text_encoder, judge = run.text_encoder(), run.judge()
    retriever, _ = run.retriever(trained=True)
    parts: dict[str, nn.Module] = {"denoiser": base, "adapter": adapter, "autoencoder": autoencoder, "text encoder": text_encoder}
    counted = {name: count(part) for name, part in (parts | {"encoder": retriever, "classifier": judge}).items()}
    stages = {name: _stage_of(run, name, scale) for name in PRESETS if _has_run(run, name)}
    steps = {name: _step(run, name) for name in stages}
    dates = {name: _checkpoint_date(run, name) for name in stages}
    judged = accuracy(judge, run.test(preset("mini-judge", scale).test))
    save_model_folder(
        target / MODEL_NAME,
        info=ModelInfo(MODEL_NAME, "lvdm", DEFAULTS, REFERENCE, "mini", SCORE_FLOOR),
        card=_card(steps, date),
        unet=base,
        adapter=adapter,
        vae=autoencoder,
        text_encoder=text_encoder,
        dtype=torch.float16,
        tokenizer=Tokenizer(length=TEXT_LENGTH, pad="zero"),
        vocabulary=run.vocabulary,
        scheduler={"_class_name": "DDIMScheduler", **SCHEDULE},
        force=force,
    )
    with staged(target / "encoder", force=force) as folder:
        export(retriever, run.vocabulary, folder)
    with staged(target / "classifier", force=force) as folder:
        save_judge(judge, folder)
    record: dict[str, object] = {
        "schema": SCHEMA,
        "date": date,
        "machine": machine,
        "version": __version__,
        "parameters": counted,
        "steps": steps,
        "checkpoints": dates,
        "stages": to_json(stages),
        "missing": [name for name in PRESETS if name not in stages],
        "classifier": judged,
        "evaluation": evaluation,
    }
    (target / "record.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    page = record_page(stages, steps, dates, counted, judged, evaluation, date, machine)
    (target / "RECORD.md").write_text(page, encoding="utf-8")
    for file in target.rglob("*.safetensors"):
        file.chmod(0o644)  # as written, only their owner could read what an administrator installs
    return Exported(target, counted, steps)


def read_evaluation(file: Path) -> Mapping[str, object]:
    """The object that `echoreel eval mini --json` printed. UsageError: the file holds something else."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    if not isinstance(found, dict) or found.get("schema") != "echoreel.eval-mini/1":
        raise UsageError(f"{file} is no result of echoreel eval mini --json")
    return found


def count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def _has_run(run: RunFolder, name: str) -> bool:
    return (run.stage(name) / "average.pt").exists()


def _step(run: RunFolder, name: str) -> int:
    """The step of a stage's averaged weights."""
    step = (checkpoint.load(run.stage(name) / "average.pt") or {})["step"]
    assert isinstance(step, int)
    return step


def _stage_of(run: RunFolder, name: str, scale: Scale) -> StageRecord:
    """A stage's own record; for one that was trained by `fit` alone, the preset with the checkpoint's own steps, seed and batch."""
    found = read_record(run.stage(name))
    if found is not None:
        return found
    state = checkpoint.load(run.stage(name) / "last.pt") or {}
    loop = {key: value for key in ("seed", "batch") if isinstance(value := state.get(key), int)}
    return StageRecord(preset(name, scale).with_loop(steps=_step(run, name), seed=loop.get("seed"), batch=loop.get("batch")))


def _checkpoint_date(run: RunFolder, name: str) -> str:
    return datetime.fromtimestamp((run.stage(name) / "average.pt").stat().st_mtime).date().isoformat()


def _card(steps: Mapping[str, int], date: str) -> Card:
    return Card(
        source="trained by `echoreel train` on videos that echoreel drew itself",
        licence="Apache-2.0",
        paper="arXiv:2403.11535",
        note="A small model of a small world: see docs/MINI.md for what it can do and what it cannot.",
        dtype="float16",
        extra={"steps": dict(steps), "date": date},
    )
