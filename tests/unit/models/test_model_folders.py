from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel

from echoreel_cli.backbones.lvdm.unet import VideoUNet, VideoUNetConfig
from echoreel_cli.models import names, save
from echoreel_cli.models.catalogue import CATALOGUE, entry
from echoreel_cli.models.folder import Card, Defaults, ModelInfo, ReferenceShape, Tokenizer, read_card, read_info, verify
from echoreel_index.errors import EchoreelError, OutputExists, UsageError, WeightsError

INFO = ModelInfo(
    name="tiny",
    backbone="lvdm",
    defaults=Defaults(frames=4, height=16, width=16, fps=8.0, steps=5),
    reference=ReferenceShape(frames=4, fps=8.0),
    encoder="mini",
    score_floor=0.2,
)
CARD = Card(source="made here", licence="Apache-2.0", extra={"training": {"steps": 3}})


def written(folder: Path, *, force: bool = False, dtype: torch.dtype | None = torch.float16) -> Card:
    torch.manual_seed(3)
    unet = VideoUNet(VideoUNetConfig(model_channels=32, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(1,), context_dim=64))
    vae = AutoencoderKL(block_out_channels=[32], down_block_types=["DownEncoderBlock2D"], up_block_types=["UpDecoderBlock2D"])
    text = CLIPTextModel(CLIPTextConfig(hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1, vocab_size=49408))
    return save.save_model_folder(
        folder,
        info=INFO,
        card=CARD,
        unet=unet,
        adapter=None,
        vae=vae,
        text_encoder=text,
        dtype=dtype,
        tokenizer=Tokenizer(length=16),
        force=force,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    written(folder)
    return folder


def test_a_folder_has_the_layout_that_diffusers_reads(folder: Path) -> None:
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert found == [
        "card.json",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
        "unet/config.json",
        "unet/model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    assert AutoencoderKL.from_pretrained(folder / "vae").config.block_out_channels == [32]
    assert CLIPTextModel.from_pretrained(folder / "text_encoder").config.hidden_size == 64
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    assert scheduler.alphas_cumprod[981] == pytest.approx(0.00577550013949575)
    assert json.loads((folder / "unet" / "config.json").read_text())["channel_mult"] == [1, 2]


def test_weights_are_stored_in_the_type_that_was_asked_for(folder: Path, tmp_path: Path) -> None:
    assert {tensor.dtype for tensor in load_file(folder / "unet" / "model.safetensors").values()} == {torch.float16}
    written(tmp_path / "full", dtype=None)
    assert {tensor.dtype for tensor in load_file(tmp_path / "full" / "unet" / "model.safetensors").values()} == {torch.float32}


def test_index_and_card_come_back_as_they_were_written(folder: Path) -> None:
    assert read_info(folder) == INFO
    card = read_card(folder)
    assert (card.source, card.licence, card.extra) == (CARD.source, CARD.licence, CARD.extra)
    assert card.made_with.startswith("echoreel ") and len(card.hashes) == 9


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"gudance": 7}, "unknown key 'gudance'"),
        ({"schema": "echoreel.model/9"}, "schema is 'echoreel.model/9'"),
        ({"score_floor": "high"}, "expected float"),
        ({"reference": {"frames": 4}}, "either a stride or an fps"),
        ({"reference": {"frames": 4, "strde": 2}}, "unknown key 'strde'"),
    ],
)
def test_an_index_with_something_unknown_is_refused(change: dict[str, object], says: str, folder: Path, tmp_path: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps({**index, **change}))
    with pytest.raises(WeightsError, match=says) as caught:
        read_info(tmp_path)
    if "strde" in says:
        assert caught.value.hint == "did you mean 'stride'?"


