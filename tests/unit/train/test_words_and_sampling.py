"""The text tower under two names, the words that training and generation see, and sampling by v."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer

from echoreel_cli.backbones.lvdm.model import LVDM
from echoreel_cli.backbones.lvdm.tokens import ClipTokenizer
from echoreel_cli.backbones.lvdm.unet import VideoUNet, VideoUNetConfig
from echoreel_cli.backbones.schedule import build_schedule
from echoreel_cli.generate.sampler import sample
from echoreel_cli.train import retriever
from echoreel_cli.train.autoencoder import fold, linear_code, new_autoencoder
from echoreel_cli.train.loop import LoopConfig, fit
from echoreel_cli.train.retriever import RetrieverTask, WordsTask, lock_words, new_retriever
from echoreel_cli.train.text_tower import largest_difference, text_model
from echoreel_cli.train.video import SCHEDULE, Words
from echoreel_cli.train.worldset import WorldSet
from echoreel_index.errors import UsageError

SAID = [
    "a person in a red shirt doing a backflip",
    "",
    "a zebra",
    "a person in a blue shirt and red trousers and a white hat waving on a beach",
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[open_clip.CLIP, SimpleTokenizer, Path]:
    file = tmp_path_factory.mktemp("words") / "bpe.txt.gz"
    torch.manual_seed(0)
    return *new_retriever(file), file


def test_transformers_and_open_clip_say_the_same(found: tuple[open_clip.CLIP, SimpleTokenizer, Path]) -> None:
    model, tokenizer, _ = found
    assert largest_difference(model, text_model(model, heads=4), tokenizer(SAID)) < 1e-5


def test_generation_reads_the_words_that_training_read(found: tuple[open_clip.CLIP, SimpleTokenizer, Path], world: WorldSet) -> None:
    model, tokenizer, file = found
    encoder = text_model(model, heads=4)
    words = Words(lambda captions: encoder(input_ids=tokenizer(list(captions))).last_hidden_state)
    config = VideoUNetConfig(
        in_channels=32, out_channels=32, model_channels=16, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(2,),
        num_heads=2, context_dim=128, temporal_length=8, norm_groups=8,
    )  # fmt: skip
    autoencoder = new_autoencoder(linear_code(world, every=5))
    whole = LVDM(VideoUNet(config), autoencoder, encoder, ClipTokenizer(32, "zero", file), build_schedule(SCHEDULE))
    assert torch.equal(whole.encode_text(SAID), words(SAID))
    assert whole.downsampling == 8 and whole.latent_shape(8, 64, 64) == (32, 8, 8, 8)
    clip = torch.from_numpy(world.frames[:2].copy()).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    latents = whole.encode_video(clip)
    by_hand = autoencoder.encode(fold(clip.transpose(1, 2).flatten(0, 1))).latent_dist.mode()
    assert torch.allclose(latents, by_hand.unflatten(0, (2, 8)).transpose(1, 2), atol=1e-4)
    assert (whole.decode_video(latents) - clip).abs().mean() < 0.08


def test_words_learn_what_captions_say_and_leave_the_pictures_alone(world: WorldSet, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, tokenizer = new_retriever(tmp_path / "bpe.txt.gz")
    model.visual.requires_grad_(False)
    model.logit_scale.requires_grad_(False)
    before = model.visual.conv1.weight.clone()
    losses: list[float] = []
    config = LoopConfig(steps=12, batch=16, learning_rate=1e-3, warmup=2, log_every=3, mixed_precision="no")
    fit(WordsTask(world, model, tokenizer), config, tmp_path / "words", progress=lambda line: losses.append(line.loss))
    assert losses[-1] < losses[0]
    assert torch.equal(model.visual.conv1.weight, before)
    other, _ = new_retriever(tmp_path / "bpe.txt.gz")
    assert retriever.load_words(tmp_path / "words", other) == 12
    ids = tokenizer(SAID)
    assert torch.equal(other.encode_text(ids), model.encode_text(ids))
    with pytest.raises(UsageError, match="no trained words"):
        retriever.load_words(tmp_path, other)


def test_locked_words_stay_while_pictures_learn_to_meet_them(world: WorldSet, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, tokenizer = new_retriever(tmp_path / "bpe.txt.gz")
    lock_words(model)
    before = text_model(model, heads=4)(input_ids=tokenizer(SAID)).last_hidden_state
    task = RetrieverTask(world, model, tokenizer)
    loss, figures = task.loss(model, 6, torch.Generator().manual_seed(1))
    assert 0 <= figures["same_action"] <= 1
    torch.autograd.backward(loss)
    moved = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved == {"visual", "text_projection", "logit_scale"}
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad)
    assert torch.equal(text_model(model, heads=4)(input_ids=tokenizer(SAID)).last_hidden_state, before)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_sampler_that_is_told_the_truth_arrives_at_it(eta: float) -> None:
    scheduler = build_schedule({"_class_name": "DDIMScheduler", **SCHEDULE})
    assert scheduler.config.prediction_type == "sample"
    clean = torch.randn(1, 4, 2, 4, 4, generator=torch.Generator().manual_seed(2))
    made = sample(lambda x, t: clean, scheduler, (4, 2, 4, 4), generators=[torch.Generator().manual_seed(9)], steps=30, eta=eta)
    assert (made - clean).abs().max() < 1e-3, "down to no noise at all"
    assert int(scheduler.timesteps[0]) == 999, "from nothing but noise"
