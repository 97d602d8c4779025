from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file
from torch import Tensor

from echoreel_cli.models.catalogue import ECHOREEL, LVDM
from echoreel_cli.models.convert import convert, examine
from echoreel_cli.models.deepspeed import Checkpoint
from echoreel_cli.models.folder import Card, Origin, read_card, read_info, verify
from echoreel_index.errors import WeightsError
from tests.published import Tiny, published, tiny, write_deepspeed

ORIGIN = Origin(url="checkpoint.pt", sha256="0" * 64, size=1)
BLOCK = "model.diffusion_model.middle_block.1.transformer_blocks.0"


@pytest.fixture(scope="module")
def net() -> Tiny:
    return tiny()


@pytest.fixture
def state(net: Tiny) -> OrderedDict[str, Tensor]:
    return published(net)


def converted(state: OrderedDict[str, Tensor], tmp_path: Path, **options: object) -> Card:
    write_deepspeed(tmp_path / "checkpoint.pt", state)
    return convert(ECHOREEL, tmp_path / "checkpoint.pt", ORIGIN, tmp_path / "model", **options)  # type: ignore[arg-type]


def test_the_folder_holds_every_live_weight_bit_for_bit_and_no_dead_one(net: Tiny, state: OrderedDict[str, Tensor], tmp_path: Path) -> None:
    seen: list[str] = []
    card = converted(state, tmp_path, watch=lambda stage, what: seen.append(what))
    for part, module in (("unet", net.unet), ("action_adapter", net.adapter)):
        found = load_file(tmp_path / "model" / part / "model.safetensors")
        wanted = module.state_dict()
        assert set(found) == set(wanted)
        assert all(found[key].dtype == torch.float16 and torch.equal(found[key], wanted[key].half()) for key in wanted)
    assert read_info(tmp_path / "model") == ECHOREEL.info and read_card(tmp_path / "model") == card
    assert {verdict.state for verdict in verify(tmp_path / "model")} == {"ok"}
    assert card.dtype == "float16" and card.origins == (ORIGIN,) and card.licence == ECHOREEL.licence
    assert card.checks[0].startswith(f"{len(state)} tensors read")
    assert any("has not the published size: 32 channels" in check for check in card.checks)
    assert any("all 7 injected temporal attentions act" in check for check in card.checks)
    assert any("is zero in all 7 places; it was dropped" in check for check in card.checks)
    assert seen[0].startswith("reading checkpoint.pt") and len(seen) == 5


def test_the_schedule_is_computed_and_not_the_file_s(state: OrderedDict[str, Tensor], tmp_path: Path) -> None:
    converted(state, tmp_path)
    scheduler = DDIMScheduler.from_pretrained(tmp_path / "model" / "scheduler")
    assert scheduler.alphas_cumprod[1] == pytest.approx(0.9982960278384514, abs=1e-7)
    assert scheduler.alphas_cumprod[999] == pytest.approx(0.004660098513077238, abs=1e-7)
    scheduler.set_timesteps(50)
    assert scheduler.timesteps.tolist() == list(range(981, 0, -20))


def test_another_number_type(state: OrderedDict[str, Tensor], tmp_path: Path) -> None:
    card = converted(state, tmp_path, dtype="bfloat16")
    assert card.dtype == "bfloat16"
    assert {tensor.dtype for tensor in load_file(tmp_path / "model" / "vae" / "diffusion_pytorch_model.safetensors").values()} == {
        torch.bfloat16
    }


