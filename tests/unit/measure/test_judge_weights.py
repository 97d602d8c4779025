"""The judge on disk: what was saved is read, and one for other classes is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from echoreel_cli.measure.judge import Judge
from echoreel_cli.measure.weights import load_judge, save_judge
from echoreel_cli.mini.actions import ACTIONS
from echoreel_index.errors import WeightsError


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Judge, Path]:
    torch.manual_seed(0)
    judge = Judge().eval()
    save_judge(judge, tmp_path / "classifier")
    return judge, tmp_path / "classifier"


def test_it_says_the_same_but_for_half_precision(saved: tuple[Judge, Path]) -> None:
    judge, folder = saved
    again = load_judge(folder)
    assert not again.training
    assert all(torch.equal(value.half().float(), again.state_dict()[name]) for name, value in judge.state_dict().items())
    video = torch.rand(2, 3, 8, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert torch.allclose(judge(video).action, again(video).action, atol=0.02)


def test_the_folder_names_the_classes(saved: tuple[Judge, Path]) -> None:
    config = json.loads((saved[1] / "config.json").read_text())
    assert config["schema"] == "echoreel.judge/1" and config["actions"] == [action.name for action in ACTIONS]
    assert {path.name for path in saved[1].iterdir()} == {"config.json", "model.safetensors"}


def test_other_classes_are_refused(saved: tuple[Judge, Path]) -> None:
    file = saved[1] / "config.json"
    config = json.loads(file.read_text())
    for name in ("actions", "colours"):
        file.write_text(json.dumps({**config, name: config[name][::-1]}))
        with pytest.raises(WeightsError, match="other classes") as error:
            load_judge(saved[1])
        assert error.value.hint is not None and "mini-judge" in error.value.hint


def test_a_missing_or_broken_one_is_said(saved: tuple[Judge, Path]) -> None:
    with pytest.raises(WeightsError, match="no judge"):
        load_judge(saved[1] / "elsewhere")
    file = saved[1] / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(WeightsError, match="damaged"):
        load_judge(saved[1])
    file.unlink()
    with pytest.raises(WeightsError, match="is missing"):
        load_judge(saved[1])
