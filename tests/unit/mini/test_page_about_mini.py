"""docs/MINI.md is true: its Python runs, and its numbers are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from echoreel_cli.adapters.spacetime import SpacetimeAdapter, SpacetimeAdapterConfig
from echoreel_cli.backbones.lvdm.unet import VideoUNet, VideoUNetConfig
from echoreel_cli.measure.judge import Judge
from echoreel_cli.mini.actions import ACTIONS, HELD_OUT
from echoreel_cli.mini.people import COLOURS, HAIRS, SCENES, SKINS
from echoreel_cli.mini.skeleton import JOINTS
from echoreel_cli.mini.wildmotion import TOO_NEAR
from echoreel_cli.train.autoencoder import new_autoencoder
from echoreel_cli.train.presets import PRESETS, ActionConfig, preset

TEXT = (Path(__file__).parents[3] / "docs" / "MINI.md").read_text(encoding="utf-8")


def test_its_python_runs() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/MINI.md", "exec"), {})


def test_its_numbers_are_those_of_the_code() -> None:
    assert f"{len(HELD_OUT)} of the {len(ACTIONS)}: {', '.join(HELD_OUT)}" in TEXT
    assert f"| named actions | {len(ACTIONS)}," in TEXT and f"| places | {len(SCENES)}," in TEXT
    assert f"{len(JOINTS)} joints" in TEXT and f"in {len(COLOURS)} colours" in TEXT
    assert f"{len(SKINS)} skins, {len(HAIRS)} hairs" in TEXT and f"within {TOO_NEAR * 100:.0f} cm" in TEXT
    world = preset("mini-base").world
    assert f"{len(ACTIONS) * world.per_action + 3 * world.wild:,} clips" in TEXT


def test_its_sizes_are_those_of_the_presets() -> None:
    base, action = preset("mini-base").network, preset("mini-action").network
    assert isinstance(base, VideoUNetConfig) and isinstance(action, ActionConfig)
    with torch.device("meta"):
        denoiser = VideoUNet(base)
        shape = action.adapter(denoiser.sites())
        assert isinstance(shape, SpacetimeAdapterConfig)
        adapter = SpacetimeAdapter(shape)
        parts = {"denoiser": denoiser, "adapter": adapter, "autoencoder": new_autoencoder(), "judge": Judge()}
    for name, part in parts.items():
        millions = sum(parameter.numel() for parameter in part.parameters()) / 1e6
        assert re.search(rf"^\| {name} \|.*\| {millions:.1f} M \|$", TEXT, re.MULTILINE), (name, millions)
    assert f"{base.model_channels} channels" in TEXT


def test_it_names_every_stage() -> None:
    for name in (*PRESETS, "mini-export"):
        assert f"echoreel train {name}" in TEXT
