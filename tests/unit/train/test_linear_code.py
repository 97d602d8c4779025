"""The autoencoder of the mini model: an AutoencoderKL that holds the best linear code, then learns to paint edges."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from echoreel_cli.train.autoencoder import LinearCode, SharpenTask, fold, linear_code, mirror, new_autoencoder
from echoreel_cli.train.sizes import LATENTS, PATCH
from echoreel_cli.train.worldset import WorldSet, is_held_out


@pytest.fixture(scope="module")
def code(world: WorldSet) -> LinearCode:
    return linear_code(world, every=3)


@pytest.fixture(scope="module")
def pictures(world: WorldSet) -> Tensor:
    """(n c h w) in [-1, 1]."""
    return torch.from_numpy(world.frames[::9, 3].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1


def by_formula(code: LinearCode, pictures: Tensor) -> Tensor:
    """latent = (patch - mean) @ basis / scale, (n LATENTS h/8 w/8)."""
    patches = fold(pictures).permute(0, 2, 3, 1).double()
    return ((patches - code.mean) @ code.basis / code.scale).permute(0, 3, 1, 2).float()


def test_the_code_is_orthonormal_ordered_and_of_unit_variance(code: LinearCode, world: WorldSet) -> None:
    assert code.basis.shape == (3 * PATCH**2, LATENTS)
    assert torch.allclose(code.basis.T @ code.basis, torch.eye(LATENTS, dtype=torch.float64), atol=1e-8)
    assert (code.scale.diff() <= 0).all()
    seen = world.where(lambda label: not is_held_out(label))[::3]
    frames = torch.cat([torch.from_numpy(world.frames[row][::4].copy()) for row in seen]).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert by_formula(code, frames).std() == pytest.approx(1.0, abs=0.01)


def test_the_network_encodes_by_the_formula(code: LinearCode, pictures: Tensor) -> None:
    autoencoder = new_autoencoder(code).eval()
    with torch.no_grad():
        found = autoencoder.encode(fold(pictures)).latent_dist
    assert (found.mode() - by_formula(code, pictures)).abs().max() < 1e-3
    assert found.std.max() < 1e-5, "the code has no noise of its own"


def test_the_network_decodes_by_the_formula(code: LinearCode, pictures: Tensor) -> None:
    autoencoder = new_autoencoder(code).eval()
    latents = by_formula(code, pictures)
    wanted = (latents.permute(0, 2, 3, 1).double() * code.scale @ code.basis.T + code.mean).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        found = autoencoder.decode(latents).sample
    assert (found - wanted).abs().max() < 2e-3
    assert (F.pixel_shuffle(found, PATCH) - pictures).abs().mean() < 0.08, "32 numbers keep most of 192"


def test_half_precision_keeps_the_code(code: LinearCode, pictures: Tensor) -> None:
    autoencoder = new_autoencoder(code)
    autoencoder.load_state_dict({name: value.half().float() for name, value in autoencoder.state_dict().items()})
    with torch.no_grad():
        found = autoencoder.eval().encode(fold(pictures)).latent_dist.mode()
    assert (found - by_formula(code, pictures)).abs().max() < 0.02


def test_mirrored_pictures_have_mirrored_latents(code: LinearCode, pictures: Tensor) -> None:
    turned = torch.einsum("nchw,cd->ndhw", by_formula(code, pictures).flip(-1), mirror(code))
    wanted = by_formula(code, pictures.flip(-1))
    assert (turned - wanted).pow(2).mean() < 0.05 * wanted.pow(2).mean()


def test_sharpening_trains_the_decoder_alone(code: LinearCode, pictures: Tensor, world: WorldSet) -> None:
    autoencoder = new_autoencoder(code)
    task = SharpenTask(world, autoencoder)
    loss, figures = task.loss(autoencoder, 4, torch.Generator().manual_seed(0))
    assert loss > 0 and figures["l1"] < 0.15
    torch.autograd.backward(loss)
    trained = {name for name, parameter in autoencoder.named_parameters() if parameter.grad is not None}
    assert trained and all(name.startswith("decoder.") for name in trained)
    again, _ = task.loss(autoencoder, 4, torch.Generator().manual_seed(0))
    assert torch.equal(loss, again)
