"""Presets, the world they are trained on, and what stages leave for each other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from echoreel_cli.backbones.lvdm.config import VideoUNetConfig
from echoreel_cli.train import checkpoint
from echoreel_cli.train.presets import PRESETS, SCALES, ActionConfig, Scale, Stage, WorldConfig, preset
from echoreel_cli.train.record import Sitting, StageRecord, begin, read_record, write_record
from echoreel_cli.train.record_page import record_page
from echoreel_cli.train.run_folder import RunFolder
from echoreel_cli.train.stages import run_stage, step_of
from echoreel_cli.train.worldset import build, load
from echoreel_index.errors import UsageError, WeightsError

BEGAN, ENDED = "2026-01-01T10:00:00+00:00", "2026-01-01T10:30:00+00:00"
SITTING = Sitting("echoreel train mini-base --out runs", BEGAN, ENDED, 1800.0, 0, 9, "a machine")


@pytest.mark.parametrize("scale", SCALES)
def test_presets_are_whole_and_in_order(scale: Scale) -> None:
    known: list[str] = []
    for name, make in PRESETS.items():
        stage = make(scale)
        assert stage.name == name and stage.scale == scale and stage == preset(name, scale)
        assert set(stage.needs) <= set(known), "a stage needs only what comes before it"
        assert stage.loop.steps > 0 and stage.about
        known.append(name)
    assert preset("mini-base", scale).world == preset("mini-judge", scale).world, "all are trained on one world"
    assert preset("mini-base", scale).test.seed != preset("mini-base", scale).world.seed


def test_the_adapter_fits_the_base() -> None:
    for scale in SCALES:
        base, action = preset("mini-base", scale).network, preset("mini-action", scale).network
        assert isinstance(base, VideoUNetConfig) and isinstance(action, ActionConfig)
        assert action.prism.channels == base.in_channels == 32
        assert action.prism.temporal_length == base.temporal_length == 8


def test_options_replace_what_they_name_and_nothing_else() -> None:
    stage = preset("mini-base")
    other = stage.with_loop(steps=5, seed=9, precision="no", compile=False)
    assert other.loop == replace(stage.loop, steps=5, seed=9, mixed_precision="no", compile=False)
    assert stage.with_loop() == stage
    with pytest.raises(UsageError, match="mini-bass") as error:
        preset("mini-bass")
    assert error.value.hint is not None and "mini-base" in error.value.hint


@pytest.mark.parametrize("stage", [preset(name, scale) for name in PRESETS for scale in SCALES], ids=lambda one: f"{one.name}-{one.scale}")
def test_a_stage_is_written_and_read_back(stage: Stage, tmp_path: Path) -> None:
    record = StageRecord(stage, (SITTING,))
    write_record(record, tmp_path)
    assert read_record(tmp_path) == record
    assert json.loads((tmp_path / "stage.json").read_text())["schema"] == "echoreel.stage/1"
    assert begin(stage.with_loop(steps=7), tmp_path) == StageRecord(stage.with_loop(steps=7), (SITTING,)), "more steps are no other stage"


def test_another_shape_needs_another_folder(tmp_path: Path) -> None:
    write_record(StageRecord(preset("mini-base", "tiny")), tmp_path)
    with pytest.raises(UsageError, match="another shape") as error:
        begin(preset("mini-base"), tmp_path)
    assert error.value.hint is not None and "--scale tiny" in error.value.hint
    (tmp_path / "stage.json").write_text('{"schema": "echoreel.stage/1", "colour": 1}')
    with pytest.raises(WeightsError, match="colour"):
        read_record(tmp_path)
    (tmp_path / "stage.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_record(tmp_path)


def test_what_is_missing_is_said_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no mini-words yet") as error:
        run_stage(preset("mini-base", "tiny"), tmp_path, command="x")
    assert error.value.hint == f"echoreel train mini-words --out {tmp_path} --scale tiny"
    assert not list(tmp_path.iterdir()), "nothing was rendered for it"
    with pytest.raises(UsageError, match="no code"):
        RunFolder(tmp_path).code()


def test_shapes_come_from_the_folder_not_from_the_preset(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.network("mini-base") == preset("mini-base").network
    write_record(StageRecord(preset("mini-base", "tiny")), tmp_path / "base")
    assert run.network("mini-base") == preset("mini-base", "tiny").network


def test_the_code_is_computed_once(tmp_path: Path) -> None:
    heard: list[str] = []
    run = RunFolder(tmp_path, making=lambda what, done, total: heard.append(what))
    world = run.world(WorldConfig(seed=4, per_action=1, wild=2))
    code = run.code(world)
    again = RunFolder(tmp_path).code()
    assert torch.equal(code.basis, again.basis) and torch.equal(code.mean, again.mean) and torch.equal(code.scale, again.scale)
    assert heard.count("computing the code") == 1 and "rendering world" in heard
    assert run.latents(world).latents.shape[1:] == (32, 8, 8, 8)


def test_clips_are_taken_again_once_and_only_those_of_this_world(tmp_path: Path) -> None:
    heard: list[str] = []
    config = WorldConfig(seed=4, per_action=1, wild=2)
    run = RunFolder(tmp_path, making=lambda what, done, total: heard.append(f"{what} {done}/{total}"))
    world = run.world(config)
    made = run.retakes(world, config, 5)
    assert made.latents.shape == (5, 32, 8, 8, 8) and len(made.captions) == 5 and heard[-1] == "taking again 5/5"
    again = RunFolder(tmp_path, making=lambda what, done, total: pytest.fail("made twice")).retakes(world, config, 5)
    assert torch.equal(again.latents, made.latents) and again.captions == made.captions and torch.equal(again.rows, made.rows)
    with pytest.raises(UsageError, match="other retakes") as error:
        run.retakes(world, config, 6)
    assert error.value.hint is not None and "delete" in error.value.hint
    (tmp_path / "latents" / "retakes.pt").unlink()
    for other in (WorldConfig(seed=5, per_action=1, wild=2), WorldConfig(seed=4, per_action=1, wild=1)):
        with pytest.raises(UsageError, match="other settings"):
            run.retakes(world, other, 5)


def test_a_world_is_rendered_once_and_a_broken_off_one_again(tmp_path: Path) -> None:
    steps: list[int] = []
    made = build(tmp_path, seed=7, per_action=1, wild=1, progress=lambda done, total: steps.append(done))
    assert steps[-1] == len(made.labels) == len(made.frames)
    again = build(tmp_path, seed=7, per_action=1, wild=1, progress=lambda done, total: pytest.fail("rendered twice"))
    assert again.labels == made.labels
    before = np.array(made.frames)
    (tmp_path / "labels.json").unlink()
    del made, again
    other = build(tmp_path, seed=7, per_action=1, wild=1)
    assert np.array_equal(other.frames, before) and load(tmp_path).labels == other.labels


def test_a_folder_without_checkpoint_is_at_step_zero(tmp_path: Path) -> None:
    assert step_of(tmp_path) == 0
    checkpoint.save(tmp_path / "last.pt", {"step": 12})
    assert step_of(tmp_path) == 12


def test_the_page_shows_commands_sizes_and_the_table() -> None:
    stages = {"mini-base": StageRecord(preset("mini-base"), (SITTING,)), "mini-judge": StageRecord(preset("mini-judge"))}
    row = {"accuracy": 0.625, "accuracy_ci": [0.5, 0.75], "frechet": 12.5, "leakage": 0.0625, "n": 96}
    steps, dates = {"mini-base": 9, "mini-judge": 3}, {"mini-base": "2026-01-01", "mini-judge": "2026-01-02"}
    judged = {"all": 0.98, "held_out": 0.97, "n": 1200.0}
    evaluation = {"held_out": {"k3": row, "k0": {"accuracy": 0.05}}}
    page = record_page(stages, steps, dates, {"denoiser": 1234567}, judged, evaluation, "2026-01-03", "a machine")
    assert f"`{SITTING.command}`: steps 0 to 9" in page and "1,234,567" in page and "0.980 of 1200" in page
    assert "| retrieved, k = 3 | 0.625 (0.500 to 0.750) | 12.500 | 0.062 | 96 |" in page
    assert page.index("| none |") < page.index("| retrieved, k = 3 |")
    assert "mini-judge: trained by the same code without the command, checkpoint of 2026-01-02" in page
    assert "has not been run" in record_page(stages, steps, dates, {}, judged, None, "", "")
