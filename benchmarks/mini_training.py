"""Which optimizer, which prediction and which batch teach the mini model's video network most in a given time.

    python -m benchmarks.mini_training RUNS --seconds 200            RUNS is the --out of `echoreel train mini-base`

Fresh networks, the learning rate falling to a tenth. The error is that of v on 192 clips that were not trained on, by averaged weights.
Each arm runs alone, on as many threads as OMP_NUM_THREADS says.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from echoreel_cli.backbones.lvdm.config import VideoUNetConfig
from echoreel_cli.backbones.lvdm.unet import VideoUNet
from echoreel_cli.generate.guidance import Predictor
from echoreel_cli.train.latents import LatentSet
from echoreel_cli.train.loop import Average
from echoreel_cli.train.optimizers import OptimizerName, build_optimizers
from echoreel_cli.train.presets import mini_base
from echoreel_cli.train.run_folder import RunFolder
from echoreel_cli.train.video import Objective, Words

KEPT, TIMES, WARMUP = 192, (300, 600, 800, 950), 100


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train."""

    optimizer: OptimizerName
    learning_rate: float
    predicts: Literal["v", "clip"]
    batch: int


ARMS = (
    Arm("adamw", 1.2e-3, "v", 32),
    Arm("adamw", 1.2e-3, "clip", 32),
    Arm("muon", 3e-3, "v", 32),
    Arm("muon", 3e-3, "clip", 32),
    Arm("muon", 8e-3, "clip", 32),
    Arm("muon", 8e-3, "clip", 16),
)


class Trial:
    """One arm: a fresh network, its data and its average."""

    def __init__(self, arm: Arm, config: VideoUNetConfig, data: LatentSet, words: Words) -> None:
        torch.manual_seed(0)
        self.arm, self._data, self._words, self._objective = arm, data, words, Objective()
        self._network = VideoUNet(config)
        self._average = Average(self._network, 0.99)
        order = torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(7))
        self._kept, self._seen = order[:KEPT], order[KEPT:]
        self._optimizers = build_optimizers(
            self._network, arm.optimizer, learning_rate=arm.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.steps = 0

    def step(self, share: float) -> None:
        """One step; `share` of the time is over."""
        generator = torch.Generator().manual_seed(self.steps)
        rows = self._seen[torch.randint(len(self._seen), (self.arm.batch,), generator=generator)]
        silent = torch.rand(self.arm.batch, generator=generator) < 0.1
        captions = ["" if quiet else self._data.labels[row].caption for row, quiet in zip(rows.tolist(), silent.tolist(), strict=True)]
        times = self._objective.times(self.arm.batch, generator)
        error = self._error(self._network, self._data.latents[rows].float(), captions, times, generator).mean()
        error.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        rate = self.arm.learning_rate * min(1.0, (self.steps + 1) / WARMUP) * (1 - 0.9 * share)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._average.update(self._network, self.steps)
        self.steps += 1

    @torch.no_grad()
    def measure(self) -> dict[int, float]:
        """The error at each timestep on the clips that were kept back."""
        averaged = copy.deepcopy(self._network)
        self._average.copy_to(averaged)
        generator, found = torch.Generator().manual_seed(5), {}
        for t in TIMES:
            parts = []
            for rows in torch.split(self._kept, 64):
                captions = [self._data.labels[row].caption for row in rows.tolist()]
                times = torch.full((len(rows),), t)
                parts.append(self._error(averaged, self._data.latents[rows].float(), captions, times, generator))
            found[t] = float(torch.cat(parts).mean())
        return found

    def _error(self, network: VideoUNet, clean: Tensor, captions: list[str], times: Tensor, generator: torch.Generator) -> Tensor:
        text = self._words(captions)
        with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16):
            context = network.project_text(text)
            return self._objective.error(self._as_clip(lambda x, t: network(x, t, context)), clean, times, generator)

    def _as_clip(self, predict: Predictor) -> Predictor:
        """What the network says, as the clip that follows from it."""
        if self.arm.predicts == "clip":
            return predict
        alphas = self._objective.schedule.alphas_cumprod

        def clip(x: Tensor, times: Tensor) -> Tensor:
            alpha = alphas[times].view(-1, 1, 1, 1, 1)
            out: Tensor = alpha.sqrt() * x - (1 - alpha).sqrt() * predict(x, times).float()
            return out

        return clip


def run(trial: Trial, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
    """Train for so long."""
    began = clock()
    while (spent := clock() - began) < seconds:
        trial.step(spent / seconds)


def main() -> None:
    """Print one row for each arm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--seconds", type=float, default=200)
    given = parser.parse_args()
    stage, folder = mini_base(), RunFolder(given.runs)
    assert isinstance(stage.network, VideoUNetConfig)
    data, words = folder.latents(folder.world(stage.world)), folder.words()
    print(f"{'optimizer':10} {'rate':>8} {'predicts':>8} {'batch':>5} {'clips':>7}  " + " ".join(f"t={t:<5}" for t in TIMES) + "  mean")
    for arm in ARMS:
        trial = Trial(arm, stage.network, data, words)
        run(trial, given.seconds)
        errors = trial.measure()
        row = f"{arm.optimizer:10} {arm.learning_rate:8.1e} {arm.predicts:>8} {arm.batch:5} {trial.steps * arm.batch:7}  "
        print(row + " ".join(f"{value:.4f} " for value in errors.values()) + f" {sum(errors.values()) / len(errors):.4f}", flush=True)


if __name__ == "__main__":
    main()
