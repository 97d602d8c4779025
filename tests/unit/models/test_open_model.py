from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from echoreel_cli.models.catalogue import ECHOREEL
from echoreel_cli.models.folder import Card, Tokenizer
from echoreel_cli.models.names import models_folder
from echoreel_cli.models.open import open_model
from echoreel_cli.models.save import save_model_folder
from echoreel_index.errors import UsageError, WeightsError
from tests.published import Tiny, outputs, tiny


@pytest.fixture(scope="module")
def net() -> Tiny:
    return tiny()


@pytest.fixture(scope="module")
def whole(net: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What training writes: a model folder from modules in memory."""
    folder = tmp_path_factory.mktemp("whole") / "tiny"
    card = Card(source="made here", licence="CC0")
    save_model_folder(
        folder,
        info=ECHOREEL.info,
        card=card,
        unet=net.unet,
        adapter=net.adapter,
        vae=net.vae,
        text_encoder=net.text,
        dtype=torch.float16,
        tokenizer=Tokenizer(length=16, pad="zero"),
    )
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "tiny"))


def test_what_was_saved_opens_and_gives_the_same(net: Tiny, whole: Path) -> None:
    model = open_model(str(whole), dtype="float32")
    found = outputs(model.backbone.denoiser, model.adapter, model.backbone.vae, model.backbone.text_encoder)
    for name, wanted in net.forward().items():
        torch.testing.assert_close(found[name], wanted, rtol=0, atol=1e-6, msg=name)
    assert model.name == "echoreel-lvdm" and len(model.hashes) == 11
    assert model.backbone.tokenizer(["a walk"]).shape == (1, 16)
    assert model.backbone.downsampling == 2 and model.backbone.scheduler.alphas_cumprod[0] == pytest.approx(0.99915)


def test_weights_stay_as_stored_or_become_what_was_asked_for(whole: Path) -> None:
    stored, wide = open_model(str(whole)), open_model(str(whole), dtype=torch.bfloat16)
    for model, dtype in ((stored, torch.float16), (wide, torch.bfloat16)):
        assert model.adapter is not None
        for part in (model.backbone.denoiser, model.backbone.vae, model.backbone.text_encoder, model.adapter):
            assert {parameter.dtype for parameter in part.parameters()} == {dtype}
            assert not part.training and not any(parameter.requires_grad for parameter in part.parameters())
            assert not any(tensor.is_meta for tensor in (*part.parameters(), *part.buffers()))


def test_a_name_is_found_in_the_user_s_folder(whole: Path) -> None:
    models_folder().mkdir(parents=True)
    (models_folder() / "mine").symlink_to(whole, target_is_directory=True)
    assert open_model("mine").folder == models_folder() / "mine"


def test_a_model_that_is_not_here_says_what_to_type(whole: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        open_model("echoreel-lvdm")
    assert caught.value.hint == "echoreel models pull echoreel-lvdm" and caught.value.exit_code == 5
    with pytest.raises(UsageError, match="number type 'float12'"):
        open_model(str(whole), dtype="float12")


def edit(file: Path, **changes: object) -> None:
    data = json.loads(file.read_text())
    file.write_text(json.dumps({**data, **changes}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("absent weights", "model.safetensors is missing"),
        ("cut weights", "is damaged"),
        ("missing key", "weight 'conv_in.weight' is missing"),
        ("extra key", "unknown weight 'conv_out.wieght'"),
        ("wrong shape", r"'conv_in.bias' has shape \(3,\), expected \(32,\)"),
        ("unknown unet key", "unknown key 'num_head'"),
        ("unknown adapter", "unknown kind of adapter 'prims'"),
        ("unknown tokenizer", "'left' is none of 'eos', 'zero'"),
        ("unknown schedule", "unknown key 'beta_strat'"),
        ("unknown backbone", "backbone 'wan'"),
        ("no reference", "does not say how references are read"),
        ("no text config", "config.json is missing"),
    ],
)
def test_a_damaged_folder_is_refused_with_its_reason(damage: str, says: str, folder: Path) -> None:
    weights = folder / "unet" / "model.safetensors"
    state = load_file(weights)
    match damage:
        case "absent weights":
            weights.unlink()
        case "cut weights":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "missing key":
            save_file({key: value for key, value in state.items() if key != "conv_in.weight"}, weights)
        case "extra key":
            save_file(state | {"conv_out.wieght": torch.ones(1)}, weights)
        case "wrong shape":
            save_file(state | {"conv_in.bias": torch.ones(3)}, weights)
        case "unknown unet key":
            edit(folder / "unet" / "config.json", num_head=8)
        case "unknown adapter":
            edit(folder / "action_adapter" / "config.json", kind="prims")
        case "unknown tokenizer":
            edit(folder / "tokenizer" / "tokenizer.json", pad="left")
        case "unknown schedule":
            edit(folder / "scheduler" / "scheduler_config.json", beta_strat=0.1)
        case "unknown backbone":
            edit(folder / "model_index.json", backbone="wan")
        case "no reference":
            edit(folder / "model_index.json", reference=None)
        case "no text config":
            (folder / "text_encoder" / "config.json").unlink()
    with pytest.raises(WeightsError, match=says):
        open_model(str(folder))


def test_a_folder_without_adapter_is_a_plain_backbone(folder: Path) -> None:
    shutil.rmtree(folder / "action_adapter")
    assert open_model(str(folder)).adapter is None
