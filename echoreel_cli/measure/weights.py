"""The judge's weights on disk: safetensors and the list of classes they were trained for."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from echoreel_cli.measure.judge import Judge
from echoreel_cli.mini.actions import ACTIONS
from echoreel_cli.mini.people import COLOURS
from echoreel_cli.models.checks import check_state
from echoreel_cli.models.folder import read_json, write_json
from echoreel_cli.models.load import read_weights
from echoreel_index.errors import WeightsError

SCHEMA = "echoreel.judge/1"
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


def save_judge(judge: Judge, folder: Path) -> None:
    """Write a judge in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _CONFIG, {"schema": SCHEMA, **_classes()})
    save_file({name: value.detach().cpu().half().contiguous() for name, value in judge.state_dict().items()}, folder / _WEIGHTS)


def load_judge(folder: Path) -> Judge:
    """Read a judge. WeightsError: it is missing or damaged, or was trained for other classes than this version's."""
    if not (folder / _CONFIG).is_file():
        raise WeightsError(f"there is no judge in {folder}", hint="install echoreel again, or train one: echoreel train mini-judge")
    config = read_json(folder / _CONFIG)
    if not isinstance(config, dict) or any(config.get(name) != known for name, known in _classes().items()):
        raise WeightsError(f"the judge in {folder} was trained for other classes", hint="train it again: echoreel train mini-judge")
    judge, state = Judge(), {name: value.float() for name, value in read_weights(folder / _WEIGHTS).items()}
    check_state(judge, state, str(folder / _WEIGHTS))
    judge.load_state_dict(state, strict=True)
    return judge.eval()


def _classes() -> dict[str, list[str]]:
    return {"actions": [action.name for action in ACTIONS], "colours": list(COLOURS)}