@pytest.mark.parametrize("prefix", ["", "module.", "_forward_module."])
@pytest.mark.parametrize("wrapped", [True, False])
def test_any_prefix_and_wrapping(prefix: str, wrapped: bool, net: Tiny, tmp_path: Path) -> None:
    state = published(net, prefix=prefix)
    torch.save({"state_dict": state} if wrapped else state, tmp_path / "t2v.ckpt")
    card = convert(ECHOREEL, tmp_path / "t2v.ckpt", ORIGIN, tmp_path / "model")
    assert len(card.hashes) == 11


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("missing", r"missing weight 'input_blocks\.0\.0\.bias'"),
        ("missing prism", r"missing weight 'video_inject_process\.net\.1\.ff4\.net\.2\.bias'"),
        ("missing dead", r"missing weight '.*video_inject_attn3\.to_q\.weight'"),
        ("unknown", r"unknown weight 'input_blocks\.0\.0\.wieght'"),
        ("foreign root", r"belongs to no part"),
        ("shape", r"has shape \(32, 5, 1, 3, 3\)|has shape .* expected"),
        ("vae", r"autoencoder: missing weight"),
        ("text", r"text encoder: missing weight"),
        ("no vae", r"holds no autoencoder"),
        ("no echoreel", r"holds no EchoReel"),
        ("untrained", r"gives zero, as before training"),
        ("no xformers", r"text attention reads 32 channels"),
        ("nan", r"no finite numbers"),
        ("early names", r"code before its release"),
    ],
)
def test_every_wrong_weight_is_named(change: str, says: str, net: Tiny, state: OrderedDict[str, Tensor], tmp_path: Path) -> None:
    root = "_forward_module.model.diffusion_model."
    conv, prism = root + "input_blocks.0.0.", root + "video_inject_process."
    match change:
        case "missing":
            del state[conv + "bias"]
        case "missing prism":
            del state[prism + "net.1.ff4.net.2.bias"]
        case "missing dead":
            del state[f"_forward_module.{BLOCK}.video_inject_attn3.to_q.weight"]
        case "unknown":
            state[conv + "wieght"] = torch.ones(2)
        case "foreign root":
            state["_forward_module.discriminator.weight"] = torch.ones(2)
        case "shape":
            state[root + "out.2.bias"] = torch.ones(5)
        case "vae":
            del state["_forward_module.first_stage_model.quant_conv.bias"]
        case "text":
            del state["_forward_module.cond_stage_model.transformer.text_model.final_layer_norm.bias"]
        case "no vae":
            state = OrderedDict((key, value) for key, value in state.items() if "first_stage" not in key)
        case "no echoreel":
            state = OrderedDict((key, value) for key, value in state.items() if "inject" not in key)
        case "untrained":
            state = OrderedDict((key, value * 0 if "attn3_tmp.to_out" in key else value) for key, value in state.items())
        case "no xformers":
            for layer in range(2):
                for name in "kv":
                    state[f"{prism}net.{layer}.attn2.to_{name}.weight"] = torch.ones(32, 32)
        case "nan":
            state[conv + "bias"] = torch.full_like(state[conv + "bias"], float("nan"))
        case "early names":
            state[root + "EchoReel_attn3.to_q.weight"] = torch.ones(2)
    with pytest.raises(WeightsError, match=says) as caught:
        converted(state, tmp_path)
    assert caught.value.hint is not None or change == "early names"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"], "nothing half-made may stay"


def test_weights_that_the_published_code_never_runs_are_reported_if_they_were_trained(state: OrderedDict[str, Tensor]) -> None:
    state[f"_forward_module.{BLOCK}.video_inject_attn3.to_out.0.bias"][0] = 1
    checks = examine(Checkpoint(state, "module", ("trainer.Scaler",)), references=True)[1]
    assert any("1 weights of the spatial injection's outputs are not zero" in check for check in checks)
    assert any("left alone: trainer.Scaler" in check for check in checks)


def test_rows_for_far_distances_tell_whether_references_were_concatenated(state: OrderedDict[str, Tensor]) -> None:
    for key in state:
        if "attn3_tmp.relative_position" in key:
            state[key] = state[key].clamp(-0.1, 0.1)
    assert any("were never concatenated" in check for check in examine(Checkpoint(state, None), references=True)[1])
    state[next(key for key in state if "attn3_tmp.relative_position_k" in key)][0] = 3
    assert any("may have been concatenated" in check for check in examine(Checkpoint(state, None), references=True)[1])


def test_the_base_alone_becomes_a_model_without_adapter(net: Tiny, tmp_path: Path) -> None:
    state = OrderedDict((key, value.float()) for key, value in published(net, prefix="").items() if "inject" not in key)
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "t2v.ckpt")
    card = convert(LVDM, tmp_path / "t2v.ckpt", ORIGIN, tmp_path / "model")
    assert not (tmp_path / "model" / "action_adapter").exists() and card.dtype == "float32"
    assert read_info(tmp_path / "model").reference is None


def test_comparison_with_the_base_file(net: Tiny, state: OrderedDict[str, Tensor], tmp_path: Path) -> None:
    base = OrderedDict((key, value.float()) for key, value in published(net, prefix="").items() if "inject" not in key)
    torch.save(base, tmp_path / "same.ckpt")
    base["model.diffusion_model.out.2.bias"] = base["model.diffusion_model.out.2.bias"] + 0.25
    base.pop("first_stage_model.quant_conv.bias")
    torch.save(base, tmp_path / "other.ckpt")
    origin = replace(ORIGIN, url="t2v.ckpt")
    card = converted(state, tmp_path, base=(tmp_path / "same.ckpt", origin))
    assert card.origins == (ORIGIN, origin)
    assert sum("equals the base file's in all" in check for check in card.checks) == 3
    card = converted(state, tmp_path, base=(tmp_path / "other.ckpt", origin), force=True)
    assert any("differs from the base file's by up to 0.25 (out.2.bias)" in check for check in card.checks)
    assert any("1 tensors have no counterpart" in check for check in card.checks)
