from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from echoreel_cli.backbones.lvdm.model import LVDM
from echoreel_cli.backbones.lvdm.tokens import ClipTokenizer
from echoreel_cli.backbones.lvdm.unet import VideoUNet, VideoUNetConfig
from echoreel_cli.backbones.schedule import build_schedule
from echoreel_index.errors import UsageError


def letters(texts: Sequence[str]) -> Tensor:
    """A tokenizer small enough for a tiny text encoder."""
    return torch.tensor([[min(ord(letter), 98) for letter in text.ljust(6)[:6]] for text in texts])


def model(channels: int = 3) -> LVDM:
    torch.manual_seed(0)
    shape = VideoUNetConfig(
        model_channels=8, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(1,), num_heads=2, context_dim=16, norm_groups=4
    )
    unet = VideoUNet(shape)
    vae = AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.5,
    )
    words = {"vocab_size": 99, "hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 6}
    text = CLIPTextModel(CLIPTextConfig(**words, num_hidden_layers=1, num_attention_heads=2))
    return LVDM(unet, vae, text, letters, build_schedule(), frames_at_once=2)


def test_text_is_the_last_hidden_state_after_its_norm() -> None:
    lvdm = model()
    tokens = lvdm.encode_text(["jump", "a flip"])
    assert tokens.shape == (2, 6, 16)
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(2, 6), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("channels", "down"), [(3, 2), (12, 4)])
def test_video_goes_to_latents_and_back_in_pieces(channels: int, down: int) -> None:
    lvdm = model(channels)
    frames = torch.rand(2, 3, 5, 8, 16) * 2 - 1
    latents = lvdm.encode_video(frames)
    assert lvdm.downsampling == down and latents.shape == (2, 4, 5, 8 // down, 16 // down)
    assert lvdm.latent_shape(5, 8, 16) == tuple(latents.shape[1:])
    single = lvdm.encode_video(frames[1:, :, 3:4])
    torch.testing.assert_close(latents[1:, :, 3:4], single, atol=1e-5, rtol=0)
    decoded = lvdm.decode_video(latents)
    assert decoded.shape == frames.shape and decoded.abs().max() <= 1
    torch.testing.assert_close(decoded[:1, :, 2:3], lvdm.decode_video(latents[:1, :, 2:3]), atol=1e-5, rtol=0)


def test_posterior_is_sampled_only_with_a_generator() -> None:
    lvdm = model()
    frames = torch.rand(1, 3, 3, 8, 8) * 2 - 1
    mode = lvdm.encode_video(frames)
    first, again, other = (lvdm.encode_video(frames, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other) and not torch.equal(first, mode)
    posterior = lvdm.vae.encode(frames[:, :, 0]).latent_dist
    torch.testing.assert_close(mode[:, :, 0], posterior.mode() * 0.5, atol=1e-5, rtol=0)


def test_sizes_that_do_not_fit_are_refused_with_the_nearest() -> None:
    lvdm = model()
    assert lvdm.size_multiple == 4
    with pytest.raises(UsageError) as caught:
        lvdm.latent_shape(16, 9, 15)
    assert caught.value.hint == "nearest size: 16x8"


def test_clip_ids_are_filled_with_the_end_token() -> None:
    start, end = 49406, 49407
    ids = ClipTokenizer()(["a photo of a cat", ""])
    assert ids.shape == (2, 77) and ids.dtype == torch.long
    assert ids[0, :7].tolist() == [start, 320, 1125, 539, 320, 2368, end]
    assert set(ids[0, 6:].tolist()) == {end} and ids[1].tolist() == [start] + [end] * 76
    assert not ClipTokenizer(pad="zero")(["a photo of a cat"])[0, 7:].any()


def test_long_texts_keep_their_end_token() -> None:
    ids = ClipTokenizer(length=8)(["one two three four five six seven eight nine ten"])
    assert ids.shape == (1, 8) and ids[0, -1] == 49407 and 49407 not in ids[0, :-1]
