"""Pairs for training an adapter: a clip, other clips of the same motion as its references, and a caption that often does not help."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from echoreel_cli.mini.actions import SEEN
from echoreel_cli.mini.world import WILD_PHRASES
from echoreel_cli.train.latents import LatentSet, Retakes
from echoreel_cli.train.worldset import Label

RETAKEN = 0.7
"""Share of the pairs whose target is a retake of their first reference, where there are retakes."""
FACING = (0.9, 0.5)
"""How often the first reference, and each other one, is turned to face as the target does if it does not already."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One sample."""

    target: Tensor
    """(c t h w)."""
    references: Tensor
    """(r c t h w)."""
    caption: str


class Pairs:
    """Draws pairs from a set of clips.

    Mostly the target is a retake of its first reference: copying the timing is then right, which is learned at once, and it is what a user
    wants of a reference. The others differ in timing, pace and place too, and half of them are of unnamed motions.
    """

    def __init__(self, data: LatentSet, *, mirror: Tensor | None = None, retakes: Retakes | None = None) -> None:
        """With `mirror` (see `autoencoder.mirror`) references are mostly turned to face as their target does."""
        self._data, self._mirror, self._retakes = data, mirror, retakes
        self._clips: dict[int, list[int]] = defaultdict(list)
        for row, label in enumerate(data.labels):
            self._clips[label.motion].append(row)
        paired = [motion for motion, rows in self._clips.items() if len(rows) > 1]
        self._named = [motion for motion in paired if data.labels[self._clips[motion][0]].action is not None]
        self._wild = [motion for motion in paired if data.labels[self._clips[motion][0]].action is None]

    def draw(self, count: int, rng: np.random.Generator) -> Pair:
        """A target with `count` references."""
        if self._retakes is not None and rng.random() < RETAKEN:
            return self._retaken(self._retakes, count, rng)
        target, *shown = self.pick(self.motion(rng), count, rng)
        label = self._data.labels[target]
        return Pair(self._data.latents[target].float(), self.references(label, shown, rng), caption(label, rng))

    def _retaken(self, retakes: Retakes, count: int, rng: np.random.Generator) -> Pair:
        """A retake with its original as the first reference; the others are other clips of the motion."""
        number = int(rng.integers(len(retakes.rows)))
        original = int(retakes.rows[number])
        label = replace(self._data.labels[original], caption=retakes.captions[number])
        others = self.pick(label.motion, count, rng)[2:] if count > 1 else []
        return Pair(retakes.latents[number].float(), self.references(label, [original, *others], rng), caption(label, rng))

    def motion(self, rng: np.random.Generator) -> int:
        """A motion of which there are several clips, with a name or without."""
        pool = self._named if rng.random() < 0.5 or not self._wild else self._wild
        return pool[int(rng.integers(len(pool)))]

    def pick(self, motion: int, count: int, rng: np.random.Generator) -> list[int]:
        """A target row and `count` other rows of the motion (repeated where there are too few)."""
        rows = self._clips[motion]
        order = rng.permutation(len(rows))[: count + 1]
        target, *others = [rows[i] for i in order]
        others = others or [target]
        return [target, *(others[i % len(others)] for i in range(count))]

    def references(self, target: Label, rows: list[int], rng: np.random.Generator) -> Tensor:
        """Latents (r c t h w) of the given rows, mostly facing as the target does.

        Which mirror image of a motion comes out is not the model's to guess; where it cannot be told from the reference, nothing is
        learned.
        """
        found = self._data.latents[rows].float()
        if self._mirror is None:
            return found
        for place, row in enumerate(rows):
            if self._data.labels[row].leftward != target.leftward and rng.random() < FACING[min(place, 1)]:
                found[place] = torch.einsum("cthw,cd->dthw", found[place].flip(-1), self._mirror)
        return found


def caption(label: Label, rng: np.random.Generator) -> str:
    """A clip's caption: as it is, silent, without the action, or with a wrong one, so that the references have to carry it."""
    draw = rng.random()
    if draw < 0.1:
        return ""
    if label.action is None or draw > 0.65:
        return label.caption
    action = next(a for a in SEEN if a.name == label.action)
    said = next((phrase for phrase in sorted(action.phrases, key=len, reverse=True) if phrase in label.caption), None)
    if said is None:
        return label.caption
    if draw < 0.4:
        return label.caption.replace(said, WILD_PHRASES[int(rng.integers(len(WILD_PHRASES)))])
    other = SEEN[int(rng.integers(len(SEEN)))]
    return label.caption.replace(said, other.phrases[int(rng.integers(len(other.phrases)))])
