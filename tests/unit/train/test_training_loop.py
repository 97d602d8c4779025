"""The loop: resumes bit for bit, stops when told, and says what it cannot go on with."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from echoreel_cli.train import checkpoint
from echoreel_cli.train.loop import Average, LoopConfig, Progress, fit, learning_rate, load_average
from echoreel_cli.train.optimizers import OptimizerName
from echoreel_index.errors import Interrupted, UsageError, WeightsError

CONFIG = LoopConfig(steps=20, batch=8, learning_rate=1e-2, warmup=3, mixed_precision="no", seed=3, save_every=7, log_every=5)


class Line:
    """Fit a small network to a fixed one; may ask for a stop in the middle, as a user does."""

    def __init__(self, *, stop_at: int | None = None, by: signal.Signals = signal.SIGTERM) -> None:
        torch.manual_seed(0)
        self.network: nn.Module = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.BatchNorm1d(16), nn.Linear(16, 1))
        self._stop_at, self._by, self.calls = stop_at, by, 0

    def loss(self, network: nn.Module, batch: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        self.calls += 1
        if self.calls == self._stop_at:
            os.kill(os.getpid(), self._by)
        x = torch.randn(batch, 4, generator=generator)
        loss = (network(x) - x.sum(1, keepdim=True)).pow(2).mean()
        return loss, {"size": float(x.abs().mean())}


def final(folder: Path) -> dict[str, Tensor]:
    """Every tensor of the last checkpoint under one name."""
    state = checkpoint.load(folder / "last.pt")
    assert state is not None
    flat: dict[str, Tensor] = {}

    def walk(value: object, name: str) -> None:
        if isinstance(value, Tensor):
            flat[name] = value
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                walk(inner, f"{name}.{key}")
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                walk(inner, f"{name}.{number}")

    walk(state, "")
    return flat


@pytest.mark.parametrize(("precision", "optimizer"), [("no", "adamw"), ("bf16", "adamw"), ("no", "muon")])
def test_a_stopped_and_resumed_run_equals_the_unbroken_one(tmp_path: Path, precision: str, optimizer: OptimizerName) -> None:
    config = replace(CONFIG, mixed_precision=precision, optimizer=optimizer)
    assert fit(Line(), config, tmp_path / "whole") == 20
    with pytest.raises(Interrupted, match="step 10 of 20") as stopped:
        fit(Line(stop_at=10), config, tmp_path / "broken")
    assert stopped.value.exit_code == 130
    rest = Line()
    assert fit(rest, config, tmp_path / "broken") == 20
    assert rest.calls == 10
    one, two = final(tmp_path / "whole"), final(tmp_path / "broken")
    assert one.keys() == two.keys() and len(one) > 20, "weights, buffers, averages and both moments"
    for name in one:
        assert torch.equal(one[name], two[name]), name


def test_ctrl_c_saves_too_and_old_handlers_come_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        fit(Line(stop_at=4, by=signal.SIGINT), CONFIG, tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    state = checkpoint.load(tmp_path / "last.pt")
    assert state is not None and state["step"] == 4


def test_it_learns_and_leaves_the_average(tmp_path: Path) -> None:
    lines: list[Progress] = []
    task = Line()
    fit(task, replace(CONFIG, steps=200, ema=0.9), tmp_path, progress=lines.append)
    assert [line.step for line in lines][:3] == [5, 10, 15] and lines[-1].steps == 200
    assert lines[-1].loss < 0.2 * lines[0].loss
    assert lines[-1].seconds_left == 0 and lines[0].samples_per_second > 0 and "size" in lines[0].figures
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(logged) == 40 and logged[-1]["loss"] == lines[-1].loss
    other = Line().network
    assert load_average(tmp_path, other) == 200
    for name, value in other.state_dict().items():
        assert torch.equal(value, task.network.state_dict()[name]), name


def test_the_average_follows_the_weights() -> None:
    network = nn.Linear(2, 2)
    average = Average(network, decay=0.5)
    start = network.weight.detach().clone()
    with torch.no_grad():
        network.weight.add_(1.0)
    average.update(network, step=0)
    assert torch.allclose(average.values["weight"], start + 0.9), "the first steps count more: decay (1 + 0) / (10 + 0)"
    average.update(network, step=1000)
    assert torch.allclose(average.values["weight"], start + 0.95)
    average.copy_to(network)
    assert torch.equal(network.weight, average.values["weight"])


def test_frozen_weights_are_neither_trained_nor_stored(tmp_path: Path) -> None:
    task = Line()
    first = task.network.get_submodule("0").requires_grad_(False)
    before = {name: value.clone() for name, value in first.state_dict().items()}
    fit(task, CONFIG, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in first.state_dict().items())
    state = checkpoint.load(tmp_path / "average.pt")
    assert state is not None and isinstance(state["average"], dict)
    assert not any(name.startswith("0.") for name in state["average"])


def test_learning_rate_warms_up_and_comes_down_to_a_tenth() -> None:
    config = LoopConfig(steps=100, batch=1, learning_rate=1.0, warmup=10)
    rates = [learning_rate(config, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[4] < rates[9] <= 1
    assert rates[100] == pytest.approx(0.1)
    assert all(later < earlier for earlier, later in zip(rates[10:], rates[11:], strict=False))
    assert learning_rate(replace(config, decay=False), 99) == 1.0


@pytest.mark.parametrize(("name", "value"), [("seed", 4), ("batch", 16)])
def test_a_folder_of_other_settings_is_refused(tmp_path: Path, name: str, value: int) -> None:
    fit(Line(), replace(CONFIG, steps=2), tmp_path)
    other = replace(CONFIG, seed=value) if name == "seed" else replace(CONFIG, batch=value)
    with pytest.raises(UsageError, match=f"{name} .*not {value}"):
        fit(Line(), other, tmp_path)


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    fit(Line(), CONFIG, tmp_path)
    before = final(tmp_path)
    again = Line()
    assert fit(again, CONFIG, tmp_path) == 20 and again.calls == 0
    after = final(tmp_path)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_time_is_up_before_the_last_step(tmp_path: Path) -> None:
    assert fit(Line(), replace(CONFIG, max_minutes=0.0), tmp_path) == 0
    assert (tmp_path / "last.pt").exists()


def test_batches_depend_on_seed_and_step_alone(tmp_path: Path) -> None:
    seen: dict[str, list[float]] = {}
    for name, config in (("one", CONFIG), ("slow", replace(CONFIG, learning_rate=1e-5)), ("other", replace(CONFIG, seed=9))):
        sizes: list[Progress] = []
        fit(Line(), replace(config, log_every=1), tmp_path / name, progress=sizes.append)
        seen[name] = [line.figures["size"] for line in sizes]
    assert seen["one"] == seen["slow"] != seen["other"]
    assert len(set(seen["one"])) == 20


def test_the_network_is_handed_back_as_it_came(tmp_path: Path) -> None:
    task = Line()
    fit(task, replace(CONFIG, mixed_precision="bf16"), tmp_path)
    task.network.eval()
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    fresh = Line().network.eval()
    fresh.load_state_dict(task.network.state_dict())
    assert torch.equal(task.network(x), fresh(x)), "no lower precision stays behind"


def test_a_network_of_another_shape_is_refused(tmp_path: Path) -> None:
    fit(Line(), replace(CONFIG, steps=2), tmp_path)
    with pytest.raises(UsageError, match=r"another shape: 0.weight is \(16, 4\) there and \(8, 4\) here"):
        load_average(tmp_path, nn.Sequential(nn.Linear(4, 8)))
    with pytest.raises(UsageError, match="nothing here"):
        load_average(tmp_path, nn.Identity())


def test_no_run_or_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no trained network"):
        load_average(tmp_path, nn.Linear(1, 1))
    (tmp_path / "last.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="cannot be read"):
        fit(Line(), CONFIG, tmp_path)


def test_objects_in_checkpoints_are_never_made(tmp_path: Path) -> None:
    torch.save({"step": Line()}, tmp_path / "last.pt")
    with pytest.raises(WeightsError):
        checkpoint.load(tmp_path / "last.pt")


def test_a_checkpoint_is_whole_or_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1})

    class Unsaveable:
        def __reduce__(self) -> str:
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        checkpoint.save(path, {"step": 2, "bad": Unsaveable()})
    assert checkpoint.load(path) == {"step": 1}
