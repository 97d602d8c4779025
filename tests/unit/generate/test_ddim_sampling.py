from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor

from echoreel_cli.backbones.base import Denoiser, TextContext
from echoreel_cli.backbones.lvdm.unet import VideoUNet, VideoUNetConfig
from echoreel_cli.backbones.schedule import LVDM_SCHEDULE, build_schedule
from echoreel_cli.generate.guidance import Branch, Needed, Predictor, guide, guided
from echoreel_cli.generate.sampler import choose_timesteps, draw_noise, sample
from echoreel_index.errors import UsageError

SHAPE = (4, 2, 4, 4)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def towards(target: Tensor, prediction_type: str) -> Predictor:
    """A perfect predictor for one known clean video."""
    alphas: Tensor = build_schedule().alphas_cumprod

    def predict(x: Tensor, timesteps: Tensor) -> Tensor:
        alpha = alphas[timesteps].view(-1, 1, 1, 1, 1)
        noise = (x - alpha.sqrt() * target) / (1 - alpha).sqrt()
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * target
        return (noise if prediction_type == "epsilon" else velocity).float()

    return predict


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_perfect_predictions_lead_to_the_video(prediction_type: str, eta: float) -> None:
    target = torch.randn(1, *SHAPE)
    schedule = build_schedule({**LVDM_SCHEDULE, "prediction_type": prediction_type})
    out = sample(towards(target, prediction_type), schedule, SHAPE, generators=generators(3), steps=20, eta=eta)
    # what remains is the noise of timestep 0, where the public schedule ends
    assert (out - target).abs().max() < 0.2


def test_a_sample_depends_on_its_own_seed_alone() -> None:
    def shrink(x: Tensor, timesteps: Tensor) -> Tensor:
        return 0.5 * x

    pair = sample(shrink, build_schedule(), SHAPE, generators=generators(1, 2), steps=4)
    alone = [sample(shrink, build_schedule(), SHAPE, generators=generators(seed), steps=4) for seed in (1, 2)]
    assert torch.equal(pair, torch.cat(alone))
    assert torch.equal(draw_noise((3,), generators(5)), torch.randn(3, generator=generators(5)[0])[None])


def test_progress_is_told_after_every_step_and_may_stop() -> None:
    told: list[tuple[int, int]] = []
    sample(lambda x, t: x, build_schedule(), SHAPE, generators=generators(1), steps=4, progress=lambda *step: told.append(step))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def stop(done: int, steps: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(lambda x, t: x, build_schedule(), SHAPE, generators=generators(1), steps=4, progress=stop)


@pytest.mark.parametrize("steps", [1, 2, 4, 5, 10, 20, 25, 30, 40, 50, 100, 200, 250, 500])
def test_step_counts_that_cover_the_schedule(steps: int) -> None:
    timesteps = choose_timesteps(build_schedule(), steps)
    assert len(timesteps) == steps and timesteps[-1] == 1 and max(timesteps) <= 999


@pytest.mark.parametrize(("steps", "near"), [(7, 8), (600, 500), (1000, 500), (3, 2)])
def test_step_counts_that_leave_the_noisy_end_out_are_refused(steps: int, near: int) -> None:
    with pytest.raises(UsageError, match="do not cover") as caught:
        choose_timesteps(build_schedule(), steps)
    assert caught.value.hint == f"--steps {near} does"


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_impossible_step_counts(steps: int) -> None:
    with pytest.raises(UsageError, match="from 1 to 1000"):
        choose_timesteps(build_schedule(), steps)


def test_unknown_schedule_key_is_an_error() -> None:
    with pytest.raises(UsageError, match="unknown key 'beta_begin'"):
        build_schedule({**LVDM_SCHEDULE, "beta_begin": 0.1})


class Counting:
    """A denoiser that counts its calls and the samples in each."""

    def __init__(self, unet: VideoUNet) -> None:
        self.unet, self.batches = unet, []
        self.project_text, self.sites, self.site_module = unet.project_text, unet.sites, unet.site_module

    batches: list[int]

    def __call__(self, x: Tensor, timesteps: Tensor, context: TextContext) -> Tensor:
        self.batches.append(len(x))
        out: Tensor = self.unet(x, timesteps, context)
        return out


def test_guidance_together_or_apart_and_skipped_at_one() -> None:
    torch.manual_seed(0)
    unet = VideoUNet(
        VideoUNetConfig(
            model_channels=8, channel_mult=(1,), num_res_blocks=1, attention_resolutions=(1,), num_heads=2, context_dim=6, norm_groups=4
        )
    )
    for parameter in unet.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    denoiser, x, t = Counting(unet.requires_grad_(False)), torch.randn(2, *SHAPE), torch.tensor([5, 5])
    words = Branch(unet.project_text(torch.randn(2, 3, 6)))
    empty = Branch(unet.project_text(torch.randn(2, 3, 6)))
    together = guided(denoiser, None, words, empty, scale=7.5, together=True, dtype=torch.float32)(x, t)
    apart = guided(denoiser, None, words, empty, scale=7.5, together=False, dtype=torch.float32)(x, t)
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=0)
    plain = guided(denoiser, None, words, empty, scale=1.0, dtype=torch.float32)(x, t)
    assert denoiser.batches == [4, 2, 2, 2]
    u, c = unet(x, t, empty.words), unet(x, t, words.words)
    assert torch.equal(plain, c)
    torch.testing.assert_close(apart, guide(u, c, 7.5))


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(("scale", "action"), [(3.0, 2.0), (1.0, 2.0), (4.0, 4.0), (3.0, 1.0)])
def test_three_branches_of_guidance_add_up(scale: float, action: float, together: bool) -> None:
    """u + action (r - u) + scale (c - r), and branches without a weight are neither needed nor run."""
    u, r, c = (torch.full((2, *SHAPE), value) for value in (0.5, 2.0, -1.0))
    seen = []

    class Fake:
        def __call__(self, x: Tensor, timesteps: Tensor, context: TextContext) -> Tensor:
            out = context.pairs[0][0].view(-1, 1, 1, 1, 1).expand(x.shape)
            seen.append(len(x))
            return out

    branches = [Branch(TextContext(((value[:, 0, 0, 0, 0].clone(), torch.zeros(2)),))) for value in (c, r, u)]
    needed = Needed.of(scale, action, references=True)
    predict = guided(
        cast(Denoiser, Fake()),
        None,
        branches[0],
        branches[1] if needed.negative else None,
        branches[2] if needed.plain else None,
        scale=scale,
        action_scale=action,
        dtype=torch.float32,
        together=together,
    )
    out = predict(torch.zeros(2, *SHAPE), torch.tensor([5, 5]))
    torch.testing.assert_close(out, u + action * (r - u) + scale * (c - r))
    assert sum(seen) == 2 * (1 + needed.negative + needed.plain)
    assert Needed.of(scale, action, references=False) == Needed(scale != 1, False)
