"""Running a stage: its task from what earlier stages left, the one loop, and the record of the sitting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import torch

from echoreel_cli.backbones.lvdm.config import VideoUNetConfig
from echoreel_cli.train import checkpoint
from echoreel_cli.train.loop import Progress, Task, fit
from echoreel_cli.train.presets import ActionConfig, Stage
from echoreel_cli.train.record import Sitting, begin, describe_machine, write_record
from echoreel_cli.train.run_folder import Making, RunFolder
from echoreel_cli.train.worldset import WorldSet


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a sitting ended."""

    folder: Path
    step: int
    seconds: float


def run_stage(
    stage: Stage, out: Path, *, command: str, making: Making | None = None, progress: Callable[[Progress], None] | None = None
) -> Outcome:
    """Train a stage in a run folder until its last step, going on where an earlier sitting stopped.

    `making` hears of clips that are rendered and encoded first, `progress` of the training. `command` goes into the record.

    Raises:
        UsageError: an earlier stage has not run, or the folder holds a run with other settings.
        Interrupted: SIGTERM or SIGINT came; everything is saved.
    """
    run = RunFolder(out, making=making, scale=stage.scale)
    for earlier in stage.needs:
        run.require(earlier)
    folder = out / stage.folder
    record = begin(stage, folder)
    task = build_task(stage, run)
    first, began, since = step_of(folder), _now(), time.monotonic()
    try:
        with _arithmetic():
            fit(task, stage.loop, folder, progress=progress)
    finally:
        last, seconds = step_of(folder), time.monotonic() - since
        sitting = Sitting(command, began, _now(), round(seconds, 1), first, last, describe_machine())
        if (folder / "last.pt").exists():
            write_record(replace(record, sittings=(*record.sittings, sitting)), folder)
    return Outcome(folder, last, seconds)


def build_task(stage: Stage, run: RunFolder) -> Task:
    """What the stage trains, on its data; fresh weights depend on the loop's seed alone."""
    world = run.world(stage.world)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stage.loop.seed)
        return _BUILDERS[stage.name](stage, run, world)


def step_of(folder: Path) -> int:
    """The step that a stage's checkpoint has reached; 0 without one."""
    state = checkpoint.load(folder / "last.pt") if (folder / "last.pt").exists() else None
    step = state["step"] if state is not None else 0
    assert isinstance(step, int)
    return step


def _words(stage: Stage, run: RunFolder, world: WorldSet) -> Task:
    from echoreel_cli.train.retriever import WordsTask

    model, tokenizer = run.new_retriever()
    model.visual.requires_grad_(False)
    model.logit_scale.requires_grad_(False)
    return WordsTask(world, model, tokenizer)


def _base(stage: Stage, run: RunFolder, world: WorldSet) -> Task:
    from echoreel_cli.backbones.lvdm.unet import VideoUNet
    from echoreel_cli.train.video import BaseTask

    assert isinstance(stage.network, VideoUNetConfig)
    return BaseTask(run.latents(world), VideoUNet(stage.network), run.words())


def _action(stage: Stage, run: RunFolder, world: WorldSet) -> Task:
    from echoreel_cli.train.autoencoder import mirror
    from echoreel_cli.train.video import ActionTask

    config = stage.network
    assert isinstance(config, ActionConfig)
    base = run.base().to("cuda" if torch.cuda.is_available() else "cpu")
    turned = mirror(run.code(world)) if config.mirror else None
    retakes = run.retakes(world, stage.world, config.retakes) if config.retakes else None
    adapter = run.new_adapter(config, base)
    return ActionTask(run.latents(world), base, adapter, run.words(), mirror=turned, retakes=retakes, most=config.most)


def _sharpen(stage: Stage, run: RunFolder, world: WorldSet) -> Task:
    from echoreel_cli.train.autoencoder import SharpenTask

    return SharpenTask(world, run.autoencoder(world))


def _retriever(stage: Stage, run: RunFolder, world: WorldSet) -> Task:
    from echoreel_cli.train.retriever import RetrieverTask, lock_words

    model, tokenizer = run.retriever(trained=False)
    lock_words(model)
    return RetrieverTask(world, model, tokenizer)


def _judge(stage: Stage, run: RunFolder, world: WorldSet) -> Task:
    from echoreel_cli.measure.judge import Judge
    from echoreel_cli.train.judge import JudgeTask

    return JudgeTask(world, Judge())


_BUILDERS: Mapping[str, Callable[[Stage, RunFolder, WorldSet], Task]] = {
    "mini-words": _words,
    "mini-base": _base,
    "mini-action": _action,
    "mini-exact": _action,
    "mini-sharpen": _sharpen,
    "mini-retriever": _retriever,
    "mini-judge": _judge,
}


@contextmanager
def _arithmetic() -> Iterator[None]:
    """On a CPU the plain form of attention is the quicker one to train through; on a GPU torch chooses."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    if torch.cuda.is_available():
        yield
        return
    with sdpa_kernel(SDPBackend.MATH):
        yield


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
