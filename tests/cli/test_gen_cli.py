"""What `gen` says yes and no to, before it has loaded anything."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DrawVideo
from tests.tiny_model import write_tiny_encoder, write_tiny_model

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def film(tmp_path: Path, draw_video: DrawVideo) -> Path:
    return draw_video(tmp_path / "film.mp4", seconds=2)


@pytest.fixture
def gen(cli: Cli, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`gen` in an empty folder; loading the model is a failure."""
    from echoreel_cli.models import open as opening

    def never(*args: object, **named: object) -> None:
        raise AssertionError("the model was loaded")

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("ECHOREEL_MODEL", str(tiny_folder))
    monkeypatch.setenv("ECHOREEL_DEVICE", "cpu")
    monkeypatch.setattr(opening, "open_model", never)

    def run(*args: object) -> Any:
        return cli("gen", *args)

    return run


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "there is no prompt"),
        (["  "], "a prompt is empty"),
        (["x", "--k", "0", "--ref", "a.mp4"], "--ref names one"),
        (["x", "--k", "0", "--size", "17x16"], "width 17 does not fit"),
        (["x", "--k", "0", "--size", "big"], "cannot read the size 'big'"),
        (["x", "--k", "0", "--steps", "1001"], "steps must be from 1 to 1000"),
        (["x", "--k", "0", "--steps", "7"], "7 steps do not cover"),
        (["x", "--k", "0", "--fps", "0"], "frames per second"),
        (["x", "--k", "0", "--guidance", "-1"], "guidance must be 0 or more"),
        (["x", "--k", "0", "--dtype", "float8"], "no number type 'float8'"),
        (["x", "--k", "0", "--device", "cuda:77"], "no device 'cuda:77'"),
        (["x", "--k", "0", "--offload", "disk"], "--offload must be one of"),
        (["x", "--k", "0", "-o", "out.gif"], "does not end in .mp4"),
        (["x", "--k", "0", "-o", "-", "--json"], "carries the video itself"),
        (["x", "--k", "0", "-o", "-", "--count", "2"], "standard output takes one video"),
        (["x", "--prompts", "nowhere.txt"], "not from both"),
        (["--prompts", "nowhere.txt"], "cannot read prompts"),
        (["x", "--ref", "nowhere.mp4"], "does not exist"),
        (["-", "--ref", "-"], "standard input cannot bring"),
        (["--from", "nowhere.json"], "there is no nowhere.json"),
        (["x", "--from", "nowhere.json"], "PROMPT cannot be given"),
    ],
)
def test_requests_that_make_no_sense(gen: Cli, args: list[str], message: str) -> None:
    done = gen(*args)
    assert done.code == 2, done.err
    assert message in done.err and done.out == "" and "Traceback" not in done.err
    assert list(Path.cwd().iterdir()) == []


def test_times_outside_of_the_file(gen: Cli, film: Path) -> None:
    late = gen("x", "--ref", f"{film}@5-6")
    assert late.code == 2 and "only 2.00 s long" in late.err
    assert gen("x", "--ref", f"{film}@1-9").code == 2


def test_no_file_that_is_there_is_touched(gen: Cli, film: Path) -> None:
    for name, sheet in (("out.mp4", False), ("out.json", False), ("out.png", True)):
        Path(name).write_text("mine")
        done = gen("x", "--ref", film, "-o", "out.mp4", *(["--sheet"] if sheet else []))
        assert done.code == 2 and f"{name} already exists" in done.err and "--force" in done.err
        assert Path(name).read_text() == "mine"
        Path(name).unlink()


def test_a_model_that_takes_no_references_says_so(gen: Cli, film: Path, tmp_path: Path) -> None:
    plain = write_tiny_model(tmp_path / "plain", with_adapter=False)
    done = gen("x", "--ref", film, "--model", plain)
    assert done.code == 2 and "takes no references" in done.err and "--k 0" in done.err


def test_no_library_and_no_model(gen: Cli) -> None:
    none = gen("x", "--library", "nowhere")
    assert none.code == 1 and "there is no library" in none.err
    missing = gen("x", "--model", "echoreel-lvdm")
    assert missing.code == 5 and "models pull echoreel-lvdm" in missing.err


def test_nothing_passes_the_floor(gen: Cli, cli: Cli, film: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    assert cli("index", film, "--encoder", write_tiny_encoder(tmp_path / "encoder"), "--library", library).code == 0
    done = gen("a backflip", "--library", library, "--min-score", "0.99", "--json")
    assert done.code == 3
    error = json.loads(done.err.splitlines()[-1])["error"]
    assert error["code"] == "no_match" and "at least 0.99 is asked for" in error["message"] and "--allow-no-match" in error["hint"]
    partly = gen("a backflip", "a cartwheel", "--library", library, "--min-score", "0.99")
    assert partly.code == 3 and "none of 2 videos" in partly.err
    going_on = gen("a backflip", "--library", library, "--min-score", "0.99", "--allow-no-match", "--dry-run")
    assert going_on.code == 0 and "going on without references" in going_on.err


def test_dry_run_says_what_would_be_done(gen: Cli, film: Path) -> None:
    done = gen("a square", "--ref", f"{film}@0.5-", "--seed", "4", "--count", "2", "--dry-run", "--json")
    assert done.code == 0
    first, second = map(json.loads, done.out.splitlines())
    assert (first["schema"], first["output"], first["dtype"]) == ("echoreel.plan/1", "a-square-4.mp4", "float32")
    assert first["settings"]["steps"] == 2 and second["settings"]["seed"] == 5
    assert first["references"][0]["end"] == 2.0 and first["memory"] > 0
    assert list(Path.cwd().iterdir()) == []
    words = gen("a square", "--ref", film, "--dry-run")
    assert "4 frames of 16x16 at 4 fps" in words.out


def test_too_large_a_video_is_refused_before_loading(gen: Cli) -> None:
    done = gen("a square", "--k", "0", "--size", "65536x65536")
    assert done.code == 6 and "are free" in done.err and "smaller --size" in done.err


def test_prompts_on_standard_input(gen: Cli, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = f'a square\n{{"prompt": "a circle", "seed": 3, "refs": ["{film}@0-1"], "output": "c.mp4"}}\n'
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    done = gen("-", "--ref", film, "--seed", "1", "--dry-run", "--json")
    assert done.code == 0
    square, circle = map(json.loads, done.out.splitlines())
    assert (square["prompt"], square["references"][0]["end"]) == ("a square", 2.0)
    assert (circle["output"], circle["settings"]["seed"], circle["references"][0]["end"]) == ("c.mp4", 3, 1.0)
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"promt": "x"}\n'))
    assert "did you mean 'prompt'" in gen("-").err
