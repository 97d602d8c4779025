"""`echoreel eval mini`: missing weights are said, and the result is one object or one table on stdout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from echoreel_cli.commands.eval import table
from echoreel_cli.measure.judge import Judge
from echoreel_cli.measure.weights import save_judge
from tests.mini_model import write_mini_shaped_model
from tests.tiny_model import write_tiny_encoder

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A judge and a model, both random."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    save_judge(Judge(), folder / "classifier")
    write_mini_shaped_model(folder / "model", encoder=str(write_tiny_encoder(folder / "encoder")))
    return folder


def test_missing_weights_are_code_5(cli: Cli, tmp_path: Path, weights: Path) -> None:
    done = cli("eval", "mini", "--classifier", tmp_path / "nowhere", "--json")
    assert done.code == 5 and done.out == ""
    error = json.loads(done.err.splitlines()[-1])["error"]
    assert "no judge" in error["message"] and "mini-judge" in error["hint"]
    done = cli("eval", "mini", "--classifier", weights / "classifier", "--model", "echoreel-nothing")
    assert done.code == 5 and "echoreel-nothing" in done.err and done.out == "" and "Traceback" not in done.err


@pytest.mark.parametrize("words", [("--samples", "1"), ("--seen-samples", "0"), ("--steps", "0"), ("--guidance", "-1"), ("--seed", "-1")])
def test_requests_that_make_no_sense(cli: Cli, words: tuple[str, ...]) -> None:
    assert cli("eval", "mini", *words).code == 2


@pytest.mark.slow
def test_one_object_on_stdout_and_sheets_where_they_are_wanted(cli: Cli, tmp_path: Path, weights: Path) -> None:
    words = ["--samples", "2", "--seen-samples", "1", "--steps", "1", "--guidance", "1", "--sheet", tmp_path]
    done = cli("eval", "mini", "--model", weights / "model", "--classifier", weights / "classifier", *words, "--json")
    assert done.code == 0, done.err
    [line] = done.out.splitlines()
    result = json.loads(line)
    assert result["schema"] == "echoreel.eval-mini/1" and result["model"] == "model"
    assert result["held_out"]["k3"]["n"] == 16 and result["settings"]["held_out_samples"] == 2 and result["settings"]["guidance"] == 1
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{group}-{condition}.png" for group in ("held_out", "seen") for condition in ("k0", "random", "k1", "k3", "oracle")
    }
    lines = table(result)
    assert len(lines) == 1 + 2 * 5 + 1 and "k3" in lines[4] and "clips it never saw" in lines[-1]
