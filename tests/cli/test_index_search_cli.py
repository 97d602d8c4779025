"""`echoreel index` as a user meets it, with a tiny real open_clip encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CONFIG = {
    "model_cfg": {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}
Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("encoder")
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    random = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(value.shape, generator=random) * 0.2 for name, value in model.state_dict().items()}
    save_file(weights, str(folder / "open_clip_model.safetensors"))
    return folder


@pytest.fixture
def videos(tmp_path: Path, draw_video: Callable[..., Path]) -> Path:
    for name, colour in (("rot", (220, 30, 30)), ("grün", (30, 220, 30)), ("蓝 色", (30, 30, 220))):
        draw_video(tmp_path / "videos" / f"{name}.mp4", colour=colour, seconds=3.0)
    return tmp_path / "videos"


@pytest.fixture
def indexed(cli: Cli, videos: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECHOREEL_LIBRARY", str(tmp_path / "library"))
    assert cli("index", videos, "--encoder", encoder).code == 0
    return tmp_path / "library"


def test_index_then_search_then_index_again(cli: Cli, videos: Path, encoder: Path, tmp_path: Path) -> None:
    library = tmp_path / "lib"
    first = cli("index", videos, "--encoder", encoder, "--library", library, "--json")
    told = json.loads(first.out)
    assert (first.code, first.err) == (0, "")
    assert (told["schema"], told["new"], told["windows"], told["encoder"], told["bad"]) == ("echoreel.index/1", 3, 6, str(encoder), [])
    found = cli("search", "red", "--any", "--library", library, "--k", 9, "-q")
    assert found.code == 0 and set(found.out.splitlines()) <= {str(path) for path in videos.iterdir()} and found.out
    again = cli("index", "--library", library)
    assert again.code == 0 and again.out.startswith("3 unchanged; 6 windows in ")


def test_the_bare_path_of_the_library(cli: Cli, indexed: Path) -> None:
    assert cli("index", "-q").out == f"{indexed}\n"


def test_no_folder_and_wrong_numbers(cli: Cli, tmp_path: Path) -> None:
    assert cli("index", tmp_path / "missing").code == 2
    assert cli("index").code == 2
    assert cli("index", tmp_path, "--window", "0").code == 2


def test_some_bad_files_are_exit_four_all_bad_is_exit_one(cli: Cli, indexed: Path, videos: Path, tmp_path: Path, encoder: Path) -> None:
    (videos / "bad.mp4").write_bytes(b"nothing")
    some = cli("index", videos, "--json")
    assert some.code == 4 and json.loads(some.out)["bad"][0]["path"] == str(videos / "bad.mp4")
    warning, error = some.err.splitlines()
    assert "bad.mp4: cannot be opened" in warning and json.loads(error)["error"]["code"] == "partial"
    after = cli("index", videos)
    assert after.code == 0 and "--retry" in after.err and cli("index", videos, "--retry").code == 4
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "bad.mp4").write_bytes(b"nothing else")
    assert cli("index", tmp_path / "only", "--library", tmp_path / "new", "--encoder", encoder).code == 1


def test_another_encoder_is_refused_by_name(cli: Cli, indexed: Path, videos: Path, encoder: Path, tmp_path: Path) -> None:
    for command in (("index", videos), ("search", "red")):
        done = cli(*command, "--encoder", "ViT-B-32")
        assert done.code == 2 and f"was made by encoder {encoder}, not by ViT-B-32" in done.err
    library = tmp_path / "named"
    from echoreel_index.library import Library
    from echoreel_index.nouns import EncoderCard

    class Named:
        card, frame_size = EncoderCard("PE-Core-B-16", 8, "0" * 64), 16

    Library.create_or_open(library, Named()).close()  # type: ignore[arg-type]
    for command in (("index", videos), ("search", "red")):
        done = cli(*command, "--encoder", "mini", "--library", library)
        assert done.code == 2 and "was made by encoder PE-Core-B-16, not by mini" in done.err


def test_dry_run_reads_and_makes_nothing(cli: Cli, videos: Path, tmp_path: Path, indexed: Path) -> None:
    fresh = tmp_path / "fresh"
    plan = json.loads(cli("index", videos, "--library", fresh, "--dry-run", "--json").out)
    assert plan["schema"] == "echoreel.index-plan/1" and len(plan["new"]) == 3 and plan["bytes"] > 0 and not fresh.exists()
    (videos / "rot.mp4").unlink()
    done = cli("index", videos, "-n")
    assert done.out == f"forget  {videos / 'rot.mp4'}\n" and "would read 0 files" in done.err
    left = cli("search", "red", "--any", "--k", 9, "-q").out.splitlines()
    assert left and str(videos / "rot.mp4") not in left


def test_the_form_of_vectors_is_chosen_said_and_kept(cli: Cli, indexed: Path) -> None:
    listed = cli("index", "--vectors", "ivf", "--vector-memory", "0.5", "--json")
    assert listed.code == 0 and json.loads(listed.out)["vectors"]["form"] == "ivf"
    assert cli("search", "red", "--any", "--k", 1).code == 0
    again = cli("index")
    assert again.code == 0 and "6 vectors" in again.err
    assert json.loads(cli("index", "--vectors", "exact", "--json").out)["vectors"] == {"form": "exact", "count": 6, "recall": 1.0}
    assert cli("index", "--vectors", "magic").code == 2
