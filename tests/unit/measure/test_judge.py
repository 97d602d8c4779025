"""The judge of the small world: what it is shown, what it says, and how it is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from echoreel_cli.measure.judge import Judge, spoilt, video_tensor
from echoreel_cli.mini.actions import ACTIONS
from echoreel_cli.mini.people import COLOURS
from echoreel_cli.train.judge import JudgeTask, accuracy
from echoreel_cli.train.worldset import WorldSet, build


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> WorldSet:
    return build(tmp_path_factory.mktemp("world"), seed=3, per_action=1, wild=2)


def test_one_score_for_each_action_and_colour() -> None:
    verdict = Judge()(torch.zeros(2, 3, 8, 64, 64))
    assert verdict.action.shape == (2, len(ACTIONS))
    assert verdict.top.shape == verdict.bottom.shape == (2, len(COLOURS))
    assert verdict.features.shape == (2, 192)
    assert Judge()(torch.zeros(1, 3, 16, 64, 64)).features.shape == (1, 192), "any number of frames"


def test_clips_are_judged_alone_as_together() -> None:
    torch.manual_seed(0)
    judge, video = Judge().eval(), torch.rand(3, 3, 8, 64, 64) * 2 - 1
    assert torch.allclose(judge(video).action[1:2], judge(video[1:2]).action, atol=1e-5)


def test_order_of_frames_counts() -> None:
    torch.manual_seed(0)
    judge, video = Judge().eval(), torch.rand(1, 3, 8, 64, 64) * 2 - 1
    assert not torch.allclose(judge(video).features, judge(video.flip(2)).features, atol=1e-4)


def test_bytes_become_numbers_between_minus_one_and_one() -> None:
    frames = torch.tensor([0, 255], dtype=torch.uint8).view(1, 2, 1, 1, 1).expand(1, 2, 4, 5, 3)
    video = video_tensor(frames)
    assert video.shape == (1, 3, 2, 4, 5)
    assert (video[:, :, 0] == -1).all() and (video[:, :, 1] == 1).all()


def test_spoiling_is_drawn_anew_for_each_clip_and_repeatable(clips: WorldSet) -> None:
    video = video_tensor(torch.from_numpy(clips.frames[:6].copy()))
    one, again = (spoilt(video, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, again)
    assert one.abs().max() <= 1
    far = (one - video).abs().mean((1, 2, 3, 4))
    assert far.min() > 0 and far.max() < 0.2 and len(set(far.tolist())) == 6


def test_only_named_clips_are_trained_on_and_it_learns(clips: WorldSet) -> None:
    torch.manual_seed(0)
    judge = Judge()
    task = JudgeTask(clips, judge)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3)
    losses = []
    for step in range(12):
        loss, figures = task.loss(judge, 8, torch.Generator().manual_seed(step % 2))
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert set(figures) == {"accuracy", "top"}
    assert sum(losses[-2:]) < 0.9 * sum(losses[:2])


def test_accuracy_counts_named_clips(clips: WorldSet, tmp_path: Path) -> None:
    found = accuracy(Judge(), clips, batch=20)
    assert found["n"] == len(ACTIONS)
    assert all(0 <= found[name] <= 1 for name in ("all", "held_out", "top", "bottom"))
