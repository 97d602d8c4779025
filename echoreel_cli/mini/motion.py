"""Motions: key poses on a loop -> a pose at any moment.

Shapes: `k` key poses, `p` parameters of a pose (`skeleton.PARAMETERS`), `t` moments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from echoreel_cli.mini.skeleton import PARAMETERS, Floats

_INDEX = {name: i for i, name in enumerate(PARAMETERS)}
_BOTH = {name: ("l" + name, "r" + name) for name in ("s", "sp", "e", "el", "h", "hp", "k")}
_REST = {"sp": 8.0, "e": 8.0, "hp": 3.0}


def pose(**angles: float) -> Floats:
    """One pose (p) from named angles; `s sp e el h hp k` without a side set both arms or legs."""
    values = np.zeros(len(PARAMETERS), np.float32)
    for name, angle in {**_REST, **angles}.items():
        if name not in _BOTH and name not in _INDEX:
            raise ValueError(f"{name!r} is no parameter of a pose; known are {', '.join((*PARAMETERS, *_BOTH))}")
        if name in _BOTH:
            for one in _BOTH[name]:
                values[_INDEX[one]] = angle
    for name, angle in angles.items():
        if name in _INDEX:
            values[_INDEX[name]] = angle
    return values


def mirrored(values: Floats) -> Floats:
    """Poses (... p) with left and right exchanged."""
    swapped = values.copy()
    for left, right in _BOTH.values():
        swapped[..., _INDEX[left]], swapped[..., _INDEX[right]] = values[..., _INDEX[right]], values[..., _INDEX[left]]
    for name in ("roll", "spin", "side"):
        swapped[..., _INDEX[name]] *= -1
    return swapped


@dataclass(frozen=True, slots=True)
class Motion:
    """A loop of key poses: phase 1 is phase 0 again, but for whole turns of the body, which may end a multiple of 360 further."""

    phases: Floats
    """(k) from 0 to 1, rising, first 0 and last 1."""
    poses: Floats
    """(k p)."""
    view: str
    """'side' or 'front': from where the action is usually seen."""
    pace: float
    """Loops a second."""
    starts_anywhere: bool = True
    """False for acts with a beginning (a flip): clips then start near phase 0."""

    def at(self, phase: Floats) -> Floats:
        """Poses (t p) at the given phases (t); phases beyond 1 go round again."""
        position = np.mod(phase, 1.0)
        upper = np.clip(np.searchsorted(self.phases, position, side="right"), 1, len(self.phases) - 1)
        low, high = self.phases[upper - 1], self.phases[upper]
        share = (position - low) / np.maximum(high - low, 1e-6)
        eased = 0.5 * share + 0.5 * share * share * (3 - 2 * share)
        return np.asarray(self.poses[upper - 1] * (1 - eased[:, None]) + self.poses[upper] * eased[:, None], np.float32)


def loop(view: str, pace: float, keys: Mapping[float, Floats], *, starts_anywhere: bool = True) -> Motion:
    """A motion from key poses at phases in [0, 1); the first pose closes the loop unless phase 1 is given."""
    phases = sorted(keys)
    poses = [keys[phase] for phase in phases]
    if phases[0] != 0.0:
        raise ValueError(f"the first key pose must stand at phase 0, got {phases[0]}")
    if phases[-1] != 1.0:
        phases, poses = [*phases, 1.0], [*poses, poses[0]]
    return Motion(np.asarray(phases, np.float32), np.stack(poses), view, pace, starts_anywhere)


def alternating(view: str, pace: float, first: Floats, second: Floats | None = None) -> Motion:
    """A loop of two poses and their mirror images (a gait): left, between, right, between."""
    between = second if second is not None else np.asarray((first + mirrored(first)) / 2, np.float32)
    return loop(view, pace, {0.0: first, 0.25: between, 0.5: mirrored(first), 0.75: mirrored(between)})
