"""The judge's weights on disk: safetensors and the list of classes they were trained for."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

from echoreel_cli.measure.judge import Judge
from echoreel_cli.mini.actions import ACTIONS
from echoreel_cli.mini.people import COLOURS
from echoreel_index.errors import WeightsError

SCHEMA = "echoreel.judge/1"


def save_judge(judge: Judge, folder: Path) -> None:
    """Write a judge in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"schema": SCHEMA, "actions": [action.name for action in ACTIONS], "colours": list(COLOURS)}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file({name: value.detach().cpu().half().contiguous() for name, value in judge.state_dict().items()}, folder / "model.safetensors")


def load_judge(folder: Path) -> Judge:
    """Read a judge. WeightsError: it is missing, or was trained for other classes than this version's."""
    if not (folder / "config.json").is_file():
        raise WeightsError(f"there is no judge in {folder}", hint="install echoreel again, or train one: echoreel train mini-judge")
    config = json.loads((folder / "config.json").read_text())
    if config.get("actions") != [action.name for action in ACTIONS] or config.get("colours") != list(COLOURS):
        raise WeightsError(f"the judge in {folder} was trained for other classes", hint="train it again: echoreel train mini-judge")
    judge = Judge()
    judge.load_state_dict({name: value.float() for name, value in load_file(folder / "model.safetensors").items()}, strict=True)
    return judge.eval()
