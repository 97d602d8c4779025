"""Training the judge: cross entropy of the action and of the colours of clothes on rendered clips of all actions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from echoreel_cli.measure.judge import Judge, Verdict, spoilt, video_tensor
from echoreel_cli.mini.actions import ACTIONS
from echoreel_cli.mini.people import COLOURS
from echoreel_cli.train.worldset import WorldSet

_ACTIONS = {action.name: i for i, action in enumerate(ACTIONS)}
_COLOURS = {name: i for i, name in enumerate(COLOURS)}


class JudgeTask:
    """Named clips only; half of each batch is as rendered, half is spoilt by noise and blur."""

    def __init__(self, data: WorldSet, judge: Judge) -> None:
        self.network: nn.Module = judge
        self._frames = data.frames
        self._labels = data.labels
        self._rows = data.where(lambda label: label.action is not None)

    def loss(self, network: nn.Module, batch: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """The loss on `batch` clips."""
        rows = self._rows[torch.randint(len(self._rows), (batch,), generator=generator).numpy()]
        video = video_tensor(torch.from_numpy(np.stack([self._frames[row] for row in rows])))
        video = torch.cat([video[: batch // 2], spoilt(video[batch // 2 :], generator)])
        device = next(network.parameters()).device
        verdict: Verdict = network(video.to(device))
        labels = [self._labels[row] for row in rows]
        action = torch.tensor([_ACTIONS[str(label.action)] for label in labels], device=device)
        top = torch.tensor([_COLOURS[label.top] for label in labels], device=device)
        bottom = torch.tensor([_COLOURS[label.bottom] for label in labels], device=device)
        entropy = nn.functional.cross_entropy
        loss = entropy(verdict.action.float(), action, label_smoothing=0.05) + 0.3 * entropy(verdict.top.float(), top)
        loss = loss + 0.3 * entropy(verdict.bottom.float(), bottom)
        right = (verdict.action.argmax(-1) == action).float().mean()
        return loss, {"accuracy": float(right), "top": float((verdict.top.argmax(-1) == top).float().mean())}


@torch.no_grad()
def accuracy(judge: Judge, data: WorldSet, *, batch: int = 64) -> dict[str, float]:
    """Share of right answers on the named clips of a set: over all actions, over held-out ones, and for the colours."""
    judge.eval()
    rows = data.where(lambda label: label.action is not None)
    right, held, top, bottom = [], [], [], []
    for first in range(0, len(rows), batch):
        part = rows[first : first + batch]
        verdict: Verdict = judge(video_tensor(torch.from_numpy(np.stack([data.frames[row] for row in part]))))
        for i, row in enumerate(part):
            label = data.labels[row]
            hit = int(verdict.action[i].argmax()) == _ACTIONS[str(label.action)]
            right.append(hit)
            if ACTIONS[_ACTIONS[str(label.action)]].held_out:
                held.append(hit)
            top.append(int(verdict.top[i].argmax()) == _COLOURS[label.top])
            bottom.append(int(verdict.bottom[i].argmax()) == _COLOURS[label.bottom])
    shares = {"all": right, "held_out": held, "top": top, "bottom": bottom}
    return {**{name: float(np.mean(hits)) for name, hits in shares.items()}, "n": float(len(right))}
