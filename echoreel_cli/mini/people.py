"""Who acts and where: looks of people, scenes, and the words for them.

Colours are RGB in [0, 1]. Each clip's look is drawn independently of its action.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from echoreel_cli.mini.skeleton import Floats

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.80, 0.12, 0.12),
    "green": (0.13, 0.60, 0.20),
    "blue": (0.14, 0.28, 0.82),
    "yellow": (0.95, 0.82, 0.15),
    "white": (0.95, 0.95, 0.95),
    "black": (0.08, 0.08, 0.10),
    "purple": (0.52, 0.18, 0.65),
    "orange": (0.95, 0.48, 0.08),
}
"""Colours of clothes by name; the order is the order of the judge's colour classes."""

SKINS = ((0.96, 0.80, 0.69), (0.87, 0.67, 0.52), (0.72, 0.50, 0.35), (0.52, 0.34, 0.23), (0.34, 0.22, 0.15))
HAIRS = ((0.10, 0.08, 0.07), (0.30, 0.18, 0.10), (0.55, 0.36, 0.18), (0.82, 0.68, 0.38), (0.60, 0.60, 0.62))


@dataclass(frozen=True, slots=True)
class Scene:
    """A place: how it is said and its colours."""

    name: str
    phrase: str
    sky: tuple[float, float, float]
    low_sky: tuple[float, float, float]
    ground: tuple[float, float, float]
    decor: tuple[float, float, float]


SCENES = (
    Scene("park", "in a park", (0.55, 0.75, 0.95), (0.80, 0.90, 0.98), (0.40, 0.62, 0.30), (0.22, 0.45, 0.22)),
    Scene("beach", "on a beach", (0.45, 0.75, 0.95), (0.35, 0.65, 0.80), (0.90, 0.80, 0.60), (0.25, 0.55, 0.72)),
    Scene("snow", "in the snow", (0.72, 0.80, 0.90), (0.85, 0.90, 0.95), (0.93, 0.95, 0.98), (0.55, 0.62, 0.72)),
    Scene("gym", "in a gym", (0.78, 0.75, 0.70), (0.72, 0.68, 0.62), (0.62, 0.45, 0.30), (0.50, 0.50, 0.52)),
    Scene("street", "on a street", (0.70, 0.72, 0.76), (0.62, 0.62, 0.64), (0.45, 0.45, 0.47), (0.55, 0.42, 0.38)),
    Scene("night", "at night", (0.06, 0.07, 0.18), (0.12, 0.12, 0.28), (0.16, 0.20, 0.20), (0.22, 0.22, 0.40)),
    Scene("desert", "in a desert", (0.95, 0.75, 0.50), (0.98, 0.85, 0.62), (0.85, 0.62, 0.38), (0.72, 0.48, 0.30)),
    Scene("stage", "on a stage", (0.35, 0.12, 0.18), (0.45, 0.16, 0.22), (0.40, 0.28, 0.20), (0.55, 0.20, 0.28)),
)


@dataclass(frozen=True, slots=True)
class Look:
    """One person in one place; everything the renderer needs but the motion."""

    top: str
    bottom: str
    hat: str | None
    skin: Floats
    hair: Floats
    shoes: Floats
    long_sleeves: bool
    long_legs: bool
    thickness: float
    height: float
    scene: Scene
    tint: Floats
    """(3) jitter added to the scene's colours."""
    decor: Floats
    """(3 3) x, size, brightness of three shapes at the horizon."""


def random_look(rng: np.random.Generator) -> Look:
    """A person and a place, all parts independent of each other."""
    names = tuple(COLOURS)
    return Look(
        top=names[rng.integers(len(names))],
        bottom=names[rng.integers(len(names))],
        hat=names[rng.integers(len(names))] if rng.random() < 0.25 else None,
        skin=np.asarray(SKINS[rng.integers(len(SKINS))], np.float32),
        hair=np.asarray(HAIRS[rng.integers(len(HAIRS))], np.float32),
        shoes=np.full(3, rng.choice([0.12, 0.35, 0.85]), np.float32),
        long_sleeves=bool(rng.random() < 0.5),
        long_legs=bool(rng.random() < 0.7),
        thickness=float(rng.uniform(0.85, 1.3)),
        height=float(rng.uniform(1.5, 1.95)),
        scene=SCENES[rng.integers(len(SCENES))],
        tint=rng.uniform(-0.05, 0.05, 3).astype(np.float32),
        decor=np.stack([rng.uniform(-0.1, 1.1, 3), rng.uniform(0.05, 0.16, 3), rng.uniform(-0.08, 0.08, 3)], -1).astype(np.float32),
    )


def describe(look: Look, phrase: str, rng: np.random.Generator | None = None) -> str:
    """A caption: who does what where. With a generator, details are left out at random as people do; without, all are named."""

    def kept(probability: float) -> bool:
        return rng is None or rng.random() < probability

    words = ["a person"]
    clothes = []
    if kept(0.75):
        clothes.append(f"a {look.top} shirt")
    if kept(0.6):
        clothes.append(f"{look.bottom} trousers")
    if look.hat is not None and kept(0.6):
        clothes.append(f"a {look.hat} hat")
    if clothes:
        words.append("in " + " and ".join(clothes))
    words.append(phrase)
    if kept(0.6):
        words.append(look.scene.phrase)
    return " ".join(words)
