"""Which clips stand beside each other when the adapter is trained, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from echoreel_cli.mini.actions import ACTIONS, HELD_OUT
from echoreel_cli.train.autoencoder import linear_code, mirror, new_autoencoder
from echoreel_cli.train.latents import LatentSet, Retakes, film_retakes
from echoreel_cli.train.pairs import Pairs, caption
from echoreel_cli.train.worldset import Label, WorldSet, is_held_out, label, takes
from echoreel_index.errors import UsageError

CHANNELS = 4
SHOWN = [one for one in takes(2, per_action=3, wild=5, takes_per_wild=2) if not is_held_out(label([one])[0])]


@pytest.fixture(scope="module")
def data() -> LatentSet:
    """Latents that hold their row's number everywhere, true labels."""
    labels = tuple(label(SHOWN))
    numbers = torch.arange(len(labels)).half().view(-1, 1, 1, 1, 1)
    return LatentSet(numbers.expand(-1, CHANNELS, 4, 8, 8).clone(), labels)


@pytest.fixture(scope="module")
def retakes(data: LatentSet) -> Retakes:
    """Of every third clip; their latents are 1000 plus the original's row."""
    rows = torch.arange(0, len(data.labels), 3)
    return Retakes(data.latents[rows] + 1000, tuple(f"retake of {row}" for row in rows.tolist()), rows)


def numbers(latents: torch.Tensor) -> list[int]:
    return [int(one.flatten()[0]) for one in latents]


def test_nothing_held_out_is_ever_said(data: LatentSet) -> None:
    forbidden = [phrase for action in ACTIONS if action.name in HELD_OUT for phrase in action.phrases]
    rng = np.random.default_rng(0)
    said = [caption(one, rng) for one in data.labels for _ in range(6)]
    assert not [words for words in said if any(words.endswith(phrase) or f"{phrase} " in words for phrase in forbidden)]
    assert 0.03 < said.count("") / len(said) < 0.2
    named = [(one, caption(one, rng)) for one in data.labels if one.action is not None for _ in range(6)]
    kept = np.mean([words == one.caption for one, words in named])
    assert 0.25 < kept < 0.55, "most captions do not give the action away"


def test_pairs_show_one_motion_in_two_clips(data: LatentSet) -> None:
    pairs, rng = Pairs(data), np.random.default_rng(0)
    for _ in range(200):
        target, *others = pairs.pick(pairs.motion(rng), 2, rng)
        assert len(others) == 2 and target not in others
        assert {data.labels[row].motion for row in others} == {data.labels[target].motion}


def test_mostly_the_target_is_a_retake_of_its_first_reference(data: LatentSet, retakes: Retakes) -> None:
    pairs, rng = Pairs(data, retakes=retakes), np.random.default_rng(0)
    taken = 0
    for _ in range(300):
        pair = pairs.draw(3, rng)
        [target], (first, *others) = numbers(pair.target[None]), numbers(pair.references)
        retaken, original = target >= 1000, target % 1000
        taken += retaken
        assert (first == original) == retaken and len(others) == 2
        assert {data.labels[row].motion for row in (first, *others)} == {data.labels[original].motion}
        if retaken:
            assert pair.caption in ("", f"retake of {original}")
    assert 0.62 < taken / 300 < 0.78
    assert Pairs(data, retakes=retakes).draw(1, rng).references.shape == (1, CHANNELS, 4, 8, 8)


def test_without_retakes_no_clip_is_its_own_reference(data: LatentSet) -> None:
    pairs, rng = Pairs(data), np.random.default_rng(1)
    for _ in range(100):
        pair = pairs.draw(2, rng)
        assert numbers(pair.target[None])[0] not in numbers(pair.references)


def test_a_motion_with_one_clip_can_still_be_taken_again(data: LatentSet) -> None:
    alone = LatentSet(data.latents[[0, 3, 4]], tuple(data.labels[row] for row in (0, 3, 4)))
    taken = Retakes(data.latents[:1] + 1000, ("again",), torch.tensor([0]))
    pairs, rng = Pairs(alone, retakes=taken), np.random.default_rng(0)
    found = {tuple(numbers(pairs.draw(3, rng).references)) for _ in range(40)}
    assert (0, 0, 0) in found, "only its original is there to be shown"


def test_references_are_turned_to_face_as_the_target(data: LatentSet) -> None:
    ramp = torch.arange(8.0).half().expand(len(data.labels), CHANNELS, 4, 8, 8)
    pairs, rng = Pairs(LatentSet(ramp, data.labels), mirror=torch.eye(CHANNELS)), np.random.default_rng(0)
    facing = [one.leftward for one in data.labels]
    left, right = facing.index(True), facing.index(False)
    shown = [pairs.references(data.labels[left], [right, right, left], rng) for _ in range(300)]
    turned = torch.stack([found[:, 0, 0, 0, 0] == 7 for found in shown]).float().mean(0).tolist()
    assert 0.83 < turned[0] < 0.97 and 0.4 < turned[1] < 0.6 and turned[2] == 0
    assert torch.equal(Pairs(data).references(data.labels[left], [right], rng)[0], data.latents[right].float())


def test_retakes_are_filmed_once_with_their_own_captions(world: WorldSet, tmp_path: Path) -> None:
    originals = [one for _, one in takes(1, per_action=2, wild=4)]
    rows = world.where(lambda one: not is_held_out(one))
    shown = tuple(world.labels[row] for row in rows)
    data = LatentSet(torch.zeros(len(shown), 32, 8, 8, 8).half(), shown)
    code = linear_code(world, every=5)
    autoencoder, heard = new_autoencoder(code).eval(), list[tuple[int, int]]()

    def made(count: int) -> Retakes:
        return film_retakes(
            autoencoder, data, lambda: [originals[row] for row in rows], tmp_path, count=count, progress=lambda *at: heard.append(at)
        )

    found = made(40)
    assert heard == [(32, 40), (40, 40)] and [path.name for path in tmp_path.iterdir()] == ["retakes.pt"]
    assert found.latents.shape == (40, 32, 8, 8, 8) and found.latents.dtype == torch.float16
    assert len(set(found.rows.tolist())) == 40 and found.rows.tolist() == np.random.default_rng(5).permutation(len(shown))[:40].tolist()
    for row, words in zip(found.rows.tolist(), found.captions, strict=True):
        assert _action_said(shown[row], words)
    assert made(40).captions == found.captions and len(heard) == 2
    with pytest.raises(UsageError, match="other retakes"):
        made(41)
    assert mirror(code).shape == (32, 32)


def test_only_the_clips_that_are_there_are_taken_again(data: LatentSet, tmp_path: Path) -> None:
    performed = [one for _, one in SHOWN][::-1]
    with pytest.raises(UsageError, match="other settings"):
        film_retakes(new_autoencoder(), data, lambda: performed, tmp_path, count=3, progress=lambda done, total: None)
    assert not list(tmp_path.iterdir())


def _action_said(one: Label, words: str) -> bool:
    if one.action is None:
        return "moving" in words or "doing something" in words
    return any(phrase in words for phrase in next(a for a in ACTIONS if a.name == one.action).phrases)
