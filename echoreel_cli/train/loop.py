"""The training loop: one step readable on one screen, the same for every preset.

What is trained and on what is a `Task`; where it runs (one device, several, mixed precision) is accelerate's business. Batches are a
function of (seed, step), so that a resumed run sees exactly what an unbroken one would have seen.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn

from echoreel_cli.train import checkpoint
from echoreel_cli.train.optimizers import OptimizerName, build_optimizers
from echoreel_index.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """How to train; the defaults suit small networks. The paper's own settings are the preset `paper` (appendix A of 2403.11535)."""

    steps: int
    batch: int
    learning_rate: float = 4e-4
    warmup: int = 200
    optimizer: OptimizerName = "adamw"
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.998
    """Decay of the averaged weights."""
    mixed_precision: str = "bf16"
    seed: int = 0
    save_every: int = 500
    log_every: int = 20
    decay: bool = True
    """Cosine decay of the learning rate to a tenth."""
    max_minutes: float | None = None
    """Stop (with a checkpoint) after this long, whatever the step."""
    compile: bool = False


class Task(Protocol):
    """What is trained: a network and its loss on the batch of a step."""

    network: nn.Module

    def loss(self, network: nn.Module, batch: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """The loss (scalar) on a batch drawn with the generator, and figures worth logging."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of the log."""

    step: int
    steps: int
    loss: float
    samples_per_second: float
    seconds_left: float
    figures: Mapping[str, float]


def learning_rate(config: LoopConfig, step: int) -> float:
    """Linear warm-up, then a cosine down to a tenth."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    if not config.decay:
        return config.learning_rate * warm
    share = min(1.0, step / max(1, config.steps))
    return config.learning_rate * warm * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share)))


class Average:
    """Exponential moving average of the trained parameters; early steps count more so that a short run is not an average of noise."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: p.detach().clone() for name, p in network.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move towards the network's weights after step `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, p in network.named_parameters():
            if p.requires_grad:
                self.values[name].lerp_(p.detach(), 1 - decay)

    def copy_to(self, network: nn.Module) -> None:
        """Put the average into a network."""
        parameters = dict(network.named_parameters())
        with torch.no_grad():
            for name, value in self.values.items():
                parameters[name].copy_(value)


class _StopOnSignal:
    """SIGTERM and SIGINT ask for a checkpoint and a clean end instead of killing the run."""

    def __enter__(self) -> _StopOnSignal:
        self.asked = False
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def __exit__(self, *problem: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def fit(task: Task, config: LoopConfig, folder: Path, *, progress: Callable[[Progress], None] | None = None) -> int:
    """Train until `config.steps`, resuming from `folder/last.pt` if it is there; returns the step reached.

    Where there is only `folder/average.pt`, its weights are the start, at step 0 and with a fresh optimizer.
    The averaged weights are left in `folder/average.pt` and in the task's network.

    Raises:
        UsageError: the folder holds a run with other settings.
        Interrupted: SIGTERM or SIGINT came; everything is saved, and the same call goes on from there.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # accelerate holds on to the precision of a process's first run
    accelerator = Accelerator(mixed_precision=config.mixed_precision, cpu=not torch.cuda.is_available())
    device = accelerator.device
    network = task.network.to(device)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizers = build_optimizers(
        network, config.optimizer, learning_rate=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
    )
    average = Average(network, config.ema)
    first = _resume(folder, config, network, optimizers, average)
    if config.compile:
        network.compile()
    prepared, *prepared_optimizers = accelerator.prepare(network, *optimizers)
    generator = torch.Generator()
    started, since, step = time.monotonic(), time.monotonic(), first
    world, rank = accelerator.num_processes, accelerator.process_index
    if config.batch % world:
        raise UsageError(f"a batch of {config.batch} cannot be shared by {world} processes", hint="choose a batch that is a multiple")
    with _StopOnSignal() as stop:
        while step < config.steps and not stop.asked and not _late(config, started):
            generator.manual_seed((config.seed * 1_000_003 + step) * world + rank)
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = learning_rate(config, step)
            with accelerator.autocast():
                loss, figures = task.loss(prepared, config.batch // world, generator)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(trained, config.clip)
            for optimizer in prepared_optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            average.update(network, step)
            step += 1
            if step % config.log_every == 0:
                now = time.monotonic()
                rate = config.log_every / (now - since)
                since = now
                line = Progress(step, config.steps, float(loss.detach()), rate * config.batch, (config.steps - step) / rate, figures)
                _log(folder, line, accelerator, progress)
            if step % config.save_every == 0:
                _save(folder, config, step, network, optimizers, average, accelerator)
    _save(folder, config, step, network, optimizers, average, accelerator)
    average.copy_to(network)
    accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)
    if stop.asked and step < config.steps:
        raise Interrupted(f"stopped after step {step} of {config.steps}", hint="everything is saved; the same command goes on from there")
    return step


def _late(config: LoopConfig, started: float) -> bool:
    return config.max_minutes is not None and time.monotonic() - started > 60 * config.max_minutes


def _log(folder: Path, line: Progress, accelerator: Accelerator, progress: Callable[[Progress], None] | None) -> None:
    if not accelerator.is_main_process:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("a") as log:
        log.write(json.dumps(asdict(line)) + "\n")
    if progress is not None:
        progress(line)


def _save(
    folder: Path,
    config: LoopConfig,
    step: int,
    network: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    average: Average,
    accelerator: Accelerator,
) -> None:
    if not accelerator.is_main_process:
        return
    trained = {name: p.detach() for name, p in network.named_parameters() if p.requires_grad}
    state: checkpoint.State = {
        "step": step,
        "network": trained,
        "buffers": dict(network.named_buffers()),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "average": average.values,
        "seed": config.seed,
        "batch": config.batch,
    }
    checkpoint.save(folder / "last.pt", state)
    checkpoint.save(folder / "average.pt", {"step": step, "average": average.values, "buffers": dict(network.named_buffers())})


def _resume(folder: Path, config: LoopConfig, network: nn.Module, optimizers: Sequence[torch.optim.Optimizer], average: Average) -> int:
    state = checkpoint.load(folder / "last.pt")
    if state is None:
        if (folder / "average.pt").exists():
            load_average(folder, network)
            average.values = {name: p.detach().clone() for name, p in network.named_parameters() if p.requires_grad}
        return 0
    for name in ("seed", "batch"):
        if state[name] != getattr(config, name):
            message = f"{folder} holds a run with {name} {state[name]}, not {getattr(config, name)}"
            raise UsageError(message, hint="use its settings or another folder")
    _put(cast(dict[str, Tensor], state["network"]), cast(dict[str, Tensor], state["buffers"]), network, folder)
    parameters = dict(network.named_parameters())
    stored = cast(list[dict[str, object]], state.get("optimizers", []))
    if len(stored) != len(optimizers):
        raise UsageError(f"{folder} holds a run with another optimizer than {config.optimizer}", hint="use its settings or another folder")
    for optimizer, held in zip(optimizers, stored, strict=True):
        optimizer.load_state_dict(held)
    average.values = {name: value.to(parameters[name].device) for name, value in cast(dict[str, Tensor], state["average"]).items()}
    return cast(int, state["step"])


def load_average(folder: Path, network: nn.Module) -> int:
    """Put a run's averaged weights into a network; returns the step they come from.

    UsageError: there is no run, or its network has another shape.
    """
    state = checkpoint.load(folder / "average.pt")
    if state is None:
        raise UsageError(f"there is no trained network in {folder}", hint="train it first")
    _put(cast(dict[str, Tensor], state["average"]), cast(dict[str, Tensor], state["buffers"]), network, folder)
    return cast(int, state["step"])


def _put(weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor], network: nn.Module, folder: Path) -> None:
    """Copy stored tensors into a network's own."""
    own = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    stored = {**weights, **buffers}
    for name, value in stored.items():
        if name not in own or own[name].shape != value.shape:
            here = tuple(own[name].shape) if name in own else "nothing"
            message = f"{folder} holds a network of another shape: {name} is {tuple(value.shape)} there and {here} here"
            raise UsageError(message, hint="use the settings it was trained with, or another folder")
    with torch.no_grad():
        for name, value in stored.items():
            own[name].copy_(value)