def test_verify_tells_changed_missing_and_unknown_files(folder: Path, tmp_path: Path) -> None:
    written(tmp_path / "copy")
    assert {verdict.state for verdict in verify(tmp_path / "copy")} == {"ok"}
    weights = tmp_path / "copy" / "unet" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    (tmp_path / "copy" / "vae" / "config.json").unlink()
    (tmp_path / "copy" / "vae" / "stray.txt").write_text("x")
    found = {verdict.file: verdict.state for verdict in verify(tmp_path / "copy") if verdict.state != "ok"}
    assert found == {"unet/model.safetensors": "changed", "vae/config.json": "missing", "vae/stray.txt": "unknown"}


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), save.staged(tmp_path / "model") as new:
        (new / "half").write_text("x")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_replacing_needs_force_and_keeps_the_old_until_the_new_is_whole(tmp_path: Path) -> None:
    with save.staged(tmp_path / "model") as new:
        (new / "a").write_text("old")
    with pytest.raises(OutputExists), save.staged(tmp_path / "model"):
        pass
    with pytest.raises(ZeroDivisionError), save.staged(tmp_path / "model", force=True) as new:
        raise ZeroDivisionError
    assert (tmp_path / "model" / "a").read_text() == "old"
    with save.staged(tmp_path / "model", force=True) as new:
        (new / "b").write_text("new")
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "b"]


def test_names_paths_and_what_is_installed(folder: Path, tmp_path: Path) -> None:
    written(names.models_folder() / "tiny")
    assert names.find_model("tiny") == names.models_folder() / "tiny"
    assert names.find_model(str(folder)) == folder
    mine = [model for model in names.installed() if not model.bundled]
    assert [(model.name, model.info) for model in mine] == [("tiny", INFO)]
    assert mine[0].size == sum(path.stat().st_size for path in mine[0].folder.rglob("*") if path.is_file() and path.name != "card.json")


@pytest.mark.parametrize(
    ("name", "hint"), [("echoreel-lvdm", "echoreel models pull echoreel-lvdm"), ("echorel-lvdm", "did you mean echoreel-lvdm?")]
)
def test_a_model_that_is_not_here_says_how_to_get_it(name: str, hint: str) -> None:
    with pytest.raises(WeightsError, match="is not here") as caught:
        names.find_model(name)
    assert caught.value.hint is not None and caught.value.hint.startswith(hint)


@pytest.mark.parametrize("name", ["../victim", "/victim", "..", ".", "", "a/b", ".hidden", "~"])
def test_remove_never_leaves_the_models_folder(name: str) -> None:
    victim = names.models_folder().parent / "victim"
    written(victim)
    with pytest.raises(UsageError):
        names.remove(name)
    assert (victim / "model_index.json").is_file()


def test_remove_deletes_models_unlinks_links_and_touches_nothing_else(folder: Path) -> None:
    base = names.models_folder()
    written(base / "tiny")
    (base / "link").symlink_to(folder, target_is_directory=True)
    (base / "notes").mkdir()
    (base / "notes" / "mine.txt").write_text("x")
    assert names.remove("tiny") > 1000 and not (base / "tiny").exists()
    names.remove("link")
    assert not os.path.lexists(base / "link") and (folder / "model_index.json").is_file()
    with pytest.raises(WeightsError):
        names.remove("notes")
    assert (base / "notes" / "mine.txt").is_file()


def test_the_bundled_model_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(names, "weights_folder", lambda: tmp_path)
    written(tmp_path / "echoreel-mini")
    assert names.find_model("echoreel-mini") == tmp_path / "echoreel-mini"
    with pytest.raises(UsageError, match="came with echoreel"):
        names.remove("echoreel-mini")


def test_the_catalogue_has_terms_and_addresses_and_a_mirror_takes_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for model in CATALOGUE.values():
        assert model.licence and model.paper and model.note and model.checkpoint.url.startswith("https://huggingface.co/")
    monkeypatch.setenv("ECHOREEL_HUB", "http://127.0.0.1:9/")
    assert entry("echoreel-lvdm").checkpoint.url == "http://127.0.0.1:9/cscrisp/EchoReel/resolve/main/checkpoint/checkpoint.pt"
    with pytest.raises(EchoreelError) as caught:
        entry("echoreel-lvmd")
    assert caught.value.hint == "did you mean echoreel-lvdm?"
