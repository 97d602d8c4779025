"""Files in, files out: index, search, gen, and gen again, with real classes at tiny size."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoreel_cli.generate.provenance import load

Cli = Callable[..., Any]


def frames_of(content: bytes) -> np.ndarray[Any, Any]:
    import av

    with av.open(io.BytesIO(content)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_a_prompt_becomes_a_video_with_its_record(cli: Cli, here: Path, library_folder: Path, videos: Path) -> None:
    done = cli("gen", "a square moving right", "--any", "--k", "2", "--seed", "7", "-o", "out.mp4", "--sheet")
    assert (done.code, done.out) == (0, "out.mp4\n")
    assert "seed 7" in done.err
    content = (here / "out.mp4").read_bytes()
    assert frames_of(content).shape == (4, 16, 16, 3)
    record = load(here / "out.mp4")
    assert (record.prompt, record.seed, record.steps, record.guidance) == ("a square moving right", 7, 2, 5.0)
    assert record.video.sha256 == hashlib.sha256(content).hexdigest() and record.video.bytes == len(content)
    assert record.retrieval is not None and record.retrieval.library == str(library_folder) and record.retrieval.k == 2
    assert len(record.references) == 1  # an encoder with random weights sees the same in all films, and the same is shown once
    for reference in record.references:
        assert reference.sha256 == hashlib.sha256(Path(reference.path).read_bytes()).hexdigest()
        assert reference.score is not None and Path(reference.path).parent == videos
    assert record.model.adapter == "prism" and "unet/model.safetensors" in record.model.hashes
    assert set(record.timings) == {"read", "references", "denoise", "decode", "encode"}
    from PIL import Image

    assert Image.open(here / "out.png").size[1] > 2 * 128, "a reference and the result"


def test_references_change_the_video_and_k_0_is_the_model_alone(cli: Cli, here: Path, plain_model_folder: Path) -> None:
    assert cli("gen", "a square", "--any", "--k", "2", "--seed", "7", "-o", "led.mp4").code == 0
    assert cli("gen", "a square", "--any", "--k", "0", "--seed", "7", "-o", "alone.mp4").code == 0
    assert cli("gen", "a square", "--any", "--k", "0", "--seed", "7", "-o", "plain.mp4", "--model", plain_model_folder).code == 0
    led, alone, plain = (frames_of((here / f"{name}.mp4").read_bytes()) for name in ("led", "alone", "plain"))
    assert np.array_equal(alone, plain), "without references an adapter leaves no trace"
    assert np.abs(led.astype(int) - alone.astype(int)).mean() > 1
    assert load(here / "alone.mp4").retrieval is None and load(here / "alone.mp4").model.adapter is None


def test_hits_go_from_search_to_gen_through_a_pipe(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hits = cli("search", "a square", "--any", "--k", "2", "--json")
    assert hits.code == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO(hits.out))
    done = cli("gen", "a circle", "--ref", "-", "--seed", "1", "-o", "out.mp4", "--json")
    assert done.code == 0
    row = json.loads(done.out)
    assert (row["schema"], row["path"], row["json"], row["seed"]) == ("echoreel.generated/1", "out.mp4", "out.json", 1)
    wanted = [(hit["path"], hit["start"], hit["end"], hit["id"]) for hit in map(json.loads, hits.out.splitlines())]
    assert [(r["path"], r["start"], r["end"], r["clip_id"]) for r in row["references"]] == wanted


def test_made_again_with_the_same_bytes(cli: Cli, here: Path, videos: Path) -> None:
    assert cli("gen", "a square", "--any", "--ref", f"{videos / 'left.mp4'}@0.5-1.5", "--seed", "3", "-o", "out.mp4").code == 0
    done = cli("gen", "--from", "out.json")
    assert (done.code, done.out) == (0, "out-again.mp4\n")
    assert "the bytes are the same as before" in done.err
    assert (here / "out-again.mp4").read_bytes() == (here / "out.mp4").read_bytes()
    again = cli("gen", "--from", "out.mp4", "-o", "third.mp4", "--json")
    assert json.loads(again.out)["identical"] is True


def test_made_again_refuses_what_has_changed(cli: Cli, here: Path, videos: Path) -> None:
    film = here / "film.mp4"
    film.write_bytes((videos / "left.mp4").read_bytes())
    assert cli("gen", "a square", "--any", "--ref", film, "--seed", "3", "-o", "out.mp4").code == 0
    film.write_bytes((videos / "up.mp4").read_bytes())
    refused = cli("gen", "--from", "out.json")
    assert refused.code == 2 and "has other content" in refused.err and "--accept-changes" in refused.err
    accepted = cli("gen", "--from", "out.json", "--accept-changes", "-o", "other.mp4")
    assert accepted.code == 0 and "the bytes are not the same" in accepted.err
    film.unlink()
    assert "is gone" in cli("gen", "--from", "out.json", "--force").err
    assert cli("gen", "--from", "out.json", "--seed", "4").code == 2


def test_made_again_refuses_other_weights(cli: Cli, here: Path) -> None:
    assert cli("gen", "a square", "--any", "--k", "0", "--seed", "3", "-o", "out.mp4").code == 0
    record = json.loads((here / "out.json").read_text())
    record["model"]["hashes"]["unet/model.safetensors"] = "0" * 64
    (here / "out.json").write_text(json.dumps(record))
    refused = cli("gen", "--from", "out.json")
    assert refused.code == 5 and "unet/model.safetensors is not what it was" in refused.err


def test_a_batch_loads_the_model_once_and_computes_shared_parts_once(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from echoreel_cli.adapters.inject import PrismAdapter
    from echoreel_cli.models import open as opening

    opened, encoded = [], []
    open_model, encode = opening.open_model, PrismAdapter.encode

    def counted_open(*args: Any, **named: Any) -> Any:
        opened.append(args)
        return open_model(*args, **named)

    def counted_encode(*args: Any) -> Any:
        encoded.append(args)
        return encode(*args)

    monkeypatch.setattr(opening, "open_model", counted_open)
    monkeypatch.setattr(PrismAdapter, "encode", counted_encode)
    (here / "prompts.txt").write_text('a square\n# a remark\n{"prompt": "a circle", "k": 0, "seed": 9, "output": "circle/"}\n')
    done = cli("gen", "--any", "--prompts", "prompts.txt", "--count", "2", "--seed", "5", "--k", "1", "-o", "videos/")
    assert done.code == 0
    assert done.out.splitlines() == ["videos/a-square-5.mp4", "videos/a-square-6.mp4", "circle/a-circle-9.mp4", "circle/a-circle-10.mp4"]
    assert len(opened) == 1
    assert len(encoded) == 2, "the prompt's branch and the empty one, once for both seeds"
    videos = [(here / name).read_bytes() for name in done.out.splitlines()]
    assert len({hashlib.sha256(content).hexdigest() for content in videos}) == 4
    assert cli("gen", "a square", "--any", "--seed", "6", "--k", "1", "-o", "single.mp4").code == 0
    assert (here / "single.mp4").read_bytes() == videos[1], "a video does not depend on what was made before it"


def test_what_fails_stops_nothing_else(cli: Cli, here: Path, videos: Path) -> None:
    lines = [{"prompt": "a", "seed": 1, "refs": ["nowhere.mp4"]}, {"prompt": "b", "seed": 2, "refs": [str(videos / "up.mp4")]}]
    (here / "prompts.txt").write_text("\n".join(json.dumps(line) for line in lines))
    done = cli("gen", "--prompts", "prompts.txt")
    assert (done.code, done.out) == (4, "b-2.mp4\n")
    assert "nowhere.mp4 does not exist" in done.err and "1 of 2 videos could not be made" in done.err
    assert sorted(path.name for path in here.iterdir()) == ["b-2.json", "b-2.mp4", "prompts.txt"]


def test_standard_output_carries_a_video_that_can_be_read_from_a_pipe(here: Path) -> None:
    command = [sys.executable, "-m", "echoreel_cli", "gen", "a square", "--k", "0", "--seed", "1", "-o", "-"]
    done = subprocess.run(command, capture_output=True, check=True, env=_environment())
    assert frames_of(done.stdout).shape == (4, 16, 16, 3)
    assert list(here.iterdir()) == []


def test_interrupted_runs_keep_what_is_finished(here: Path) -> None:
    command = [sys.executable, "-m", "echoreel_cli", "gen", "a square", "--k", "0", "--seed", "1", "--count", "500", "-o", "v/"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment())
    assert process.stdout is not None
    first = process.stdout.readline().strip()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "of 500 videos are finished" in err
    made = sorted(path.name for path in (here / "v").iterdir())
    assert Path(first).name in made and not [name for name in made if name.endswith(".part")]
    assert frames_of((here / first).read_bytes()).shape == (4, 16, 16, 3)
    assert load(here / first).seed == 1


def _environment() -> dict[str, str]:
    root = Path(__file__).parents[2]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "index")])}
