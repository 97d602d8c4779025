"""What a demo is asked for, what it tells while it runs, and what there is to show in the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from echoreel_cli.demo.folder import DemoFolder
from echoreel_cli.generate.plan import Sampling
from echoreel_cli.generate.provenance import Record
from echoreel_cli.mini.actions import Action
from echoreel_cli.mini.footage import Footage
from echoreel_cli.models.folder import ModelInfo
from echoreel_index.nouns import Reference

SCHEMA = "echoreel.demo/1"
STAGES = ("load", "draw", "index", "search", "generate", "write")
Stage = Literal["load", "draw", "index", "search", "generate", "write"]
Frames = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the user asked for."""

    folder: DemoFolder
    prompts: tuple[str, ...]
    clips: int
    k: int
    seed: int
    steps: int | None
    """None for the model's own."""
    device: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Step:
    """A stage moves on: `done` of `total`, with words about it when it ends."""

    stage: Stage
    done: int
    total: int
    said: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A reference that the search brought, what it truly shows, and the frames (t h w c) that the model saw of it."""

    reference: Reference
    truth: Footage
    frames: Frames


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One generated video: where it is, how it was made, and its frames (t h w c) as read back from the file."""

    path: Path
    record: Record
    frames: Frames


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One prompt: what was found for it, and what the model made alone and with that."""

    prompt: str
    action: Action | None
    """The action that the prompt names, if the small world knows it."""
    found: tuple[Found, ...]
    alone: Result
    led: Result


@dataclass(frozen=True, slots=True, eq=False)
class Story:
    """Everything that the page and the picture tell."""

    plan: Plan
    info: ModelInfo
    sampling: Sampling
    footage: tuple[Footage, ...]
    wall: Frames
    """One frame of each file, (n h w c)."""
    scenes: tuple[Scene, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    """Of each stage."""


def as_json(story: Story) -> dict[str, Any]:
    """The story for programs: schema `echoreel.demo/1`."""
    folder = story.plan.folder
    return {
        "schema": SCHEMA,
        "page": str(folder.page),
        "picture": str(folder.picture),
        "record": str(folder.record),
        "videos": str(folder.videos),
        "library": str(folder.library),
        "truth": str(folder.truth),
        "model": story.info.name,
        "device": story.plan.device,
        "seed": story.sampling.seed,
        "steps": story.sampling.steps,
        "k": story.plan.k,
        "clips": len(story.footage),
        "prompts": [_scene_json(scene) for scene in story.scenes],
        "seconds": {stage: round(spent, 3) for stage, spent in story.seconds.items()},
    }


def _scene_json(scene: Scene) -> dict[str, Any]:
    return {
        "prompt": scene.prompt,
        "action": scene.action.name if scene.action else None,
        "held_out": scene.action.held_out if scene.action else None,
        "references": [
            {
                "path": found.reference.path,
                "start": found.reference.start,
                "end": found.reference.end,
                "score": None if found.reference.score is None else round(found.reference.score, 6),
                "action": found.truth.action,
            }
            for found in scene.found
        ],
        "alone": {"path": str(scene.alone.path), "json": str(scene.alone.path.with_suffix(".json"))},
        "led": {"path": str(scene.led.path), "json": str(scene.led.path.with_suffix(".json"))},
    }
