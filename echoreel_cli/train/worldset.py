"""The rendered training set of the small world: frames on disk, labels beside them.

`frames.npy` is a memory-mapped (n t h w 3) uint8 array; `labels.json` says of each clip what it shows. Clips of one motion share a `motion`
number: another person in another place doing the same, which is what the adapter trains on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoreel_cli.mini.actions import ACTIONS
from echoreel_cli.mini.wildmotion import wild_motion
from echoreel_cli.mini.world import FRAMES, SIZE, WILD_PHRASES, Take, film, take, take_action

_BATCH = 32


@dataclass(frozen=True, slots=True)
class Label:
    """What one clip shows."""

    motion: int
    """Clips with the same number show the same motion; named actions come first, in the order of `ACTIONS`."""
    action: str | None
    caption: str
    top: str
    bottom: str
    scene: str
    leftward: bool
    """Which of the two mirror images it is; see `Take.leftward`."""


@dataclass(frozen=True, slots=True)
class WorldSet:
    """Frames and labels of a rendered set."""

    frames: NDArray[np.uint8]
    """(n t h w 3), memory-mapped."""
    labels: tuple[Label, ...]

    def where(self, keep: Callable[[Label], bool]) -> NDArray[np.int64]:
        """Row numbers of the clips whose label passes."""
        return np.asarray([i for i, label in enumerate(self.labels) if keep(label)], np.int64)


def is_held_out(label: Label) -> bool:
    """Whether the clip shows an action that the video model must never see."""
    return label.action is not None and next(a for a in ACTIONS if a.name == label.action).held_out


def takes(seed: int, *, per_action: int, wild: int, takes_per_wild: int = 3) -> Iterator[tuple[int, Take]]:
    """All performances of a set, with the number of their motion, in a fixed order."""
    rng = np.random.default_rng(seed)
    for number, action in enumerate(ACTIONS):
        for _ in range(per_action):
            yield number, take_action(action, rng)
    for number in range(wild):
        motion = wild_motion(rng)
        for _ in range(takes_per_wild):
            yield len(ACTIONS) + number, take(motion, WILD_PHRASES, None, rng)


def label(everything: Sequence[tuple[int, Take]]) -> list[Label]:
    """The labels of numbered performances."""
    return [
        Label(number, one.action, one.caption, one.look.top, one.look.bottom, one.look.scene.name, one.leftward)
        for number, one in everything
    ]


def build(
    folder: Path,
    *,
    seed: int,
    per_action: int,
    wild: int,
    takes_per_wild: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> WorldSet:
    """Render a set into a folder; a finished one is opened as it is. The labels are written last, so a broken-off run starts again."""
    if (folder / "labels.json").exists():
        return load(folder)
    folder.mkdir(parents=True, exist_ok=True)
    everything = list(takes(seed, per_action=per_action, wild=wild, takes_per_wild=takes_per_wild))
    frames = np.lib.format.open_memmap(folder / "frames.npy", mode="w+", dtype=np.uint8, shape=(len(everything), FRAMES, SIZE, SIZE, 3))
    for first in range(0, len(everything), _BATCH):
        part = [one for _, one in everything[first : first + _BATCH]]
        frames[first : first + len(part)] = film(part).numpy()
        if progress is not None:
            progress(first + len(part), len(everything))
    frames.flush()
    labels = label(everything)
    partial = folder / "labels.partial"
    partial.write_text(json.dumps([asdict(label) for label in labels]), encoding="utf-8")
    partial.replace(folder / "labels.json")
    return load(folder)


def load(folder: Path) -> WorldSet:
    """Open a finished set."""
    labels = tuple(Label(**row) for row in json.loads((folder / "labels.json").read_text(encoding="utf-8")))
    return WorldSet(np.load(folder / "frames.npy", mmap_mode="r"), labels)
