"""The patch prism: tokens that keep their time and place."""

from __future__ import annotations

import pytest
import torch

from echoreel_cli.prism.patches import PatchPrism, PatchPrismConfig, PlaceAndTime

TINY = PatchPrismConfig(channels=4, patch=2, width=16, layers=1, heads=2, temporal_length=4, grid=4)


@pytest.fixture
def prism() -> PatchPrism:
    torch.manual_seed(0)
    return PatchPrism(TINY)


def test_a_token_for_each_patch_of_each_frame(prism: PatchPrism) -> None:
    assert prism(torch.randn(2, 4, 4, 8, 8)).shape == (2, 4, 16, 16)
    assert prism(torch.randn(2, 4, 6, 4, 8)).shape == (2, 6, 8, 16), "other lengths and sizes too"


def test_samples_do_not_mix(prism: PatchPrism) -> None:
    video = torch.randn(3, 4, 4, 8, 8)
    assert torch.allclose(prism(video)[1], prism(video[1:2])[0], atol=1e-5)


def test_time_and_place_matter(prism: PatchPrism) -> None:
    video = torch.randn(1, 4, 4, 8, 8)
    tokens = prism(video)
    assert not torch.allclose(prism(video.flip(2)).flip(1), tokens, atol=1e-2), "backwards is another motion"
    assert not torch.allclose(prism(video.flip(-1)).unflatten(2, (4, 4)).flip(3).flatten(2, 3), tokens, atol=1e-2)


def test_learned_places_are_used_as_they_are_and_stretched_to_other_sizes() -> None:
    where = PlaceAndTime(8, 4, 4)
    exact = where(4, 4, 4)
    assert torch.equal(exact, where.time.T[:, None] + where.place.flatten(1).T[None])
    with torch.no_grad():
        where.place.zero_()
    longer = where(7, 4, 4)[:, 0]
    assert longer.shape == (7, 8)
    assert torch.allclose(longer[[0, -1]], where.time.T[[0, -1]]), "first and last moment stay what they are"
    assert torch.allclose(longer[2], where.time.T[1], atol=1e-6)


def test_sizes_that_make_no_whole_patches_are_refused(prism: PatchPrism) -> None:
    with pytest.raises(RuntimeError, match="divisible"):
        prism(torch.randn(1, 4, 4, 7, 8))
