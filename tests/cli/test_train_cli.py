"""`echoreel train` from an empty folder to a bundle that generates, all at tiny size; and its ends."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from echoreel_cli.app import main
from echoreel_cli.train import checkpoint
from echoreel_cli.train.presets import PRESETS
from echoreel_cli.train.run_folder import RunFolder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every stage, trained for four steps by the command."""
    out = tmp_path_factory.mktemp("train") / "runs"
    for name in PRESETS:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            assert main(["train", name, "--out", str(out), "--scale", "tiny", "--precision", "no", "--json"]) == 0
        line = json.loads(said.getvalue())
        assert line["schema"] == "echoreel.train/1" and line["preset"] == name and line["step"] == 4 and line["seconds"] >= 0
        assert Path(line["folder"]).joinpath("average.pt").exists()
    return out


@pytest.fixture(scope="module")
def bundle(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mini-export makes of it."""
    target = tmp_path_factory.mktemp("bundle")
    result = {"schema": "echoreel.eval-mini/1", "held_out": {"k0": {"accuracy": 0.125, "frechet": 3.0, "leakage": 0.5, "n": 8}}}
    (target.parent / "eval.json").write_text(json.dumps(result))
    words = ["train", "mini-export", "--out", run_folder, "--scale", "tiny", "--to", target, "--eval", target.parent / "eval.json", "-q"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main([str(word) for word in words]) == 0
    assert said.getvalue() == f"{target}\n"
    return target


def test_the_run_folder_holds_everything_once(run_folder: Path) -> None:
    found = {path.name for path in run_folder.iterdir()}
    assert found == {"world", "latents", "code.pt", "words", "base", "action", "exact", "sharpen", "retriever", "judge"}
    for name in PRESETS:
        record = json.loads((RunFolder(run_folder).stage(name) / "stage.json").read_text())
        [sitting] = record["sittings"]
        assert (sitting["first"], sitting["last"]) == (0, 4) and "torch" in sitting["machine"]
        assert sitting["command"] == f"echoreel train {name} --out {run_folder} --precision no --scale tiny"


def test_running_again_goes_on_and_remembers(run_folder: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    shutil.copytree(run_folder / "sharpen", tmp_path / "sharpen")
    for name in ("world", "code.pt"):
        (tmp_path / name).symlink_to(run_folder / name)
    done = cli("train", "mini-sharpen", "--out", tmp_path, "--scale", "tiny", "--precision", "no", "--steps", "6")
    assert done.code == 0 and done.out.startswith("mini-sharpen: step 6 of 6")
    assert "loss" in done.err and "clips/s" in done.err and "left" in done.err
    record = json.loads((tmp_path / "sharpen" / "stage.json").read_text())
    assert [(one["first"], one["last"]) for one in record["sittings"]] == [(0, 4), (4, 6)]
    refused = cli("train", "mini-sharpen", "--out", tmp_path, "--scale", "tiny", "--steps", "9", "--seed", "5")
    assert refused.code == 2 and "with seed 0, not 5" in refused.err


def test_sigterm_saves_and_leaves_with_130(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "world").symlink_to(run_folder / "world")
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'index'}", "OMP_NUM_THREADS": "1"}
    words = ["train", "mini-judge", "--out", str(tmp_path), "--scale", "tiny", "--steps", "1000000", "--json"]
    process = subprocess.Popen([sys.executable, "-m", "echoreel_cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    until = time.monotonic() + 120
    while not (tmp_path / "judge" / "last.pt").exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == b""
    error = json.loads(err.splitlines()[-1])["error"]
    assert error["code"] == "interrupted" and "of 1000000" in error["message"]
    state = checkpoint.load(tmp_path / "judge" / "last.pt")
    assert state is not None and isinstance(state["step"], int) and f"step {state['step']} " in error["message"]
    [sitting] = json.loads((tmp_path / "judge" / "stage.json").read_text())["sittings"]
    assert sitting["last"] == state["step"] > 0


def test_the_list_names_every_preset(cli: Callable[..., Any]) -> None:
    assert cli("train", "--list", "-q").out.split() == list(PRESETS)
    rows = [json.loads(line) for line in cli("train", "--list", "--json").out.splitlines()]
    assert [row["preset"] for row in rows] == list(PRESETS) and {row["schema"] for row in rows} == {"echoreel.preset/1"}
    assert "mini-export" in cli("train", "--list").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no preset"),
        (("mini-bass", "--out", "x"), "mini-bass"),
        (("mini-words",), "--out is missing"),
        (("mini-export", "--out", "x"), "--to is missing"),
        (("mini-words", "--out", "x", "--to", "y"), "--to goes with mini-export"),
        (("mini-words", "--out", "x", "--from", "y"), "--from goes with mini-import"),
        (("mini-import", "--out", "x", "--from", "y"), "y is no bundle"),
        (("mini-words", "--out", "x", "--scale", "huge"), "--scale must be one of"),
        (("mini-words", "--out", "x", "--precision", "int8"), "--precision must be"),
        (("mini-base", "--out", "x"), "x has no mini-words yet"),
        (("mini-export", "--out", "x", "--to", "y"), "x has no mini-words yet"),
        (("mini-export", "--out", "x", "--to", "y", "--eval", "nothing.json"), "nothing.json cannot be read"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    words: tuple[str, ...], said: str, cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("train", *words)
    assert done.code == 2 and said in done.err and done.out == ""
    assert not list(tmp_path.iterdir())


def test_the_bundle_is_complete_and_says_how_it_was_made(bundle: Path) -> None:
    assert {path.name for path in bundle.iterdir()} == {"echoreel-mini", "encoder", "classifier", "RECORD.md", "record.json"}
    record = json.loads((bundle / "record.json").read_text())
    assert record["schema"] == "echoreel.mini-record/1" and record["missing"] == []
    assert set(record["steps"].values()) == {4} and set(record["steps"]) == set(PRESETS) and record["parameters"]["denoiser"] > 100_000
    assert record["stages"]["mini-base"]["sittings"][0]["last"] == 4
    page = (bundle / "RECORD.md").read_text()
    assert "echoreel train mini-base" in page and "| none | 0.125 |" in page
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in bundle.rglob("*.safetensors"))


def test_the_bundle_is_not_overwritten_unasked(bundle: Path, run_folder: Path, cli: Callable[..., Any]) -> None:
    done = cli("train", "mini-export", "--out", run_folder, "--scale", "tiny", "--to", bundle)
    assert done.code == 2 and "already exists" in done.err and "--force" in done.err


def test_the_model_folder_holds_what_was_trained(bundle: Path, run_folder: Path, cli: Callable[..., Any]) -> None:
    from echoreel_cli.models.open import open_model

    model, run = open_model(str(bundle / "echoreel-mini"), dtype="float32"), RunFolder(run_folder)
    base = run.base()
    assert model.adapter is not None and model.info.encoder == "mini" and model.backbone.scheduler.config.prediction_type == "sample"
    for mine, theirs in ((base, model.backbone.denoiser), (run.adapter(base), model.adapter)):
        stored = theirs.state_dict()
        assert all(torch.equal(value.half().float(), stored[name]) for name, value in mine.state_dict().items())
    said = ["a person in a red shirt doing a backflip", "a person waving"]
    assert torch.allclose(model.backbone.encode_text(said), run.words()(said), atol=0.02)
    assert cli("models", "verify", bundle / "echoreel-mini").code == 0


def test_the_encoder_finds_what_the_retriever_learned(bundle: Path, run_folder: Path) -> None:
    from echoreel_index.encode import open_encoder

    encoder = open_encoder(str(bundle / "encoder"))
    model, tokenizer = RunFolder(run_folder).retriever(trained=True)
    frames = np.load(run_folder / "world" / "frames.npy", mmap_mode="r")[:2, 0].copy()
    with torch.no_grad():
        words = model.encode_text(tokenizer(["a person waving"]), normalize=True).numpy()
        pictures = model.encode_image(torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1, normalize=True).numpy()
    assert np.abs(encoder.embed_texts(["a person waving"]) - words).max() < 0.01
    assert np.abs(encoder.embed_frames(frames) - pictures).max() < 0.01


def test_the_judge_judges(bundle: Path, run_folder: Path) -> None:
    from echoreel_cli.measure.weights import load_judge

    judge, video = load_judge(bundle / "classifier"), torch.zeros(1, 3, 8, 64, 64)
    trained = RunFolder(run_folder).judge()
    with torch.no_grad():
        assert torch.allclose(judge(video).action, trained(video).action, atol=0.01)


def test_the_bundle_generates_with_a_reference(bundle: Path, tmp_path: Path, cli: Callable[..., Any], draw_video: Any) -> None:
    clip = draw_video(tmp_path / "clip.mp4")
    model, video = bundle / "echoreel-mini", tmp_path / "made.mp4"
    words = ("gen", "a person in a red shirt doing a backflip", "--model", model, "--steps", "2", "--seed", "1", "--device", "cpu")
    done = cli(*words, "--steps", "10", "--ref", clip, "-o", video)
    assert done.code == 0, done.err
    assert video.stat().st_size > 500
    record = json.loads((tmp_path / "made.json").read_text())
    assert record["model"]["adapter"] == "spacetime" and (record["width"], record["height"], record["frames"]) == (64, 64, 8)


def test_a_bundle_can_be_trained_further(bundle: Path, run_folder: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    """mini-import gives a run folder whose stages hold the bundle's weights and go on from them."""
    done = cli("train", "mini-import", "--out", tmp_path, "--from", bundle, "--json")
    assert done.code == 0
    line = json.loads(done.out)
    assert line["schema"] == "echoreel.train-import/1" and line["presets"] == [name for name in PRESETS if name != "mini-exact"]
    back, run = RunFolder(tmp_path), RunFolder(run_folder)
    base = run.base()
    for mine, theirs in ((base, back.base()), (run.adapter(base), back.adapter(base)), (run.judge(), back.judge())):
        stored = theirs.state_dict()
        assert all(torch.equal(value.half().float(), stored[name].float()) for name, value in mine.state_dict().items())
    code, again = run.code(), back.code()
    assert torch.allclose(code.basis, again.basis, atol=1e-3) and torch.allclose(code.scale, again.scale, rtol=1e-3)
    assert torch.allclose(run.words()(["a person waving"]), back.words()(["a person waving"]), atol=0.02)
    (tmp_path / "world").symlink_to(run_folder / "world")
    further = cli("train", "mini-base", "--out", tmp_path, "--scale", "tiny", "--precision", "no", "--learning-rate", "1e-9", "--json")
    assert further.code == 0 and json.loads(further.out)["step"] == 4
    weights = back.base().state_dict()
    assert all(torch.allclose(value.half().float(), weights[name], atol=1e-6) for name, value in base.state_dict().items())
    record = json.loads((tmp_path / "base" / "stage.json").read_text())
    assert [(one["first"], one["last"]) for one in record["sittings"]] == [(0, 4), (0, 4)]
    refused = cli("train", "mini-import", "--out", tmp_path, "--from", bundle)
    assert refused.code == 2 and "already holds" in refused.err
