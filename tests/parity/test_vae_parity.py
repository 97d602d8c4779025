"""The published autoencoder layout, through conversion into diffusers' AutoencoderKL."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL

from echoreel_cli.backbones.lvdm.weights import convert_vae, vae_renamings
from tests.parity import golden


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    return golden.small_vae()


def test_encoder_and_decoder(vae: AutoencoderKL) -> None:
    case = golden.autoencoder()
    with torch.no_grad():
        posterior = vae.encode(case.input["x"]).latent_dist
        decoded = vae.decode(case.input["z"] / 0.18215).sample
    torch.testing.assert_close(posterior.mean, case.output["mean"], atol=2e-4, rtol=0)
    torch.testing.assert_close(posterior.std, case.output["std"], atol=2e-4, rtol=0)
    torch.testing.assert_close(decoded, case.output["decoded"], atol=2e-4, rtol=0)


def test_norms_have_the_published_eps(vae: AutoencoderKL) -> None:
    assert {module.eps for module in vae.modules() if isinstance(module, torch.nn.GroupNorm)} == {1e-6}


def test_published_names_are_all_of_the_stored_ones(vae: AutoencoderKL) -> None:
    keys = golden.autoencoder().about["keys"]
    stored = {key.removeprefix("weight."): tuple(shape) for key, shape in keys.items() if key.startswith("weight.")}
    assert {renaming.published: renaming.published_shape for renaming in vae_renamings(vae)} == stored
    assert set(convert_vae(golden.weights(vae_renamings(vae), "vae."), vae)) == set(vae.state_dict())
